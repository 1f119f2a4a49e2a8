"""Stills: people found in single pictures, at low and at high resolution, against known joints and boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Literal

import numpy as np
from pydantic import Field

from data.datasets.stills import StillPerson
from nets.metrics_boxes import box_ious
from pipeline.config import NAME, Number, Section
from pipeline.errors import InputError
from pipeline.quality.metrics import ImageBoxes, average_precision, false_people, match
from pipeline.quality.metrics_protocols import PosePicture, mupots_pck, panoptic_crmh_mm, panoptic_romp_mm, strict
from pipeline.skeletons import H36M17, SKEL19, JointSet, map_matrix
from tasks.benchmarks.benchmark import Benchmark, Request, Row
from tasks.benchmarks.still_methods import Finder, FoundPeople, open_finder, roots_of
from tasks.benchmarks.still_pictures import StillsDatasetConfig, TestPicture, open_pictures

HEIGHTS = {"small": (0.0, 32.0), "medium": (32.0, 96.0), "large": (96.0, np.inf)}
"""Pixels of the picture."""
HIDDEN = 0.6
"""People of whom less is seen are hidden."""

MEASURES = {
    "mpjpe_mm": 1, "mpjpe_constant_mm": 1, "mpjpe_strict_mm": 1, "pa_mpjpe_mm": 1, "pck150": 1, "pck150_matched": 1,
    "recall": 3, "mpjpe_hidden_mm": 1, "mpjpe_open_mm": 1, "mpjpe_crmh_mm": 1, "mpjpe_romp_mm": 1, "pck_all": 1,
    "pck_matched": 1, "keypoint_share": 3, "pckh50": 1, "box_ap": 1, "box_ap_small": 1, "box_ap_medium": 1,
    "box_ap_large": 1, "false_people": 2,
}  # fmt: skip


class StillsBenchmark(Section):
    """See configs/benchmarks/stills.yaml."""

    output: str = Field(description="Folder for synthetic pictures.")
    dataset: StillsDatasetConfig = Field(StillsDatasetConfig(), description="See StillsDatasetConfig.")
    pictures: int | None = Field(200, ge=1, description="Most pictures; null: all of the data set.")
    methods: dict[str, str] = Field(min_length=1, description="Name of a row -> landmarks, open, or a path of weights.")
    categories: list[Literal["low", "high"]] = Field(["low", "high"], min_length=1, description="Resolutions.")
    low_size: list[int] | None = Field(
        None, min_length=2, max_length=2, description="[width, height] pixels that low pictures fit into; null: the "
        "network's own."
    )
    threshold: Number = Field(0.5, ge=0, le=1, description="Least score of people, in all measures but box_ap.")


def run(config: StillsBenchmark, request: Request) -> list[Row]:
    """One row a method and resolution."""
    for name in config.methods:
        if not NAME.fullmatch(name):
            raise InputError(f"{request.path}: methods", f"{name!r} is no plain name", "Use letters, digits, _ . and -")
    root = None if config.dataset.root is None else request.resolve(config.dataset.root)
    made = request.resolve(config.output) / "pictures"
    pictures = open_pictures(config.dataset, root, made, config.pictures, request.tell)
    low = None if config.low_size is None else (config.low_size[0], config.low_size[1])
    finders = {n: open_finder(n, w, request.resolve, low) for n, w in config.methods.items()}
    everything = list(pictures.each())
    if not everything:
        raise InputError(f"{request.path}: dataset", "has no pictures", "Check root, split and step")
    rows = []
    for name, finder in finders.items():
        for category in config.categories:
            figures = score(everything, finder, pictures.joint_set, category == "low", config)
            settings = {"method": name, "category": category, "dataset": config.dataset.name}
            rows.append({**settings, "pictures": len(everything), **figures})
            request.tell(f"stills: {name}, {category}")
    return rows


def score(
    pictures: Sequence[TestPicture], finder: Finder, joint_set: JointSet | None, low: bool, config: StillsBenchmark
) -> dict[str, float]:
    """All measures that the data set lets tell."""
    asked = SKEL19 if joint_set is None else joint_set
    found = [finder(p.read(), p.K, asked, low) for p in pictures]
    images = [
        ImageBoxes(_stack([q.box for q in p.people], 4), f.boxes, f.scores, _ignored(p))
        for p, f in zip(pictures, found, strict=True)
    ]
    out = {"box_ap": 100 * average_precision(images), "false_people": false_people(images, 0.5, config.threshold)}
    out |= {f"box_ap_{k}": 100 * average_precision(images, height_px=h) for k, h in HEIGHTS.items()}
    if joint_set is None:
        return out
    sure = [_sure(f, config.threshold) for f in found]
    out |= _keypoints(pictures, sure)
    poses = [_pose_picture(p, f, joint_set) for p, f in zip(pictures, sure, strict=True)]
    if not any(np.isfinite(p.truth).any() for p in poses):
        return out
    roots = roots_of(joint_set)
    out |= asdict(strict(poses, roots))
    out["mpjpe_constant_mm"] = strict(_in_one_pose(poses, roots), roots).mpjpe_mm
    seen = {id(pose): p.seen for pose, p in zip(poses, pictures, strict=True)}
    for key, chosen in (("hidden", lambda p: seen[id(p)] < HIDDEN), ("open", lambda p: seen[id(p)] >= HIDDEN)):
        if any(np.isfinite(s).any() for s in seen.values()):
            out[f"mpjpe_{key}_mm"] = strict(poses, roots, chosen=chosen).mpjpe_mm
    return out | _published(pictures, poses, joint_set, config.dataset.name, finder, low, config.threshold)


def _published(pictures, poses, joint_set, dataset: str, finder: Finder, low: bool, threshold: float):
    """Figures by the rules of the data set's own papers."""
    if dataset == "mupots":
        universal = [
            replace(pose, truth=_stack([q.universal for q in p.people], len(joint_set), 3))
            for pose, p in zip(poses, pictures, strict=True)
        ]
        return {"pck_all": mupots_pck(universal, False), "pck_matched": mupots_pck(universal, True)}
    if dataset != "panoptic":
        return {}
    matrix = map_matrix(joint_set, H36M17)
    again = []
    for pose, p in zip(poses, pictures, strict=True):
        found = _sure(finder(p.read(), p.K, H36M17, low), threshold)
        again.append(replace(pose, found=found.joints, found_pixels=found.pixels, found_boxes=found.boxes,
                             scores=found.scores, truth=_mapped(pose.truth, matrix),
                             truth_pixels=_mapped(pose.truth_pixels, matrix)))  # fmt: skip
    return {"mpjpe_crmh_mm": panoptic_crmh_mm(again), "mpjpe_romp_mm": panoptic_romp_mm(again)}


