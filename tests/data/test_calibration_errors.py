"""Wrong calibration files: the error names file, camera and field, and says what to do."""

import json
import struct

import numpy as np
import pytest

from data.calibration.reader import read_calibration, recognise
from pipeline.errors import InputError

K = [900.0, 0, 640, 0, 905, 360, 0, 0, 1]
# Looks along the world's x axis, upright in a world with z up.
R = [0.0, -1, 0, 0, 0, -1, 1, 0, 0]


def camera(**changes):
    entry = {"K": K, "R": R, "T": [0.1, 0.2, 4.0], "imgSize": [1280, 720], **changes}
    return {k: v for k, v in entry.items() if v is not None}


def read_json(tmp_path, content):
    path = tmp_path / "calibration.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_calibration(path)


SCALED = (np.reshape(R, (3, 3)) * 1.05).ravel().tolist()
MIRRORED = (np.diag([1, 1, -1]) @ np.reshape(R, (3, 3))).ravel().tolist()


@pytest.mark.parametrize(
    ("changes", "field", "problem"),
    [
        ({"K": None}, "K", "missing"),
        ({"R": None}, "RT", "missing"),
        ({"T": None}, "T", "missing"),
        ({"imgSize": None}, "image size", "not in the file"),
        ({"K": K[:8]}, "K", "8 numbers"),
        ({"K": [0.0, 0, 640, 0, 905, 360, 0, 0, 1]}, "K", "singular"),
        ({"K": [900.0, 0, 640, 0, -905, 360, 0, 0, 1]}, "K", "singular or flips"),
        ({"K": np.reshape(K, (3, 3)).T.ravel().tolist()}, "K", "transposed"),
        ({"K": [900.0, 0, 640, 0, 905, 360, 0, 0, 0]}, "K", "last row"),
        ({"K": ["a", *K[1:]]}, "K", "not a number"),
        ({"K": [float("nan"), *K[1:]]}, "K", "not finite"),
        ({"R": SCALED}, "R", "not a rotation"),
        ({"R": MIRRORED}, "R", "mirrored"),
        ({"R": [1.0, 2.0]}, "R", "2 numbers"),
        ({"T": [0.1, float("inf"), 4]}, "T", "not finite"),
        ({"T": [[0.1, 0.2], [4.0]]}, "T", "unequal length"),
        ({"distCoeff": [0.1, 0.2, 0.3]}, "distCoeff", "3 coefficients"),
        ({"imgSize": [1280, 0]}, "imgSize", "not a width"),
        ({"imgSize": [1280.5, 720]}, "imgSize", "not a width"),
    ],
)
def test_fields(tmp_path, changes, field, problem):
    with pytest.raises(InputError, match=problem) as caught:
        read_json(tmp_path, {"left": camera(), "right": camera(**changes)})
    assert "calibration.json" in caught.value.where
    assert "'right'" in caught.value.where
    assert caught.value.where.endswith(f", {field}")
    assert caught.value.remedy


def test_rounded_rotations_are_repaired(tmp_path):
    angle = 0.7
    exact = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    rig = read_json(tmp_path, {"a": camera(R=np.round(exact, 3).ravel().tolist())})
    read = rig.cameras[0].R
    np.testing.assert_allclose(read @ read.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(read, exact, atol=1e-3)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "empty"),
        ("hello", "known kind"),
        ('{"a": {"K": [1, 2', "not valid JSON"),
        ('{"cameras": [{"name": ', "not valid JSON"),
        ('{"a": {"K": 1}, "a": {"K": 2}}', "given twice"),
        ("{}", "known kind"),
        ('{"cameras": []}', 'no list "cameras"'),
        ("[" * 100000, "known kind"),
        ('{"K":' * 100000, "nested too deeply|not valid"),
    ],
)
def test_broken_json(tmp_path, content, problem):
    with pytest.raises(InputError, match=problem) as caught:
        read_json(tmp_path, content)
    assert "calibration.json" in caught.value.where


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n" + bytes(range(256)), b"abc\0def", b"\xff\xfe{\x00}\x00"])
def test_not_text(tmp_path, data):
    path = tmp_path / "calibration.json"
    path.write_bytes(data)
    with pytest.raises(InputError, match="not text") as caught:
        read_calibration(path)
    assert str(path) in caught.value.where


def test_paths(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_calibration(tmp_path / "missing.toml")
    with pytest.raises(InputError, match="empty folder"):
        read_calibration(tmp_path)
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(InputError, match="known kind"):
        read_calibration(tmp_path)


def test_unknown_format_and_units_and_up(tmp_path):
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"a": camera()}))
    with pytest.raises(InputError, match="not a format"):
        read_calibration(path, "vicon")
    for units in ("lightyears", "-1", 0, "nan"):
        with pytest.raises(InputError, match="no unit"):
            read_calibration(path, units=units)
    for up in ("w", "zz", ""):
        with pytest.raises(InputError, match="not an axis"):
            read_calibration(path, up=up)


