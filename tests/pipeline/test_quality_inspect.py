"""Pictures of single stages, and the text tree of an artifact."""

import io

import cv2
import h5py
import numpy as np
import pytest

from pipeline.association.tracks import Tracks
from pipeline.cameras import Camera
from pipeline.keypoints.detections import Detections
from pipeline.quality.inspect import artifact_tree, encoded_picture, stage_picture

CAMERA = Camera("cam", (320, 240), [[250, 0, 160], [0, 250, 120], [0, 0, 1]], np.eye(3), [0, 0, 4])
IMAGE = np.random.default_rng(0).integers(0, 200, (240, 320, 3), dtype=np.uint8)


def results():
    joints = np.random.default_rng(1).uniform(-0.8, 0.8, (1, 2, 19, 3)).astype(np.float32)
    points = CAMERA.project(joints)[:, :, None].astype(np.float32)
    ones = np.ones((1, 2, 1, 19), np.float32)
    rows = np.array([[[0], [1]]], np.int32)
    tracks = Tracks(np.array([5]), np.array([0, 4], np.int32), joints, ones[:, :, 0], points, ones, 0 * ones, rows)
    found = Detections(
        "skel19", np.array([5]), np.array([0, 2]), points[0, :, 0], ones[0, :, 0], np.zeros((2, 4), np.float32),
        np.ones(2, np.float32), np.full(2, -1, np.int32),
    )  # fmt: skip
    square = np.array([[-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]], np.float32)
    bodies = {4: (square, np.array([[0, 2, 1], [0, 3, 2]]))}
    return {"tracks": tracks, "detections": found, "bodies": {5: bodies}.get}


def test_each_stage_shows_its_own():
    stages = ("frames", "keypoints", "identities", "bodies")
    pictures = {s: stage_picture(s, 5, CAMERA, IMAGE, **results()) for s in stages}
    stamped = np.zeros((240, 320), bool)
    stamped[:30] = True  # the label
    np.testing.assert_array_equal(pictures["frames"][~stamped], IMAGE[~stamped])
    changed = {s: (p != IMAGE).any(-1)[~stamped].mean() for s, p in pictures.items()}
    assert 0 == changed["frames"] < changed["keypoints"] < changed["identities"] < changed["bodies"]


def test_one_person_alone_and_beside_the_image():
    everybody = stage_picture("bodies", 5, CAMERA, IMAGE, **results())
    alone = stage_picture("bodies", 5, CAMERA, IMAGE, **results(), person=0)
    assert (alone != IMAGE).mean() < (everybody != IMAGE).mean()  # the only body is the other person's
    beside = stage_picture("bodies", 5, CAMERA, IMAGE, **results(), compare=True)
    np.testing.assert_array_equal(beside, np.hstack([IMAGE, everybody]))
    with pytest.raises(ValueError, match="no person 7; there are 0, 4"):
        stage_picture("bodies", 5, CAMERA, IMAGE, **results(), person=7)
    with pytest.raises(ValueError, match="stage calibration has no picture; these have: frames"):
        stage_picture("calibration", 5, CAMERA, IMAGE)


def test_pictures_as_files():
    back = cv2.imdecode(np.frombuffer(encoded_picture(IMAGE), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(back, IMAGE)
    assert encoded_picture(IMAGE, "jpeg").startswith(b"\xff\xd8")
    with pytest.raises(ValueError, match="png or jpeg"):
        encoded_picture(IMAGE, "gif")


def test_the_tree_has_everything_and_follows_nothing_outside(tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as other:
        other["hidden"] = 1
    with h5py.File(io.BytesIO(), "w") as file:
        file.attrs["stage"] = "identities"
        file.attrs["steer"] = "\x1b]0;title\x07\x1b[2Jtext\nnext"
        file.attrs["long"] = "x" * 1000
        file.create_dataset("joints", data=np.zeros((50, 19, 3), np.float32), compression="gzip", chunks=True)
        file["masks/offsets"] = np.arange(4)
        file["masks/offsets"].attrs["unit"] = "bytes"
        file["masks/up"] = file["/"]  # a hard link to its own root: a tree without end
        file["out"] = h5py.ExternalLink(str(secret), "/")
        file["soft"] = h5py.SoftLink("/joints")
        tree = artifact_tree(file)
    lines = tree.split("\n")
    assert "stage = identities" in lines and "steer = text next" in lines
    assert any(line.startswith("├─ joints") and "50 × 19 × 3" in line and "11.4 kB" in line for line in lines)
    assert any("offsets" in line and "int64" in line and "unit=bytes" in line for line in lines)
    assert any("up/ (a group above, not followed)" in line for line in lines)
    assert tree.count("link to elsewhere, not followed") == 2 and "hidden" not in tree
    assert "\x1b" not in tree and max(map(len, lines)) < 200
