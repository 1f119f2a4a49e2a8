"""Captures of people in the five categories, on disk as a lab's are, with everything about them known.

A capture's folder holds ``videos/<camera>.mp4``, ``calibration.toml`` (Pose2Sim), ``session.yaml`` to run it, and

- ``ground_truth.npz``: parameters, joints, cameras, labels (``data.synthetic.truth``);
- ``meshes/person_<k>.h5``: the true surface of the k-th person in each frame (``pipeline.meshes.sequence``);
- ``ground_truth.h5``, written last: where it stands the capture is whole. C cameras, F frames, P people:
  ``frames`` (F,), ``person_ids`` (P,), ``joints`` (F, P, 19, 3) metres, ``keypoints`` (C, F, P, 19, 2) pixels of the
  distorted picture, ``visible`` (C, F, P, 19) (0 not in the picture, 1 hidden, 2 seen), ``hidden`` (C, F, P) share of
  the person in the picture that others hide, ``people/<k>/<parameter>``, ``rig/<field>``, and a file a picture, frame
  after frame and camera after camera: ``labels`` (PNG, 0 nobody, else person + 1), ``depth`` (PNG, 16 bits, steps of
  ``DEPTH_M``; 0 where neither people nor things are) and ``normals`` (PNG, RGB, world normals,
  128 + 127 n). Attributes: ``fps``, ``cameras``, ``category``, ``act``, ``identities`` (of each person ``id``,
  ``split`` and ``number`` in it, ``gender``, ``age`` in years, ``wears``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np

from data.calibration.pose2sim import write_pose2sim
from data.synthetic.acts import CATEGORIES, Maker
from data.synthetic.adults import Adults
from data.synthetic.cameras import Exposure, LabCameras
from data.synthetic.capture import CALIBRATION, body_parameters, body_track, film, png
from data.synthetic.drawing import Cast, Moment, Painter
from data.synthetic.light import Light
from data.synthetic.people import People, Posed
from data.synthetic.props import thing_mesh
from data.synthetic.scene import Room
from data.synthetic.scenes import Scene, stage
from data.synthetic.truth import GroundTruth
from pipeline.artifacts import ArtifactWriter, read_header
from pipeline.body.regressor import regress, regressor_for
from pipeline.cameras import Rig
from pipeline.files import write_atomic
from pipeline.meshes.sequence import Mesh, MeshWriter
from pipeline.raster import RasterResult, raster_here
from pipeline.skeletons import SKEL19

DEPTH_M = 2e-4
"""Metres a step of the depth images."""
_INSIDE_M = 0.18  # a joint this far behind the surface seen is still the body's own, further it is hidden by it

SESSION = """\
# A synthetic capture; what is true of it stands in ground_truth.h5 and ground_truth.npz.
session: {name}
output: run
capture:
  calibration: calibration.toml
  videos: videos/{{camera}}.mp4