def _mapped(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (T, S, D) in another joint set; NaN for joints that are not known or not there."""
    used = matrix > 0
    out = np.einsum("js,tsd->tjd", matrix, np.nan_to_num(points))
    known = np.isfinite(points).all(-1)
    whole = used.any(1) & ~(used[None] & ~known[:, None]).any(-1)
    return np.where(whole[..., None], out, np.nan)


def _keypoints(pictures: Sequence[TestPicture], found: Sequence[FoundPeople]) -> dict[str, float]:
    """Share of people who were found, by their boxes, and 2D errors of their labelled joints: as a share of the box's
    height, and MPII's PCKh."""
    shares, near, there, hits = [], [], 0, 0
    for p, f in zip(pictures, found, strict=True):
        overlap = box_ious(_stack([q.box for q in p.people], 4), f.boxes)
        there += sum(not q.ignored for q in p.people)
        for t, k in match(np.where(overlap >= 0.5, 1 - overlap, np.nan)):
            person: StillPerson = p.people[t]
            away = np.linalg.norm(f.pixels[k] - person.keypoints, axis=-1)
            known = np.isfinite(away)
            hits += not person.ignored
            if person.ignored or not known.any():
                continue
            shares.append(float(away[known].mean() / max(person.box[3] - person.box[1], 1.0)))
            if np.isfinite(person.head_px):
                near += (away[known] <= 0.5 * person.head_px).tolist()
    out = {
        "recall": hits / there if there else float("nan"),
        "keypoint_share": float(np.mean(shares)) if shares else float("nan"),
    }
    return out | ({"pckh50": 100 * float(np.mean(near))} if near else {})


def _pose_picture(picture: TestPicture, found: FoundPeople, joint_set: JointSet) -> PosePicture:
    count = len(joint_set)
    return PosePicture(
        found.joints, found.pixels, found.boxes, found.scores,
        _stack([q.joints for q in picture.people], count, 3), _stack([q.keypoints for q in picture.people], count, 2),
        _stack([q.box for q in picture.people], 4), _ignored(picture), picture.sequence,
    )  # fmt: skip


def _in_one_pose(poses: Sequence[PosePicture], roots: Sequence[int]) -> list[PosePicture]:
    """The same finds, all in the mean of the true poses: the least that tells of poses has to do better."""
    away = np.concatenate([p.truth[~p.ignored] - p.truth[~p.ignored][:, roots].mean(1, keepdims=True) for p in poses])
    known = np.isfinite(away).all(-1, keepdims=True)
    mean = np.where(known, away, 0).sum(0) / np.maximum(known.sum(0), 1)
    return [replace(p, found=p.found[:, roots].mean(1, keepdims=True) + mean) for p in poses]


def _ignored(picture: TestPicture) -> np.ndarray:
    return np.array([q.ignored for q in picture.people], bool)


def _sure(found: FoundPeople, threshold: float) -> FoundPeople:
    keep = found.scores >= threshold
    return FoundPeople(found.boxes[keep], found.scores[keep], found.joints[keep], found.pixels[keep])


def _stack(rows: Sequence[np.ndarray], *shape: int) -> np.ndarray:
    return np.array(rows, np.float64).reshape(-1, *shape)


BENCHMARK = Benchmark(StillsBenchmark, run, MEASURES)
