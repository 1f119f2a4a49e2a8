"""4D association: people over time from all cameras' candidates, solved over the whole sequence.

Three kinds of edges (``edges``), limb bundles for beginnings (``bundles``), a draft forwards and backwards in time
(``tracking``); then, because the future is known as well as the past, whole tracks are joined, solved at once as
skeletons (``skeleton``), and every frame is assigned anew from where the solved people are. Ghosts are refused by
evidence over time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pipeline.association.edges import assign, recover, turn_mirrored
from pipeline.association.observations import LIMBS, Observations, check_detections, observe
from pipeline.association.options import AssociationOptions
from pipeline.association.skeleton import BONES, bone_lengths, fill_joints, solve_track
from pipeline.association.tracking import Draft, draft_tracks, gather
from pipeline.association.tracks import Tracks
from pipeline.association.tracks_from import assemble, empty_tracks
from pipeline.association.triangulation import point_to_rays
from pipeline.cameras import Rig, project
from pipeline.keypoints.detections import Detections


def associate(
    rig: Rig,
    detections: Sequence[Detections],
    options: AssociationOptions | None = None,
    progress: Callable[[float], None] | None = None,
) -> Tracks:
    """People over time from the detections of undistorted cameras (one a camera, in the rig's order).

    One camera, or nothing detected, gives nobody. Ids count from 0 in order of first appearance.

    Raises:
        InputError: if detections do not fit the rig or are not well formed.
    """
    options = options or AssociationOptions()
    frames = check_detections(rig, detections)
    if len(frames) == 0 or len(rig) < 2:
        return empty_tracks(frames, len(rig))
    seen = observe(rig, detections, options)
    if not seen.valid.any():
        return empty_tracks(frames, len(rig))
    drafts = draft_tracks(seen, options, progress and (lambda share: progress(0.4 * share)))
    drafts = join_drafts(seen, [d for d in drafts if d.last - d.first + 1 >= options.min_track_frames], options)
    for k in range(options.passes):
        for draft in drafts:
            solve(seen, draft, options, max(1, options.solver_iterations // 2))
        drafts = drop_doubles(drafts, options)
        reassign(seen, drafts, options)
        if progress:
            progress(0.4 + 0.5 * (k + 1) / options.passes)
    for draft in drafts:
        solve(seen, draft, options)
    present = [presence(seen, d, options) for d in drafts]
    if progress:
        progress(1.0)
    drafts, present = refuse_ghosts(seen, drafts, present, options)
    return _deliver(seen, drafts, present)


def join_drafts(seen: Observations, drafts: list[Draft], options: AssociationOptions) -> list[Draft]:
    """Fragments of one person as one: same place at the same time, two halves of one body, or an end that leads to a
    beginning.

    Best pair first, until none is left.
    """
    drafts = sorted(drafts, key=lambda d: d.first)
    while True:
        best, pair = np.inf, None
        for i, a in enumerate(drafts):
            for b in drafts[i + 1 :]:
                cost = _join_cost(seen, a, b, options)
                if cost < best:
                    best, pair = cost, (a, b)
        if pair is None:
            return drafts
        _absorb(*pair)
        drafts = [d for d in drafts if d is not pair[1]]


def _join_cost(seen: Observations, a: Draft, b: Draft, options: AssociationOptions) -> float:
    """How unlike one person two drafts are (a begins first), 0..1; infinite if they cannot be."""
    if b.first <= a.last:  # both at once: one person only if in the same place all the while
        both = slice(b.first, min(a.last, b.last) + 1)
        gap = np.linalg.norm(a.joints[both] - b.joints[both], axis=-1)
        apart = np.median(gap)
        if apart < options.same_person_m:
            return apart / options.same_person_m
        return 1.0 if _halves_of_one(seen, a, b, both) else np.inf
    seconds = (b.first - a.last) / options.fps
    if seconds > options.join_gap_s:
        return np.inf
    apart = np.linalg.norm(b.joints[b.first, 0] - a.joints[a.last, 0])
    allowed = options.join_distance_m + options.join_speed * seconds
    return apart / allowed if apart < allowed else np.inf


def _halves_of_one(seen: Observations, a: Draft, b: Draft, span: slice) -> bool:
    """Whether two drafts share one body: what they hold in a picture hardly ever overlaps, and affinities link it.

    Two different people in one picture each have, say, a left knee; two halves of a person have one between them.
    """
    A, B = a.chosen[span], b.chosen[span]
    has_a, has_b = A >= 0, B >= 0
    together = has_a.any(-1) & has_b.any(-1)
    if together.sum() < len(A):
        return False
    least = min(has_a[together].sum(), has_b[together].sum())
    if (has_a & has_b)[together].sum() > 0.35 * least:
        return False
    middle = [np.where((h.sum(1) >= 2)[..., None], d.joints[span], np.nan) for h, d in ((has_a, a), (has_b, b))]
    known = [np.isfinite(m[..., 0]).any(-1) for m in middle]
    at_once = known[0] & known[1]
    if not at_once.any():
        return False
    apart = np.linalg.norm(np.nanmean(middle[0][at_once], 1) - np.nanmean(middle[1][at_once], 1), axis=-1)
    if np.median(apart) > 1.2:
        return False
    f, c = np.ogrid[span.start : span.stop, : A.shape[1]]
    linked = np.zeros(together.shape, bool)
    for one, other in ((A, B), (B, A)):
        first, second = one[..., LIMBS[:, 0]], other[..., LIMBS[:, 1]]
        affinity = seen.affinity[f[..., None], c[..., None], np.arange(len(LIMBS)), first, second]
        linked |= ((first >= 0) & (second >= 0) & (affinity > 0.3)).any(-1)
    return bool(linked[together].mean() > 0.3)


def _absorb(a: Draft, b: Draft) -> None:
    """b becomes part of a; where both are, the one with more evidence counts and the other completes it."""
    f = np.arange(len(a.evidence))
    in_a, in_b = (f >= a.first) & (f <= a.last), (f >= b.first) & (f <= b.last)
    take = in_b & (~in_a | (b.evidence > a.evidence))
    empty = (in_a & in_b)[:, None, None] & (a.chosen < 0)
    chosen = np.where(empty, b.chosen, a.chosen)
    a.joints[take], a.evidence[take] = b.joints[take], b.evidence[take]
    chosen[take] = np.where((b.chosen < 0) & in_a[:, None, None], a.chosen, b.chosen)[take]
    a.chosen[:] = chosen
    between = (f > a.last) & (f < b.first)
    a.joints[between], a.chosen[between], a.evidence[between] = np.nan, -1, 0
    a.first, a.last = min(a.first, b.first), max(a.last, b.last)


def solve(seen: Observations, draft: Draft, options: AssociationOptions, iterations: int | None = None) -> None:
    """The draft's joints from all its observations at once."""
    span = slice(draft.first, draft.last + 1)
    rays, weights = gather(seen, span, draft.chosen[span, None])
    rays, weights = rays[:, 0], weights[:, 0]
    start = fill_joints(draft.joints[span])
    distance = _ray_gaps(seen, rays, start)
    agree = (weights > 0) & (distance < options.outlier_m)
    lengths = bone_lengths(start, agree.sum(1) >= 2)
    draft.joints[span] = solve_track(seen.centres, rays, weights, start, lengths, options, iterations)


def _ray_gaps(seen: Observations, rays: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """(T, C, 19) metres from joints (T, 19, 3) to rays (T, C, 19, 3)."""
    return np.swapaxes(point_to_rays(seen.centres, np.swapaxes(rays, 1, 2), joints)[0], 1, 2)


def drop_doubles(drafts: list[Draft], options: AssociationOptions) -> list[Draft]:
    """Without drafts that lie on another person for most of their time and have less evidence."""
    kept: list[Draft] = []
    for draft in sorted(drafts, key=lambda d: -int(d.evidence[d.first : d.last + 1].sum())):
        covered = 0
        for other in kept:
            low, high = max(draft.first, other.first), min(draft.last, other.last) + 1
            if high > low:
                gap = np.median(np.linalg.norm(draft.joints[low:high] - other.joints[low:high], axis=-1), axis=1)
                covered += int((gap < options.same_person_m).sum())
        if covered <= 0.5 * (draft.last - draft.first + 1):
            kept.append(draft)
    return sorted(kept, key=lambda d: d.first)


def reassign(seen: Observations, drafts: list[Draft], options: AssociationOptions, block: int = 128) -> None:
    """Candidates of every frame anew, all people at once, from their solved joints."""
    if not drafts:
        return
    for begin in range(0, len(seen.frames), block):
        span = slice(begin, min(begin + block, len(seen.frames)))
        f = np.arange(span.start, span.stop)
        here = [d for d in drafts if d.first < span.stop and d.last >= span.start]
        if not here:
            continue
        inside = np.stack([(f >= d.first) & (f <= d.last) for d in here], 1)
        expected = np.where(inside[..., None, None], np.stack([d.joints[span] for d in here], 1), np.nan)
        radius = np.full(inside.shape, options.temporal_m)
        chosen, _ = assign(seen, span, expected, radius, options)
        found = recover(seen, span, expected, chosen, options)
        turn_mirrored(seen, span, expected, radius, chosen)
        for p, draft in enumerate(here):
            draft.chosen[span] = chosen[:, p]
            draft.joints[span][found[:, p]] = expected[:, p][found[:, p]]


def presence(seen: Observations, draft: Draft, options: AssociationOptions) -> np.ndarray:
    """(F,) bool: frames with enough joints that two views agree on; sets the draft's evidence."""
    span = slice(draft.first, draft.last + 1)
    rays, weights = gather(seen, span, draft.chosen[span, None])
    distance = _ray_gaps(seen, rays[:, 0], draft.joints[span])
    agree = (weights[:, 0] > 0) & (distance < 1.5 * options.outlier_m)
    draft.evidence[:] = 0
    draft.evidence[span] = (agree.sum(1) >= 2).sum(1)
    return draft.evidence >= options.min_evidence_joints


def _share_of_views(seen: Observations, draft: Draft, there: np.ndarray) -> float:
    """Of the views that have the person in the picture (and detect anything at all), the share that saw the person.

    Rays of different people that happen to meet make a ghost in two views, which the other views do not confirm.
    """
    pixels = project(seen.projections[:, None], draft.joints[there][:, None])  # (T, C, 19, 2)
    with np.errstate(invalid="ignore"):
        inside = ((pixels >= 0) & (pixels < seen.sizes[:, None])).all(-1).mean(-1) > 0.6
    working = seen.valid[there].any((-1, -2))
    saw = (draft.chosen[there] >= 0).sum(-1) >= 3
    return float(saw.sum() / max((inside & working | saw).sum(), 1))


def refuse_ghosts(
    seen: Observations, drafts: list[Draft], present: list[np.ndarray], options: AssociationOptions
) -> tuple[list[Draft], list[np.ndarray]]:
    """Without people who were there too briefly, too faintly, outside the volume, or beyond the number allowed."""
    kept = []
    for draft, there in zip(drafts, present, strict=True):
        if options.volume is not None and there.any():
            low, high = (np.asarray(v, np.float64) for v in options.volume)
            hips = draft.joints[:, 0]
            inside = ((hips >= low) & (hips <= high)).all(-1)
            if inside[there].mean() < 0.5:
                continue
        if there.sum() < options.min_track_frames:
            continue
        if np.median(draft.evidence[there]) < options.min_birth_joints:
            continue
        if _share_of_views(seen, draft, there) < options.min_view_share:
            continue
        kept.append((draft, there))
    if options.max_people is not None:
        kept = _at_most(kept, options.max_people)
    kept.sort(key=lambda item: (int(np.flatnonzero(item[1])[0]), -_support(*item)))
    return [k[0] for k in kept], [k[1] for k in kept]


def _support(draft: Draft, there: np.ndarray) -> int:
    """Joints seen, over all cameras and frames."""
    return int((draft.chosen[there] >= 0).sum())


def _at_most(kept: list[tuple[Draft, np.ndarray]], most: int) -> list[tuple[Draft, np.ndarray]]:
    """As many people as are known to be there: those who were never there at once are joined, the most alike in their
    bones first; if all were, the least seen is left out."""
    kept = list(kept)
    while len(kept) > most:
        best, pair = np.inf, None
        for i, (a, in_a) in enumerate(kept):
            for k in range(i + 1, len(kept)):
                b, in_b = kept[k]
                if not (in_a & in_b).any() and (cost := _bones_apart(a, in_a, b, in_b)) < best:
                    best, pair = cost, (i, k)
        if pair is None:
            kept.pop(min(range(len(kept)), key=lambda k: _support(*kept[k])))
            continue
        (a, in_a), (b, in_b) = kept[pair[0]], kept[pair[1]]
        a.joints[in_b], a.chosen[in_b], a.evidence[in_b] = b.joints[in_b], b.chosen[in_b], b.evidence[in_b]
        kept[pair[0]] = (a, in_a | in_b)
        del kept[pair[1]]
    return kept


def _bones_apart(a: Draft, in_a: np.ndarray, b: Draft, in_b: np.ndarray) -> float:
    """Mean difference of two people's bone lengths, metres."""
    lengths = [
        np.median(np.linalg.norm(d.joints[there][:, BONES[:, 0]] - d.joints[there][:, BONES[:, 1]], axis=-1), axis=0)
        for d, there in ((a, in_a), (b, in_b))
    ]
    return float(np.abs(lengths[0] - lengths[1]).mean())


def _deliver(seen: Observations, drafts: list[Draft], present: list[np.ndarray]) -> Tracks:
    if not drafts:
        return empty_tracks(seen.frames, len(seen.centres))
    joints = np.stack([np.where(t[:, None, None], d.joints, np.nan) for d, t in zip(drafts, present, strict=True)], 1)
    chosen = np.stack([d.chosen for d in drafts], 1).astype(np.int64)
    return assemble(seen, joints, chosen)
