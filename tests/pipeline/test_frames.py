"""The frames stage: what reaches the cache, and what becomes of what does not."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from pipeline.cameras import FISHEYE, Camera
from pipeline.errors import InputError
from pipeline.frames import MISSING, UNDECODABLE, check_size, store_frames
from pipeline.images import decode


def camera(distortion=(), model="radial_tangential", size=(96, 64)) -> Camera:
    return Camera("cam01", size, np.array([[80.0, 0, 47], [0, 80, 31], [0, 0, 1]]), np.eye(3), np.zeros(3),
                  np.array(distortion, float), model)  # fmt: skip


@dataclass
class Clip:
    """Images that are grey by their number; some damaged, perhaps breaking off with an error."""

    count: int = 20
    size: tuple[int, int] = (96, 64)
    damaged: tuple[int, ...] = ()
    breaks_at: int = 10**6
    path: Path = Path("videos/cam01.mp4")
    fps: float = 30.0
    asked: list[int] = field(default_factory=list)

    @property
    def times_s(self) -> np.ndarray:
        return np.arange(self.count) / self.fps

    def frames(self, indices):
        for i in indices:
            if i >= self.breaks_at:
                raise InputError(self.path, "crashes the decoder", "Record it again")
            if i not in self.damaged:
                self.asked.append(int(i))
                yield int(i), np.full((self.size[1], self.size[0], 3), 10 * i, np.uint8)


def grey(stored) -> int | None:
    return round(float(decode(stored.data).mean() / 10)) if stored.valid else None


def test_the_plan_is_followed():
    clip, done = Clip(), []
    stored = list(store_frames(camera(), clip, np.array([-1, 0, 1, 1, 4, -1, 9]), progress=done.append))
    assert [grey(s) for s in stored] == [None, 0, 1, 1, 4, None, 9]
    assert [s.position for s in stored] == list(range(7))
    assert clip.asked == [0, 1, 4, 9]  # what is planned twice is decoded once
    assert [s.reason for s in stored if not s.valid] == [MISSING] * 2
    assert done[-1] == 1.0
    assert done == sorted(done)


def test_damaged_images_are_marked_and_stop_nothing():
    stored = list(store_frames(camera(), Clip(damaged=(2, 5)), np.arange(8)))
    assert [grey(s) for s in stored] == [0, 1, None, 3, 4, None, 6, 7]
    assert {s.reason for s in stored if not s.valid} == {UNDECODABLE}


def test_a_file_that_breaks_its_decoder_loses_the_rest():
    stored = list(store_frames(camera(), Clip(breaks_at=4), np.arange(8)))
    assert [grey(s) for s in stored] == [0, 1, 2, 3, None, None, None, None]
    assert "crashes the decoder" in stored[-1].reason


@pytest.mark.parametrize("clip", [Clip(breaks_at=0), Clip(damaged=tuple(range(20)))])
def test_nothing_decodable_is_an_error(clip):
    with pytest.raises(InputError, match=r"cam01\.mp4"):
        list(store_frames(camera(), clip, np.arange(8)))


def test_nothing_planned_is_not():
    assert [s.valid for s in store_frames(camera(), Clip(), np.array([-1, -1]))] == [False, False]


@pytest.mark.parametrize(("size", "hint"), [((64, 96), "rotation"), ((192, 128), "scaled"), ((90, 64), "uncropped")])
def test_images_of_another_size_are_refused(size, hint):
    with pytest.raises(InputError, match=hint):
        check_size(camera(), Clip(size=size))
    with pytest.raises(InputError, match="96x64"):
        next(store_frames(camera(), Clip(size=size), np.arange(3)))


def test_storage_is_as_asked():
    for storage, magic in (("jpeg", b"\xff\xd8"), ("png", b"\x89PNG")):
        stored = next(store_frames(camera(), Clip(), np.arange(3), storage=storage))
        assert stored.data.startswith(magic)


@pytest.mark.parametrize(
    ("model", "distortion"), [("radial_tangential", [-0.25, 0.06, 0.004, -0.003]), (FISHEYE, [0.05, -0.02, 0.01, 0])]
)
def test_distortion_is_removed_once(model, distortion):
    """A bright dot where the lens puts a world point ends up where the pinhole camera puts it."""
    lens = camera(distortion, model)
    point = np.array([[0.35, -0.2, 1.0]])
    seen, ideal = lens.project(point)[0], lens.undistorted().project(point)[0]
    assert np.linalg.norm(seen - ideal) > 0.5
    y, x = np.mgrid[:64, :96]
    dot = 250 * np.exp(-((x - seen[0]) ** 2 + (y - seen[1]) ** 2) / 8)

    class Dots(Clip):
        def frames(self, indices):
            for i in indices:
                yield i, np.repeat(dot[..., None], 3, 2).astype(np.uint8)

    def centre(undistort: bool) -> np.ndarray:
        data = next(store_frames(lens, Dots(), np.arange(1), undistort=undistort, storage="png")).data
        weight = decode(data)[..., 0].astype(float)
        weight[weight < 60] = 0
        return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()

    np.testing.assert_allclose(centre(True), ideal, atol=0.25)
    np.testing.assert_allclose(centre(False), seen, atol=0.1)
