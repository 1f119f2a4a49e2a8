"""Each calibration format, laid out in a small file as documented, gives back the cameras it was made from."""

import json
import struct
import warnings
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.calibration.fields import CalibrationWarning, rotation_from_vector, rotation_vector
from data.calibration.pose2sim import write_pose2sim
from data.calibration.reader import read_calibration, recognise
from pipeline.cameras import FISHEYE, Camera, Rig

SIZE = (1280, 720)
DISTORTION = [-0.11, 0.04, 0.0013, -0.0008, 0.012]


def look_at(name, position, target, up, K, size=SIZE, distortion=(), model="radial_tangential"):
    forward = np.subtract(target, position) / np.linalg.norm(np.subtract(target, position))
    right = np.cross(forward, up) / np.linalg.norm(np.cross(forward, up))
    R = np.stack([right, np.cross(forward, right), forward])
    return Camera(name, size, K, R, -R @ np.asarray(position, float), np.asarray(distortion, float), model)


def ring(count=4, distortion=DISTORTION, up=(0.0, 0.0, 1.0), model="radial_tangential", size=SIZE):
    """Cameras around the origin of a world with the given up, each a little different."""
    up = np.asarray(up)
    a = np.roll(up, 1)
    b = np.cross(up, a)
    cameras = []
    for i in range(count):
        angle = 2 * np.pi * i / count + 0.2
        position = (4 + 0.3 * i) * (np.cos(angle) * a + np.sin(angle) * b) + (1.2 + 0.4 * i) * up
        K = np.array([[900.0 + 7 * i, 0, 630.5 + 3 * i], [0, 905.0 + 6 * i, 371.25 - 2 * i], [0, 0, 1]])
        d = np.asarray(distortion) * (1 + 0.1 * i)
        cameras.append(look_at(f"cam{i + 1:02d}", position, 0.9 * up + 0.1 * i * a, up, K, size, d, model))
    return Rig(tuple(cameras), up)


POINTS = np.random.default_rng(0).uniform(-1, 1, (200, 3))


def assert_same(read, true, tolerance=1e-6):
    assert read.names == true.names
    np.testing.assert_allclose(read.up, true.up, atol=1e-9)
    for a, b in zip(read.cameras, true.cameras, strict=True):
        assert a.size == b.size
        np.testing.assert_allclose(a.project(POINTS), b.project(POINTS), atol=tolerance)
        np.testing.assert_allclose(a.centre, b.centre, atol=1e-6)


def numerals(values):
    return [repr(float(v)) for v in np.ravel(values)]


# --- Qualisys ---------------------------------------------------------------------------------------------------


def qualisys_xml(rig, view_rotations=None, borders=0, offset=(0, 0)):
    """As QTM writes it: 1/64 pixel, millimetres, camera axes x right, y up, z backwards."""
    out = ['<?xml version="1.0" encoding="UTF-8"?>', '<calibration created="x" type="regular"><cameras>']
    for i, c in enumerate(rig.cameras):
        r = np.diag([1, -1, -1]) @ c.R
        x, y, z = 1000 * c.centre
        k1, k2, p1, p2, k3 = np.pad(c.distortion, (0, 5))[:5]
        left, top = offset
        right, bottom = left + c.size[0] - 1 + borders, top + c.size[1] - 1 + borders
        entries = " ".join(f'r{a + 1}{b + 1}="{r[a, b]!r}"' for a in range(3) for b in range(3))
        rotation = 0 if view_rotations is None else view_rotations[i]
        out.append(
            f'<camera active="1" serial="{c.name}" model="Miqus Video" viewrotation="{rotation}">'
            f'<fov_video left="{left}" top="{top}" right="{right}" bottom="{bottom}"/>'
            f'<transform x="{x!r}" y="{y!r}" z="{z!r}" {entries}/>'
            f'<intrinsic focalLengthU="{64 * c.K[0, 0]!r}" focalLengthV="{64 * c.K[1, 1]!r}" '
            f'centerPointU="{64 * (c.K[0, 2] + left)!r}" centerPointV="{64 * (c.K[1, 2] + top)!r}" skew="0" '
            f'sensorMinU="0" sensorMaxU="{64 * (c.size[0] - 1)}" sensorMinV="0" sensorMaxV="{64 * (c.size[1] - 1)}" '
            f'radialDistortion1="{k1!r}" radialDistortion2="{k2!r}" radialDistortion3="{k3!r}" '
            f'tangentalDistortion1="{p1!r}" tangentalDistortion2="{p2!r}"/></camera>'
        )
    return "\n".join([*out, "</cameras></calibration>"])


