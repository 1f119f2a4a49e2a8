"""A tiny synthetic capture: what is on disk agrees with itself, and the same seed gives it again."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys

import av
import numpy as np
import pytest

from data.calibration.reader import read_calibration
from data.synthetic.capture import CALIBRATION, CaptureSpec, Recorder, body_parameters, make_demo_capture
from data.synthetic.truth import GroundTruth
from pipeline.errors import InputError
from pipeline.skeletons import SKEL19, SMPLX55

SPEC = CaptureSpec(cameras=2, frames=3, size=(240, 176), texture_size=128)


def decoded(path) -> np.ndarray:
    with av.open(str(path)) as video:
        assert float(video.streams.video[0].average_rate) == SPEC.fps
        return np.stack([f.to_ndarray(format="rgb24") for f in video.decode(video=0)])


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    """Folder of a capture, and the pictures that went into its videos, by the videos' names."""
    path = tmp_path_factory.mktemp("capture")
    pictures: dict[str, list[np.ndarray]] = {}
    seen: list[float] = []

    class Kept(Recorder):
        def __init__(self, path, *rest):
            super().__init__(path, *rest)
            self._kept = pictures.setdefault(path.name, [])

        def add(self, picture):
            self._kept.append(picture.copy())
            super().add(picture)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data.synthetic.capture.Recorder", Kept)
        make_demo_capture(path, 3, seen.append, SPEC)
    assert seen == sorted(seen) and seen[-1] == 1.0
    return path, pictures


@pytest.fixture(scope="module")
def folder(filmed):
    return filmed[0]


@pytest.fixture(scope="module")
def truth(folder):
    return GroundTruth.read(folder)


def test_videos_have_the_size_and_frames_of_the_capture(folder, truth):
    assert sorted(p.stem for p in (folder / "videos").iterdir()) == sorted(truth.rig.names)
    for name in truth.rig.names:
        assert decoded(folder / "videos" / f"{name}.mp4").shape == (3, 176, 240, 3)


def test_the_calibration_reads_back_to_the_true_cameras(folder, truth):
    rig = read_calibration(folder / CALIBRATION)
    assert rig.names == truth.rig.names
    np.testing.assert_allclose(rig.up, [0, 0, 1])
    points = np.random.default_rng(0).uniform([-1, -1, 0], [1, 1, 2], (50, 3))
    for read, true in zip(rig.cameras, truth.rig.cameras, strict=True):
        assert read.size == true.size and not read.is_pinhole
        np.testing.assert_allclose(read.project(points), true.project(points), atol=1e-6)


def test_joints_fall_on_the_people_in_the_pictures(truth):
    inner = [SKEL19.index(j) for j in ("mid_hip", "neck", "left_hip", "right_hip", "left_knee", "right_knee")]
    on_person = on_anyone = total = 0
    for f in range(len(truth.frames)):
        for c, camera in enumerate(truth.rig.cameras):
            labels = truth.labels(f, c)
            assert labels.shape == camera.size[::-1] and set(np.unique(labels)) == {0, 1, 2}
            for p in range(2):
                u, v = np.round(camera.project(truth.joints[f, p, inner])).astype(int).T
                on_person += (labels[v, u] == p + 1).sum()
                on_anyone += (labels[v, u] > 0).sum()
                total += len(inner)
    assert on_anyone == total  # somebody covers every inner joint
    assert on_person > 0.7 * total  # himself, unless the other stands before him


def test_people_look_different_from_the_room_and_cameras_from_each_other(folder, truth):
    means = []
    for c, name in enumerate(truth.rig.names):
        pictures = decoded(folder / "videos" / f"{name}.mp4").astype(float)
        nobody = np.stack([truth.labels(f, c) == 0 for f in range(3)])
        moved = np.abs(pictures[0] - pictures[-1]).mean(-1)
        still = nobody[0] & nobody[-1]
        assert moved[~still].mean() > 3 * moved[still].mean()
        means.append(pictures[nobody].mean(0))
    assert np.abs(means[0] - means[1]).max() > 2


def test_the_parameters_give_the_joints(truth):
    import torch

    from data.body_models import load_body_arrays, open_body_model
    from nets.body import BodyModel

    model = BodyModel(load_body_arrays(open_body_model()))
    for p, track in enumerate(truth.people):
        with torch.no_grad():
            joints = model.joints_only(**{k: torch.as_tensor(v) for k, v in body_parameters(track).items()}).numpy()
        for name in ("left_wrist", "right_ankle"):
            np.testing.assert_allclose(
                truth.joints[:, p, SKEL19.index(name)], joints[:, SMPLX55.index(name)], atol=1e-5
            )


def in_a_process_of_its_own(folder):
    """As the demo does: Embree takes the threads of the first scene of a process, and with several of them it may
    split equal triangles either way."""
    process = multiprocessing.get_context("spawn").Process(target=make_demo_capture, args=(folder, 3, None, SPEC))
    process.start()
    process.join()
    assert process.exitcode == 0
    return GroundTruth.read(folder)


def test_the_same_seed_gives_the_same_capture_and_another_seed_another(truth, tmp_path):
    first, again = (in_a_process_of_its_own(tmp_path / name) for name in ("first", "again"))
    np.testing.assert_array_equal(again.joints, first.joints)
    assert again.label_files == first.label_files
    for name in first.rig.names:
        ours, theirs = (decoded(tmp_path / x / "videos" / f"{name}.mp4") for x in ("first", "again"))
        np.testing.assert_array_equal(ours, theirs)
    make_demo_capture(tmp_path / "other", 4, spec=CaptureSpec(cameras=1, frames=1, size=(80, 60), texture_size=32))
    other = GroundTruth.read(tmp_path / "other")
    assert not np.allclose(other.people[0].betas, truth.people[0].betas)


AGAIN_AND_AGAIN = """
import sys
from pathlib import Path

import numpy as np

from data.synthetic.capture import Recorder

path, files = Path(sys.argv[2]), set()
pictures = np.load(sys.argv[1])
for _ in range(40):
    recorder = Recorder(path, pictures.shape[2:0:-1], 20)
    for picture in pictures:
        recorder.add(picture)
    recorder.close()
    files.add(path.read_bytes())
print(len(files))
"""


def test_the_same_pictures_always_give_the_same_video(filmed, tmp_path):
    """In a process of its own, as memory is when a capture is made: with x264's macroblock tree the pictures of the
    second camera gave two files, now and then the other."""
    for name, pictures in filmed[1].items():
        np.save(tmp_path / "pictures.npy", np.stack(pictures))
        arguments = [sys.executable, "-c", AGAIN_AND_AGAIN, str(tmp_path / "pictures.npy"), str(tmp_path / name)]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=True)
        assert done.stdout.strip() == "1", name


def test_a_folder_without_a_capture_is_named(tmp_path):
    with pytest.raises(InputError, match=r"ground_truth\.npz"):
        GroundTruth.read(tmp_path)
