"""What can be set in association. One set of defaults serves every capture."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AssociationOptions:
    """Distances are metres and times seconds, so that nothing depends on resolution or frame rate.

    Attributes:
        fps: frames per second of the frames given (after taking every step-th one): what turns times into frames.
        max_people: at most this many people in the session: tracks that were never there at once are then joined, and
            the least seen are left out. None leaves the number open.
        volume: ((x, y, z) least, (x, y, z) greatest) in world metres; people whose hips are outside are left out.
            None: no limit.
        min_track_frames: people seen in fewer frames are refused.
        min_score: 2D joints scoring less are ignored.
        affinity_exponent: part affinities are raised to this power (weak but present affinities count).
        epipolar_m: rays of two views that pass each other farther than this are not the same joint.
        temporal_m: a ray that passes the expected joint farther than this is not that joint.
        weight_temporal, weight_parsing, weight_epipolar: of the three kinds of edges in a joint's score.
        min_joint_score: joints scoring less (-1..1) are not assigned.
        min_birth_joints: joints triangulated from two or more views that a new person must have.
        half_body_s: people of whom only the upper or the lower half is found begin only after this long.
        min_evidence_joints: joints seen in two or more views that make a person present in a frame.
        min_view_share: of the views that ought to see a person, the share that must (over the whole track).
        max_unseen_s: a track without evidence for longer ends.
        join_gap_s: ends and beginnings of tracks at most this far apart in time may be one person.
        join_speed: and at most this fast between them, metres a second (plus ``join_distance_m``).
        join_distance_m: see ``join_speed``.
        same_person_m: two tracks whose joints are closer than this (median) are one person seen twice.
        observation_m: standard deviation of where detectors see a joint, metres at the joint's distance.
        outlier_m: observations farther off than this count for little in a joint's position.
        acceleration: standard deviation of a joint's acceleration, metres per second squared.
        bone_m: standard deviation of a bone's length about the person's own, metres.
        shape_m: standard deviation of an unseen joint about where it usually is, metres.
        passes: how often observations are assigned anew to whole solved tracks.
        solver_iterations: most steps of the track solver in the end; while assigning anew, half as many.
    """

    fps: float = 30.0
    max_people: int | None = None
    volume: tuple[tuple[float, float, float], tuple[float, float, float]] | None = None
    min_track_frames: int = 5
    min_score: float = 0.1
    affinity_exponent: float = 0.2
    epipolar_m: float = 0.15
    temporal_m: float = 0.25
    weight_temporal: float = 2.0
    weight_parsing: float = 1.0
    weight_epipolar: float = 1.0
    min_joint_score: float = 0.1
    min_birth_joints: int = 7
    half_body_s: float = 0.4
    min_evidence_joints: int = 3
    min_view_share: float = 0.5
    max_unseen_s: float = 0.6
    join_gap_s: float = 1.5
    join_speed: float = 1.5
    join_distance_m: float = 0.4
    same_person_m: float = 0.2
    observation_m: float = 0.04
    outlier_m: float = 0.10
    acceleration: float = 12.0
    bone_m: float = 0.015
    shape_m: float = 0.25
    passes: int = 2
    solver_iterations: int = 4
