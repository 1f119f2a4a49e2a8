"""Bad input, as a user meets it: a message that names file or field and the remedy, and the exit code."""

import json
import os
import pickle
import shutil
import signal

import av
import cv2
import numpy as np
import pytest

import run_pipeline
from tasks import leases
from tests.tasks.walkers_session import command, write_capture


def write_video(path, frames=12, size=(64, 48)):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for i in range(frames):
            picture = np.full((size[1], size[0], 3), 20 * i % 255, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def captures(tmp_path_factory):
    """One capture with detections, one with videos; both with four cameras."""
    root = tmp_path_factory.mktemp("captures")
    write_capture(root / "detections", frames=6)
    write_capture(root / "videos", frames=2)
    shutil.rmtree(root / "videos" / "detections")
    for k in (1, 2, 3, 4):
        write_video(root / "videos" / "videos" / f"cam{k:02d}.mp4", size=(1280, 960))
    (root / "videos" / "session.yaml").write_text(
        "session: walkers\noutput: out\ncapture:\n  calibration: calibration.toml\n  videos: videos/{camera}.mp4\n"
    )
    return root


def edit(name, before, after):
    def change(folder):
        path = folder / name
        text = path.read_text()
        assert before in text, f"{before!r} is not in {name}"
        path.write_text(text.replace(before, after))

    return change


def append(text):
    return lambda folder: (folder / "session.yaml").open("a").write(text)


def write(name, data):
    def change(folder):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data) if isinstance(data, bytes) else path.write_text(data)

    return change


def remove(name):
    def change(folder):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def copy(source, target):
    return lambda folder: shutil.copy(folder / source, folder / target)


def npz(name, **arrays):
    return lambda folder: np.savez(folder / name, **arrays)


CONFIG = "session.yaml"
PNG = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()

