"""How a body is fitted, in physical units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class FitOptions:
    """Options of ``fit_track``.

    Attributes:
        fps: frames a second of the session; frame numbers divided by it are the times.
        landmarks: joint set of the detector that the track comes from (``pipeline.body.landmarks``): where its
            landmarks lie on the body. Empty for tracks of joint centres.
        window_frames: longest run of frames solved in one batch (about 0.6 MB each); longer tracks are cut into
            windows that share one shape.
        overlap_frames: frames that neighbouring windows share and blend over.
        max_gap_s: gaps without observations up to this long are bridged by the body's motion, and marked not valid.
        min_joints: a frame with fewer joints seen by two cameras (of 19) is "too few joints".
        max_fit_error_m: median distance between fitted and triangulated landmarks above which a frame is
            "large residual".
        max_residual_share: the same for reprojection, as a share of the person's height in the image.
        max_speed_m_s: pelvis speed above which a frame is "implausible speed" (the fastest sprinters reach 12.4).
        max_beyond_range_rad: a joint turned further than this beyond its anatomical range makes a frame "joint beyond
            its range" (20 degrees: ranges end softly, and boxes in rotation vectors are crude).
        max_below_floor_m: a frame in which the whole of a foot's sole is deeper than this is "below the floor".
        stature_m: least and greatest length from the soles to the top of the unposed body; outside, the whole
            track is "implausible shape".
        max_beta: the same for the largest beta, in standard deviations of the shape space.
        landmark_bias_m: how far a detector's landmarks lie from the body's points, the same way in every frame. It
            bounds what any number of frames can say about the shape. With 1.5 cm, vertices of exact landmarks were 0.4
            mm worse, with 0.6 cm shapes of rendered people 1.5 mm.
        acceleration_m_s2: typical acceleration of body points; larger lets faster motion through and more noise.
        turn_acceleration_rad_s2: typical angular acceleration of joints.
        offsets: estimate, for each track, how landmarks lie off where ``landmarks`` says. Off: limb lengths and offsets
            explain each other, and one track cannot tell them apart.
        offset_m: typical size of such an offset.
        floor: height of the floor along the rig's up, metres; "auto": found from resting feet, if they agree; None: no
            floor.
        repair_swaps: undo left-right confusions of detectors before and during the fit.
        iterations: most iterations of each stage.
    """

    fps: float = 30.0
    landmarks: str = ""
    window_frames: int = 300
    overlap_frames: int = 30
    max_gap_s: float = 0.5
    min_joints: int = 8
    max_fit_error_m: float = 0.10
    max_residual_share: float = 0.08
    max_speed_m_s: float = 12.5
    max_beyond_range_rad: float = 0.35
    max_below_floor_m: float = 0.10
    stature_m: tuple[float, float] = (0.9, 2.4)
    max_beta: float = 5.0
    landmark_bias_m: float = 0.010
    acceleration_m_s2: float = 10.0
    turn_acceleration_rad_s2: float = 60.0
    offsets: bool = False
    offset_m: float = 0.02
    floor: float | Literal["auto"] | None = "auto"
    repair_swaps: bool = True
    iterations: int = 30
