"""Sound rigs give no finding; each mistake that people make in a calibration is found and named."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cameras import FISHEYE, Camera, Rig
from pipeline.rig_checks import check_images, check_rig, fit_to_images, upright_turns

SIZE = (1280, 720)
Z = np.array([0.0, 0.0, 1.0])


def look_at(name, position, target, up=Z, focal=900.0, size=SIZE, roll=0.0):
    forward = np.subtract(target, position) / np.linalg.norm(np.subtract(target, position))
    right = np.cross(forward, up) / np.linalg.norm(np.cross(forward, up))
    R = np.stack([right, np.cross(forward, right), forward])
    c, s = np.cos(roll), np.sin(roll)
    R = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ R
    K = np.array([[focal, 0, size[0] / 2 + 6], [0, focal, size[1] / 2 - 4], [0, 0, 1]])
    return Camera(name, size, K, R, -R @ np.asarray(position, float))


def ring(count=5, arc=2 * np.pi, radius=4.0, heights=(1.0, 2.2), origin=(0.7, -0.4, 0.0), roll=0.0):
    """Cameras on an arc around ``origin``, as in a studio."""
    cameras = []
    for i in range(count):
        angle = 0.3 + arc * i / count
        position = np.array([radius * np.cos(angle), radius * np.sin(angle), heights[i % 2]]) + origin
        target = np.array([0.0, 0.0, 0.9]) + origin
        cameras.append(look_at(f"cam{i}", position, target, roll=roll * (-1) ** i))
    return Rig(tuple(cameras), Z)


def each(rig, change):
    return replace(rig, cameras=tuple(map(change, rig.cameras)))


def errors(findings):
    return [f for f in findings if f.severity == "error"]


@settings(max_examples=150, deadline=None)
@given(
    count=st.integers(2, 12),
    arc=st.floats(0.8, 2 * np.pi),
    radius=st.floats(2.5, 12.0),
    heights=st.tuples(st.floats(0.4, 3.5), st.floats(0.4, 3.5)),
    origin=st.tuples(st.floats(-4, 4), st.floats(-4, 4), st.just(0.0)),
    roll=st.floats(-0.4, 0.4),
)
def test_studios_are_sound(count, arc, radius, heights, origin, roll):
    assert check_rig(ring(count, arc, radius, heights, origin, roll)) == []


def test_other_sound_rigs():
    facing = Rig((look_at("a", (-4, 0, 1.5), (0, 0, 1)), look_at("b", (4, 0, 1.5), (0, 0, 1))), Z)
    assert check_rig(facing) == []
    row = Rig(tuple(look_at(f"c{i}", (i, 0, 1.4), (i, 5, 1.2)) for i in range(4)), Z)  # parallel, as a broadcast
    assert errors(check_rig(row)) == []
    ceiling = Rig(
        tuple(look_at(f"c{i}", (i % 2 * 3, i // 2 * 3, 4.0), (1.4, 1.6, 0), up=(0, 1, 0)) for i in range(4)), Z
    )
    assert errors(check_rig(ceiling)) == []
    fisheye = each(ring(), lambda c: replace(c, model=FISHEYE, K=c.K * [[0.4, 0, 1], [0, 0.4, 1], [0, 0, 1]]))
    assert check_rig(fisheye) == []
    up_y = each(ring(), lambda c: replace(c, R=c.R @ np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])))
    assert check_rig(replace(up_y, up=np.array([0.0, 1.0, 0.0]))) == []


WRONG_POSES = {
    "inverted": (lambda c: replace(c, R=c.R.T, t=c.centre), "camera to world"),
    "transposed": (lambda c: replace(c, R=c.R.T), "transposed"),
    "positions": (lambda c: replace(c, t=c.centre), "camera positions"),
    "graphics": (lambda c: replace(c, R=np.diag([1, -1, -1]) @ c.R, t=np.diag([1, -1, -1]) @ c.t), "OpenGL"),
}


@pytest.mark.parametrize("mistake", WRONG_POSES)
@pytest.mark.parametrize("rig", [ring(4), ring(5), ring(8), ring(6, arc=np.pi), ring(5, radius=8.0)])
def test_wrong_pose_conventions(mistake, rig):
    change, words = WRONG_POSES[mistake]
    (finding,) = errors(check_rig(each(rig, change)))
    assert words in finding.remedy


def test_mirrored_and_skewed_rotations():
    rig = ring()
    mirrored = replace(rig, cameras=(*rig.cameras[:4], replace(rig.cameras[4], R=-rig.cameras[4].R)))
    (finding,) = check_rig(mirrored)
    assert (finding.severity, finding.camera) == ("error", "cam4")
    assert "mirrored" in finding.message
    (finding,) = check_rig(replace(rig, cameras=(*rig.cameras[:4], replace(rig.cameras[4], R=1.1 * rig.cameras[4].R))))
    assert "orthonormal" in finding.message
    (finding,) = check_rig(replace(rig, cameras=(*rig.cameras[:4], replace(rig.cameras[4], t=np.full(3, np.nan)))))
    assert "finite" in finding.message


def test_one_camera_looking_elsewhere_is_named():
    rig = ring(6)
    place = rig.cameras[2].centre
    lost = look_at("cam2", place, place + np.array([3, 3, 0.2]))
    findings = check_rig(replace(rig, cameras=(*rig.cameras[:2], lost, *rig.cameras[3:])))
    assert [(f.severity, f.camera) for f in findings] == [("warning", "cam2")]


@pytest.mark.parametrize(("factor", "unit"), [(1000.0, "mm"), (100.0, "cm"), (0.001, "metres per unit")])
def test_units(factor, unit):
    (finding,) = check_rig(each(ring(), lambda c: replace(c, t=c.t * factor)))
    assert finding.severity == "error"
    assert unit in finding.remedy


def test_unusual_but_possible_sizes_only_warn():
    for factor in (0.03, 12.0):
        findings = check_rig(each(ring(), lambda c, f=factor: replace(c, t=c.t * f)))
        assert [f.severity for f in findings] == ["warning"]


@pytest.mark.parametrize(("up", "angle"), [((0, 0, -1), 180), ((0, 1, 0), 90), ((1, 0, 0), 90)])
def test_up(up, angle):
    (finding,) = check_rig(replace(ring(), up=np.array(up, float)))
    assert finding.severity == "error"
    assert "up to z" in finding.remedy
    assert int(finding.message.split()[2]) == pytest.approx(angle, abs=5)


def test_sideways_cameras_are_not_taken_for_a_wrong_up():
    findings = check_rig(each(ring(), lambda c: c.turned(1)))
    assert [f.severity for f in findings] == ["warning"]
    assert "upright" in findings[0].remedy


def test_upright_turns():
    rig = ring(8)
    for turns in range(4):
        turned = each(rig, lambda c, n=turns: c.turned(n))
        assert set(upright_turns(turned).values()) == {-turns % 4}
    tilted = ring(8, roll=np.radians(35))
    assert set(upright_turns(tilted).values()) == {0}
    down = Rig((look_at("a", (0, 0, 4), (0, 0.01, 0), up=(0, 1, 0)),), Z)
    assert upright_turns(down) == {"a": 0}


def test_cameras_in_one_place_and_single_cameras():
    rig = ring()
    copied = replace(rig.cameras[1], name="copy")
    findings = check_rig(replace(rig, cameras=(*rig.cameras, copied)))
    assert [(f.severity, f.camera) for f in findings] == [("warning", "copy")]
    assert errors(check_rig(rig.subset(["cam0"])))


def test_intrinsics_of_another_image():
    rig = ring()
    small = check_rig(each(rig, lambda c: replace(c, size=(640, 360))))
    assert {f.camera for f in small} == set(rig.names)
    assert all("principal point" in f.message for f in small)
    swapped = check_rig(each(rig, lambda c: replace(c, size=(720, 1280))))
    assert any("swapped" in f.remedy for f in swapped)
    metric = check_rig(each(rig, lambda c: replace(c, K=c.K * [[0.01, 0, 1], [0, 0.01, 1], [0, 0, 1]])))
    assert any("focal length" in f.message for f in metric)
    folded = check_rig(each(rig, lambda c: replace(c, distortion=[-2.0, 0, 0, 0])))
    assert any("fold" in f.message for f in folded)


# --- images -----------------------------------------------------------------------------------------------------


def sizes_of(rig):
    return {c.name: c.size for c in rig.cameras}


def test_images_that_fit():
    rig = ring()
    assert check_images(rig, sizes_of(rig), dict.fromkeys(rig.names, 100)) == []


def test_cameras_without_video_and_the_reverse():
    rig = ring()
    sizes = {**sizes_of(rig), "cam1": None, "cam_1": SIZE}
    findings = check_images(rig, sizes, {})
    assert [(f.severity, f.camera) for f in findings] == [("error", "cam1"), ("error", "cam_1")]
    assert "'cam_1'" in findings[0].message
    assert "cam1" in findings[1].remedy
    del sizes["cam1"], sizes["cam_1"]
    assert [f.camera for f in check_images(rig, sizes, {})] == ["cam1"]


@pytest.mark.parametrize(
    ("size", "words"), [((720, 1280), "portrait"), ((640, 360), "scale"), ((1280, 960), "uncropped")]
)
def test_wrong_sizes(size, words):
    rig = ring()
    (finding,) = check_images(rig, {**sizes_of(rig), "cam3": size}, {})
    assert (finding.severity, finding.camera) == ("error", "cam3")
    assert words in finding.remedy
    assert "1280 x 720" in finding.message


def test_lengths():
    rig = ring()
    counts = {**dict.fromkeys(rig.names, 100), "cam2": 97, "cam4": 0}
    findings = check_images(rig, sizes_of(rig), counts)
    assert [(f.severity, f.camera) for f in findings] == [("error", "cam4"), ("warning", None)]
    assert "97" in findings[1].message
    assert "cam2" in findings[1].message


def test_fitting_scaled_and_turned_images():
    rig = ring()
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (50, 3)) + np.array([0.7, -0.4, 1.0])
    sizes = {**sizes_of(rig), "cam0": (640, 360), "cam2": (1920, 1080)}
    fitted, findings = fit_to_images(rig, sizes)
    assert check_images(fitted, sizes, {}) == []
    assert [(f.severity, f.camera) for f in findings] == [("warning", "cam0"), ("warning", "cam2")]
    for name, scale in (("cam0", 0.5), ("cam2", 1.5)):
        expected = (rig[name].project(points) + 0.5) * scale - 0.5
        np.testing.assert_allclose(fitted[name].project(points), expected, atol=1e-9)

    # The sensors lay on their side, either way round; somebody turned the videos upright.
    sensors = Rig(tuple(c.turned(1 if i % 2 else 3) for i, c in enumerate(rig.cameras)), rig.up)
    fitted, findings = fit_to_images(sensors, sizes_of(rig))
    assert len(findings) == len(rig)
    for c in rig.cameras:
        np.testing.assert_allclose(fitted[c.name].project(points), c.project(points), atol=1e-9)
    fitted, _ = fit_to_images(sensors, dict.fromkeys(rig.names, (640, 360)))
    assert {c.size for c in fitted.cameras} == {(640, 360)}

    cropped = {**sizes_of(rig), "cam1": (1000, 720)}
    fitted, findings = fit_to_images(rig, cropped)
    assert findings == []
    assert errors(check_images(fitted, cropped, {}))
