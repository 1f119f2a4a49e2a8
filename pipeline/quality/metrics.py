"""The measures that benchmarks and reports use, by what they measure. Each is tested against exact answers.

Surfaces (``metrics_surface``): Chamfer, point-to-surface, normal consistency, seen and unseen. Motion
(``metrics_motion``): flicker, relief left, acceleration. Masks (``metrics_masks``, ``segmentation.figures``): IoU,
silhouettes, boundaries, identities. Joints (``metrics_pose``): MPJPE, Procrustes, PCP, PCK; by published rules in
``metrics_protocols``. Boxes (``nets.metrics_boxes``): average precision.
"""

from nets.metrics_boxes import (
    ImageBoxes,
    average_precision,
    box_ious,
    false_people,
    mean_average_precision,
)
from pipeline.quality.metrics_masks import iou, silhouette_iou
from pipeline.quality.metrics_motion import acceleration_mm, amplitude_ratio, flicker_mm, offsets_along_normals
from pipeline.quality.metrics_pose import (
    auc,
    joint_errors,
    limbs_right,
    match,
    mean_joint_distance,
    mpjpe_mm,
    pa_mpjpe_mm,
    pck,
    procrustes,
)
from pipeline.quality.metrics_surface import (
    EMPTY_CM,
    SAMPLES,
    NearestSurface,
    SurfaceScore,
    normalising_scale,
    sample_surface,
    score_surface,
    seen_by,
)
from pipeline.segmentation.figures import MaskFigures, boundary_error

__all__ = [
    "EMPTY_CM", "SAMPLES", "ImageBoxes", "MaskFigures", "NearestSurface", "SurfaceScore", "acceleration_mm",
    "amplitude_ratio", "auc", "average_precision", "boundary_error", "box_ious", "false_people", "flicker_mm", "iou",
    "joint_errors", "limbs_right", "match", "mean_average_precision", "mean_joint_distance", "mpjpe_mm",
    "normalising_scale", "offsets_along_normals", "pa_mpjpe_mm", "pck", "procrustes", "sample_surface",
    "score_surface", "seen_by", "silhouette_iou",
]  # fmt: skip