@pytest.mark.parametrize("layout", [{}, {"borders": 1}, {"offset": (320, 180)}])
def test_qualisys(tmp_path, layout):
    rig = ring()
    path = tmp_path / "lab.qca.txt"
    path.write_text(qualisys_xml(rig, **layout))
    assert recognise(path) == recognise(tmp_path) == "qualisys"
    assert_same(read_calibration(path), rig)


def test_qualisys_without_fov_video_takes_the_sensor(tmp_path):
    rig = ring()
    path = tmp_path / "lab.xml"
    lines = qualisys_xml(rig).splitlines()
    path.write_text("\n".join(line[: line.find("<fov")] + line[line.find("<tra") :] if "<fov" in line else line
                              for line in lines))  # fmt: skip
    assert_same(read_calibration(path), rig)


def test_qualisys_leaves_out_marker_and_inactive_cameras(tmp_path):
    rig = ring()
    text = qualisys_xml(rig)
    text = text.replace('active="1" serial="cam01"', 'active="0" serial="cam01"')
    text = text.replace('serial="cam02" model="Miqus Video"', 'serial="cam02" model="Miqus M3"')
    text = text.replace('serial="cam04" model="Miqus Video"', 'serial="cam04" model="Miqus Hybrid"')
    path = tmp_path / "lab.qca.txt"
    path.write_text(text)
    assert read_calibration(path).names == ("cam03", "cam04")


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_qualisys_viewrotation(tmp_path, degrees):
    """Mounted on its side: the file stays that of the sensor; the turned camera belongs to the turned image."""
    upright = ring()
    quarter = degrees // 90
    sensors = Rig(tuple(c.turned(-quarter) for c in upright.cameras), upright.up)
    path = tmp_path / "lab.qca.txt"
    path.write_text(qualisys_xml(sensors, [degrees] * len(sensors)))
    assert_same(read_calibration(path), sensors)
    shown = read_calibration(path, apply_viewrotation=True)
    assert_same(shown, upright)
    for s, u in zip(sensors.cameras, upright.cameras, strict=True):
        (width, height), pixel = s.size, s.project(POINTS)
        turned = {
            90: np.stack([height - 1 - pixel[:, 1], pixel[:, 0]], -1),
            180: np.array([width - 1, height - 1]) - pixel,
            270: np.stack([pixel[:, 1], width - 1 - pixel[:, 0]], -1),
        }[degrees]
        np.testing.assert_allclose(u.project(POINTS), turned, atol=1e-6)


# --- 4D association, Panoptic -----------------------------------------------------------------------------------


def association4d(rig, rt=True):
    return {
        c.name: {
            "K": c.K.ravel().tolist(),
            "imgSize": list(c.size),
            "distCoeff": c.distortion.tolist(),
            **(
                {"RT": np.column_stack([c.R, c.t]).ravel().tolist()}
                if rt
                else {"R": rotation_vector(c.R).tolist(), "T": c.t.tolist()}
            ),
        }
        for c in rig.cameras
    }


@pytest.mark.parametrize("rt", [True, False])
def test_association4d(tmp_path, rt):
    rig = ring()
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(association4d(rig, rt)))
    assert recognise(path) == "association4d"
    assert_same(read_calibration(path), rig)


def test_panoptic_is_in_centimetres_with_y_down(tmp_path):
    rig = ring(up=(0.0, -1.0, 0.0))
    cameras = [
        {"name": c.name, "type": "hd", "resolution": list(c.size), "panel": 0, "node": i, "K": c.K.tolist(),
         "distCoef": c.distortion.tolist(), "R": c.R.tolist(), "t": (100 * c.t)[:, None].tolist()}
        for i, c in enumerate(rig.cameras)
    ]  # fmt: skip
    path = tmp_path / "calibration_171204_pose1.json"
    path.write_text(json.dumps({"calibDataSource": "x", "cameras": cameras}))
    assert recognise(path) == "panoptic"
    assert_same(read_calibration(path), rig)


