"""The bodies of a still's people as meshes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.export.meshes import encode_meshes
from pipeline.meshes.colours import person_colour
from pipeline.meshes.geometry import vertex_normals
from pipeline.meshes.glb import StillMesh
from pipeline.stills.people import StillPeople

if TYPE_CHECKING:
    from nets.body import BodyModel

_BATCH = 16


def vertices_of(model: BodyModel, people: StillPeople) -> list[np.ndarray]:
    """N vertex arrays (V, 3) float32, metres, camera axes. Hands are relaxed."""
    import torch

    out: list[np.ndarray] = []
    hands = model.relaxed_hands
    names = ("global_orient", "body_pose", "betas", "transl")
    with torch.no_grad():
        for start in range(0, len(people), _BATCH):
            rows = slice(start, start + _BATCH)
            parts = {n: torch.as_tensor(getattr(people, n)[rows]).to(model.template) for n in names}
            posed = model(**parts, left_hand_pose=hands[None, :45], right_hand_pose=hands[None, 45:])
            out += list(posed.vertices.float().cpu().numpy())
    return out


def mesh_files(
    meshes: Sequence[np.ndarray], faces: np.ndarray, formats: Sequence[str], up: np.ndarray
) -> dict[str, bytes | str]:
    """Everybody in one file a format, by its suffix; nothing where there is nobody."""
    stills = [
        StillMesh(f"person_{k}", vertices, faces, person_colour(k), vertex_normals(vertices, faces))
        for k, vertices in enumerate(meshes)
    ]
    return {kind: encode_meshes(kind, stills, up, "axes of the camera") for kind in formats} if stills else {}