@pytest.mark.parametrize("format", ["opencv", "easymocap", "panoptic", "qualisys", "pose2sim", "colmap"])
def test_the_wrong_format_says_so(tmp_path, format):
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"a": camera()}))
    with pytest.raises(InputError) as caught:
        read_calibration(path, format)
    assert str(tmp_path) in caught.value.where
    assert "association4d" in caught.value.remedy


def test_names(tmp_path):
    for name in ("", "..", "a/b", "a\\b"):
        with pytest.raises(InputError, match="cannot be a camera name"):
            read_json(tmp_path, {name: camera()})
    entries = [{"name": "00_01", "K": K, "R": R, "t": [0, 0, 4], "resolution": [1280, 720]}] * 2
    with pytest.raises(InputError, match="'00_01' is given twice"):
        read_json(tmp_path, {"cameras": entries})


def test_an_ambiguous_folder_lists_the_kinds(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"a": camera()}))
    (tmp_path / "b.toml").write_text("[a]\nmatrix = []\nrotation = []\n")
    with pytest.raises(InputError, match="association4d, pose2sim"):
        recognise(tmp_path)
    (tmp_path / "b.toml").rename(tmp_path / "c.txt")
    (tmp_path / "c.txt").write_text((tmp_path / "a.json").read_text())
    with pytest.raises(InputError, match=r"2 calibration files \(a.json, c.txt\)"):
        read_calibration(tmp_path)


# --- Qualisys ---------------------------------------------------------------------------------------------------

QCA = """<?xml version="1.0"?>
<calibration><cameras><camera active="1" serial="7" model="Miqus Video" viewrotation="0">
<fov_video left="0" top="0" right="1279" bottom="719"/>
<transform x="1000" y="0" z="1500" r11="0" r12="1" r13="0" r21="0" r22="0" r23="1" r31="1" r32="0" r33="0"/>
<intrinsic focalLengthU="57600" focalLengthV="57600" centerPointU="41000" centerPointV="23000" skew="0"
 radialDistortion1="0" radialDistortion2="0" tangentalDistortion1="0" tangentalDistortion2="0"/>
</camera></cameras></calibration>"""


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (' x="1000"', "", "transform/x: is missing"),
        ('r22="0"', 'r22="zero"', "transform/r22: holds something that is not a number"),
        ('r31="1"', 'r31="-1"', "transform: is mirrored"),
        ('r31="1"', 'r31="2"', "transform: is not a rotation"),
        ('focalLengthU="57600"', 'focalLengthU="nan"', "focalLengthU: holds a value that is not finite"),
        ('focalLengthU="57600"', 'focalLengthU="900"', "focal length in pixels"),
        ('viewrotation="0"', 'viewrotation="45"', "viewrotation: is 45 degrees"),
        ('right="1279"', 'right="0"', "fov_video: is empty"),
        (' serial="7"', "", "serial: is missing"),
        ('active="1"', 'active="0"', "no active"),
        ("</cameras>", "", "not valid XML"),
        ("<calibration>", '<!DOCTYPE a [<!ENTITY b "c">]><calibration>', "DOCTYPE"),
    ],
)
def test_qualisys(tmp_path, old, new, problem):
    path = tmp_path / "lab.qca.txt"
    path.write_text(QCA)
    assert read_calibration(path).names == ("7",)
    path.write_text(QCA.replace(old, new))
    with pytest.raises(InputError, match=problem) as caught:
        read_calibration(path)
    assert str(path) in caught.value.where


# --- EasyMocap and OpenCV ---------------------------------------------------------------------------------------


def matrix(key, values, rows, cols):
    data = ", ".join(map(str, values))
    return f"{key}: !!opencv-matrix\n  rows: {rows}\n  cols: {cols}\n  dt: d\n  data: [ {data} ]\n"


HEAD = "%YAML:1.0\n---\n"


def test_easymocap(tmp_path):
    intri = HEAD + 'names:\n  - "1"\n' + matrix("K_1", K, 3, 3) + "H_1: 720\nW_1: 1280\n"
    extri = HEAD + 'names:\n  - "1"\n' + matrix("Rot_1", R, 3, 3) + matrix("T_1", [0, 0, 4], 3, 1)
    (tmp_path / "intri.yml").write_text(intri)
    with pytest.raises(InputError, match="is missing") as caught:
        read_calibration(tmp_path, "easymocap")
    assert caught.value.where.endswith("extri.yml")
    (tmp_path / "extri.yml").write_text(extri)
    assert read_calibration(tmp_path).names == ("1",)
    for old, new, file, field, problem in (
        ("Rot_1", "Rot_2", "extri.yml", "R_1", "is missing"),
        ("T_1", "T_2", "extri.yml", "T_1", "is missing"),
        ("rows: 3\n  cols: 1", "rows: 2\n  cols: 1", "extri.yml", "", "2 x 1 has 3 numbers"),
        ("0, 0, 4", "0, .Nan, 4", "extri.yml", "T_1", "not finite"),
    ):
        (tmp_path / "extri.yml").write_text(extri.replace(old, new))
        with pytest.raises(InputError, match=problem) as caught:
            read_calibration(tmp_path)
        assert file in caught.value.where
        assert caught.value.where.endswith(field)


