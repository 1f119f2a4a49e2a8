"""The Shelf capture's detections beside the clone, against its text and its ground truth."""

from pathlib import Path

import numpy as np
import pytest

from data.calibration.reader import read_calibration
from data.detections.reader import check_detections_source, count_frames, read_detections
from pipeline.skeletons import BODY25

DATA = Path(__file__).parents[3] / "shared" / "data" / "shelf"
KIND = "association4d_text"
BODY25_OF_TRUTH = [11, 10, 9, 12, 13, 14, 4, 3, 2, 5, 6, 7]
"""BODY_25 joints of the first 12 ground-truth joints."""

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def shelf():
    """(rig, detections of every camera)"""
    rig = read_calibration(DATA / "calibration.json")
    found = []
    for camera in rig.cameras:
        path = DATA / "detection" / f"{camera.name}.txt"
        check_detections_source(KIND, path, camera)
        assert count_frames(KIND, path) == 301
        found.append(read_detections(KIND, path, camera, range(301)))
    return rig, found


def truth():
    """Of every frame the people's joints, a list of (12, 3) metres."""
    words = (DATA / "gt_first_150_frames.txt").read_text().split()
    joints, frames, at = int(words[0]), int(words[1]), 2
    out = []
    for _ in range(frames):
        count, at = int(words[at]), at + 1
        out.append([])
        for _ in range(count):
            out[-1].append(np.array(words[at + 1 : at + 1 + 3 * joints], float).reshape(3, joints).T[:12])
            at += 1 + 4 * joints
    return out


def test_the_first_frame_has_the_candidates_of_the_text(shelf):
    """Its lines: a count, then three rows of that many numbers a joint; then the affinities."""
    rig, found = shelf
    for camera, detections in zip(rig.cameras, found, strict=True):
        lines = (DATA / "detection" / f"{camera.name}.txt").read_text().splitlines()
        at, counts = 1, []
        for joint in range(25):
            n = int(lines[at])
            rows = np.array([line.split() for line in lines[at + 1 : at + 4]], float) if n else np.zeros((3, 0))
            begin, end = detections.candidates.offsets[[joint, joint + 1]]
            points = detections.candidates.points[begin:end]
            np.testing.assert_allclose(points, rows.T * [camera.size[0] - 1, camera.size[1] - 1, 1], atol=1e-3)
            at += 1 + (3 if n else 0)
            counts.append(n)
        assert np.diff(detections.candidates.offsets[:26]).tolist() == counts
        sizes = [counts[a] * counts[b] for a, b in BODY25.limb_indices]
        assert np.diff(detections.candidates.affinity_offsets[:27]).tolist() == sizes
        first = np.array(lines[at].split(), float)
        np.testing.assert_allclose(detections.candidates.affinities[: len(first)], first, atol=1e-6)


def test_ground_truth_lands_near_candidates_and_on_grouped_people(shelf):
    """The truth's makers placed joints by hand, a few centimetres off: 12 px in the median."""
    rig, found = shelf
    near, of_one, seen = [], [], 0
    for frame, people in enumerate(truth()):
        for camera, d in zip(rig.cameras, found, strict=True):
            instances = d.keypoints[d.instances(frame)][:, BODY25_OF_TRUTH]
            for person in people:
                pixels = camera.project(person)
                inside = np.all((pixels >= 0) & (pixels < camera.size), axis=-1)
                if inside.sum() < 8:
                    continue
                seen += 1
                for pixel, joint in zip(pixels[inside], np.array(BODY25_OF_TRUTH)[inside], strict=True):
                    begin, end = d.candidates.offsets[[25 * frame + joint, 25 * frame + joint + 1]]
                    if end > begin:
                        near.append(np.linalg.norm(d.candidates.points[begin:end, :2] - pixel, axis=-1).min())
                off = np.linalg.norm(instances - pixels, axis=-1)[:, inside]
                off = off[np.isfinite(off).sum(-1) >= 6]
                of_one.append(np.nanmedian(off, axis=-1).min(initial=np.inf))
    print(f"nearest candidate {np.median(near):.1f} px of {len(near)}; one grouped person within 30 px of a person's "
          f"joints: {np.mean(np.array(of_one) < 30):.3f} of {seen} person-views")  # fmt: skip
    assert len(near) > 10_000 and np.median(near) < 15
    assert np.mean(np.array(of_one) < 30) > 0.9
