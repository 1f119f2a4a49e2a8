"""Pictures of synthetic people with exact masks and all the evidence that segmentation has, to train on.

A scene is one instant: people alone or close together in a room, filmed by a ring of cameras; things stand in front
now and then. The detector looks at the pictures as it would in a session, and the bodies are off as fitted bodies are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from data.synthetic.acts import CATEGORIES
from data.synthetic.cameras import Exposure, ring
from data.synthetic.drawing import Cast, Painter
from data.synthetic.light import Light
from data.synthetic.people import People
from data.synthetic.props import thing_mesh
from data.synthetic.scene import Room
from data.synthetic.scenes import Scene, stage
from pipeline.cameras import Camera
from pipeline.images import decode, encode
from pipeline.keypoints.detector import Detector
from pipeline.raster import raster_here
from pipeline.segmentation.background import people_pixels
from pipeline.segmentation.evidence import Evidence, PersonMask, gather, see_body
from pipeline.segmentation.owners import owners_of
from pipeline.skeletons import BLAZEPOSE33, SKEL19, SMPLX55, map_joints

CAST = 3
"""People of a set; dressing takes longer than a picture."""
SHARES = {"single": 0.1, "occluded": 0.2, "two_natural": 0.2, "two_close": 0.22, "three": 0.28}
"""How often each category of scene comes."""
_ARMS = tuple(
    np.concatenate([3 * (SMPLX55.index(f"{side}_{joint}") - 1) + np.arange(3) for joint in ("shoulder", "elbow")])
    for side in ("left", "right")
)
"""Columns of ``body_pose``, which begins at the first joint after the pelvis."""
SIZES = ((640, 480), (720, 540), (480, 640), (800, 600))


@dataclass(frozen=True)
class BodyError:
    """How far a fitted body is from the true one: standard deviations.

    Attributes:
        place_m: of its place. turn_rad: of the pelvis; joint_rad: of every other joint.
        shape_kept: share of the true shape that a fit finds, the rest is the mean body's; shape: of what it adds.
        lost_arms: share of arms that are somewhere else, of people among others: detectors take one's arm round
            another for the other's. lost_rad: by how much their joints are turned then.
    """

    place_m: float = 0.012
    turn_rad: float = 0.035
    joint_rad: float = 0.07
    shape_kept: float = 0.5
    shape: float = 0.35
    lost_arms: float = 0.25
    lost_rad: float = 0.7

    def applied(
        self, parameters: Mapping[str, np.ndarray], g: np.random.Generator, among: bool = False
    ) -> dict[str, np.ndarray]:
        """Parameters (1, N) by name, as a fit might have found them of somebody who is ``among`` others or alone."""
        scale = g.uniform(0.15, 1.4)  # some are fitted well, some badly
        out = {k: np.array(v, np.float32) for k, v in parameters.items()}
        out["betas"] = out["betas"] * self.shape_kept + scale * g.normal(0, self.shape, out["betas"].shape)
        for name, sigma in (("transl", self.place_m), ("global_orient", self.turn_rad), ("body_pose", self.joint_rad)):
            out[name] = out[name] + scale * g.normal(0, sigma, out[name].shape)
        if among:
            for arm in _ARMS:
                if g.random() < self.lost_arms:
                    out["body_pose"][:, arm] += g.normal(0, self.lost_rad, arm.shape)
        return {k: v.astype(np.float32) for k, v in out.items()}


@dataclass(frozen=True)
class Example:
    """One person in one view: the evidence, and which pixels of its crop are theirs (h, w) bool."""

    evidence: Evidence
    truth: np.ndarray


Views = list[dict[int, Example]]
"""Of each view of a moment, everybody in sight by index."""


class SceneMaker:
    """Makes scenes of the open body model. The same seed gives the same scene."""

    def __init__(self, detector: Detector, cameras: int = 6, error: BodyError | None = None) -> None:
        from pipeline.body.regressor import regressor_for

        self.people = People(fineness=1)
        self.model = self.people.model
        self.faces = self.model.faces.cpu().numpy()
        self.regressor = regressor_for(self.model, SKEL19)
        self.detector, self.cameras, self.error = detector, cameras, error or BodyError()
        self.raster = raster_here(threads=1)

    def scenes(self, seed: int, moments: int) -> Iterator[Views]:
        """Some moments in one room: always the same few people, placed and posed anew."""
        g = np.random.default_rng(seed)
        cast = [self.people.person("train", CAST * seed + k) for k in range(CAST)]
        size = SIZES[g.integers(len(SIZES))]
        rig = ring(self.cameras, g, size=size, half_height=g.uniform(0.95, 1.3), distorted=False)
        exposures, light = [Exposure.sample(g) for _ in rig.cameras], Light.sample(g)
        views = None
        for moment in range(moments):
            category = list(SHARES)[g.choice(len(SHARES), p=list(SHARES.values()))]
            players = [cast[k] for k in g.choice(CAST, CATEGORIES[category][0], replace=False)]
            scene = stage(self.people, category, 1000 * seed + moment, players)
            painter = Painter(rig, exposures, light, Cast.of([p.dressed for p in players], scene.act.things), g)
            if views is None:
                with ThreadPoolExecutor(1) as pool:
                    painter.enter(Room.sample(g), pool)
                views = painter.views
            painter.views = views
            yield self._moment(painter, scene, g)

    def _moment(self, painter: Painter, scene: Scene, g: np.random.Generator) -> Views:
        true = scene.posed(self.people)
        things = [thing_mesh(t)[0] for t in scene.act.things]
        moment = painter.moment([t.layers for t in true], things)
        # Far below the floor nobody sees them: what is left is the scene without people.
        away = painter.moment([[v - [0, 0, 1e4] for v in t.layers] for t in true], things) if things else None
        fitted = [self.error.applied(t.parameters, g, among=len(true) > 1) for t in true]
        bodies = [self._vertices(p) for p in fitted]
        joints = [self._joints(p) for p in fitted]
        empty_known = g.choice(["all", "none", "round people"], p=[0.45, 0.25, 0.3])
        views = []
        for k, camera in enumerate(painter.rig.cameras):
            image, labels = painter.picture(k, moment, int(g.integers(1000)))
            number = int(g.integers(1000))
            empty = painter.picture(k, away, number)[0] if away else painter.empty_picture(k, number)
            image, empty, labels = with_things(image, empty, labels, len(true), g)
            known = _known(empty_known, camera, bodies, labels, g)
            picture = decode(encode(image, "jpeg"))
            background = None if not known.any() else (np.where(known[..., None], empty, 0).astype(np.uint8), known)
            views.append(self._view(camera, picture, labels, background, bodies, joints))
        return views

    def _view(self, camera: Camera, image, labels, background, bodies, joints) -> dict[int, Example]:
        masks, strangers = self._detected(camera, image, joints)
        seen = [
            see_body(camera, b, self.faces, self.raster, m) for b, m in zip(bodies, masks, strict=True)
        ]
        out = {}
        for k, body in enumerate(seen):
            if body is None:
                continue
            evidence = gather(k, seen, masks, strangers, image, background)
            truth = body.crop.take((labels == k + 1).astype(np.uint8) * 255) > 127
            out[k] = Example(evidence, truth)
        return out

    def _detected(self, camera: Camera, image, joints) -> tuple[list[PersonMask | None], list[PersonMask]]:
        """The detector's masks, looked for where people should be, nearest first, as a second look does."""
        order = np.argsort([camera.to_camera(j)[:, 2].mean() for j in joints])
        projected = np.stack([camera.project(joints[k]) for k in order])
        points, _ = map_joints(projected, np.ones(projected.shape[:2]), SKEL19, BLAZEPOSE33)
        low, high = projected.min(1), projected.max(1)
        pad = 0.15 * (high - low).max(-1, keepdims=True)
        found = self.detector.in_crops(image, np.concatenate([low - pad, high + pad], 1), points)
        rows, others = owners_of(found, 0, projected, np.full(projected.shape, np.nan))
        masks: list[PersonMask | None] = [None] * len(joints)
        for k, row in zip(order, rows, strict=True):
            if row >= 0:
                masks[k] = PersonMask.decoded(found.masks[row], found.mask_boxes[row])
        strangers = [i for i in others if found.box_scores[i] > 0]
        return masks, [PersonMask.decoded(found.masks[i], found.mask_boxes[i]) for i in strangers]

    def _vertices(self, parameters: Mapping[str, np.ndarray]) -> np.ndarray:
        """(B, 3) float32 of the body alone."""
        import torch

        with torch.no_grad():
            return self.model(**{k: torch.as_tensor(v) for k, v in parameters.items()}).vertices[0].numpy()

    def _joints(self, parameters: Mapping[str, np.ndarray]) -> np.ndarray:
        """(19, 3)."""
        from pipeline.body.regressor import regress

        return regress(self.model, self.regressor, dict(parameters))[0]


