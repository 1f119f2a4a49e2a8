"""The measures that benchmarks and reports use, by what they measure. Each is tested against exact answers.

Surfaces (``metrics_surface``): Chamfer, point-to-surface, normal consistency, seen and unseen. Motion
(``metrics_motion``): flicker, relief left, acceleration. Masks (``metrics_masks``): IoU, boundaries, identities,
silhouettes. Joints (``metrics_pose``): MPJPE, Procrustes, PCP, PCK. Boxes (``metrics_detection``): average precision.
"""

from pipeline.quality.metrics_detection import (
    ImageBoxes,
    average_precision,
    box_ious,
    false_people,
    mean_average_precision,
)
from pipeline.quality.metrics_masks import (
    boundary_error_px,
    identity_swaps,
    iou,
    label_ious,
    label_overlap,
    match_people,
    silhouette_iou,
)
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

__all__ = [
    "EMPTY_CM", "SAMPLES", "ImageBoxes", "NearestSurface", "SurfaceScore", "acceleration_mm", "amplitude_ratio", "auc",
    "average_precision", "boundary_error_px", "box_ious", "false_people", "flicker_mm", "identity_swaps", "iou",
    "joint_errors", "label_ious", "label_overlap", "limbs_right", "match", "match_people", "mean_average_precision",
    "mean_joint_distance", "mpjpe_mm", "normalising_scale", "offsets_along_normals", "pa_mpjpe_mm", "pck", "procrustes",
    "sample_surface", "score_surface", "seen_by", "silhouette_iou",
]  # fmt: skip