# --- OpenCV and EasyMocap ---------------------------------------------------------------------------------------


def write_opencv(path, entries):
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    for key, value in entries.items():
        storage.write(key, np.asarray(value, np.float64) if isinstance(value, list | np.ndarray) else value)
    storage.release()


@pytest.mark.parametrize("suffix", [".yml", ".yaml", ".xml"])
def test_opencv_folder(tmp_path, suffix):
    rig = ring()
    for c in rig.cameras:
        entries = {
            "image_width": c.size[0], "image_height": c.size[1], "camera_matrix": c.K,
            "distortion_coefficients": c.distortion[None], "R": c.R, "T": c.t[:, None],
        }  # fmt: skip
        write_opencv(tmp_path / f"{c.name}{suffix}", entries)
    assert recognise(tmp_path) == "opencv"
    assert_same(read_calibration(tmp_path, up="z"), rig)


def test_opencv_names_in_use(tmp_path):
    rig = ring(3)
    a, b, c = rig.cameras
    write_opencv(tmp_path / "cam01.yml", {"K": a.K, "D": a.distortion, "rvec": rotation_vector(a.R), "tvec": a.t,
                                          "imageSize": np.array(a.size)})  # fmt: skip
    write_opencv(tmp_path / "cam02.yml", {"Camera_Matrix": b.K, "Distortion_Coefficients": b.distortion,
                                          "extrinsic": np.column_stack([b.R, b.t]), "image_Width": b.size[0],
                                          "image_Height": b.size[1]})  # fmt: skip
    write_opencv(tmp_path / "cam03.yml", {"intrinsic_matrix": c.K, "dist_coeffs": c.distortion, "width": c.size[0],
                                          "height": c.size[1], "distortion_model": "plumb_bob",
                                          "extrinsic_parameters": np.r_[rotation_vector(c.R), c.t][None]})  # fmt: skip
    assert_same(read_calibration(tmp_path, up="z"), rig)


def test_opencv_several_cameras_in_one_file(tmp_path):
    rig = ring()
    path = tmp_path / "rig.yml"
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    for c in rig.cameras:
        storage.startWriteStruct(c.name, cv2.FileNode_MAP)
        storage.write("K", c.K)
        storage.write("D", c.distortion)
        storage.write("R", c.R)
        storage.write("t", c.t)
        storage.write("resolution", np.array(c.size, np.float64))
        storage.endWriteStruct()
    storage.release()
    assert_same(read_calibration(path, up="z"), rig)


def test_opencv_up_comes_from_the_cameras_and_says_so(tmp_path):
    for up in ((0.0, 0.0, 1.0), (0.0, -1.0, 0.0), (0.0, 1.0, 0.0)):
        rig = ring(up=up)
        for c in rig.cameras:
            write_opencv(tmp_path / f"{c.name}.yml", {"K": c.K, "D": c.distortion, "R": c.R, "T": c.t,
                                                      "image_size": np.array(c.size)})  # fmt: skip
        with pytest.warns(CalibrationWarning, match="up"):
            read = read_calibration(tmp_path)
        assert_same(read, rig)


def test_opencv_fisheye(tmp_path):
    rig = ring(distortion=(-0.03, 0.01, -0.004, 0.001), model=FISHEYE)
    for c in rig.cameras:
        write_opencv(tmp_path / f"{c.name}.yml", {"K": c.K, "D": c.distortion, "R": c.R, "T": c.t,
                                                  "image_size": np.array(c.size), "fisheye_model": 1})  # fmt: skip
    read = read_calibration(tmp_path, up="z")
    assert all(c.model == FISHEYE for c in read.cameras)
    assert_same(read, rig)


def easymocap_matrix(key, matrix):
    rows, cols = np.atleast_2d(matrix).shape
    return [
        f"{key}: !!opencv-matrix", f"  rows: {rows}", f"  cols: {cols}", "  dt: d",
        f"  data: [{', '.join(numerals(matrix))}]",
    ]  # fmt: skip