CASES = {
    # name: (capture, change, words of the message)
    "missing video": ("videos", remove("videos/cam02.mp4"), ["cam02.mp4"]),
    "empty video": ("videos", write("videos/cam02.mp4", b""), ["cam02.mp4"]),
    "not a video": ("videos", write("videos/cam02.mp4", b"no video at all" * 100), ["cam02.mp4"]),
    "a folder for a video": ("videos", lambda f: ((f / "videos/cam02.mp4").unlink(), (f / "videos/cam02.mp4").mkdir()),
                             ["cam02.mp4"]),
    "video of another size": ("videos", lambda f: write_video(f / "videos/cam02.mp4", size=(100, 100)),
                              ["cam02", "100"]),
    "video without calibration": ("videos", copy("videos/cam01.mp4", "videos/cam09.mp4"), ["cam09", "capture.cameras"]),
    "camera without video": ("videos", remove("videos/cam04.mp4"), ["cam04"]),
    "a camera that is not calibrated": ("videos", append("  cameras: [cam01, cam77]\n"),
                                        ["capture.cameras", "cam77", "cam01"]),
    "missing calibration": ("videos", remove("calibration.toml"), ["calibration.toml"]),
    "empty calibration": ("videos", write("calibration.toml", ""), ["calibration.toml"]),
    "calibration of another format": ("videos", append("  calibration_format: qualisys\n"),
                                      ["calibration.toml", "pose2sim"]),
    "calibration that is a picture": ("videos", write("calibration.toml", os.urandom(2000)), ["calibration.toml"]),
    "misspelt key": ("videos", edit(CONFIG, "videos:", "vidoes:"), ["capture.vidoes", "Did you mean videos"]),
    "unknown section": ("videos", append("fussion: {window: 3}\n"), ["fussion", "unknown key"]),
    "wrong type": ("videos", append("  fps: fast\n"), ["capture.fps", "'fast'"]),
    "session name with a path": ("videos", edit(CONFIG, "session: walkers", "session: ../walkers"),
                                 ["session", "plain name"]),
    "negative frame range": ("videos", append("  frames: {start: -5}\n"), ["capture.frames.start"]),
    "empty frame range": ("videos", append("  frames: {start: 5, stop: 5}\n"), ["capture.frames", "no frame"]),
    "frames past the end": ("videos", append("  frames: {start: 500}\n"), ["capture.frames", "500"]),
    "sync offset of an unknown camera": ("videos", append("  sync: {method: offsets, offsets: {cam9: 1}}\n"),
                                         ["capture.sync.offsets", "cam9"]),
    "volume inside out": ("videos", append("association: {volume: [[1, 1, 1], [0, 2, 2]]}\n"),
                          ["association", "volume"]),
    "identities that are no rules": ("videos", write("identities.yaml", "swap: 3\n"), ["identities.yaml", "swap"]),
    "body model that is missing": ("videos", append("body: {model: SMPLX_NEUTRAL.npz}\n"), ["SMPLX_NEUTRAL.npz"]),
    "body model of the wrong kind": (
        "videos",
        lambda f: (append("body: {model: SMPLX_NEUTRAL.npz}\n")(f),
                   np.savez(f / "SMPLX_NEUTRAL.npz", v_template=np.zeros((6890, 3)))),
        ["SMPLX_NEUTRAL.npz"],
    ),
    "body model that is a pickle": (
        "videos",
        lambda f: (append("body: {model: SMPLX_NEUTRAL.npz}\n")(f),
                   np.savez(f / "SMPLX_NEUTRAL.npz", v_template=np.array([{}], object))),
        ["SMPLX_NEUTRAL.npz"],
    ),
    "pose network that is no network": (
        "videos",
        lambda f: (append("keypoints: {detector: onnx, model: pose.onnx}\n")(f), write("pose.onnx", b"nothing")(f)),
        ["pose.onnx"],
    ),
    "no detections": ("detections", remove("detections"), ["detections"]),
    "detections of one camera missing": ("detections", remove("detections/cam03"), ["cam03"]),
    "a pose file of another capture": (
        "detections",
        lambda f: [p.write_text('{"people": [{"pose_keypoints_2d": [1, 2, 0.5]}]}')
                   for p in (f / "detections/cam03").iterdir()],
        ["cam03"],
    ),
    "detections far outside the picture": (
        "detections",
        lambda f: [p.write_text(json.dumps({"people": [{"pose_keypoints_2d": [9000, 9000, 0.9] * 25}]}))
                   for p in (f / "detections/cam03").iterdir()],
        ["cam03"],
    ),
    "detections without frames a second": ("detections", edit(CONFIG, ", fps: 30", ""), ["capture.fps"]),
    "bodies that are missing": ("videos", append("body: {parameters: fits.npz}\n"), ["fits.npz"]),
    "bodies of another kind": (
        "videos",
        lambda f: (append("body: {parameters: fits.npz}\n")(f), np.savez(f / "fits.npz", heights=np.zeros(3))),
        ["fits.npz"],
    ),
    "a floor that is no height": ("videos", append("body: {floor: ground}\n"), ["body.floor", "'ground'"]),
    "refinement that is neither on nor off": ("videos", append("calibration: {refine: maybe}\n"),
                                              ["calibration.refine", "'maybe'"]),
    "masks without their method": ("videos", append("segmentation: {masks: 'm/{camera}/{frame}.png'}\n"),
                                   ["segmentation", "method: masks"]),
    "masks without frames": ("videos", append("segmentation: {method: masks, masks: 'm/{camera}.png'}\n"),
                             ["segmentation", "{frame}"]),
    "masks that are missing": ("videos", append("segmentation: {method: masks, masks: 'm/{camera}/{frame}.png'}\n"),
                               ["segmentation.masks", "there is no file like"]),
    "parsing network that is missing": ("videos", append("segmentation: {network: lip.pth}\n"), ["lip.pth"]),
    "parsing network that is none": (
        "videos",
        lambda f: (append("segmentation: {network: lip.pth}\n")(f), write("lip.pth", b"nothing" * 99)(f)),
        ["lip.pth"],
    ),
    "surface network that is missing": ("videos", append("surface: {network: netG.pth}\n"), ["netG.pth"]),
    "surface network that is none": (
        "videos",
        lambda f: (append("surface: {network: netG.pth}\n")(f), write("netG.pth", b"nothing" * 99)(f)),
        ["netG.pth"],
    ),
    "surface network that hides another program": (
        "videos",
        lambda f: (append("surface: {network: netG.pth}\n")(f), write("netG.pth", pickle.dumps(os.system))(f)),
        ["netG.pth"],
    ),
    "surfaces too coarse": ("videos", append("surface: {resolution: 16}\n"), ["surface.resolution", "32"]),
    "a device that does not exist": ("videos", append("surface: {device: gpu}\n"), ["surface.device", "'gpu'"]),
    "a GPU that is not there": ("videos", append("surface: {device: 'cuda:7'}\n"), ["device", "cuda:7"]),
    "surfaces of no frame": ("videos", append("surface: {frames: {start: 3, stop: 3}}\n"),
                             ["surface.frames", "no frame"]),
    "an even fusion window": ("videos", append("fusion: {window: 4}\n"), ["fusion", "4 is not odd"]),
    "an unknown way of fusion": ("videos", append("fusion: {method: median}\n"), ["fusion.method", "'median'"]),
    "an unknown mesh format": ("videos", append("export: {formats: [stl]}\n"), ["export.formats", "'stl'"]),
    "an unknown motion format": ("videos", append("export: {motion: [fbx]}\n"), ["export.motion", "'fbx'"]),
    "a texture too large": ("videos", append("export: {texture_size: 100000}\n"), ["export.texture_size", "8192"]),
    "stills that are missing": ("videos", append("stills: {images: [photos/*.jpg]}\n"), ["photos/*.jpg"]),
    "stills without images": ("videos", append("stills: {images: []}\n"), ["stills.images"]),
    "stills network that is missing": (
        "videos",
        lambda f: (append("stills: {images: [photos], network: mili.safetensors}\n")(f), write("photos/a.png", PNG)(f)),
        ["mili.safetensors"],
    ),
    "no processes": ("videos", append("compute: {workers: 0}\n"), ["compute", "workers"]),
    "a time limit of an unknown stage": ("videos", append("compute: {time_limits: {meshing: 60}}\n"),
                                         ["compute.time_limits", "'meshing'"]),
    "a budget of nothing": ("videos", append("compute: {disk_budget_gb: 0}\n"), ["compute.disk_budget_gb"]),
    "no program to notify": ("videos", append("notify: [ring-the-bell]\n"), ["notify", "'ring-the-bell'"]),
    "foreign output folder": ("videos", write("out/thesis.doc", "mine"), ["output", "out"]),
    "output folder of another session": ("videos", write("out/session.json", '{"session": "other"}'),
                                         ["output", "'other'"]),
    "output that is a file": ("videos", write("out", "a file"), ["output", "out"]),
    "output that cannot be made": ("videos", edit(CONFIG, "output: out", "output: /proc/nowhere/out"),
                                   ["output", "/proc/nowhere"]),
}  # fmt: skip


