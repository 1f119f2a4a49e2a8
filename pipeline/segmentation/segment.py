"""The masks of a chunk: evidence, scores, one owner a pixel, agreement over views and time; frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from pipeline.cameras import Camera
from pipeline.keypoints.detections import Detections
from pipeline.raster import Raster
from pipeline.segmentation.appearance import Appearance, Judged, shared_out
from pipeline.segmentation.consistency import Silhouette, supported, without_flashes
from pipeline.segmentation.contest import agreement, enlarged, hidden_part, owners, plain_score, tidied, without_things
from pipeline.segmentation.evidence import (
    MOST_PIXELS,
    Crop,
    Evidence,
    PersonMask,
    SeenBody,
    gather,
    others_depth,
    see_body,
)
from pipeline.segmentation.masks import ABSENT, NO_IMAGE, OUT_OF_VIEW, MaskWriter
from pipeline.segmentation.owners import owners_of

SAME_SIDE_DEGREES = 75.0
"""Between two views that see much of the same side of a person."""
Scorer = Callable[[Evidence], np.ndarray]
"""Evidence of a person in a view -> (h, w) float32 0..1 on its crop, how sure a pixel is theirs. One with a method
``moment`` is asked for everybody in all views at once (``parsing.NetworkScore``)."""


@dataclass(frozen=True)
class PersonInput:
    """One person over the F frames of a chunk.

    Attributes:
        person: id.
        present: (F,) bool.
        vertices: (F, V, 3) float32 of the body, metres; NaN in frames without one.
        joints: (F, 19, 3) metres; NaN where unknown.
        assigned: (F, C, 19, 2) pixels that association gave to the person; NaN for none.
        parts: (T,) uint8 part of the body that each triangle belongs to (``body_parts``); None: not told apart.
    """

    person: int
    present: np.ndarray
    vertices: np.ndarray
    joints: np.ndarray
    assigned: np.ndarray
    parts: np.ndarray | None = None


@dataclass(frozen=True)
class ViewInput:
    """One camera over the F frames of a chunk.

    Attributes:
        camera: undistorted.
        image: row -> RGB (H, W, 3) uint8, or None if there is none.
        detections: of the chunk's frames, or None.
        late: (F,) how many rows later than the frame's instant the image was taken, fractions and negatives too.
        background: the scene without people and where it is known, or None.
    """

    camera: Camera
    image: Callable[[int], np.ndarray | None]
    detections: Detections | None
    late: np.ndarray
    background: tuple[np.ndarray, np.ndarray] | None = None


@dataclass
class SeenFrame:
    """One view of a frame, while it is worked on.

    Attributes:
        bodies: of everybody by index, None for those out of view.
        others_depth: likewise, the nearest of the others' bodies on the grid of the body's crop.
        labels: (H, W) uint8, index + 1.
    """

    bodies: list[SeenBody | None]
    others_depth: list[np.ndarray | None]
    labels: np.ndarray

    def part(self, k: int) -> np.ndarray:
        """(h, w) view of the labels, in the window of a person's crop."""
        x0, y0, x1, y1 = self.bodies[k].crop.window
        return self.labels[y0:y1, x0:x1]