def test_opencv(tmp_path):
    text = (
        HEAD + "image_width: 1280\nimage_height: 720\n" + matrix("camera_matrix", K, 3, 3) + matrix("R", R, 3, 3)
        + matrix("T", [0, 0, 4], 3, 1)
    )  # fmt: skip
    path = tmp_path / "left.yml"
    path.write_text(text)
    assert read_calibration(path, up="z").names == ("left",)
    for old, new, field, problem in (
        ("camera_matrix", "cam", "camera_matrix", "is missing"),
        ("T:", "U:", "T", "is missing"),
        ("image_width", "wide", "image size", "not in the file"),
        ("%YAML", "distortion_model: spherical\n%YAML", "distortion_model", "does not know"),
        ("R:", "T:", "", "given twice"),
        ("data: [", "data: [[", "", "not valid YAML"),
    ):
        broken = text.replace(old, new)
        if new.startswith("distortion_model"):
            broken = text + "distortion_model: spherical\n"
        path.write_text(broken)
        with pytest.raises(InputError, match=problem) as caught:
            read_calibration(path, up="z")
        assert "left.yml" in caught.value.where
        assert caught.value.where.endswith(field)


def test_yaml_builds_no_objects(tmp_path):
    path = tmp_path / "left.yml"
    path.write_text(HEAD + "camera_matrix: !!python/object/apply:os.system ['touch hacked']\n")
    with pytest.raises(InputError, match="not a number"):
        read_calibration(path)
    assert not (tmp_path / "hacked").exists()


def test_cameras_that_do_not_agree_on_up_ask_for_it(tmp_path):
    for name, turn in (("a", [1.0, 0, 0, 0, 1, 0, 0, 0, 1]), ("b", [1.0, 0, 0, 0, -1, 0, 0, 0, -1])):
        text = HEAD + "image_size: [1280, 720]\n" + matrix("K", K, 3, 3) + matrix("R", turn, 3, 3)
        (tmp_path / f"{name}.yml").write_text(text + matrix("T", [0, 0, 4], 3, 1))
    with pytest.raises(InputError, match="which way is up"):
        read_calibration(tmp_path)


# --- TOML -------------------------------------------------------------------------------------------------------

TOML = """[cam_1]
name = "a"
size = [1280.0, 720.0]
matrix = [[900.0, 0.0, 640.0], [0.0, 900.0, 360.0], [0.0, 0.0, 1.0]]
distortions = [0.0, 0.0, 0.0, 0.0]
rotation = [0.1, 0.2, 0.3]
translation = [0.0, 0.0, 4.0]
fisheye = false
"""


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("translation", "position", "translation: is missing"),
        ("rotation = [0.1, 0.2, 0.3]", "rotation = [0.1, 0.2]", "rotation: has 2 numbers"),
        ("fisheye = false", 'fisheye = "no"', "fisheye: is 'no'"),
        ("[0.0, 0.0, 4.0]", "[0.0, 0.0, nan]", "translation: holds a value that is not finite"),
        ("fisheye = false", "fisheye = true\n[cam_2]\nname = 'b'\n", "matrix: is missing"),
        ("= [1280.0", "= 1280.0", "not valid TOML"),
    ],
)
def test_pose2sim(tmp_path, old, new, problem):
    path = tmp_path / "Calib.toml"
    path.write_text(TOML)
    assert read_calibration(path).names == ("a",)
    path.write_text(TOML.replace(old, new))
    with pytest.raises(InputError, match=problem) as caught:
        read_calibration(path)
    assert str(path) in caught.value.where


# --- COLMAP -----------------------------------------------------------------------------------------------------