def told(arguments, capsys):
    """Exit code and standard error of a command line, in this process: a hundred of them in a moment."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        code = run_pipeline.main([str(a) for a in arguments])
    except SystemExit as end:  # from the reader of options
        code = end.code
    finally:
        signal.signal(signal.SIGTERM, before)
    return code, capsys.readouterr().err


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_named_before_any_work(captures, tmp_path, name, capsys, monkeypatch):
    monkeypatch.setattr(leases, "_listed", list)  # whatever machine this is
    kind, change, words = CASES[name]
    folder = tmp_path / "capture"
    shutil.copytree(captures / kind, folder)
    change(folder)
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and "out" not in p.parts}
    code, error = told(["run", folder / CONFIG], capsys)
    assert code == 2, error
    for word in words:
        assert word in error, error
    assert not list(folder.glob("out/cache/*/*.h5")), "work was begun"
    assert before == {p: p.stat().st_mtime_ns for p in before}, "an input was touched"


USAGE = [
    (["run"], "CONFIG"),
    (["run", "nowhere.yaml"], "no such file"),
    (["run", "CONFIG", "--until", "meshing"], "meshing"),
    (["run", "CONFIG", "--frames", "9:3"], "9:3"),
    (["run", "CONFIG", "--frames", "-3:3"], "--frames"),
    (["run", "CONFIG", "--people", "anna"], "anna"),
    (["run", "CONFIG", "CONFIG"], "also the output"),
    (["run", "CONFIG", "--workers", "0"], "--workers"),
    (["run", "CONFIG", "--scheduler-url", "http://127.0.0.1:1"], "nothing answers"),
    (["run", "CONFIG", "--scheduler-url", "luigid"], "is no address"),
    (["run", "EMPTY"], "holds no session configuration"),
    (["worker", "CONFIG"], "--scheduler-url"),
    (["worker", "CONFIG", "--scheduler-url", "luigid"], "is no address"),
    (["worker", "CONFIG", "--scheduler-url", "http://127.0.0.1:1", "--wait", "0"], "nothing answers"),
    (["worker", "CONFIG", "--scheduler-url", "http://127.0.0.1:1", "--wait", "long"], "--wait"),
    (["scheduler", "--port", "70000", "--state", "STATE"], "70000 is no port"),
    (["scheduler", "--state", "EMPTY"], "open to others"),
    (["plan", "CONFIG"], "nothing of these sessions"),
    (["plan", "CONFIG", "--hours", "0"], "--hours"),
    (["plan", "CONFIG", "--gpus", "-1"], "--gpus"),
    (["plan", "CONFIG", "--sessions", "few"], "few"),
    (["submit", "lsf", "CONFIG"], "lsf"),
    (["submit", "slurm", "nowhere.yaml"], "no such file"),
    (["submit", "slurm", "CONFIG", "--hours", "-1"], "--hours"),
    (["submit", "slurm", "CONFIG", "--gpus", "-1"], "--gpus"),
    (["submit", "slurm", "CONFIG", "--out", "/proc/nowhere/night.sh"], "--out"),
    (["submit", "kubernetes", "CONFIG"], "--image"),
    (["submit", "kubernetes", "CONFIG", "--image", "troupe:1", "--claim", "data"], "/sessions"),
    (["why", "CONFIG", "meshing"], "meshing"),
    (["rerun", "CONFIG", "association", "--camera", "cam01"], "--camera"),
    (["rerun", "CONFIG", "association", "--frames", "0:9"], "--frames"),
    (["rerun", "CONFIG", "keypoints", "--person", "0"], "--person"),
    (["rerun", "CONFIG", "segmentation", "--camera", "cam01"], "--camera"),
    (["rerun", "CONFIG", "calibration", "--person", "-1"], "--person"),
    (["inspect", "CONFIG"], "stage"),
    (["inspect", "nothing.h5"], "no such file"),
    (["inspect", "CONFIG", "surface", "--image", "out.png"], "has no picture"),
    (["surface", "nowhere"], "no such folder"),
    (["surface", "EMPTY"], "neither parameter/"),
    (["surface", "EMPTY", "--resolution", "5"], "--resolution"),
    (["surface", "EMPTY", "--device", "gpu"], "--device"),
    (["stills", "CONFIG"], "stills"),
    (["report", "CONFIG"], "nothing has been run"),
    (["clean", "CONFIG"], "not a session"),
    (["clean", "CONFIG", "--stage", "meshing"], "meshing"),
    (["train", "resnet", "CONFIG"], "resnet"),
    (["train", "deepmulticap", "nowhere.yaml"], "cannot be read"),
    (["train", "mili", "CONFIG"], "is not known"),
    (["evaluate", "beauty"], "beauty"),
    (["evaluate", "body", "nowhere.yaml"], "nowhere.yaml"),
    (["evaluate", "body", "CONFIG"], "unknown key"),
    (["evaluate", "body", "--external", "ours=EMPTY"], "--external"),
    (["evaluate", "body", "--json", "/proc/nowhere/rows.json"], "--json"),
    (["synthesize", "nowhere.yaml"], "nowhere.yaml"),
    (["synthesize", "CONFIG"], "unknown key"),
    (["unheard"], "unheard"),
]


@pytest.mark.parametrize(("arguments", "word"), USAGE, ids=[" ".join(a) for a, _ in USAGE])
def test_wrong_usage_exits_with_2(captures, tmp_path, arguments, word, capsys, monkeypatch):
    shutil.copytree(captures / "videos", tmp_path / "capture")
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "EMPTY").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    code, error = told([tmp_path / "capture" / CONFIG if a == "CONFIG" else a for a in arguments], capsys)
    assert code == 2 and word in error, error


def test_a_refusal_is_an_exit_code(captures, tmp_path):
    shutil.copytree(captures / "videos", tmp_path / "capture")
    done = command("run", tmp_path / "capture" / CONFIG, "--until", "meshing")
    assert done.returncode == 2 and done.stderr.startswith("error: stage 'meshing'") and not done.stdout


def test_a_full_disk_in_the_night_keeps_what_is_done(captures, tmp_path):
    """A limit on file sizes stands in for the full disk: the large artifacts cannot be written, the small ones can."""
    folder = tmp_path / "capture"
    shutil.copytree(captures / "videos", folder)
    done = command("run", folder / CONFIG, file_size_limit=200_000)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "frames/cam01" in done.stderr and "File too large" in done.stderr
    assert (folder / "out/cache/calibration/session.h5").exists()
    assert not list(folder.rglob(".*.tmp"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere; the unwritable output above covers the message")
def test_a_read_only_folder_is_named(captures, tmp_path):
    folder = tmp_path / "capture"
    shutil.copytree(captures / "videos", folder)
    (folder / "out").mkdir(mode=0o500)
    done = command("run", folder / CONFIG)
    assert done.returncode == 2 and "output" in done.stderr
