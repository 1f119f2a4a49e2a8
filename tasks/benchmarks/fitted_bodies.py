"""Bodies and masks as the pipeline finds them in the pictures of a scene that stands still.

What a session's stages do one after another is done here on one moment: detection, association, second look, fit,
segmentation. The moment is shown ``REPEATS`` times, since people in few frames are taken for nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from data.surface_scenes import SceneBody, SurfaceScene
from pipeline.association.tracks import Tracks
from pipeline.body.parameters import BodyTrack
from pipeline.keypoints.detections import Detections
from pipeline.quality.metrics import match
from pipeline.segmentation.contest import plain_score

STAGES_DONE = ("keypoints", "draft", "redetection", "association", "identities", "untangling", "bodies", "contact",
               "segmentation")  # fmt: skip
NEAR_M = 0.5
"""A found body farther than this from a true one (mean over vertices) is somebody else."""
REPEATS, FPS = 6, 25.0
_MIDDLE = REPEATS // 2


def revisions() -> dict[str, int]:
    """Of the stages whose work is done here: scores of what older ones found are not taken for today's."""
    from tasks.stages import STAGES

    return {name: STAGES[name].revision for name in STAGES_DONE}


@cache
def open_model():
    """The open body model, once a process."""
    from data.body_models import load_body_arrays, open_body_model
    from nets.body import BodyModel

    return BodyModel(load_body_arrays(open_body_model()))


@dataclass(frozen=True)
class Found:
    """What the pipeline makes of a scene.

    Attributes:
        bodies: of the P people found with a body.
        rows: (P,) their rows in ``tracks``.
        partners: true person -> found person.
        reasons: (P,) why a body is in doubt, "" for a valid one.
    """

    detections: list[Detections]
    tracks: Tracks
    bodies: list[SceneBody]
    rows: list[int]
    partners: dict[int, int]
    reasons: list[str]


def find(scene: SurfaceScene) -> Found:
    """Detection, association, a look at each of those who touch alone, and fit."""
    detections, tracks = _tracked(scene)
    tracks, entangled = _untangled(scene, detections, tracks)
    bodies, rows, reasons = _bodies(scene, detections, tracks, entangled)
    return Found(detections, tracks, bodies, rows, _partners(scene, bodies), reasons)


def fitted(scene: SurfaceScene) -> tuple[tuple[SceneBody | None, ...], tuple[np.ndarray, ...]]:
    """A body for each true person, None for those whom the pipeline does not find; and its label images."""
    found = find(scene)
    bodies = tuple(found.bodies[found.partners[k]] if k in found.partners else None for k in range(len(scene.people)))
    return bodies, segmented(scene, found, configured_score())


def configured_score(seen_as: Callable | None = None) -> Callable:
    """What judges pixels in a session with default settings; ``seen_as`` changes the evidence first."""
    from data.model_files import open_weights
    from pipeline.segmentation.contest import plain_score
    from pipeline.segmentation.parsing import NetworkScore

    weights = open_weights("parsing")
    return plain_score if weights is None else NetworkScore(weights, seen_as)


def segmented(scene: SurfaceScene, found: Found, score: Callable) -> tuple[np.ndarray, ...]:
    """Label images (H, W) uint8 of every camera: k + 1 the true person k; people who are nobody are 0."""
    from pipeline.raster_open3d import Open3DRaster
    from pipeline.segmentation.appearance import body_parts
    from pipeline.segmentation.segment import PersonInput, segment_chunk

    if not found.bodies:
        return tuple(np.zeros_like(image) for image in scene.labels)
    model = open_model()
    parts = body_parts(model.weights.numpy(), model.faces.numpy())
    people = [
        PersonInput(
            k, np.ones(1, bool), body.mesh[0][None].astype(np.float32), found.tracks.joints[_MIDDLE : _MIDDLE + 1, row],
            found.tracks.keypoints[_MIDDLE : _MIDDLE + 1, row], parts,
        )
        for k, (body, row) in enumerate(zip(found.bodies, found.rows, strict=True))
    ]  # fmt: skip
    views = _views(scene, found.detections)
    collected = _Labels([c.name for c in scene.rig.cameras], [image.shape for image in scene.labels], found.partners)
    segment_chunk(people, views, model.faces.numpy(), np.zeros(1, np.int64), Open3DRaster(threads=1), collected, score)
    return tuple(collected.images)


def _views(scene: SurfaceScene, detections: Sequence[Detections]) -> list:
    """``ViewInput`` of the moment in every camera."""
    from pipeline.segmentation.segment import ViewInput

    return [
        ViewInput(camera, lambda row, image=image: image, _moment(seen), np.zeros(1))
        for camera, image, seen in zip(scene.rig.cameras, scene.images, detections, strict=True)
    ]


class _Labels:
    """What ``segment_chunk`` writes its masks to: label images, in the numbers of the true people."""

    def __init__(self, cameras: Sequence[str], shapes: Sequence[tuple], partners: dict[int, int]) -> None:
        self._camera = {name: c for c, name in enumerate(cameras)}
        self._true = {found: true for true, found in partners.items()}
        self.images = [np.zeros(shape, np.uint8) for shape in shapes]

    def put(self, camera: str, frame: int, person: int, mask: np.ndarray, hidden: np.ndarray, **_: object) -> None:
        if person in self._true:
            self.images[self._camera[camera]][mask] = self._true[person] + 1

    def note(self, camera: str, frame: int, person: int, state: int) -> None:
        """Nobody to be seen there."""

    def close(self) -> None:
        """Nothing is left to be written."""


