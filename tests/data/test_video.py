"""Videos as recorded by anyone: what is said about them and what comes out of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data.audio import read_audio
from data.decoding import Child, DecoderStalled, Limits
from data.video import open_video, probe
from pipeline.errors import InputError
from tests.data.clips import numbered_image, read_number, write_clip

REAL = Path(__file__).parents[2] / "../shared/data/two_person_lab/videos"


def images(count: int, size: tuple[int, int] = (96, 64)) -> list[np.ndarray]:
    return [numbered_image(i, size) for i in range(count)]


def numbers(path: Path, indices) -> list[tuple[int, int]]:
    return [(i, read_number(image)) for i, image in open_video(path).frames(indices)]


def test_probe_says_what_the_clip_is(tmp_path):
    sound = (48000, 0.1 * np.sin(np.arange(48000) / 20))
    info = probe(write_clip(tmp_path / "a.mp4", images(30), fps=25, sound=sound))
    assert (info.size, info.frame_count, info.fps) == ((96, 64), 30, 25.0)
    assert info.codec == "h264"
    assert info.has_audio
    assert not info.variable_rate
    assert info.duration_s == pytest.approx(30 / 25)
    np.testing.assert_allclose(info.times_s, np.arange(30) / 25, atol=1e-4)
    assert not probe(write_clip(tmp_path / "b.mp4", images(3))).has_audio


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.mov", "a.ts", "a.webm"])
def test_every_frame_comes_out_at_its_number(tmp_path, name):
    codec = {"a.avi": "mpeg4", "a.webm": "libvpx-vp9"}.get(name, "libx264")
    path = write_clip(tmp_path / name, images(40), codec=codec, fps=60)
    info = probe(path)
    assert info.frame_count == 40
    assert info.fps == pytest.approx(60, rel=1e-3)  # millisecond ticks of Matroska included
    np.testing.assert_allclose(info.times_s, np.arange(40) / 60, atol=1.1e-3)
    assert numbers(path, range(40)) == [(i, i) for i in range(40)]


def test_raw_stream_without_timestamps_is_counted(tmp_path):
    path = write_clip(tmp_path / "a.h264", images(40), options={"bf": "3"})
    assert probe(path).frame_count == 40
    assert numbers(path, [0, 7, 39]) == [(0, 0), (7, 7), (39, 39)]


@pytest.mark.parametrize("start", [0, 1, 24, 25, 26, 59, 83])
def test_decoding_begins_anywhere(tmp_path, start):
    """Key frames every 25, open groups and B frames: going there must not shift a number."""
    options = {"g": "25", "bf": "3", "x264-params": "open-gop=1:scenecut=0"}
    path = write_clip(tmp_path / "a.mp4", images(90), options=options)
    assert len(probe(path).keyframes) >= 3
    wanted = [start, start + 3, start + 6]
    assert numbers(path, wanted) == [(i, i) for i in wanted]


def test_variable_rate_keeps_real_timestamps(tmp_path):
    times = np.cumsum(np.random.default_rng(0).choice([1, 1, 1, 2, 3], 40)) / 30
    path = write_clip(tmp_path / "a.mp4", images(40), times_s=times - times[0])
    info = probe(path)
    np.testing.assert_allclose(info.times_s, times - times[0], atol=1e-4)
    assert info.variable_rate
    assert info.fps == pytest.approx(30, rel=0.01)
    assert numbers(path, range(40)) == [(i, i) for i in range(40)]


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
@pytest.mark.parametrize("mirror", [False, True])
def test_rotation_and_mirror_flags_are_applied(tmp_path, rotation, mirror):
    stored = numbered_image(0)
    path = write_clip(tmp_path / "a.mp4", [stored] * 3, rotation=rotation, mirror=mirror)
    shown = np.rot90(stored, rotation // 90)
    shown = shown[:, ::-1] if mirror else shown
    source = open_video(path)
    assert source.size == shown.shape[1::-1]
    _, image = next(source.frames([1]))
    assert np.abs(image.astype(int) - shown).mean() < 4
    _, small = next(source.thumbnails([1], 32))
    assert small.shape[0] == 32
    corner = small[:8, :8].mean() if rotation == 0 and not mirror else None
    assert corner is None or corner == pytest.approx(stored[:16, :16].mean(), abs=30)


@pytest.mark.parametrize("size", [(97, 63), (1, 1), (33, 50)])
def test_odd_sizes(tmp_path, size):
    truth = np.full((size[1], size[0], 3), (40, 180, 90), np.uint8)
    source = open_video(write_clip(tmp_path / "a.mkv", [truth] * 3, codec="ffv1", pixel_format="yuv444p"))
    assert source.size == size
    _, image = next(source.frames([2]))
    assert image.shape == truth.shape
    assert np.abs(image.astype(int) - truth).max() <= 4


@pytest.mark.parametrize("full_range", [None, False, True])
@pytest.mark.parametrize("matrix", [None, 1, 5])  # untagged, BT.709, BT.601
def test_colours_follow_range_and_matrix(tmp_path, full_range, matrix):
    truth = np.zeros((64, 96, 3), np.uint8)
    for i, colour in enumerate([(0, 0, 0), (255, 255, 255), (220, 30, 30), (30, 200, 40), (20, 40, 210), (128,) * 3]):
        truth[:, 16 * i : 16 * (i + 1)] = colour
    path = write_clip(tmp_path / "a.mp4", [truth] * 2, full_range=full_range, matrix=matrix, pixel_format="yuv444p")
    _, image = next(open_video(path).frames([0]))
    centres = image[32, 8::16].astype(int) - truth[32, 8::16]
    assert np.abs(centres).max() <= 6


@pytest.mark.parametrize("pixel_format", ["gray", "yuva444p", "gray16le", "yuv420p10le", "rgb24"])
def test_grey_alpha_and_deep_material_is_rgb8(tmp_path, pixel_format):
    truth = np.repeat(np.linspace(10, 240, 96).astype(np.uint8)[None], 64, 0)
    picture = np.stack([truth] * 3, -1)
    codec = {"rgb24": "png", "yuv420p10le": "libx265"}.get(pixel_format, "ffv1")
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    name = "a.mov" if codec == "png" else "a.mkv"
    path = write_clip(tmp_path / name, [picture] * 2, codec=codec, pixel_format=pixel_format, options=options)
    _, image = next(open_video(path).frames([0]))
    assert image.dtype == np.uint8
    assert image.shape == (64, 96, 3)
    assert np.abs(image.astype(int) - picture).mean() < 4


def test_a_clip_that_ends_before_its_header_says(tmp_path):
    whole = write_clip(tmp_path / "a.mp4", images(120), container_options={"movflags": "faststart"},
                       options={"g": "10", "crf": "0"})  # fmt: skip
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    info = probe(cut)
    assert info.claimed_frames == 120
    assert 40 < info.frame_count < 110
    got = numbers(cut, range(info.frame_count))
    assert got == [(i, i) for i, _ in got]
    assert len(got) >= info.frame_count - 1


def test_damage_in_the_middle_costs_frames_not_the_clip(tmp_path):
    path = write_clip(tmp_path / "a.mp4", images(90), options={"g": "10", "crf": "0"})
    data = bytearray(path.read_bytes())
    rng, middle = np.random.default_rng(1), len(data) // 2
    data[middle : middle + 400] = rng.bytes(400)
    path.write_bytes(data)
    source = open_video(path)
    got = dict(numbers(path, range(len(source.times_s))))
    assert len(got) >= 60
    assert sum(i != n for i, n in got.items()) <= 10
    assert all(got[i] == i for i in (0, 20, 80, 89))


@pytest.mark.parametrize(
    "content", ["nothing", "noise", "text", "header only", "playlist", "concat", "folder", "sound"]
)
def test_unusable_files_are_named_with_a_remedy(tmp_path, content):
    path = tmp_path / "cam01.mp4"
    whole = write_clip(tmp_path / "whole.mp4", images(10), container_options={"movflags": "faststart"})
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{whole}\n#EXT-X-ENDLIST\n"
    if content == "folder":
        path.mkdir()
    elif content == "sound":
        import wave

        with wave.open(str(path), "wb") as sound:
            sound.setparams((1, 2, 8000, 0, "NONE", ""))
            sound.writeframes(bytes(16000))
    else:
        path.write_bytes({
            "nothing": b"", "noise": np.random.default_rng(0).bytes(50000), "text": b"not a video\n" * 100,
            "header only": whole.read_bytes()[:900], "playlist": playlist.encode(),
            "concat": f"ffconcat version 1.0\nfile '{whole}'\n".encode(),
        }[content])  # fmt: skip
    with pytest.raises(InputError) as error:
        open_video(path)
    assert error.value.where == str(path)
    assert error.value.remedy


def test_missing_file_lists_what_there_is(tmp_path):
    write_clip(tmp_path / "cam1.mp4", images(2))
    with pytest.raises(InputError, match=r"cam1\.mp4"):
        open_video(tmp_path / "cam01.mp4")


def test_a_file_that_vanishes_while_in_use(tmp_path):
    path = write_clip(tmp_path / "a.mp4", images(5))
    source = open_video(path)
    path.unlink()
    with pytest.raises(InputError):
        list(source.frames([0]))


def test_memory_is_limited(tmp_path):
    path = write_clip(tmp_path / "a.mkv", [np.zeros((4000, 4000, 3), np.uint8)], codec="ffv1", pixel_format="bgr0")
    with pytest.raises(InputError, match=r"memory|decoded"):
        source = open_video(path, Limits(memory_bytes=440 << 20))
        list(source.frames([0]))


@pytest.mark.parametrize(
    ("program", "raised", "says"),
    [
        ("while True: pass", InputError, "busy"),
        ("import time; time.sleep(100)", DecoderStalled, "no answer"),
        ("import os; os.kill(os.getpid(), 11)", InputError, "crashes"),
        ("import os; os.kill(os.getpid(), 9)", DecoderStalled, "ended from outside"),
        ("import sys; sys.stdout.buffer.write(b'\\xff' * 100)", InputError, "nonsense"),
    ],
)
def test_a_child_gone_wrong_ends_with_a_message(tmp_path, monkeypatch, program, raised, says):
    """The child is replaced by what a hostile file could make of it."""
    child = tmp_path / "child.py"
    child.write_text(f"import resource\nresource.setrlimit(resource.RLIMIT_CPU, (1, 5))\n{program}\n")
    monkeypatch.setattr("data.decoding.decoding_child.__file__", str(child))
    path = write_clip(tmp_path / "a.mp4", images(2))
    with pytest.raises(raised, match=says):
        probe(path, Limits(wall_s=0.5 if "sleep" in program else 60.0))


def test_leaving_early_leaves_no_process(tmp_path):
    path = write_clip(tmp_path / "a.mp4", images(60))
    stream = open_video(path).frames(range(60))
    next(stream)
    child = stream.gi_frame.f_locals["child"].process.pid
    stream.close()
    assert not Path(f"/proc/{child}").exists()


def test_child_is_confined(tmp_path):
    path = write_clip(tmp_path / "a.mp4", images(60))
    with Child(path, {"command": "probe"}, Limits(memory_bytes=1 << 30)) as child:
        child.message()
    stream = open_video(path, Limits(memory_bytes=1 << 30)).frames(range(60))
    next(stream)
    limits = Path(f"/proc/{stream.gi_frame.f_locals['child'].process.pid}/limits").read_text()
    stream.close()
    rows = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()[1:]}
    assert rows["Max address space"] == str(1 << 30)
    assert rows["Max file size"] == "0"
    assert int(rows["Max cpu time"]) <= 70


def test_out_of_range_is_an_index_error(tmp_path):
    source = open_video(write_clip(tmp_path / "a.mp4", images(5)))
    with pytest.raises(IndexError):
        source.frames([5])
    assert list(source.frames([])) == []
    assert [i for i, _ in source.frames([3, 1, 3])] == [1, 3]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_sound_is_on_the_clock_of_the_images(tmp_path, name):
    rate = 44100
    sound = np.zeros(2 * rate)
    sound[int(0.75 * rate) : int(0.75 * rate) + 200] = 0.8  # a clap at 0.75 s
    path = write_clip(tmp_path / name, images(60), fps=30, sound=(rate, sound))
    rate, heard = read_audio(path)
    assert rate == 16000
    assert np.flatnonzero(np.abs(heard) > 0.3)[0] / rate == pytest.approx(0.75, abs=0.004)
    assert len(heard) / rate == pytest.approx(2.0, abs=0.1)
    assert len(read_audio(path, max_s=0.5)[1]) == 8000


def test_silent_video_has_no_sound(tmp_path):
    with pytest.raises(InputError, match="no sound"):
        read_audio(write_clip(tmp_path / "a.mp4", images(3)))


def test_importing_readers_does_not_load_the_decoder():
    code = "import sys, data.sources, data.video; assert 'av' not in sys.modules and 'torch' not in sys.modules"
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, env=os.environ | {"PYTHONPATH": str(root)})


@pytest.mark.real
def test_lab_videos():
    for camera in ("cam01", "cam02", "cam03", "cam04"):
        source = open_video(REAL / f"{camera}.mp4")
        assert (source.size, source.fps, len(source.times_s)) == ((1088, 1920), 60.0, 100)
        got = list(source.frames([0, 50, 99]))
        assert [i for i, _ in got] == [0, 50, 99]
        assert all(image.shape == (1920, 1088, 3) and image.std() > 20 for _, image in got)