def write_easymocap(folder, rig, sizes=True, rot=True, quoted=True):
    quote = '"' if quoted else ""
    names = ["%YAML:1.0", "---", "names:", *(f"  - {quote}{c.name}{quote}" for c in rig.cameras)]
    intri, extri = list(names), list(names)
    for c in rig.cameras:
        intri += easymocap_matrix(f"K_{c.name}", c.K) + easymocap_matrix(f"dist_{c.name}", c.distortion[None])
        if sizes:
            intri += [f"H_{c.name}: {c.size[1]}", f"W_{c.name}: {c.size[0]}"]
        extri += easymocap_matrix(f"R_{c.name}", rotation_vector(c.R)[:, None])
        if rot:
            extri += easymocap_matrix(f"Rot_{c.name}", c.R)
        extri += easymocap_matrix(f"T_{c.name}", c.t[:, None])
    folder.mkdir(exist_ok=True)
    (folder / "intri.yml").write_text("\r\n".join(intri))
    (folder / "extri.yml").write_text("\r\n".join(extri))


@pytest.mark.parametrize("options", [{}, {"rot": False}, {"quoted": False}])
def test_easymocap(tmp_path, options):
    # A name such as 01 is a number to YAML, and octal at that; it has to stay a name.
    rig = Rig(tuple(replace(c, name=f"{i + 7:02d}") for i, c in enumerate(ring().cameras)))
    write_easymocap(tmp_path / "c", rig, **options)
    for path in (tmp_path / "c", tmp_path / "c" / "intri.yml"):
        assert recognise(path) == "easymocap"
        assert_same(read_calibration(path), rig)


def test_easymocap_without_sizes_asks_for_those_of_the_images(tmp_path):
    rig = ring()
    write_easymocap(tmp_path / "c", rig, sizes=False)
    assert_same(read_calibration(tmp_path / "c", size_of=lambda name: rig[name].size), rig)


# --- Pose2Sim ---------------------------------------------------------------------------------------------------


def test_pose2sim_as_its_program_writes_it(tmp_path):
    rig = ring(distortion=DISTORTION[:4])
    lines = []
    for i, c in enumerate(rig.cameras):
        rows = ", ".join(f"[ {', '.join(numerals(row))}]" for row in c.K)
        lines += [
            f"[cam_{i + 1}]", f'name = "{c.name}"', f"size = [ {c.size[0]}.0, {c.size[1]}.0]", f"matrix = [ {rows}]",
            f"distortions = [ {', '.join(numerals(c.distortion[:4]))}]",
            f"rotation = [ {', '.join(numerals(rotation_vector(c.R)))}]",
            f"translation = [ {', '.join(numerals(c.t))}]", "fisheye = false", "",
        ]  # fmt: skip
    path = tmp_path / "Calib_scene.toml"
    path.write_text("\n".join([*lines, "[metadata]", "adjusted = false", "error = 0.0"]))
    assert recognise(path) == "pose2sim"
    assert_same(read_calibration(path), rig)


@pytest.mark.parametrize("model", ["radial_tangential", FISHEYE])
def test_pose2sim_written_and_read(tmp_path, model):
    rig = ring(distortion=DISTORTION if model != FISHEYE else DISTORTION[:4], model=model, up=(0.0, 1.0, 0.0))
    write_pose2sim(rig, tmp_path / "rig.toml")
    assert_same(read_calibration(tmp_path / "rig.toml"), rig, 1e-9)


finite = st.floats(-5, 5, allow_nan=False)
names = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\"), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(
    vector=st.tuples(finite, finite, finite),
    t=st.tuples(finite, finite, finite),
    focal=st.floats(200, 5000),
    d=st.lists(st.floats(-0.2, 0.2), max_size=8),
    name=names.filter(lambda n: n not in (".", "..") and n.strip()),
)
def test_pose2sim_gives_back_any_camera(tmp_path_factory, vector, t, focal, d, name):
    R = rotation_from_vector(np.array(vector))
    camera = Camera(name, (640, 480), np.array([[focal, 0, 320], [0, focal, 240], [0, 0, 1]]), R, np.array(t), d)
    path = tmp_path_factory.mktemp("toml") / "rig.toml"
    write_pose2sim(Rig((camera,)), path)
    (read,) = read_calibration(path).cameras
    assert read.name == camera.name
    for field in ("K", "R", "t", "distortion"):
        np.testing.assert_allclose(getattr(read, field), getattr(camera, field), atol=1e-12)


