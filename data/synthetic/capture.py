"""Synthetic captures on disk: videos, a calibration file, and what is true of them (``data.synthetic.truth``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data.calibration.pose2sim import write_pose2sim
from data.synthetic import motion
from data.synthetic.bodies import Dressed, Person, dress, sample_person
from data.synthetic.cameras import Exposure, ring
from data.synthetic.drawing import Cast, Moment, Painter
from data.synthetic.light import Light
from data.synthetic.motion import Gait
from data.synthetic.motion import Path as Way
from data.synthetic.scene import Room
from data.synthetic.truth import GroundTruth
from pipeline.body.parameters import BodyTrack
from pipeline.cameras import Rig
from pipeline.skeletons import SKEL19, SMPLX55
from pipeline.video_encoding import use_reproducible_h264

CALIBRATION = "calibration.toml"


@dataclass(frozen=True)
class CaptureSpec:
    """Size of a capture."""

    cameras: int = 6
    frames: int = 40
    fps: int = 20
    size: tuple[int, int] = (640, 480)
    texture_size: int = 768
    distorted: bool = True
    workers: int = 2


@dataclass(frozen=True)
class Play:
    """Who does what: people, and for each a track of body parameters over all frames."""

    people: list[Person]
    dressed: list[Dressed]
    tracks: list[BodyTrack]


def make_demo_capture(
    folder: Path,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
    spec: CaptureSpec | None = None,
) -> None:
    """Two people walking past each other, seen by a ring of cameras.

    Writes ``videos/<camera>.mp4``, ``calibration.toml`` (Pose2Sim) and last ``ground_truth.npz`` into ``folder``: where
    that stands, the capture is whole. The same seed gives the same capture.
    """
    import torch

    from data.body_models import load_body_arrays, open_body_model
    from nets.body import BodyModel

    spec, report = spec or CaptureSpec(), progress or (lambda fraction: None)
    generator = np.random.default_rng(seed)
    arrays = load_body_arrays(open_body_model())
    model = BodyModel(arrays, torch.float32)
    play = passing(model, arrays, spec, generator)
    report(0.06)
    rig = ring(spec.cameras, generator, size=spec.size, distorted=spec.distorted)
    light, room = Light.sample(generator), Room.sample(generator)
    exposures = [Exposure.sample(generator) for _ in rig.cameras]
    painter = Painter(rig, exposures, light, Cast.of(play.dressed), generator)
    folder.mkdir(parents=True, exist_ok=True)
    write_pose2sim(rig, folder / CALIBRATION)
    with ThreadPoolExecutor(spec.workers) as pool:
        painter.enter(room, pool)
        report(0.15)

        def posed(number: int):
            bodies = _posed_bodies(model, play.tracks, number)
            return [d.posed(*b) for d, b in zip(play.dressed, bodies, strict=True)], ()

        said = film(painter, posed, spec.frames, folder / "videos", spec.fps, pool, lambda f: report(0.15 + 0.84 * f))
        labels = [encoded for frame in said for encoded in frame]
    _truth(model, play, rig, labels, spec).write(folder)
    report(1.0)


def passing(model, arrays: Mapping[str, np.ndarray], spec: CaptureSpec, generator: np.random.Generator) -> Play:
    """Two people who come from opposite sides, look at each other and pass with their right shoulders."""
    times = np.arange(spec.frames) / spec.fps
    middle = times[-1] / 2
    people = [sample_person(generator, long_hair=long) for long in (False, True)]
    dressed = [dress(p, arrays, spec.texture_size) for p in people]
    direction = generator.uniform(-0.3, 0.3)
    speeds = [generator.uniform(1.22, 1.36) * _leg_length(d.rest_joints) for d in dressed]
    ways = []
    for k, speed in enumerate(speeds):
        heading = direction + np.pi * k
        forward, left = np.array([np.cos(heading), np.sin(heading)]), np.array([-np.sin(heading), np.cos(heading)])
        start = -speed * middle * forward + 0.24 * left
        ways.append(Way(start, heading, speed, swerve=0.16, swerve_length=2 * speed * middle + 1e-3))
    tracks = []
    for k, (person, body) in enumerate(zip(people, dressed, strict=True)):
        other = np.column_stack([ways[1 - k].at(times)[0], np.full(len(times), 1.5)])
        moved = motion.walk(
            body.rest_joints, body.soles, ways[k], times, Gait.sample(generator), generator.uniform(), other
        )
        hands = model.relaxed_hands.numpy()
        tracks.append(body_track(person, moved, hands))
    return Play(people, dressed, tracks)


def _leg_length(rest_joints: np.ndarray) -> float:
    """Metres from hip to ankle; long legs walk faster."""
    hip, knee, ankle = (rest_joints[SMPLX55.index(f"left_{j}")] for j in ("hip", "knee", "ankle"))
    return float(np.linalg.norm(knee - hip) + np.linalg.norm(ankle - knee))


def body_parameters(track: BodyTrack) -> dict[str, np.ndarray]:
    """A track's parameters by the names that ``nets.body.BodyModel`` takes."""
    return {"betas": track.betas[None]} | {n: getattr(track, n) for n in track.POSED}


