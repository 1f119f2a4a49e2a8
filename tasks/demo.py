"""``demo``: a small synthetic capture with known ground truth, everything run on it, and the error against it."""

from __future__ import annotations

import json
import multiprocessing
import time
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from pipeline.config import load_session
from pipeline.errors import InputError
from pipeline.files import write_atomic

SESSION = """\
# Made by `run_pipeline.py demo`: two synthetic people, six cameras. Edit it and run it like any session.
session: demo
output: run
capture:
  calibration: capture/calibration.toml
  videos: capture/videos/{camera}.mp4
# Surfaces of a few frames, at a coarse resolution, so that the demo stays short. Leave this out for all frames at 512.
surface: {resolution: 256, frames: {start: 18, stop: 21}}
"""


def command(folder: Path, workers: int | None) -> int:
    """Make the capture (unless it is there), run all stages, print the error against the ground truth."""
    from tasks.commands import run_one
    from tasks.run import Request

    started = time.monotonic()
    folder = folder.expanduser().resolve()
    _claim(folder)
    capture = folder / "capture"
    if not (capture / "ground_truth.npz").exists():
        print("making a synthetic capture: two people, six cameras", flush=True)
        _in_child(_make_capture, capture)
    if not (folder / "session.yaml").exists():
        write_atomic(folder / "session.yaml", SESSION)
    session = load_session(folder / "session.yaml")
    code = run_one(session, Request(), workers)
    skeletons = session.output / "export" / "skeletons.npz"
    if skeletons.exists():
        error = joint_errors(skeletons, capture / "ground_truth.npz")
        write_atomic(folder / "error.json", json.dumps(error, indent=1) + "\n")
        print(text(error))
    print(f"report: {session.output / 'export' / 'report.html'}")
    print(f"demo finished in {time.monotonic() - started:.0f} s")
    return code


def _claim(folder: Path) -> None:
    """Refuse to scatter files over a folder that holds something else."""
    ours = {"capture", "session.yaml", "run", "error.json", "identities.yaml"}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        foreign = [p.name for p in folder.iterdir() if p.name not in ours and not p.name.startswith(".")]
    except OSError as error:
        raise InputError("--out", f"{folder} cannot be used ({error.strerror})", "Choose a writable folder") from None
    if foreign:
        raise InputError("--out", f"{folder} holds other files ({foreign[0]})", "Give an empty or new folder")


def _in_child(function, *arguments) -> None:
    """Run in a process of its own: this one forks later and must not load torch or Open3D."""
    process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise InputError("demo", "the synthetic capture could not be made", "See the message above")


def _make_capture(folder: Path) -> None:
    from tqdm import tqdm

    from data.synthetic.capture import make_demo_capture

    with tqdm(total=100, unit="%", disable=None) as bar:
        make_demo_capture(folder, progress=lambda fraction: bar.update(round(100 * fraction) - bar.n))


def joint_errors(skeletons: Path, truth: Path) -> dict:
    """Distances between exported and true SKEL-19 joints, metres in, millimetres out.

    People are matched one to one by their mean distance over the frames that both have.

    Returns:
        people_true, people_found, coverage (share of true person-frames that were found), joint_mean_mm,
        joint_median_mm, joint_p95_mm, and joints: name -> mean millimetres.
    """
    with np.load(skeletons, allow_pickle=False) as found, np.load(truth, allow_pickle=False) as true:
        rows = np.searchsorted(true["frames"], found["frames"])
        here, there = found["joints"].astype(np.float64), true["joints"][rows].astype(np.float64)
        names = [str(n) for n in found["joint_names"]]
    distance = np.linalg.norm(here[:, :, None] - there[:, None], axis=-1)  # F, found, true, joint
    with np.errstate(invalid="ignore"):
        cost = np.nan_to_num(np.nanmean(np.where(np.isfinite(distance), distance, np.nan), axis=(0, 3)), nan=1e3)
    pairs = [(i, j) for i, j in zip(*linear_sum_assignment(cost), strict=True) if cost[i, j] < 1.0]
    matched = np.concatenate([distance[:, i, j] for i, j in pairs]) if pairs else np.full((1, len(names)), np.nan)
    present = sum(np.isfinite(distance[:, i, j]).all(-1).sum() for i, j in pairs)
    millimetres = 1000 * matched[np.isfinite(matched).all(-1)]
    return {
        "people_true": there.shape[1],
        "people_found": here.shape[1],
        "coverage": float(present / max(1, np.isfinite(there[..., 0]).all(-1).sum())),
        "joint_mean_mm": float(millimetres.mean()) if len(millimetres) else None,
        "joint_median_mm": float(np.median(millimetres)) if len(millimetres) else None,
        "joint_p95_mm": float(np.quantile(millimetres, 0.95)) if len(millimetres) else None,
        "joints": {n: float(v) for n, v in zip(names, millimetres.mean(0), strict=True)} if len(millimetres) else {},
    }


def text(error: dict) -> str:
    """The figures for people."""
    if error["joint_mean_mm"] is None:
        return f"nobody of the {error['people_true']} true people was found"
    worst = sorted(error["joints"].items(), key=lambda item: -item[1])[:3]
    return (
        f"against the ground truth: {error['people_found']} of {error['people_true']} people found, "
        f"{error['coverage']:.0%} of their frames; joints off by {error['joint_mean_mm']:.0f} mm in the mean, "
        f"{error['joint_median_mm']:.0f} mm median, {error['joint_p95_mm']:.0f} mm 95th percentile "
        f"(worst: {', '.join(f'{n} {v:.0f}' for n, v in worst)})"
    )