def segment_chunk(
    people: Sequence[PersonInput],
    views: Sequence[ViewInput],
    faces: np.ndarray,
    frames: np.ndarray,
    raster: Raster,
    writer: MaskWriter,
    score: Scorer = plain_score,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Segment all frames of a chunk and write the masks.

    Args:
        people: in the order of the writer's.
        views: in the order of the rig.
        faces: of the bodies.
        frames: (F,) absolute numbers.
        score: judges the evidence of one person in one view.
        progress: told the fraction done.
    """
    before: list[SeenFrame | None] | None = None
    seen: list[SeenFrame | None] | None = None
    for row, coming in enumerate(chain(_frames(people, views, faces, len(frames), raster, score), [None])):
        if seen is not None:
            _finish(row - 1, before, seen, coming, people, views, frames, writer)
            if progress is not None:
                progress(row / len(frames))
        before, seen = seen, coming
    writer.close()


def take_labels(
    labels: Callable[[Camera, int], np.ndarray | None],
    people: Sequence[PersonInput],
    views: Sequence[ViewInput],
    faces: np.ndarray,
    frames: np.ndarray,
    raster: Raster,
    writer: MaskWriter,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write masks made elsewhere, with what of each body they leave hidden. Other arguments as in ``segment_chunk``.

    Args:
        labels: camera and frame number to (H, W) uint8, k + 1 for the k-th of ``people``; None: no masks there.
    """
    for row, number in enumerate(frames):
        seen = []
        for view in views:
            found = labels(view.camera, int(number))
            bodies = [_body(row, view, p, faces, raster, None) for p in people]
            seen.append(None if found is None else SeenFrame(bodies, [None] * len(people), found))
        for c, frame in enumerate(seen):
            if frame is not None:
                frame.others_depth = [
                    None if b is None else others_depth(k, frame.bodies) for k, b in enumerate(frame.bodies)
                ]
            _store_view(frame, views[c].camera.name, people, row, int(number), writer)
        if progress is not None:
            progress((row + 1) / len(frames))
    writer.close()


def labelled(
    people: Sequence[PersonInput],
    views: Sequence[ViewInput],
    faces: np.ndarray,
    row: int,
    raster: Raster,
    score: Scorer,
    appearance: Appearance,
    most: int = MOST_PIXELS,
) -> list[np.ndarray | None]:
    """Of every view of one frame, (H, W) uint8: 0 nobody, k + 1 for the k-th of ``people``; None without an image.

    Arguments as in ``segment_chunk``; ``appearance`` is what frames before told of colours, and learns from this one;
    people are looked at at most ``most`` pixels large.
    """
    seen = _frame(people, views, faces, row, raster, score, appearance, most)
    return [None if frame is None else frame.labels for frame in seen]


def _frames(people, views, faces, count, raster, score) -> Iterator[list[SeenFrame | None]]:
    appearance = Appearance()
    for row in range(count):
        yield _frame(people, views, faces, row, raster, score, appearance)


def _frame(
    people, views, faces, row, raster, score, appearance: Appearance, most: int = MOST_PIXELS
) -> list[SeenFrame | None]:
    looks = [_look(row, c, view, people, faces, raster, most) for c, view in enumerate(views)]
    _judge(looks, score)
    _count_beside(looks, views, people, row)
    appearance.learn([None if look is None else look.judged for look in looks])
    seen = [None if look is None else _see(c, look, appearance) for c, look in enumerate(looks)]
    _agree_over_views(seen, views, people, row)
    return seen


@dataclass
class _Look:
    """A view of a frame before pixels are shared out: everybody's bodies, what is known of them, what was judged."""

    image: np.ndarray
    bodies: list[SeenBody | None]
    known: list[Evidence | None]
    judged: list[Judged | None] = field(default_factory=list)


def _look(row, index, view: ViewInput, people, faces, raster, most: int) -> _Look | None:
    image = view.image(row)
    if image is None:
        return None
    masks, strangers = detected_masks(row, index, view, people)
    bodies = [_body(row, view, p, faces, raster, m, most) for p, m in zip(people, masks, strict=True)]
    known = [
        None if body is None else gather(k, bodies, masks, strangers, image, view.background)
        for k, body in enumerate(bodies)
    ]
    return _Look(image, bodies, known)


def _judge(looks: Sequence[_Look | None], score: Scorer) -> None:
    """Fill in what is judged of everybody."""
    known = [None if look is None else look.known for look in looks]
    if hasattr(score, "moment"):
        scores = score.moment(known)
    else:
        scores = [[None if e is None else score(e) for e in view or ()] for view in known]
    for look, of_view in zip(looks, scores, strict=True):
        if look is not None:
            look.judged = [
                None if e is None else Judged(e, without_things(s, e), body.nearest_part)
                for e, s, body in zip(look.known, of_view, look.bodies, strict=True)
            ]


def _count_beside(looks: Sequence[_Look | None], views: Sequence[ViewInput], people, row: int) -> None:
    """Tell every judgement how many other views see that side of the person."""
    for k, person in enumerate(people):
        there = [c for c, look in enumerate(looks) if look is not None and look.judged[k] is not None]
        if not there:
            continue
        towards = np.stack([views[c].camera.centre for c in there]) - np.nanmedian(person.joints[row], 0)
        towards /= np.linalg.norm(towards, axis=1, keepdims=True)
        near = towards @ towards.T > np.cos(np.deg2rad(SAME_SIDE_DEGREES))
        for c, count in zip(there, near.sum(1) - 1, strict=True):
            looks[c].judged[k].beside = int(count)


def _see(index: int, look: _Look, appearance: Appearance) -> SeenFrame:
    scores = shared_out(index, look.judged, appearance)
    scored = [None if s is None else (b.crop, enlarged(s, b.crop, look.image))
              for b, s in zip(look.bodies, scores, strict=True)]  # fmt: skip
    depths = [None if j is None else j.evidence.others_depth for j in look.judged]
    height, width = look.image.shape[:2]
    return SeenFrame(look.bodies, depths, owners((width, height), scored))


def detected_masks(
    row: int, index: int, view: ViewInput, people: Sequence[PersonInput]
) -> tuple[list[PersonMask | None], list[PersonMask]]:
    """Each person's mask by the detector in a row of the view number ``index``, and the masks of nobody of them."""
    found = view.detections
    if found is None or not found.masks or not people:
        return [None] * len(people), []
    projected = np.stack([view.camera.project(p.joints[row]) for p in people])
    assigned = np.stack([p.assigned[row, index] for p in people])
    rows, others = owners_of(found, row, projected, assigned)

    def read(i: int) -> PersonMask:
        return PersonMask.decoded(found.masks[i], found.mask_boxes[i])

    return [None if i < 0 else read(i) for i in rows], [read(i) for i in others]


def _body(
    row, view: ViewInput, person: PersonInput, faces, raster, mask: PersonMask | None, most: int = MOST_PIXELS
) -> SeenBody | None:
    """The person's body at the instant of the view's image; where none was fitted, what the detector's mask spans."""
    if not person.present[row]:
        return None
    vertices = moved_vertices(person.vertices, row, float(view.late[row]))
    if np.isfinite(vertices[0, 0]):
        return see_body(view.camera, vertices, faces, raster, mask, person.parts, most)
    if mask is None:
        return None
    crop = Crop.of(tuple(int(v) for v in mask.box), most)
    depth = np.full(crop.size[::-1], np.inf, np.float32)
    z = np.nanmedian(view.camera.to_camera(person.joints[row])[:, 2])
    return SeenBody(crop, depth, float(view.camera.K[1, 1] / max(z, 0.1) * crop.scale[1]))


def moved_vertices(vertices: np.ndarray, row: int, late: float) -> np.ndarray:
    """A body (V, 3) ``late`` rows after ``row``, by its motion between the neighbouring rows that have one."""
    here = vertices[row]
    if abs(late) < 0.01:
        return here
    other = int(np.clip(row + np.sign(late), 0, len(vertices) - 1))
    there = vertices[other]
    if other == row or not np.isfinite(there[0, 0]):
        return here
    return here + np.float32(abs(late)) * (there - here)


def _agree_over_views(seen: list[SeenFrame | None], views, people, row: int) -> None:
    """Take from people the pixels that the other views rule out."""
    for k, person in enumerate(people):
        if not person.present[row] or not np.isfinite(person.vertices[row, 0, 0]):
            continue
        there = [c for c, frame in enumerate(seen) if frame is not None and frame.bodies[k] is not None]
        silhouettes = [_silhouette(seen[c], views[c].camera, k) for c in there]
        for c, keep in zip(there, supported(silhouettes, person.vertices[row]), strict=True):
            part = seen[c].part(k)
            part[(part == k + 1) & ~keep] = 0


def _silhouette(frame: SeenFrame, camera: Camera, k: int) -> Silhouette:
    seen, part = frame.bodies[k], frame.part(k)
    mine = part == k + 1
    unknown = ((part != 0) | seen.silhouette) & ~mine
    return Silhouette(camera, seen.crop.window[:2], mine, unknown, seen.silhouette)


def _finish(row, before, seen, after, people, views, frames, writer: MaskWriter) -> None:
    """Settle a frame with its neighbours in time at hand, and store it."""
    for c, view in enumerate(views):
        if seen[c] is not None:
            near = [side[c].labels for side in (before, after) if side is not None and side[c] is not None]
            _settle(seen[c], near)
        _store_view(seen[c], view.camera.name, people, row, int(frames[row]), writer)


def _store_view(frame: SeenFrame | None, camera: str, people, row: int, number: int, writer: MaskWriter) -> None:
    for k, person in enumerate(people):
        if not person.present[row]:
            writer.note(camera, number, person.person, ABSENT)
        elif frame is None:
            writer.note(camera, number, person.person, NO_IMAGE)
        elif frame.bodies[k] is not None:
            _store(frame, k, person, row, camera, number, writer)
        elif (frame.labels == k + 1).any():
            mask = frame.labels == k + 1
            writer.put(camera, number, person.person, mask, np.zeros_like(mask), body=False)
        else:
            writer.note(camera, number, person.person, OUT_OF_VIEW)


def _settle(frame: SeenFrame, near: list[np.ndarray]) -> None:
    for k, body in enumerate(frame.bodies):
        if body is None:
            continue
        x0, y0, x1, y1 = body.crop.window
        part = frame.part(k)
        mine = part == k + 1
        kept = without_flashes(mine, [n[y0:y1, x0:x1] == k + 1 for n in near], body.silhouette)
        kept = tidied(kept, body.silhouette) & (mine | (part == 0))
        part[mine & ~kept] = 0
        part[kept] = k + 1


def _store(frame: SeenFrame, k: int, person: PersonInput, row, camera: str, number: int, writer: MaskWriter) -> None:
    body = frame.bodies[k]
    x0, y0, x1, y1 = body.crop.window
    mask, hidden = frame.labels == k + 1, np.zeros(frame.labels.shape, bool)
    fitted = bool(np.isfinite(person.vertices[row, 0, 0]))
    agreed = float("nan")
    if fitted:
        behind = hidden_part(k, body, frame.others_depth[k], frame.labels)
        hidden[y0:y1, x0:x1] = behind
        agreed = agreement(mask[y0:y1, x0:x1], body.silhouette, behind)
    writer.put(camera, number, person.person, mask, hidden, agreement=agreed, body=fitted)