def with_things(
    image: np.ndarray, empty: np.ndarray, labels: np.ndarray, people: int, g: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, empty scene and labels with up to three things in front of people; some belong to the empty scene too."""
    if g.random() > 0.25:
        return image, empty, labels
    image, empty, labels = image.copy(), empty.copy(), labels.copy()
    for _ in range(g.integers(1, 4)):
        rows, columns = np.nonzero(labels == g.integers(1, people + 1))
        if not len(rows):
            continue
        at, tall = g.integers(len(rows)), np.ptp(rows) + 1
        shape = np.zeros(labels.shape, np.uint8)
        centre = (int(columns[at]), int(rows[at]))
        half = g.uniform(0.04, 0.3, 2) * tall * (1.0 if g.random() < 0.6 else g.choice([0.3, 1.6], 2))
        turned = cv2.boxPoints((centre, tuple(np.maximum(2 * half, 4).tolist()), float(g.uniform(-25, 25))))
        if g.random() < 0.7:
            cv2.fillPoly(shape, [turned.astype(np.int32)], 255)
        else:
            cv2.ellipse(shape, centre, tuple(np.maximum(half, 2).astype(int).tolist()), 0, 0, 360, 255, cv2.FILLED)
        soft = cv2.GaussianBlur(shape, (0, 0), 0.6)[..., None] / 255.0
        paint = _paint(image, g)
        image = (image * (1 - soft) + paint * soft).astype(np.uint8)
        if g.random() < 0.7:
            empty = (empty * (1 - soft) + paint * soft).astype(np.uint8)
        labels[soft[..., 0] > 0.5] = 0
    return image, empty, labels


def _paint(image: np.ndarray, g: np.random.Generator) -> np.ndarray:
    """(H, W, 3) what a thing looks like: one colour with noise, or another part of the picture."""
    if g.random() < 0.5:
        shift = g.integers(20, image.shape[1] - 20), g.integers(20, image.shape[0] - 20)
        return np.roll(image, shift, (1, 0)) * g.uniform(0.5, 1.1)
    shade = np.linspace(g.uniform(0.6, 1.0), g.uniform(0.6, 1.0), image.shape[0])[:, None, None]
    return np.clip(g.uniform(10, 245, 3) * shade + g.normal(0, 2, image.shape), 0, 255)


def _known(which: str, camera: Camera, bodies, labels: np.ndarray, g: np.random.Generator) -> np.ndarray:
    """(H, W) bool: where the empty scene was seen."""
    if which == "none":
        return np.zeros(labels.shape, bool)
    if which == "all":
        return np.ones(labels.shape, bool)
    stays = [b[::16] for b in bodies if g.random() < 0.7]
    return ~people_pixels(camera, np.concatenate(stays) if stays else np.zeros((0, 3)), None, 0)
