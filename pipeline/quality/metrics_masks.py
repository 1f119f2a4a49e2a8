"""How well masks and the silhouettes of surfaces agree. Label images of several people: ``segmentation.figures``."""

from __future__ import annotations

import numpy as np

from pipeline.cameras import Camera


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two masks (H, W) bool; NaN if both are empty."""
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else float("nan")


def silhouette_iou(vertices: np.ndarray, faces: np.ndarray, camera: Camera, mask: np.ndarray) -> float:
    """IoU of a mesh (V, 3) metres, (T, 3) as a camera sees it, lens distortion included, with a mask (H, W)."""
    from pipeline.raster_open3d import Open3DRaster

    if not len(faces):
        return iou(np.zeros_like(mask, bool), np.asarray(mask, bool))
    return iou(Open3DRaster(threads=1).render(vertices, faces, camera).hit, np.asarray(mask, bool))
