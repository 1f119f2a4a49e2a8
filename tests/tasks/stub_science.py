"""The real graph, engine, cache and command line with stages that only wait and write: for schedules and faults.

    python -m tests.tasks.stub_science RULES.json VERB ...

runs a verb with every stage's ``compute`` replaced. RULES.json: ``seconds`` a stage (default 0), ``frames``,
``people``, ``faults``: part -> what its first tries do (``memory``, ``kill``, ``hang``, ``bug``), one after another;
``clock``: a jump of the time of day.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from data.calibration.pose2sim import write_pose2sim
from data.synthetic.walkers import ring_rig


def write_session(folder: Path, cameras: int = 4, **compute: object) -> Path:
    """A session with images (one a camera: nothing looks at them) whose stages are meant to be stubs."""
    import cv2

    folder.mkdir(parents=True, exist_ok=True)
    rig = ring_rig(cameras)
    write_pose2sim(rig, folder / "calibration.toml")
    for camera in rig.cameras:
        (folder / "images" / camera.name).mkdir(parents=True, exist_ok=True)
        for frame in range(2):
            image = np.zeros((camera.size[1], camera.size[0], 3), np.uint8)
            cv2.imwrite(str(folder / "images" / camera.name / f"{frame:06d}.jpg"), image)
    path = folder / "session.yaml"
    path.write_text(
        "session: stub\noutput: out\ncapture: {calibration: calibration.toml, fps: 30, "
        "images: 'images/{camera}/{frame:06d}.jpg'}\n"
        f"compute: {json.dumps(compute)}\n"
    )
    return path


def install(rules: dict, log: Path) -> None:
    """Replace the science of every stage of the table."""
    from tasks import report
    from tasks.stages import STAGES

    if "clock" in rules:
        _jumping_clock(**rules["clock"])
    for name, stage in STAGES.items():
        stage.module.compute = lambda context, name=name: _compute(context, name, rules, log)
    STAGES["timeline"].module.digests = lambda session, files: {}
    report.start = lambda session: _NoReport()


def _jumping_clock(after: float, by: float) -> None:
    """The time of day jumps ``by`` seconds, ``after`` seconds from now, in this process and its children."""
    real, start = time.time, time.monotonic()
    time.time = lambda: real() + (by if time.monotonic() > start + after else 0.0)


class _NoReport:
    def is_alive(self) -> bool:
        return False


def _compute(context, stage: str, rules: dict, log: Path) -> None:
    from pipeline.artifacts import SCHEMAS
    from pipeline.cameras import Rig
    from tasks.calibration import session_rig
    from tasks.stages import STAGES

    part = str(context.part)
    tries = log / part.replace("/", "~")
    count = len(tries.read_text()) if tries.exists() else 0
    tries.write_text("x" * (count + 1))
    faults = rules.get("faults", {}).get(part, [])
    if count < len(faults):
        _fail(faults[count])
    (log / f"batch~{tries.name}").write_text(str(context.batch(1024)))
    for name in context.graph.inputs_of(STAGES[stage]):
        for source in context.parts(name):
            context.open(source)
    time.sleep(rules.get("seconds", {}).get(stage, 0.0))
    schema = STAGES[stage].schema
    if stage == "calibration":
        context.writer.put_all(session_rig(context.session)[0].to_arrays())
        return
    if schema == "rig":
        context.writer.put_all(Rig.from_arrays(context.input("calibration").arrays()).to_arrays())
        return
    for name, (kind, dimensions) in SCHEMAS[schema][1].items():
        dtype = {"f": np.float32, "i": np.int64, "u": np.uint8, "b": bool, "S": "S1"}[kind]
        context.writer.put(name, np.zeros((0,) * dimensions, dtype))
    if stage == "timeline":
        context.writer.note = {"frames": [0, rules["frames"], 1, rules["frames"]]}
    if schema == "tracks" and context.part.person is None:
        context.writer.note = {"people": list(range(rules["people"]))}


def _fail(how: str) -> None:
    if how == "memory":
        raise MemoryError
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "hang":
        time.sleep(600)
    raise ArithmeticError("a mistake in the program")


def main() -> int:
    from tasks.threads import limit_threads

    limit_threads()
    rules_path = Path(sys.argv[1])
    log = rules_path.parent / "tries"
    log.mkdir(exist_ok=True)
    install(json.loads(rules_path.read_text()), log)
    import run_pipeline

    return run_pipeline.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
