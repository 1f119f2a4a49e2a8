"""A plain association: whole instances matched over views and from frame to frame, joints triangulated one by one.

The baseline that the 4D graph (``pipeline.association.graph``) is measured against; same call, same result type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from pipeline.association.observations import LIMBS, Observations, check_detections, observe, ray_distance
from pipeline.association.options import AssociationOptions
from pipeline.association.skeleton import fill_joints
from pipeline.association.tracks import Tracks
from pipeline.association.tracks_from import assemble, empty_tracks
from pipeline.association.triangulation import point_to_rays, triangulate_robust
from pipeline.cameras import Rig
from pipeline.keypoints.detections import Detections


def associate(
    rig: Rig,
    detections: Sequence[Detections],
    options: AssociationOptions | None = None,
    progress: Callable[[float], None] | None = None,
) -> Tracks:
    """People over time from the detections of undistorted cameras (one a camera, in the rig's order).

    Raises:
        InputError: if detections do not fit the rig or are not well formed.
    """
    options = options or AssociationOptions()
    frames = check_detections(rig, detections)
    if len(frames) == 0 or len(rig) < 2:
        return empty_tracks(frames, len(rig))
    seen = observe(rig, detections, options)
    live: list[dict] = []
    done: list[dict] = []
    for f in range(len(frames)):
        instances = [_instances(seen, f, c) for c in range(len(rig))]
        _follow(seen, f, instances, live, options)
        _begin(seen, f, instances, live, options)
        for track in [t for t in live if f - t["last"] > options.max_unseen_s * options.fps]:
            live.remove(track)
            done.append(track)
        if progress:
            progress((f + 1) / len(frames))
    tracks = [t for t in done + live if len(t["frames"]) >= options.min_track_frames]
    tracks.sort(key=lambda t: t["frames"][0])
    return _deliver(seen, tracks, detections)


def _instances(seen: Observations, f: int, c: int) -> list[np.ndarray]:
    """Instances of one picture: (19,) candidate indices each, -1 for none."""
    if (seen.rows[f, c] >= 0).any():
        found = []
        for row in np.unique(seen.rows[f, c][seen.rows[f, c] >= 0]):
            hit = seen.rows[f, c] == row
            found.append(np.where(hit.any(1), hit.argmax(1), -1))
        return found
    return _parse(seen.affinity[f, c])


def _parse(affinity: np.ndarray) -> list[np.ndarray]:
    """Group candidates of one picture along limbs, best affinity first."""
    limb, a, b = np.nonzero(affinity > 0)
    people: list[np.ndarray] = []
    owner: dict[tuple[int, int], int] = {}
    for k in np.argsort(-affinity[limb, a, b]):
        ends = (LIMBS[limb[k], 0], a[k]), (LIMBS[limb[k], 1], b[k])
        held = [owner.get(e) for e in ends]
        if held[0] is None and held[1] is None:
            held[0] = len(people)
            people.append(np.full(19, -1))
        if None in held:
            p = held[0] if held[1] is None else held[1]
            for joint, n in ends:
                if people[p][joint] < 0:
                    people[p][joint] = n
                    owner[(joint, n)] = p
        elif held[0] != held[1]:
            p, q = sorted(held)
            if not ((people[p] >= 0) & (people[q] >= 0)).any():
                people[p] = np.maximum(people[p], people[q])
                owner.update({e: p for e, o in owner.items() if o == q})
                people[q] = np.full(19, -1)
    return [p for p in people if (p >= 0).sum() >= 3]


def _rays(seen: Observations, f: int, c: int, instance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rays (19, 3) and weights (19,) of one instance."""
    take = np.maximum(instance, 0)
    j = np.arange(19)
    return seen.rays[f, c, j, take], np.where(instance >= 0, seen.scores[f, c, j, take], 0.0)


def _follow(seen, f, instances, live, options) -> None:
    """Give instances to the tracks that expect them, camera by camera; used instances leave the lists."""
    given = [{} for _ in live]
    for c, found in enumerate(instances):
        if not found or not live:
            continue
        cost = np.full((len(live), len(found)), 1e3)
        for i, instance in enumerate(found):
            rays, weights = _rays(seen, f, c, instance)
            for p, track in enumerate(live):
                distance, _ = point_to_rays(seen.centres[c][None], rays[:, None], track["joints"][-1])
                shared = (weights > 0) & np.isfinite(distance[:, 0])
                if shared.sum() >= 3:
                    cost[p, i] = np.median(distance[shared, 0])
        for p, i in zip(*linear_sum_assignment(cost), strict=True):
            if cost[p, i] < options.temporal_m:
                given[p][c] = found[i]
        used = [id(g[c]) for g in given if c in g]
        instances[c] = [i for i in found if id(i) not in used]
    for track, views in zip(live, given, strict=True):
        _extend(seen, f, track, views, options)


def _extend(seen, f, track, views, options) -> bool:
    """Triangulate a person's instances in a frame and append them; False without evidence in two views."""
    C = len(seen.centres)
    rays, weights = np.zeros((19, C, 3)), np.zeros((19, C))
    chosen = np.full((C, 19), -1)
    for c, instance in views.items():
        rays[:, c], weights[:, c] = _rays(seen, f, c, instance)
        chosen[c] = instance
    joints, agrees = triangulate_robust(seen.centres, rays, weights, options.outlier_m)
    if np.isfinite(joints[:, 0]).sum() < options.min_evidence_joints:
        return False
    chosen[~agrees.T] = -1
    track["joints"].append(joints)
    track["chosen"].append(chosen)
    track["frames"].append(f)
    track["last"] = f
    return True


def _begin(seen, f, instances, live, options) -> None:
    """New people from instances nobody expected: groups of at least two views whose rays meet."""
    nodes = [(c, i) for c, found in enumerate(instances) for i in found if (i >= 0).sum() >= 5]
    if len({c for c, _ in nodes}) < 2:
        return
    data = [_rays(seen, f, c, i) for c, i in nodes]
    pairs = []
    for a in range(len(nodes)):
        for b in range(a + 1, len(nodes)):
            if nodes[a][0] == nodes[b][0]:
                continue
            ca, cb = seen.centres[nodes[a][0]], seen.centres[nodes[b][0]]
            shared = (data[a][1] > 0) & (data[b][1] > 0)
            if shared.sum() >= 5:
                gap = np.median(ray_distance(ca, data[a][0][shared], cb, data[b][0][shared]))
                if gap < options.epipolar_m / 2:
                    pairs.append((gap, a, b))
    group = {a: {a} for a in range(len(nodes))}
    for _, a, b in sorted(pairs):
        union = group[a] | group[b]
        if len({nodes[k][0] for k in union}) == len(union):
            for k in union:
                group[k] = union
    for members in {id(g): g for g in group.values() if len(g) >= 2}.values():
        track = {"joints": [], "chosen": [], "frames": [], "last": f}
        if _extend(seen, f, track, {nodes[k][0]: nodes[k][1] for k in members}, options):
            known = np.isfinite(track["joints"][0][:, 0]).sum() >= options.min_birth_joints
            if known and not any(_distance(t["joints"][-1], track["joints"][0]) < options.same_person_m for t in live):
                live.append(track)


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """Median distance of the joints (19, 3) that both have, metres."""
    gap = np.linalg.norm(a - b, axis=1)
    return float(np.median(gap[np.isfinite(gap)])) if np.isfinite(gap).any() else np.inf


def _deliver(seen: Observations, tracks: list[dict], detections: Sequence[Detections]) -> Tracks:
    F, P, C = len(seen.frames), len(tracks), len(seen.centres)
    joints = np.full((F, P, 19, 3), np.nan)
    chosen = np.full((F, P, C, 19), -1)
    for p, track in enumerate(tracks):
        filled = fill_joints(np.array(track["joints"]))
        joints[track["frames"], p] = filled
        chosen[track["frames"], p] = track["chosen"]
    return assemble(seen, joints, chosen)