@settings(max_examples=200, deadline=None)
@given(st.tuples(finite, finite, finite), st.sampled_from([0.0, 1e-9, 1e-5, 0.5, 3.0, np.pi - 1e-7, np.pi]))
def test_rotation_vectors(direction, angle):
    """Both ways at every angle, half a turn included, and as OpenCV has them."""
    direction = np.array(direction)
    if np.linalg.norm(direction) < 1e-3:
        direction = np.array([1.0, 0.0, 0.0])
    vector = direction / np.linalg.norm(direction) * angle
    R = rotation_from_vector(vector)
    np.testing.assert_allclose(R, cv2.Rodrigues(vector)[0], atol=1e-12)
    np.testing.assert_allclose(rotation_from_vector(rotation_vector(R)), R, atol=1e-12)


# --- COLMAP -----------------------------------------------------------------------------------------------------

COLMAP = {  # id, parameters of a camera as COLMAP orders them
    "SIMPLE_PINHOLE": (0, "f cx cy"), "PINHOLE": (1, "fx fy cx cy"), "SIMPLE_RADIAL": (2, "f cx cy k1"),
    "RADIAL": (3, "f cx cy k1 k2"), "OPENCV": (4, "fx fy cx cy k1 k2 p1 p2"),
    "OPENCV_FISHEYE": (5, "fx fy cx cy k1 k2 k3 k4"), "FULL_OPENCV": (6, "fx fy cx cy k1 k2 p1 p2 k3 k4 k5 k6"),
    "SIMPLE_RADIAL_FISHEYE": (8, "f cx cy k1"), "RADIAL_FISHEYE": (9, "f cx cy k1 k2"),
    "SIMPLE_FISHEYE": (14, "f cx cy"), "FISHEYE": (15, "fx fy cx cy"),
}  # fmt: skip
VALUES = {"f": 900.0, "fx": 900.0, "fy": 905.0, "cx": 640.3, "cy": 355.7, "k1": -0.08, "k2": 0.03, "p1": 0.0011,
          "p2": -0.0007, "k3": 0.004, "k4": 0.01, "k5": -0.006, "k6": 0.002}  # fmt: skip


