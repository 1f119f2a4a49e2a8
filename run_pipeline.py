#!/usr/bin/env python3
"""Troupe: several people in 3D from a handful of calibrated cameras. One command, a verb for each thing to do."""

from __future__ import annotations

import argparse
import signal
import sys

OK, INCOMPLETE, USAGE, INTERRUPTED = 0, 1, 2, 130

EXIT_CODES = """\
exit codes: 0 everything asked for is done; 1 some parts failed, too many frames are invalid or nobody was found, the
rest is done; 2 wrong usage, configuration or input, nothing started; 130 interrupted, run again to resume"""


def _frame_range(text: str) -> tuple[int, int]:
    start, colon, stop = text.partition(":")
    if not colon or not start.isdigit() or not stop.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no range; write A:B, for example 100:200")
    if int(stop) <= int(start):
        raise argparse.ArgumentTypeError(f"{text!r} holds no frame")
    return int(start), int(stop)


def _people(text: str) -> tuple[int, ...]:
    if not all(p.isdigit() for p in text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of ids; write for example 0,1")
    return tuple(int(p) for p in text.split(","))


def _voxels(text: str) -> int:
    if not text.isdigit() or not 32 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"{text!r} is no resolution; give 32 to 1024")
    return int(text)


def _workers(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of processes")
    return int(text)


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = 0.0
    if not 0 < hours <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of hours")
    return hours


def _gpus(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of GPUs")
    return int(text)


def _device(text: str) -> str:
    if text not in ("auto", "cpu", "cuda") and not (text.startswith("cuda:") and text[5:].isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no device; give auto, cpu, cuda or cuda:0")
    return text


def _named_folder(text: str) -> tuple[str, str]:
    name, _, folder = text.partition("=")
    if not folder or not name.replace("_", "").replace("-", "").isalnum():
        raise argparse.ArgumentTypeError(f"{text!r} is no NAME=FOLDER, for example neural_body=results/neural_body")
    return name, folder


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="run_pipeline.py",
        description=__doc__,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, text: str, config: str | None = "CONFIG") -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text, epilog=EXIT_CODES,
                               formatter_class=argparse.RawDescriptionHelpFormatter)
        if config:
            sub.add_argument("config", metavar=config, help="session configuration (YAML)")
        return sub

    run = verb("run", "make everything of one or more sessions that is not made yet", None)
    run.add_argument("configs", nargs="+", metavar="CONFIG", help="session configuration (YAML), or a folder of them")
    run.add_argument("--until", metavar="STAGE", help="stop after this stage; what there is by then is exported")
    run.add_argument("--frames", type=_frame_range, metavar="A:B", help="only chunks that hold these frames")
    run.add_argument("--people", type=_people, metavar="0,1", help="only these people")
    run.add_argument("--workers", type=_workers, metavar="N", help="processes; default: compute.workers")
    run.add_argument("--scheduler-url", metavar="URL", help="a running luigid; default: a scheduler of its own")

    check = verb("check", "look for everything that would break the night, before it; with an estimate")
    check.add_argument("--verify", action="store_true", help="also rehash every cached artifact")

    worker = verb("worker", "one more machine for sessions that a run somewhere is working on", None)
    worker.add_argument("configs", nargs="+", metavar="CONFIG", help="as given to that run, or as mounted here")
    worker.add_argument("--scheduler-url", metavar="URL", required=True, help="the luigid that the run uses")
    worker.add_argument("--workers", type=_workers, metavar="N", help="processes; default: by cores and memory")
    worker.add_argument("--wait", type=float, metavar="SECONDS", default=600.0,
                        help="how long to wait for the scheduler and the run; default: 600")

    scheduler = verb("scheduler", "Luigi's scheduler and its page, on this machine alone unless told otherwise", None)
    scheduler.add_argument("--address", metavar="A", default="127.0.0.1", help="where to listen; there is no login")
    scheduler.add_argument("--port", type=int, metavar="P", default=8082)
    scheduler.add_argument("--state", metavar="DIR", help="private folder; default: ~/.local/state/troupe/scheduler")

    plan = verb("plan", "what so many sessions a night need, from what their stages took so far", None)
    plan.add_argument("configs", nargs="+", metavar="CONFIG", help="sessions, at least one of them run already")
    plan.add_argument("--sessions", type=_workers, metavar="N", help="so many sessions like these; default: each once")
    plan.add_argument("--hours", type=_hours, metavar="H", default=12.0, help="length of the night; default: 12")
    plan.add_argument("--frames", type=_workers, metavar="N", help="frames a session; default: what it has")
    plan.add_argument("--people", type=_workers, metavar="N", help="people a session; default: as found, else 2")
    plan.add_argument("--machines", type=_workers, metavar="N", help="for so many machines alone")
    plan.add_argument("--workers", type=_workers, metavar="N", help="processes a machine; default: as this one")
    plan.add_argument("--gpus", type=_gpus, metavar="N", default=1, help="GPUs a machine; default: 1")
    plan.add_argument("--json", action="store_true", help="for programs")

    submit = verb("submit", "write a Slurm script or a Kubernetes manifest that runs sessions", None)
    submit.add_argument("system", choices=["slurm", "kubernetes"])
    submit.add_argument("configs", nargs="+", metavar="CONFIG", help="as the cluster's machines see them")
    submit.add_argument("--machines", type=_workers, metavar="N", default=1, help="machines that work together")
    submit.add_argument("--workers", type=_workers, metavar="N", default=8, help="processes a machine; default: 8")
    submit.add_argument("--memory-gb", type=_workers, metavar="N", help="a machine; default: 4 a process")
    submit.add_argument("--gpus", type=_gpus, metavar="N", default=0, help="GPUs a machine; default: 0")
    submit.add_argument("--hours", type=_hours, metavar="H", default=12.0, help="time limit; default: 12")
    submit.add_argument("--image", metavar="IMAGE", help="kubernetes: container with Troupe in /troupe")
    submit.add_argument("--claim", metavar="NAME", help="kubernetes: persistent volume claim that holds the sessions")
    submit.add_argument("--out", metavar="FILE", help="where to write it; default: standard output")

    status = verb("status", "what is done, running, failed, stale or missing")
    status.add_argument("--json", action="store_true", help="for programs")

    why = verb("why", "what changed since the artifacts of a stage were made")
    why.add_argument("stage", metavar="STAGE")

    rerun = verb("rerun", "make a stage again, and what its changed results reach")
    rerun.add_argument("stage", metavar="STAGE")
    rerun.add_argument("--frames", type=_frame_range, metavar="A:B")
    rerun.add_argument("--person", type=int, metavar="N")
    rerun.add_argument("--camera", metavar="C")
    rerun.add_argument("--workers", type=_workers, metavar="N")

    inspect = verb("inspect", "what an artifact holds, or a picture of a stage", None)
    inspect.add_argument("config", metavar="PATH|CONFIG", help="an artifact (.h5), or a session configuration")
    inspect.add_argument("stage", metavar="STAGE", nargs="?")
    inspect.add_argument("--frame", type=int, metavar="N")
    inspect.add_argument("--camera", metavar="C")
    inspect.add_argument("--person", type=int, metavar="N")
    inspect.add_argument("--image", metavar="OUT.png", help="draw it instead of listing it")
    inspect.add_argument("--compare", action="store_true", help="the plain image beside it; of stages texture "
                         "and export also how far silhouettes and colours differ, a camera each")

    surface = verb("surface", "surfaces of people whose images, masks, cameras and bodies come from elsewhere", None)
    surface.add_argument("folder", metavar="FOLDER", help="the published DeepMultiCap demo's layout, or ours: "
                         "calibration.*, images/CAMERA/FRAME.png, masks/CAMERA/FRAME.png, bodies/person_K/FRAME.obj")
    surface.add_argument("--network", metavar="open|PATH", default="open", help="ours, or a released netG file")
    surface.add_argument("--resolution", type=_voxels, metavar="N", default=512, help="voxels along the box")
    surface.add_argument("--device", type=_device, metavar="DEVICE", default="auto", help="auto, cpu or cuda:0")
    surface.add_argument("--out", metavar="DIR", help="folder for the meshes; default: FOLDER/meshes")

    stills = verb("stills", "the stills branch alone: everybody in low-resolution images")
    stills.add_argument("--workers", type=_workers, metavar="N")

    verb("report", "write the quality report again from what is cached")

    clean = verb("clean", "remove cached artifacts; exports and inputs stay")
    clean.add_argument("--stage", metavar="STAGE", help="only this stage")
    clean.add_argument("--stale", action="store_true", help="only what is stale, damaged or left over")
    clean.add_argument("--dry-run", action="store_true", help="say what would go, remove nothing")

    train = verb("train", "train a network of ours and write its weights", None)
    train.add_argument("net", metavar="NET", help="parsing, normals, deepmulticap or mili")
    train.add_argument("config", metavar="CONFIG", help="training configuration (YAML), see configs/nets")
    train.add_argument("--stop-after", type=float, metavar="SECONDS",
                       help="stop then, with exit code 1; the same command goes on where it stopped")

    verb("synthesize", "make captures or stills of synthetic people, with everything about them known")

    evaluate = verb("evaluate", "run a benchmark against known answers and print its table", None)
    evaluate.add_argument("benchmark", metavar="BENCHMARK",
                          help="association, body, segmentation, table1, fusion, texture or stills")
    evaluate.add_argument("config", metavar="CONFIG", nargs="?",
                          help="configuration (YAML); default: configs/benchmarks/BENCHMARK.yaml")
    evaluate.add_argument("--json", metavar="FILE", help="write the rows there too")
    evaluate.add_argument("--external", type=_named_folder, action="append", metavar="NAME=FOLDER",
                          help="rows from a folder of meshes made elsewhere; may be given several times")

    demo = verb("demo", "make a small synthetic capture with known ground truth and run everything on it", None)
    demo.add_argument("--out", metavar="DIR", default="runs/demo", help="folder for it; default: runs/demo")
    demo.add_argument("--workers", type=_workers, metavar="N")
    return top


def _terminate(*_: object) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; the exit code."""
    options = parser().parse_args(arguments)
    from tasks.threads import limit_threads

    limit_threads()  # before anything numerical is imported
    from pipeline.errors import InputError
    from tasks import commands

    signal.signal(signal.SIGTERM, _terminate)
    try:
        return commands.VERBS[options.verb](options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("interrupted: run the same command again to resume", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away, as with `| head`
        sys.stderr.close()
        return OK


if __name__ == "__main__":
    sys.exit(main())
