"""Pictures of what a surface network was given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from pipeline.surface.prepare import Prepared

SHEET_CELL = 256


def inputs_sheet(prepared: Prepared) -> np.ndarray:
    """A row a view: the crop, the mask (white; red where somebody may be in front), body normals, body depth, and the
    normals predicted, as far as they are there."""
    rows = []
    for v in range(len(prepared.cameras)):
        rgb, mask = prepared.rgb[v], prepared.mask[v]
        masks = np.repeat(mask[..., None], 3, 2)
        masks[prepared.blocked[v]] = (200, 40, 40)
        cells = [rgb, masks]
        if prepared.global_normals is not None:
            cells.append(prepared.global_normals[v])
        if prepared.depth is not None:
            cells.append(_depth_picture(prepared.depth[v]))
        if prepared.normals is not None:
            cells.append(prepared.normals[v])
        size = (SHEET_CELL, SHEET_CELL)
        row = np.hstack([cv2.resize(c, size, interpolation=cv2.INTER_AREA) for c in cells])
        rows.append(cv2.putText(row, prepared.cameras[v], (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1))
    return np.vstack(rows)


def _depth_picture(depth: np.ndarray) -> np.ndarray:
    hit = depth > 0
    low, high = (depth[hit].min(), depth[hit].max()) if hit.any() else (0, 1)
    grey = np.where(hit, 255 - 200 * (depth.astype(float) - low) / max(int(high) - int(low), 1), 0)
    return np.repeat(grey.astype(np.uint8)[..., None], 3, 2)
