"""The calibrations of the real captures beside the clone, against facts measured on those captures."""

from pathlib import Path

import numpy as np
import pytest

from data.calibration.reader import read_calibration, recognise
from pipeline.cameras import project, triangulate
from pipeline.rig_checks import check_images, check_rig

DATA = Path(__file__).parents[3] / "shared" / "data"

pytestmark = pytest.mark.real


def test_lab_rig():
    path = DATA / "two_person_lab" / "calibration" / "Calib.qca.txt"
    assert recognise(path) == "qualisys"
    rig = read_calibration(path)
    assert rig.names == ("cam01", "cam02", "cam03", "cam04")
    assert {c.size for c in rig.cameras} == {(1088, 1920)}
    assert check_rig(rig) == []
    assert check_images(rig, dict.fromkeys(rig.names, (1088, 1920)), dict.fromkeys(rig.names, 100)) == []
    # A hand and the head of the man, clicked in frame 50.
    clicks = {
        "hand": [(666, 389), (486, 411), (364, 402), (344, 416)],
        "head": [(749, 541), (694, 527), (266, 583), (219, 644)],
    }
    for pixels, low, high in ((clicks["hand"], 1.6, 1.8), (clicks["head"], 1.4, 1.55)):
        pixels = np.stack([c.undistort_points(np.array(p)) for c, p in zip(rig.cameras, pixels, strict=True)])
        point = triangulate(rig.projections, pixels[None], np.ones((1, 4)))[0]
        error = np.linalg.norm(project(rig.projections, point) - pixels, axis=-1)
        assert np.median(error) < 10
        assert low < point[2] < high


def test_shelf_joints_land_on_the_detections():
    """Ground truth projected: median 12 px from the nearest candidate (its makers placed joints by hand, 44 mm off)."""
    folder = DATA / "shelf"
    rig = read_calibration(folder / "calibration.json")
    assert check_rig(rig) == []
    body25 = [11, 10, 9, 12, 13, 14, 4, 3, 2, 5, 6, 7]  # of the first 12 ground-truth joints
    words = (folder / "gt_first_150_frames.txt").read_text().split()
    joints, frames, at = int(words[0]), int(words[1]), 2
    truth = []
    for _ in range(frames):
        count, at = int(words[at]), at + 1
        people = []
        for _ in range(count):
            people.append(np.array(words[at + 1 : at + 1 + 3 * joints], float).reshape(3, joints).T[:12])
            at += 1 + 4 * joints
        truth.append(people)
    distances = []
    for camera in rig.cameras:
        candidates = shelf_candidates(folder / "detection" / f"{camera.name}.txt", camera.size, frames)
        for people, found in zip(truth, candidates, strict=True):
            for person in people:
                for pixel, joint in zip(camera.project(person), body25, strict=True):
                    inside = np.all(pixel >= 0) and np.all(pixel < camera.size)
                    if inside and len(found[joint]):
                        distances.append(np.linalg.norm(found[joint] - pixel, axis=-1).min())
    distances = np.array(distances)
    assert len(distances) > 10_000
    assert np.median(distances[distances < 60]) < 13
    assert np.mean(distances < 60) > 0.75


def shelf_candidates(path, size, frames):
    pairs_a = [1, 9, 10, 8, 8, 12, 13, 1, 2, 3, 2, 1, 5, 6, 5, 1, 0, 0, 15, 16, 14, 19, 14, 11, 22, 11]
    pairs_b = [8, 10, 11, 9, 12, 13, 14, 2, 3, 4, 17, 5, 6, 7, 18, 0, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24]
    words, at, out = path.read_text().split(), 2, []
    for _ in range(frames):
        joints = []
        for _ in range(25):
            count = int(words[at])
            xy = np.array(words[at + 1 : at + 1 + 2 * count], float).reshape(2, count).T
            joints.append(xy * (np.array(size) - 1))
            at += 1 + 3 * count
        at += sum(len(joints[a]) * len(joints[b]) for a, b in zip(pairs_a, pairs_b, strict=True))
        out.append(joints)
    return out
