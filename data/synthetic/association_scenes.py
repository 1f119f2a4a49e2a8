"""Short synthetic captures that are hard on association in one known way each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from data.synthetic.walkers import Flaws, detect, ring_rig, walk
from pipeline.cameras import Rig
from pipeline.keypoints.detections import Detections

FPS = 25.0


@dataclass(frozen=True)
class Scene:
    """A capture with its answer: joints (F, P, 19, 3) metres, NaN where a person is not there."""

    rig: Rig
    detections: list[Detections]
    joints: np.ndarray
    fps: float = FPS


def _line(start, end, frames: int) -> np.ndarray:
    s = np.linspace(0, 1, frames)[:, None]
    return np.asarray(start) * (1 - s) + np.asarray(end) * s


def _three(frames: int) -> np.ndarray:
    """Three people walking on lines that keep well apart."""
    paths = (((-2, -1.5), (2, -1.2)), ((2, 0.2), (-2, 0.0)), ((-1.5, 1.8), (1.8, 1.5)))
    return np.stack([walk(_line(a, b, frames), FPS, 1.6 + 0.1 * k, float(k)) for k, (a, b) in enumerate(paths)], 1)


def _four_crossing(frames: int) -> np.ndarray:
    """Four people through the middle at nearly the same time, passing within about 0.4 m."""
    paths = []
    for k in range(4):
        angle = np.pi / 2 * k + 0.2
        across = 0.2 * np.array([-np.sin(angle), np.cos(angle)])
        along = 2.2 * np.array([np.cos(angle), np.sin(angle)])
        paths.append(walk(_line(-along + across, along + across, frames), FPS, 1.6 + 0.07 * k, 0.7 * k))
    return np.stack(paths, 1)


def _two_hugging(frames: int) -> np.ndarray:
    """Two people who meet, stand chest to chest 0.3 m apart for the middle third, and part again backwards."""
    third = frames // 3
    reach = np.concatenate(
        [np.linspace(1.8, 0.15, third), np.full(frames - 2 * third, 0.15), np.linspace(0.15, 1.8, third)]
    )
    left = walk(np.stack([-reach, np.zeros(frames)], 1), FPS, 1.8, 0.0, np.zeros(frames))
    right = walk(np.stack([reach, np.full(frames, 0.02)], 1), FPS, 1.65, 1.0, np.full(frames, np.pi))
    return np.stack([left, right], 1)


def make_scene(category: str, bottom_up: bool = True, seed: int = 0, frames: int = 100) -> Scene:
    """One of ``CATEGORIES``.

    clean: three people apart, five cameras. crossing: four through the middle. hugging: two chest to chest; in both,
    detectors mix up people nearby, and left and right. noisy: three people, 20 % wrong candidates, 10 % missed, 4 px
    noise. missing_camera: one camera sees nothing, two more drop out for a while.
    """
    rng = np.random.default_rng(seed)
    people, cameras, flaws = CATEGORIES[category]
    joints = people(frames)
    rig = ring_rig(cameras)
    return Scene(rig, detect(rig, joints, rng, flaws, "body25" if bottom_up else "blazepose33", bottom_up), joints)


CATEGORIES: dict[str, tuple[Callable[[int], np.ndarray], int, Flaws]] = {
    "clean": (_three, 5, Flaws(noise_px=2.0, missed=0.02)),
    "crossing": (_four_crossing, 5, Flaws(noise_px=2.0, missed=0.03, turned=0.05, confused=0.2)),
    "hugging": (_two_hugging, 5, Flaws(noise_px=2.0, missed=0.03, turned=0.05, confused=0.3)),
    "noisy": (_three, 5, Flaws(noise_px=4.0, missed=0.10, wrong=0.20)),
    "missing_camera": (_three, 6, Flaws(noise_px=2.0, missed=0.03, blind=((0, 0, 10**9), (2, 20, 60), (4, 50, 80)))),
}
