"""``bodies.npz``, posed body meshes and ``session.glb``.

``bodies.npz``, rotations axis-angle in radians, lengths in metres, NaN where a person has no body. Frames that are not
``valid`` and hold numbers bridge a short gap; meshes and animations show them, so that nobody flickers:

| array | shape |
|---|---|
| frames, time_s, fps, person_ids | (F,) int64, (F,) float64 seconds, float64, (P,) int32 |
| betas | (P, 10) float32 |
| global_orient, transl, jaw_pose | (F, P, 3) float32 |
| body_pose | (F, P, 63) float32 |
| left_hand_pose, right_hand_pose | (F, P, 45) float32, full axis-angle, zero is a flat hand |
| expression | (F, P, 10) float32 |
| valid | (F, P) bool |
| fit_error_m | (F, P) float32, median distance between the body's joints and the triangulated ones |
| model | str, which body model the parameters are for |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pipeline.body.parameters import BodyTrack
from pipeline.export.people import on_timeline, timeline
from pipeline.meshes.colours import person_colour
from pipeline.meshes.glb import Skin, SkinnedPerson, glb_skinned
from pipeline.registration.outwards import Outwards
from pipeline.skeletons import SMPLX55

if TYPE_CHECKING:
    from nets.body import BodyModel

_POSES = ("global_orient", "body_pose", "left_hand_pose", "right_hand_pose", "jaw_pose", "expression", "transl")
_BATCH = 32


def body_arrays(
    bodies: Mapping[int, BodyTrack], fps: float, model: str, *, frames: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """The arrays of ``bodies.npz``.

    Args:
        bodies: by person id.
        fps: frame numbers a second.
        model: name of the body model.
        frames: the session's frames; the union of the bodies' if None.
    """
    ids = sorted(bodies)
    frames = timeline([bodies[i].frames for i in ids], frames)
    widths = {"body_pose": 63, "left_hand_pose": 45, "right_hand_pose": 45, "expression": 10}
    poses = {name: np.full((len(frames), len(ids), widths.get(name, 3)), np.nan, np.float32) for name in _POSES}
    error = np.full((len(frames), len(ids)), np.nan, np.float32)
    valid = np.zeros((len(frames), len(ids)), bool)
    for column, person in enumerate(ids):
        body = bodies[person]
        rows, part_rows = on_timeline(frames, body.frames)
        here = posable(body)[part_rows]
        valid[rows, column] = here & np.asarray(body.valid, bool)[part_rows]
        error[rows, column] = np.where(here, body.fit_error_m[part_rows], np.nan)
        for name, values in poses.items():
            values[rows, column] = np.where(here[:, None], getattr(body, name)[part_rows], np.nan)
    return {
        "frames": frames,
        "time_s": frames / float(fps),
        "fps": np.float64(fps),
        "person_ids": np.array(ids, np.int32),
        "betas": np.array([bodies[i].betas for i in ids], np.float32).reshape(len(ids), 10),
        **poses,
        "valid": valid,
        "fit_error_m": error,
        "model": np.array(model),
    }


def posable(body: BodyTrack) -> np.ndarray:
    """(F,) bool: the frames that hold a whole body, valid or bridging a short gap."""
    whole = np.isfinite(body.betas).all()
    return np.all([np.isfinite(getattr(body, name)).all(-1) for name in _POSES], axis=0) & whole


def posed_vertices(model: BodyModel, body: BodyTrack, rows: np.ndarray) -> np.ndarray:
    """Vertices (N, V, 3) float32, world metres, of the N ``rows`` of a track; NaN where there is no body."""
    import torch

    rows = np.asarray(rows, np.int64)
    out = np.full((len(rows), model.vertex_count, 3), np.nan, np.float32)
    good = np.flatnonzero(posable(body)[rows])
    with torch.no_grad():
        for start in range(0, len(good), _BATCH):
            part = good[start : start + _BATCH]
            poses = {name: torch.as_tensor(getattr(body, name)[rows[part]]).to(model.template) for name in _POSES}
            betas = torch.as_tensor(body.betas).to(model.template)[None]
            out[part] = model(betas=betas, **poses).vertices.float().cpu().numpy()
    return out


def skinned_person(
    model: BodyModel, person_id: int, body: BodyTrack, offsets: np.ndarray | None = None, skin: Skin | None = None
) -> SkinnedPerson:
    """A track as what ``glb_skinned`` takes: the frames with a body, the person's own shape, no facial expression.

    Args:
        offsets: (V,) metres by which the skin is moved out (``pipeline.registration``). skin: its texture.
    """
    good = np.flatnonzero(posable(body))
    array = {name: getattr(model, name).detach().cpu().double().numpy() for name in _MODEL_ARRAYS}
    betas = np.nan_to_num(np.asarray(body.betas, np.float64))
    joints = array["joint_template"] + array["joint_shapedirs"][..., : len(betas)] @ betas
    eyes = np.zeros((len(good), 6))
    parts = (body.global_orient, body.body_pose, body.jaw_pose)
    hands = (body.left_hand_pose, body.right_hand_pose)
    rotations = np.concatenate([*(p[good] for p in parts), eyes, *(h[good] for h in hands)], 1)
    vertices, faces = array["template"] + array["shapedirs"][..., : len(betas)] @ betas, model.faces.cpu().numpy()
    if offsets is not None:
        vertices = Outwards(array["template"], faces).moved(vertices, offsets)
    return SkinnedPerson(
        name=f"person_{person_id}",
        vertices=vertices,
        faces=faces,
        weights=array["weights"],
        joints=joints,
        parents=np.array(model.parents),
        joint_names=SMPLX55.joints,
        frames=np.asarray(body.frames)[good],
        rotations=rotations.reshape(len(good), len(joints), 3),
        root_positions=joints[0] + np.asarray(body.transl, np.float64)[good],
        colour=person_colour(person_id),
        skin=skin,
    )


Dress = tuple[np.ndarray, Skin | None]
"""Offsets (V,) of a registered body and its texture."""


def session_glb(
    model: BodyModel,
    bodies: Mapping[int, BodyTrack],
    up: np.ndarray,
    fps: float,
    span: tuple[int, int],
    dresses: Mapping[int, Dress] | None = None,
) -> bytes:
    """``session.glb``: everybody's body, skinned and animated, dressed where they are registered; see
    ``pipeline.meshes.glb``."""
    dresses = dresses or {}
    people = [skinned_person(model, i, bodies[i], *dresses.get(i, ())) for i in sorted(bodies)]
    return glb_skinned(people, up, fps, span)


_MODEL_ARRAYS = ("template", "shapedirs", "weights", "joint_template", "joint_shapedirs")