def write_colmap_text(folder, cameras="1 PINHOLE 1280 720 900 900 640 360", second="1 1 0 0 0 0 0 4 1 cam01.jpg"):
    (folder / "cameras.txt").write_text(f"# comment\n{cameras}\n")
    (folder / "images.txt").write_text(f"# comment\n1 1 0 0 0 0 0 4 1 cam00.jpg\n\n{second}\n1 2 -1\n")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"cameras": "1 FOV 1280 720 900 900 640 360 0.9"}, "FOV cannot be held exactly"),
        ({"cameras": "1 PINHOLE 1280 720 900 900 640"}, "PARAMS: has 3 numbers"),
        ({"cameras": "1 PINHOLE 1280 720 900 -900 640 360"}, "PARAMS: has focal lengths"),
        ({"cameras": "nonsense"}, "has the line 'nonsense'"),
        ({"cameras": "2 PINHOLE 1280 720 900 900 640 360"}, "CAMERA_ID: 1 is not among the cameras"),
        ({"second": "2 3 0 0 0 0 0 4 1 cam01.jpg"}, "QW QX QY QZ: is not of unit length"),
        ({"second": "2 1 0 0 0 0 0 4 1"}, "has the line"),
        ({"second": "2 1 0 0 0 1 0 4 1 cam00.jpg"}, "2 images of different poses"),
    ],
)
def test_colmap_text(tmp_path, changes, problem):
    write_colmap_text(tmp_path)
    assert read_calibration(tmp_path, units="m", up="z").names == ("cam00", "cam01")
    write_colmap_text(tmp_path, **changes)
    with pytest.raises(InputError, match=problem) as caught:
        read_calibration(tmp_path, units="m", up="z")
    assert str(tmp_path) in caught.value.where


def test_colmap_binary_cut_anywhere(tmp_path):
    cameras = struct.pack("<QIiQQ4d", 1, 1, 1, 1280, 720, 900, 900, 640, 360)
    images = struct.pack("<QI7dI", 1, 1, 1, 0, 0, 0, 0, 0, 4, 1) + b"cam00.jpg\0" + struct.pack("<Qddq", 1, 5, 6, -1)
    (tmp_path / "cameras.bin").write_bytes(cameras)
    (tmp_path / "images.bin").write_bytes(images)
    assert read_calibration(tmp_path, units="m", up="z").names == ("cam00",)
    for name, data in (("cameras.bin", cameras), ("images.bin", images)):
        for end in range(len(data)):
            (tmp_path / name).write_bytes(data[:end])
            with pytest.raises(InputError, match="ends early"):
                read_calibration(tmp_path, units="m", up="z")
        (tmp_path / name).write_bytes(data + b"x")
        with pytest.raises(InputError, match="goes on"):
            read_calibration(tmp_path, units="m", up="z")
        (tmp_path / name).write_bytes(data)
    (tmp_path / "cameras.bin").write_bytes(struct.pack("<QIiQQ4d", 1, 1, 10, 1280, 720, 900, 900, 640, 360))
    with pytest.raises(InputError, match="THIN_PRISM_FISHEYE cannot"):
        read_calibration(tmp_path, units="m", up="z")


# --- any damage -------------------------------------------------------------------------------------------------

SAMPLES = {
    "c.qca.txt": QCA,
    "c.json": json.dumps({"a": camera(), "b": camera(distCoeff=[0.1, 0, 0, 0])}),
    "p.json": json.dumps({"cameras": [{"name": "1", "K": K, "R": R, "t": [0, 0, 4], "resolution": [1280, 720]}]}),
    "c.toml": TOML,
    "c.yml": HEAD + "image_size: [1280, 720]\n" + matrix("K", K, 3, 3) + matrix("R", R, 3, 3)
    + matrix("T", [0, 0, 4], 3, 1),
    "cameras.txt": "1 OPENCV 1280 720 900 900 640 360 0.1 0 0 0\n",
    "images.txt": "1 1 0 0 0 0 0 4 1 cam00.jpg\n5 6 -1\n2 0.6 0.8 0 0 1 0 4 1 cam01.jpg\n\n",
}  # fmt: skip


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.filterwarnings("ignore::data.calibration.fields.CalibrationWarning")
def test_damage_gives_cameras_or_an_input_error(tmp_path, name):
    """Cut, doubled, exchanged and flipped bytes: never another exception."""
    rng = np.random.default_rng(0)
    for other in ("cameras.txt", "images.txt"):
        (tmp_path / other).write_text(SAMPLES[other])
    path = tmp_path / name
    data = np.frombuffer(SAMPLES[name].encode(), np.uint8)
    read = refused = 0
    for _ in range(400):
        broken = data.copy()
        at, length = int(rng.integers(len(data))), int(rng.integers(1, 12))
        kind = rng.integers(4)
        if kind == 0:
            broken = np.delete(broken, slice(at, at + length))
        elif kind == 1:
            broken = np.insert(broken, at, data[at : at + length])
        elif kind == 2:
            broken[at] = rng.choice(np.frombuffer(b"0123456789.-eE+[]{}<>=\"' \n:,#", np.uint8))
        else:
            broken[at] = rng.integers(256)
        path.write_bytes(broken.tobytes())
        try:
            rig = read_calibration(path)
        except InputError:
            refused += 1
        else:
            read += 1
            assert np.isfinite(rig.projections).all()
    assert read > 10
    assert refused > 10