def _moment(detections: Detections) -> Detections:
    """Those of one repetition alone."""
    rows = detections.instances(_MIDDLE)
    fields = {f: getattr(detections, f)[rows] for f in ("keypoints", "scores", "boxes", "box_scores", "tracks")}
    if detections.masks:
        fields |= {"masks": detections.masks[rows], "mask_boxes": detections.mask_boxes[rows]}
    count = rows.stop - rows.start
    return replace(detections, frames=np.zeros(1, np.int64), offsets=np.array([0, count]), time_error_s=None, **fields)


def _tracked(scene: SurfaceScene) -> tuple[list[Detections], Tracks]:
    """Detections of every camera, looked for again where the others see somebody, and tracks."""
    from pipeline.association.graph import associate
    from pipeline.association.options import AssociationOptions
    from pipeline.keypoints.guided import expected_people, look_again, look_beside

    options = AssociationOptions(fps=FPS)
    detectors = [_detector() for _ in scene.images]
    detections = [
        d.run(((f, image) for f in range(REPEATS)), 0) for d, image in zip(detectors, scene.images, strict=True)
    ]
    detections = [
        look_beside(d, lambda row, image=image: image, found)[0]
        for d, image, found in zip(detectors, scene.images, detections, strict=True)
    ]
    draft = associate(scene.rig, detections, options)
    again = []
    for c, (camera, image) in enumerate(zip(scene.rig.cameras, scene.images, strict=True)):
        expected = expected_people(camera, c, draft)
        pictures = (image if wanted else None for wanted in expected.missing.any(-1))
        again.append(look_again(detectors[c], pictures, detections[c], expected)[0])
    return again, associate(scene.rig, again, options)


def _detector():
    from data.model_files import blazepose_files
    from pipeline.keypoints.blazepose import BlazePose, BlazePoseOptions

    return BlazePose(*blazepose_files(), BlazePoseOptions(max_people=6))


def _untangled(
    scene: SurfaceScene, detections: Sequence[Detections], tracks: Tracks
) -> tuple[Tracks, np.ndarray]:
    """Tracks after everybody who touches others was looked at alone, and (P,) bool, who was."""
    from pipeline.raster_open3d import Open3DRaster
    from pipeline.untangling.looks import improved
    from pipeline.untangling.untangle import untangle

    moment = {int(i): tracks.person(k).part(np.array([_MIDDLE])) for k, i in enumerate(tracks.person_ids)}
    detector, model = _detector(), open_model()

    def fit(track: Tracks) -> BodyTrack:
        return _fit(scene, _repeated(track), detector.joint_set).part(np.array([_MIDDLE]))

    looks = untangle(
        model, scene.rig, moment, _views(scene, detections), [detector] * len(scene.images), fit,
        Open3DRaster(threads=1), plain_score,
    )  # fmt: skip
    better = [_repeated(improved(track, [looks], scene.rig)) for track in moment.values()]
    return (Tracks.together(better) if better else tracks), looks.looked.any((0, 2))


def _repeated(moment: Tracks) -> Tracks:
    return replace(moment.part(np.zeros(REPEATS, int)), frames=np.arange(REPEATS))


def _fit(scene: SurfaceScene, track: Tracks, joint_set: str, entangled: bool = False) -> BodyTrack:
    from pipeline.body.fit import fit_track
    from pipeline.body.options import FitOptions

    options = FitOptions(fps=FPS, landmarks=joint_set)
    return fit_track(open_model(), scene.rig, track, options, entangled=np.full(len(track.frames), entangled))


def _bodies(
    scene: SurfaceScene, detections: Sequence[Detections], tracks: Tracks, entangled: np.ndarray
) -> tuple[list[SceneBody], list[int], list[str]]:
    from data.synthetic.disturbances import body_vertices

    model, out, rows, reasons = open_model(), [], [], []
    for k in range(len(tracks.person_ids)):
        track = _fit(scene, tracks.person(k), detections[0].joint_set, bool(entangled[k]))
        if not track.usable[_MIDDLE]:
            continue
        parameters = track.parameters(_MIDDLE)
        out.append(SceneBody((body_vertices(model, parameters), model.faces.numpy()), parameters))
        rows.append(k)
        reasons.append(BodyTrack.REASONS[int(track.reason[_MIDDLE])])
    return out, rows, reasons


def _partners(scene: SurfaceScene, found: Sequence[SceneBody]) -> dict[int, int]:
    """True people with the found ones nearest to them: by vertices where the bodies are of one model, else by their
    middles."""
    cost = np.full((len(scene.people), len(found)), np.nan)
    for i, person in enumerate(scene.people):
        for j, body in enumerate(found):
            if person.body is not None and len(person.body.mesh[0]) == len(body.mesh[0]):
                cost[i, j] = np.linalg.norm(person.body.mesh[0] - body.mesh[0], axis=1).mean()
            elif (known := person.body.mesh if person.body is not None else person.surface) is not None:
                cost[i, j] = np.linalg.norm(known[0].mean(0) - body.mesh[0].mean(0))
    return dict(match(cost, NEAR_M))