def colmap_pixels(model, p, camera):
    """COLMAP's projection, written from its documentation; its pixel centres are at halves."""
    x, y, z = camera.to_camera(POINTS).T
    u, v = x / z, y / z
    fx, fy = p.get("fx", p.get("f")), p.get("fy", p.get("f"))
    g = {k: p.get(k, 0.0) for k in ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")}
    if "FISHEYE" in model:
        r = np.hypot(u, v)
        theta = np.arctan(r)
        q = theta**2
        scale = theta * (1 + g["k1"] * q + g["k2"] * q**2 + g["k3"] * q**3 + g["k4"] * q**4) / r
        u, v = u * scale, v * scale
    else:
        q = u * u + v * v
        radial = (1 + g["k1"] * q + g["k2"] * q**2 + g["k3"] * q**3) / (
            1 + g["k4"] * q + g["k5"] * q**2 + g["k6"] * q**3
        )
        u, v = (
            u * radial + 2 * g["p1"] * u * v + g["p2"] * (q + 2 * u * u),
            v * radial + 2 * g["p2"] * u * v + g["p1"] * (q + 2 * v * v),
        )
    return np.stack([fx * u + p["cx"], fy * v + p["cy"]], -1) - 0.5


def quaternion(R):
    vector = rotation_vector(R)
    angle = np.linalg.norm(vector)
    return np.r_[np.cos(angle / 2), np.sin(angle / 2) * vector / angle]


def write_colmap(folder, rig, model, binary, names, scale=1.0, repeats=1):
    number, order = COLMAP[model]
    params = [VALUES[k] for k in order.split()]
    folder.mkdir(parents=True, exist_ok=True)
    cameras = ["# Camera list", "#   CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]"]
    images = ["# Image list", "#   IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME"]
    raw_cameras, raw_images = struct.pack("<Q", len(rig)), struct.pack("<Q", len(rig) * repeats)
    for i, c in enumerate(rig.cameras):
        pose = [*quaternion(c.R), *(c.t * scale)]
        cameras.append(f"{i + 3} {model} {SIZE[0]} {SIZE[1]} {' '.join(map(repr, params))}")
        raw_cameras += struct.pack(f"<IiQQ{len(params)}d", i + 3, number, *SIZE, *params)
        for k in range(repeats):
            name = names(i, k)
            points = [] if i % 2 else [(10.5, 20.5, -1), (30.25, 40.0, 7)]
            images += [
                f"{10 * i + k} {' '.join(map(repr, pose))} {i + 3} {name}",
                " ".join(f"{x} {y} {n}" for x, y, n in points),
            ]
            raw_images += struct.pack("<I7dI", 10 * i + k, *pose, i + 3) + name.encode() + b"\0"
            raw_images += struct.pack("<Q", len(points))
            for x, y, n in points:
                raw_images += struct.pack("<ddq", x, y, n)
    if binary:
        (folder / "cameras.bin").write_bytes(raw_cameras)
        (folder / "images.bin").write_bytes(raw_images)
    else:
        (folder / "cameras.txt").write_text("\n".join(cameras) + "\n")
        (folder / "images.txt").write_text("\n".join(images) + "\n")


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("model", COLMAP)
def test_colmap_models(tmp_path, model, binary):
    rig = ring()
    write_colmap(tmp_path / "sparse" / "0", rig, model, binary, lambda i, k: f"cam{i + 1:02d}.jpg", scale=2.0)
    assert recognise(tmp_path) == "colmap"
    read = read_calibration(tmp_path, units="0.5", up="z")
    assert read.names == rig.names
    p = {k: VALUES[k] for k in COLMAP[model][1].split()}
    for a, b in zip(read.cameras, rig.cameras, strict=True):
        assert a.size == SIZE
        np.testing.assert_allclose(a.centre, b.centre, atol=1e-9)
        np.testing.assert_allclose(a.project(POINTS), colmap_pixels(model, p, b), atol=1e-6)


@pytest.mark.parametrize("binary", [False, True])
def test_colmap_images_in_folders(tmp_path, binary):
    rig = ring()
    write_colmap(tmp_path, rig, "PINHOLE", binary, lambda i, k: f"cam{i + 1:02d}/{k:06d}.png", repeats=3)
    assert read_calibration(tmp_path, units="m", up="z").names == rig.names


def test_colmap_scale_and_up_are_asked_for(tmp_path):
    rig = ring()
    write_colmap(tmp_path, rig, "PINHOLE", True, lambda i, k: f"{i}.jpg")
    with pytest.warns(CalibrationWarning) as record:
        read = read_calibration(tmp_path)
    assert {"arbitrary" in str(w.message) or "up" in str(w.message) for w in record} == {True}
    assert len(record) == 2
    assert read.up @ rig.up > 0.99
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_calibration(tmp_path, units="m", up="cameras")


# --- units, up --------------------------------------------------------------------------------------------------


def test_units_and_up_of_the_caller_win(tmp_path):
    rig = ring(up=(0.0, 1.0, 0.0))
    big = Rig(tuple(replace(c, t=c.t * 1000) for c in rig.cameras))
    path = tmp_path / "c.json"
    path.write_text(json.dumps(association4d(big)))
    assert_same(read_calibration(path, units="mm", up="y"), rig)
    assert_same(read_calibration(path, units=0.001, up="+Y"), rig)
    assert_same(read_calibration(path, units="0.001", up="cameras"), rig)


def test_a_path_may_be_text(tmp_path):
    write_pose2sim(ring(), tmp_path / "rig.toml")
    assert len(read_calibration(str(tmp_path / "rig.toml"))) == 4
    assert len(read_calibration(Path(tmp_path))) == 4
