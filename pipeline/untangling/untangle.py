"""A second look at people who touch: each of them alone, with everybody else's pixels painted over.

Detectors make one person of two who hug, in all views the same wrong way, and fits follow them. But bodies that are
about right tell, with everybody's colours in all views, whose most pixels are; without the others' pixels the detector
sees one person, whose body is then less wrong, and so are the pixels: two rounds of that. Joints that lie under others
are guesses of the detector and count for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from pipeline.association.tracks import Tracks
from pipeline.body.landmarks import landmark_offsets
from pipeline.body.parameters import BodyTrack
from pipeline.body.regressor import regress, regressor_for
from pipeline.cameras import Rig
from pipeline.keypoints.detector import Detector
from pipeline.raster import Raster
from pipeline.segmentation.appearance import Appearance, body_parts
from pipeline.segmentation.segment import PersonInput, Scorer, ViewInput, labelled, moved_vertices
from pipeline.skeletons import BLAZEPOSE33, SETS, SKEL19, map_joints
from pipeline.untangling.looks import Looks, improved, wanted_looks

if TYPE_CHECKING:
    from nets.body import BodyModel

ROUNDS = 2
GROWN = 0.02
"""How far others' pixels are grown before they are painted over, as a share of the person's extent in the image."""
LOOK_PIXELS = 256
"""Longest side of a person while it is told whose pixels are whose: the detector sees no more of them."""
LEAST_SCORE = 0.05
Fit = Callable[[Tracks], BodyTrack]
"""A body for one person's track (P = 1)."""


def untangle(
    model: BodyModel,
    rig: Rig,
    tracks: Mapping[int, Tracks],
    views: Sequence[ViewInput],
    detectors: Sequence[Detector],
    fit: Fit,
    raster: Raster,
    score: Scorer,
    progress: Callable[[float], None] | None = None,
) -> Looks:
    """Look again at everybody who is entangled with others in too many views.

    Args:
        tracks: by person id, one person each, all over the same F frames.
        views: of the same frames, one a camera of the rig; their detections with masks, if there are any.
        detectors: one a camera.
        fit: makes bodies.
        score: judges pixels (``segment_chunk``).

    Returns:
        What the last round saw; nothing is ``looked`` at where nobody is entangled.
    """
    people = sorted(tracks)
    frames = np.zeros(0, np.int64) if not people else tracks[people[0]].frames
    looks = Looks.none(frames, people, len(rig))
    if len(people) < 2 or not len(frames):
        return looks
    wanted = wanted_looks(rig, Tracks.together([tracks[i] for i in people]).joints)
    rows = np.flatnonzero(wanted.any((1, 2)))
    if not len(rows):
        return looks
    scene = _Scene(model, rig, people, views, detectors, raster, score)
    better, bodies = dict(tracks), {}
    for number in range(ROUNDS):
        changed = [i for k, i in enumerate(people) if number == 0 or looks.looked[:, k].any()]
        bodies |= {i: fit(better[i]) for i in changed}

        def told(share: float, number: int = number) -> None:
            if progress is not None:
                progress((number + share) / ROUNDS)

        looks = scene.look(better, bodies, wanted, rows, told)
        better = {i: improved(tracks[i], [looks], rig) for i in people}
    return looks


class _Scene:
    """What does not change from round to round."""

    def __init__(self, model, rig, people, views, detectors, raster, score) -> None:
        self.model, self.rig, self.people = model, rig, people
        self.views, self.detectors, self.raster, self.score = views, detectors, raster, score
        self.faces = model.faces.cpu().numpy()
        self.parts = body_parts(model.weights.cpu().numpy(), self.faces)
        self.regressor = regressor_for(model).with_offsets(landmark_offsets(detectors[0].joint_set))

    def look(self, tracks, bodies, wanted: np.ndarray, rows: np.ndarray, told: Callable[[float], None]) -> Looks:
        """Everybody at whom a look is ``wanted`` (F, P, C), in frames ``rows``."""
        people = [self._input(i, tracks[i], bodies[i]) for i in self.people]
        expected = [self._landmarks(tracks[i], bodies[i]) for i in self.people]
        looks = Looks.none(tracks[self.people[0]].frames, self.people, len(self.rig))
        views = [replace(view, image=_remembered(view.image)) for view in self.views]
        appearance = Appearance()
        for number, row in enumerate(rows):
            labels = labelled(
                people, views, self.faces, int(row), self.raster, self.score, appearance, LOOK_PIXELS
            )
            for k, c in np.argwhere(wanted[row]):
                if labels[c] is None or not np.isfinite(expected[k][row]).all():
                    continue
                camera, late = self.rig.cameras[c], float(views[c].late[row])
                pixels = camera.project(moved_vertices(expected[k], row, late))  # when the image was taken
                points, scores = look_alone(self.detectors[c], views[c].image(int(row)), labels[c], int(k), pixels)
                looks.looked[row, k, c] = True
                looks.keypoints[row, k, c] = points - pixels + camera.project(expected[k][row])
                looks.scores[row, k, c] = scores
            told((number + 1) / len(rows))
        return looks

    def _input(self, person: int, track: Tracks, body: BodyTrack) -> PersonInput:
        from pipeline.export.bodies import posed_vertices

        vertices = posed_vertices(self.model, body, np.arange(len(body.frames)))
        return PersonInput(
            person, track.present[:, 0], vertices, track.joints[:, 0], track.keypoints[:, 0], self.parts
        )

    def _landmarks(self, track: Tracks, body: BodyTrack) -> np.ndarray:
        """(F, 19, 3) where the detector should see the body's joints; those of the track where there is no body."""
        known = np.isfinite(body.transl).all(1)
        out = track.joints[:, 0].astype(np.float64)
        if known.any():
            some = {f: getattr(body, f)[known] for f in ("global_orient", "body_pose", "transl")}
            out[known] = regress(self.model, self.regressor, some | {"betas": body.betas})
        return out


def _remembered(image: Callable[[int], np.ndarray | None]) -> Callable[[int], np.ndarray | None]:
    """The same, with the last image kept: it is looked at for every person."""
    return lru_cache(maxsize=1)(image)


def look_alone(
    detector: Detector, image: np.ndarray, labels: np.ndarray, person: int, expected: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (19, 2) and scores (19,) of a person, label ``person + 1`` of ``labels`` (H, W), with all others
    painted over. ``expected`` (19, 2): pixels where their joints should be."""
    others = (labels != 0) & (labels != person + 1)
    hints, _ = map_joints(expected, np.ones(len(SKEL19)), SKEL19, BLAZEPOSE33)
    points, scores = detector.alone(image, _grown(others, labels == person + 1, expected), hints)
    points, scores = map_joints(points, scores, SETS[detector.joint_set], SKEL19)
    height, width = labels.shape
    at = np.round(np.nan_to_num(points, nan=-1)).astype(int)
    inside = ((at >= 0) & (at < (width, height))).all(1)
    at = at.clip(0, (width - 1, height - 1))
    scores = np.where(inside & others[at[:, 1], at[:, 0]] | (scores < LEAST_SCORE), 0.0, scores)
    return np.where(scores[:, None] > 0, points, np.nan), scores


def _grown(others: np.ndarray, own: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Others' pixels (H, W) bool, grown, but not over the person's own."""
    radius = max(1, round(GROWN * float(np.ptp(expected, axis=0).max())))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return (cv2.dilate(others.astype(np.uint8), kernel) > 0) & ~own