def body_track(person: Person, moved: Mapping[str, np.ndarray], hands: np.ndarray) -> BodyTrack:
    """A track of somebody who moves as ``moved`` says, hands relaxed (``hands`` (90,))."""
    count = len(moved["transl"])

    def still(values: np.ndarray) -> np.ndarray:
        return np.tile(np.asarray(values, np.float32), (count, 1))

    return BodyTrack(
        frames=np.arange(count, dtype=np.int64),
        betas=person.betas.astype(np.float32),
        **{k: v.astype(np.float32) for k, v in moved.items()},
        left_hand_pose=still(hands[:45]),
        right_hand_pose=still(hands[45:]),
        jaw_pose=still(np.zeros(3)),
        expression=still(np.zeros(10)),
        valid=np.ones(count, bool),
        reason=np.zeros(count, np.int8),
        fit_error_m=np.zeros(count, np.float32),
    )


def _posed_bodies(model, tracks: Sequence[BodyTrack], frame: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Posed vertices (B, 3) and joint rotations (55, 3, 3) of everybody in one frame."""
    import torch

    out = []
    for track in tracks:
        parameters = body_parameters(track)
        one = {k: torch.as_tensor(v if k == "betas" else v[frame : frame + 1]) for k, v in parameters.items()}
        with torch.no_grad():
            vertices = model(**one).vertices[0].numpy().astype(np.float64)
            rotations = model.pose(**one).rotations[0].numpy().astype(np.float64)
        out.append((vertices, rotations))
    return out


def film(
    painter: Painter,
    posed: Callable[[int], tuple[Sequence[Sequence[np.ndarray]], Sequence[np.ndarray]]],
    frames: int,
    folder: Path,
    fps: int,
    pool: ThreadPoolExecutor,
    report: Callable[[float], None],
    look: Callable[[int, Moment, int, np.ndarray], Any] = lambda camera, moment, number, labels: png(labels),
) -> list[list[Any]]:
    """Write one video a camera.

    Args:
        posed: gives the layers of everybody and the vertices of the things in a frame.
        look: sees each picture's (H, W) labels; by default they are kept as PNG files.

    Returns:
        what ``look`` said: frame after frame, camera after camera.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recorders = [Recorder(folder / f"{c.name}.mp4", c.size, fps) for c in painter.rig.cameras]
    said: list[list[Any]] = []

    def take(camera: int, moment: Moment, number: int):
        picture, labels = painter.picture(camera, moment, number)
        recorders[camera].add(picture)
        return look(camera, moment, number, labels)

    def prepare(number: int) -> Moment:
        return painter.moment(*posed(number))

    try:
        coming = pool.submit(prepare, 0)
        for number in range(frames):
            moment = coming.result()
            if number + 1 < frames:
                coming = pool.submit(prepare, number + 1)
            said.append(list(pool.map(lambda c, m=moment, n=number: take(c, m, n), range(len(recorders)))))
            report((number + 1) / frames)
    finally:
        for recorder in recorders:
            recorder.close()
    return said


def png(image: np.ndarray) -> bytes:
    """An image as a PNG file; three channels are taken as they come, as blue, green and red."""
    return cv2.imencode(".png", image)[1].tobytes()


class Recorder:
    """An H.264 video being written: constant frame rate, and the same pictures always give the same file."""

    def __init__(self, path: Path, size: tuple[int, int], fps: int, quality: int = 18) -> None:
        """``quality``: x264's constant rate factor, lower is better."""
        import av

        self._frame = av.VideoFrame.from_ndarray
        self._container = av.open(str(path), "w")
        self._stream = self._container.add_stream("libx264", rate=Fraction(fps))
        self._stream.width, self._stream.height = size
        use_reproducible_h264(self._stream, quality)

    def add(self, picture: np.ndarray) -> None:
        """One RGB picture (H, W, 3) uint8."""
        for packet in self._stream.encode(self._frame(picture, format="rgb24")):
            self._container.mux(packet)

    def close(self) -> None:
        for packet in self._stream.encode():
            self._container.mux(packet)
        self._container.close()


def _truth(model, play: Play, rig: Rig, labels: list[bytes], spec: CaptureSpec) -> GroundTruth:
    from pipeline.body.regressor import regress, regressor_for

    regressor = regressor_for(model, SKEL19)
    joints = np.stack([regress(model, regressor, body_parameters(t)) for t in play.tracks], 1)
    return GroundTruth(
        np.arange(spec.frames), spec.fps, np.arange(len(play.tracks)), SKEL19.name, joints, tuple(play.tracks), rig,
        tuple(labels),
    )  # fmt: skip
