"""A small real session: two people walk past each other before four cameras; detections as OpenPose writes them."""

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

from data.calibration.pose2sim import write_pose2sim
from data.synthetic.walkers import detect, ring_rig, walk

ROOT = Path(__file__).parent.parent.parent
FPS, FRAMES = 30, 24


def openpose_json(keypoints, scores):
    people = []
    for points, score in zip(np.nan_to_num(keypoints), scores, strict=True):
        people.append({"pose_keypoints_2d": np.column_stack([points, score]).ravel().round(3).tolist()})
    return json.dumps({"version": 1.3, "people": people})


def write_capture(folder: Path, frames: int = FRAMES, cameras: int = 4) -> None:
    """Calibration, OpenPose detections and a configuration in ``folder``."""
    t = np.linspace(-1, 1, frames)
    ways = [np.column_stack([t, np.full(frames, 0.5)]), np.column_stack([-t, np.full(frames, -0.5)])]
    joints = np.stack([walk(way, FPS, phase=i) for i, way in enumerate(ways)], 1)
    rig = ring_rig(cameras)
    folder.mkdir(parents=True, exist_ok=True)
    write_pose2sim(rig, folder / "calibration.toml")
    seen = detect(rig, joints, np.random.default_rng(0), joint_set="body25")
    for camera, found in zip(rig.cameras, seen, strict=True):
        target = folder / "detections" / camera.name
        target.mkdir(parents=True)
        for i in range(frames):
            rows = found.instances(i)
            text = openpose_json(found.keypoints[rows], found.scores[rows])
            (target / f"{camera.name}_{i:012d}_keypoints.json").write_text(text)
    (folder / "session.yaml").write_text(
        f"session: walkers\noutput: out\ncapture: {{calibration: calibration.toml, fps: {FPS}}}\n"
        "keypoints: {detector: openpose_json, detections: 'detections/{camera}'}\n"
        "compute: {workers: 2, chunk_frames: 12}\n"
    )


def command(*arguments, cwd=None, file_size_limit=None) -> subprocess.CompletedProcess:
    """Run the command line as a user does; ``file_size_limit`` in bytes makes larger files fail like a full disk."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size_limit, file_size_limit))

    return subprocess.run(
        [sys.executable, str(ROOT / "run_pipeline.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=300,
        preexec_fn=limit if file_size_limit else None,
    )