"""


@dataclass(frozen=True)
class RecordingSpec:
    """What captures are like. See the fields of ``configs/synthesize.example.yaml``."""

    split: str = "train"
    seed: int = 0
    categories: tuple[str, ...] = tuple(CATEGORIES)
    frames: int = 50
    fps: int = 25
    cameras: tuple[int, ...] = (4, 6, 8)
    lab: LabCameras = field(default_factory=LabCameras)
    exposure_spread: float = 1.0
    meshes: bool = True
    mesh_detail_m: float = 0.003
    depth: bool = True
    normals: bool = True
    texture_size: int = 768
    fineness: int = 2
    motions: tuple[str, ...] = ()
    clothes: tuple[str, ...] = ()
    adults: Adults | None = None
    workers: int = 2

    @property
    def digest(self) -> str:
        """Of everything that decides what is recorded."""
        settings = {k: v for k, v in asdict(self).items() if k != "workers"}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def is_whole(folder: Path, spec: RecordingSpec, number: int) -> bool:
    """Whether the folder holds capture ``number`` of these settings."""
    header = read_header(folder / "ground_truth.h5")
    return header is not None and header.key == _key(spec, number)


def _key(spec: RecordingSpec, number: int) -> str:
    return hashlib.sha256(f"recording 1 {spec.digest} {number}".encode()).hexdigest()


def record(
    folder: Path,
    spec: RecordingSpec,
    number: int,
    maker: People,
    progress: Callable[[float], None] = lambda fraction: None,
    extra: Sequence[Maker] = (),
) -> None:
    """Make capture ``number``: the same for the same settings. ``extra``: more acts for people alone."""
    g = np.random.default_rng([spec.seed, number])
    category = spec.categories[number % len(spec.categories)]
    first = 3 * number
    wearers = [maker.person(spec.split, first + k) for k in range(CATEGORIES[category][0])]
    times = np.arange(spec.frames) / spec.fps
    scene = stage(maker, category, int(g.integers(2**31)), wearers, times, extra)
    rig = spec.lab.ring(int(g.choice(spec.cameras)), g)
    light, room = Light.sample(g), Room.sample(g)
    exposures = [Exposure.sample(g, spec.exposure_spread) for _ in rig.cameras]
    cast = Cast.of([w.dressed for w in wearers], scene.act.things)
    painter = Painter(rig, exposures, light, cast, g)
    folder.mkdir(parents=True, exist_ok=True)
    write_pose2sim(rig, folder / CALIBRATION)
    write_atomic(folder / "session.yaml", SESSION.format(name=folder.name))
    regressor = regressor_for(maker.model, SKEL19)
    tracks = [
        body_track(w.person, p, maker.model.relaxed_hands.numpy())
        for w, p in zip(wearers, scene.act.people, strict=True)
    ]
    joints = np.stack([regress(maker.model, regressor, body_parameters(t)) for t in tracks], 1)
    observer = _Observer(painter, joints, spec)
    with ThreadPoolExecutor(spec.workers) as pool, _Surfaces(folder, spec, number, scene, maker) as surfaces:
        painter.enter(room, pool)
        progress(0.02)

        def posed(frame: int):
            people = scene.posed(maker, frame)
            surfaces.add(frame, people)
            return [p.layers for p in people], [thing_mesh(t, frame)[0] for t in scene.act.things]

        seen = film(
            painter,
            posed,
            spec.frames,
            folder / "videos",
            spec.fps,
            pool,
            lambda f: progress(0.02 + 0.96 * f),
            observer,
        )
    labels = tuple(s.labels for frame in seen for s in frame)
    ids = np.arange(len(wearers))
    GroundTruth(np.arange(spec.frames), spec.fps, ids, SKEL19.name, joints, tuple(tracks), rig, labels).write(folder)
    _write(folder, spec, number, scene, rig, joints, tracks, seen)
    progress(1.0)


class _Surfaces:
    """Writes the true surfaces as the frames come, one file a person."""

    def __init__(self, folder: Path, spec: RecordingSpec, number: int, scene: Scene, maker: People) -> None:
        self._detail, self._open = spec.mesh_detail_m, []
        for k in range(len(scene.people) if spec.meshes else 0):
            path = folder / "meshes" / f"person_{k}.h5"
            artifact = ArtifactWriter(path, stage="truth", schema="surface", key=_key(spec, number))
            self._open.append((artifact, None))

    def __enter__(self) -> _Surfaces:
        self._open = [(a, MeshWriter(a.__enter__())) for a, _ in self._open]
        for _, meshes in self._open:
            meshes.__enter__()
        return self

    def __exit__(self, *error) -> None:
        for artifact, meshes in self._open:
            meshes.__exit__(*error)
            artifact.__exit__(*error)

    def add(self, frame: int, people: Sequence[Posed]) -> None:
        for (_, meshes), person in zip(self._open, people, strict=bool(self._open)):
            solid = person.surface(self._detail)
            count = len(solid.vertices)
            meshes.add(frame, Mesh(solid.vertices, solid.faces, np.ones(count, np.float32), np.zeros((count, 0), bool)))


@dataclass(frozen=True)
class _Seen:
    """What is true of one picture; see the module."""

    labels: bytes
    depth: bytes
    normals: bytes
    keypoints: np.ndarray
    visible: np.ndarray
    hidden: np.ndarray


class _Observer:
    """Looks at each picture with the eyes of the truth."""

    def __init__(self, painter: Painter, joints: np.ndarray, spec: RecordingSpec) -> None:
        self._painter, self._joints, self._spec = painter, joints, spec
        self._raster = raster_here(1, remember=len(painter.rig))

    def __call__(self, camera: int, moment: Moment, number: int, labels: np.ndarray) -> _Seen:
        lens = self._painter.rig.cameras[camera]
        view = self._raster.view(moment.scene, lens)
        keypoints = lens.project(self._joints[number])
        visible = self._visible(lens, number, keypoints, view)
        depth = np.where(view.hit, np.clip(view.depth / DEPTH_M + 0.5, 0, 65535), 0).astype(np.uint16)
        normals = np.where(view.hit[..., None], np.rint(128 + 127 * view.normal), 0).astype(np.uint8)
        return _Seen(
            png(labels),
            png(depth) if self._spec.depth else b"",
            png(np.ascontiguousarray(normals[..., ::-1])) if self._spec.normals else b"",
            keypoints.astype(np.float32),
            visible,
            self._hidden(lens, moment, labels),
        )

    def _visible(self, lens, number: int, keypoints: np.ndarray, view: RasterResult) -> np.ndarray:
        """(P, J) 0 outside, 1 hidden, 2 seen."""
        deep = lens.to_camera(self._joints[number])[..., 2]
        width, height = lens.size
        inside = (keypoints >= -0.5).all(-1) & (keypoints < np.array([width, height]) - 0.5).all(-1) & (deep > 0)
        column, row = np.clip(np.nan_to_num(np.rint(keypoints)), 0, [width - 1, height - 1]).astype(int).T
        triangle, before = view.triangle[row.T, column.T], view.depth[row.T, column.T]
        owner = np.where(triangle >= 0, self._painter.cast.face_person[triangle], -2)
        own = (owner == np.arange(len(deep))[:, None]) & (deep < before + _INSIDE_M)
        free = deep < before  # beside the body by a hair: nothing stands before it
        return np.where(inside, np.where(own | free, 2, 1), 0).astype(np.uint8)

    def _hidden(self, lens, moment: Moment, labels: np.ndarray) -> np.ndarray:
        """(P,) share of each person that is in the picture and hidden; NaN for nobody there."""
        cast, small = self._painter.cast, lens.scaled((lens.size[0] // 4, lens.size[1] // 4))
        shown = self._raster.view(moment.scene, small).triangle
        owner = np.where(shown >= 0, cast.face_person[shown], -2)
        out = np.full(cast.people, np.nan, np.float32)
        for k in range(cast.people):
            alone = self._raster.render(moment.vertices, cast.faces[cast.face_person == k], small).hit
            if alone.any():
                out[k] = 1 - (alone & (owner == k)).sum() / alone.sum()
        return out


def _write(folder, spec: RecordingSpec, number: int, scene: Scene, rig: Rig, joints, tracks, seen) -> None:
    def stacked(name: str) -> np.ndarray:
        return np.stack([np.stack([getattr(s, name) for s in frame]) for frame in seen], 1)

    with ArtifactWriter(
        folder / "ground_truth.h5", stage="truth", schema="capture_truth", key=_key(spec, number)
    ) as file:
        file.put("frames", np.arange(spec.frames))
        file.put("person_ids", np.arange(len(scene.people)))
        file.put("joints", joints.astype(np.float32))
        for name in ("keypoints", "visible", "hidden"):
            file.put(name, stacked(name))
        for k, track in enumerate(tracks):
            file.put_all(track.to_arrays(), f"people/{k}")
        file.put_all(rig.to_arrays(), "rig")
        for name in ("labels", "depth", "normals"):
            if getattr(seen[0][0], name):
                stream = file.stream(name)
                for picture in (s for frame in seen for s in frame):
                    stream.append(getattr(picture, name))
        file.attribute("fps", spec.fps)
        file.attribute("cameras", list(rig.names))
        file.attribute("joint_names", list(SKEL19.joints))
        file.attribute("category", scene.category)
        file.attribute("act", scene.act.name)
        file.attribute("depth_m", DEPTH_M)
        file.attribute(
            "identities",
            [
                {
                    "id": k,
                    "split": spec.split,
                    "number": 3 * number + k,
                    "gender": p.person.gender,
                    "age": p.person.age,
                    "wears": [w.kind for w in p.person.outfit.worn],
                }
                for k, p in enumerate(scene.people)
            ],
        )


def depth_of(data: bytes) -> np.ndarray:
    """(H, W) float32 metres of an image of ``depth``; +inf where there is nothing."""
    steps = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return np.where(steps > 0, steps * np.float32(DEPTH_M), np.float32(np.inf))


def normals_of(data: bytes) -> np.ndarray:
    """(H, W, 3) float32 world normals of an image of ``normals``; 0 where there is nothing."""
    raw = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1].astype(np.float32)
    return np.where(raw.any(-1, keepdims=True), (raw - 128) / 127, 0)
