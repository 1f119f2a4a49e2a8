"""Clocks brought together: known shifts are found to a fraction of a frame, and nothing is found in nothing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from pipeline.errors import InputError
from pipeline.synchronisation import (
    Sync,
    audio_offsets,
    frame_plan,
    given_offsets,
    motion_energy,
    motion_offsets,
    no_offsets,
    session_frames,
    session_rate,
)

FINE = 480  # samples a second of the simulated world


def world(seconds: float, seed: int) -> np.ndarray:
    """(6, N) how much each of six limbs moves over time: irregular bursts."""
    rng = np.random.default_rng(seed)
    n = int(seconds * FINE)
    rough = gaussian_filter1d(rng.normal(size=(6, n)), 0.06 * FINE, axis=1) * np.sqrt(0.06 * FINE)
    return np.exp(1.6 * rough)


def energy(limbs: np.ndarray, view: int, start_s: float, seconds: float, fps: float, jitter: float = 0.0, noise=0.03):
    """What one camera measures: its own weights, its own noise, times of its own clock."""
    rng = np.random.default_rng(view + 1000)
    weights = rng.uniform(0.4, 1.2, 6) * 10 ** rng.uniform(-0.5, 0.5)
    times = np.arange(int(seconds * fps)) / fps + rng.uniform(-jitter, jitter, int(seconds * fps)) / fps
    at = (start_s + 0.5 * (times[1:] + times[:-1])) * FINE
    value = np.interp(at, np.arange(limbs.shape[1]), weights @ limbs) * np.exp(rng.normal(0, noise, len(at)))
    return 0.5 * (times[1:] + times[:-1]), value


def shifted(late_s, seconds: float, fps, seed: int, unrelated=()):
    """Energies of one world, camera c being late by late_s[c]."""
    common = world(seconds + 6, seed)
    energies = {}
    for c, late in enumerate(late_s):
        limbs = world(seconds + 6, 100 + seed * 10 + c) if c in unrelated else common
        rate = fps[c] if np.ndim(fps) else fps
        energies[f"c{c}"] = energy(limbs, 10 * seed + c, 3 - late, seconds, rate)
    return energies


@pytest.mark.parametrize("seed", range(4))
def test_motion_finds_fractions_of_a_frame(seed):
    late = np.array([0.0, 0.63, -1.287, 7.5 / 60])
    sync = motion_offsets(shifted(late, 10, 60, seed), 3.0)
    assert np.abs(sync.offsets_s - late).max() * 60 < 0.5
    assert sync.confidence.min() > 0.95


@pytest.mark.parametrize("frames", [0.25, 0.5, -3.8, 11.31])
def test_motion_of_the_same_view_is_exact(frames):
    limbs = world(14, 3)
    energies = {"a": energy(limbs, 1, 3.0, 8, 30, noise=0), "b": energy(limbs, 1, 3.0 - frames / 30, 8, 30, noise=0)}
    sync = motion_offsets(energies, 2.0)
    assert sync.offset("b") * 30 == pytest.approx(frames, abs=0.05)


def test_motion_of_different_and_uneven_rates():
    late = np.array([0.0, 0.4, -0.9])
    energies = shifted(late, 12, (60, 25, 30), 7)
    energies["c2"] = energy(world(18, 7), 72, 3 - late[2], 12, 30, jitter=0.2)
    sync = motion_offsets(energies, 2.0)
    assert np.abs(sync.offsets_s - late).max() < 0.5 / 25
    assert sync.confidence.min() > 0.8


@pytest.mark.parametrize("seed", range(6))
def test_clips_without_common_motion_are_uncertain(seed):
    sync = motion_offsets(shifted([0, 0.5], 20, 60, seed, unrelated=(0, 1)), 3.0)
    assert sync.confidence.max() < 0.3


@pytest.mark.parametrize("stranger", [0, 2])
def test_one_stranger_does_not_disturb_the_others(stranger):
    late = np.array([0.0, 0.3, -0.7, 1.1])
    sync = motion_offsets(shifted(late, 10, 60, 11, unrelated=(stranger,)), 3.0)
    others = [c for c in range(4) if c != stranger]
    error = sync.offsets_s[others] - late[others]
    assert np.abs(error - error[0]).max() * 60 < 0.5
    assert sync.offsets_s[others[0]] == 0.0  # the first camera that is certain
    assert sync.confidence[others].min() > 0.9
    assert sync.confidence[stranger] < 0.3


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_nothing_moves_nothing_is_known(value):
    still = (np.arange(200) / 60, np.full(200, value))
    sync = motion_offsets({"a": still, "b": still}, 1.0)
    assert sync.confidence.max() < 0.3
    assert np.isfinite(sync.offsets_s).all()
    sync = motion_offsets({"a": (np.zeros(0), np.zeros(0)), "b": still}, 1.0)
    assert sync.confidence.max() < 0.3
    assert np.isfinite(sync.offsets_s).all()


def test_key_frame_jolts_do_not_pull_to_zero():
    """Coding makes every twelfth image of each file jump; that is common to files, not to what they show."""
    late = np.array([0.0, 0.8])
    energies = shifted(late, 10, 60, 5)
    for _, value in energies.values():
        value[::12] *= 3
    sync = motion_offsets(energies, 2.0)
    assert abs(sync.offset("c1") - 0.8) * 60 < 1


def test_motion_energy_is_change_beyond_noise():
    rng = np.random.default_rng(0)
    still = [(t / 30, (100 + rng.integers(-1, 2, (20, 30))).astype(np.uint8)) for t in range(5)]
    times, value = motion_energy(still)
    np.testing.assert_allclose(times, (np.arange(4) + 0.5) / 30)
    assert value.max() == 0
    jump = [(0.0, np.zeros((20, 30), np.uint8)), (0.1, np.full((20, 30), 52, np.uint8))]
    assert motion_energy(jump)[1] == pytest.approx([500])


def sound(seconds: float, seed: int, rate: int = 16000) -> np.ndarray:
    """Steps, knocks and hiss."""
    rng = np.random.default_rng(seed)
    n = int(seconds * rate)
    knocks = np.zeros(n)
    for at in rng.integers(0, n - 800, max(int(2 * seconds), 1)):
        knocks[at : at + 800] += rng.normal(size=800) * np.exp(-np.arange(800) / 120)
    return knocks + 0.05 * rng.normal(size=n)


@pytest.mark.parametrize(("seconds", "max_offset"), [(5, 2), (50, 10)])
def test_audio_finds_shifts(seconds, max_offset):
    """Own echo, level, hum and noise for every microphone; over one block and over several."""
    rate, rng, late = 16000, np.random.default_rng(1), np.array([0.0, 0.40313, -1.25])
    room, signals = sound(seconds + 6, 0), {}
    for c, seconds_late in enumerate(late):
        begin = round((3 - seconds_late) * rate)
        echoes = np.r_[1, np.zeros(150 + 90 * c), 0.4, np.zeros(300), 0.2]
        heard = np.convolve(room, echoes)[begin : begin + seconds * rate]
        hum = 0.3 * np.sin(2 * np.pi * 50 * np.arange(len(heard)) / rate + c)
        signals[f"c{c}"] = (rate, (0.5**c * (heard + 0.1 * rng.normal(size=len(heard))) + hum).astype(np.float32))
    sync = audio_offsets(signals, max_offset)
    assert np.abs(sync.offsets_s - late).max() < 0.0005
    assert sync.confidence.min() > 0.95


@pytest.mark.parametrize("seed", range(3))
def test_different_or_no_sound_is_uncertain(seed):
    a, b = sound(6, seed), sound(6, seed + 50)
    hum = 0.5 * np.sin(2 * np.pi * 50 * np.arange(len(a)) / 16000)
    assert audio_offsets({"a": (16000, a + hum), "b": (16000, b + hum)}, 2.0).confidence.max() < 0.3
    silent = audio_offsets({"a": (16000, a), "b": (16000, np.zeros(90000))}, 2.0)
    assert silent.confidence.max() < 0.3
    assert np.isfinite(silent.offsets_s).all()


def test_given_offsets_are_frames_late():
    sync = given_offsets({"a": 0, "b": 2.5, "c": -30}, fps=60)
    np.testing.assert_allclose(sync.offsets_s, [0, 2.5 / 60, -0.5])
    assert sync.method == "offsets"
    times = np.arange(100) / 60
    indices, error = frame_plan(times, sync.offset("b"), np.arange(20) / 60)
    assert indices[10] in (12, 13)
    np.testing.assert_allclose(np.abs(error), 0.5 / 60, atol=1e-9)


def test_sync_survives_storage():
    sync = Sync(("a", "ö"), np.array([0, 0.25]), np.array([1, 0.5]), np.array([0, 0.01]), "motion")
    again = Sync.from_arrays(sync.to_arrays())
    assert (again.cameras, again.method) == (sync.cameras, sync.method)
    np.testing.assert_array_equal(again.offsets_s, sync.offsets_s)
    np.testing.assert_array_equal(again.spread_s, sync.spread_s)


# What a plan says ----------------------------------------------------------------------------------------------------


def test_plan_of_equal_clocks_is_the_identity():
    indices, error = frame_plan(np.arange(50) / 60, 0.0, np.arange(50) / 60)
    np.testing.assert_array_equal(indices, np.arange(50))
    np.testing.assert_allclose(error, 0, atol=1e-12)


def test_plan_ends_where_the_clip_ends():
    indices, error = frame_plan(np.arange(10) / 30, 2 / 30, np.arange(-1, 12) / 30)
    np.testing.assert_array_equal(indices, [1, 2, 3, 4, 5, 6, 7, 8, 9, -1, -1, -1, -1])
    assert np.isnan(error[indices < 0]).all()


def test_plan_of_millisecond_ticks_drops_and_doubles_nothing():
    times = np.round(np.arange(600) / 60, 3)
    indices, _ = frame_plan(times, 0.3 / 60, (np.arange(590) + 5) / 60)
    np.testing.assert_array_equal(np.diff(indices), 1)


def test_plan_over_dropped_frames():
    times = np.delete(np.arange(30) / 30, [7, 8, 15])
    indices, error = frame_plan(times, 0.0, np.arange(30) / 30)
    assert np.flatnonzero(indices < 0).tolist() == [7, 8, 15]
    assert np.nanmax(np.abs(error)) < 1e-9


def test_plan_of_a_slower_source_repeats_images():
    indices, error = frame_plan(np.arange(30) / 30, 0.0, np.arange(59) / 60)
    assert (indices >= 0).all()
    assert set(np.diff(indices)) <= {0, 1}
    assert np.abs(error).max() <= 0.5 / 30 + 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_plan_takes_the_nearest_image(seed):
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(0.7, 1.3, 80)) / 30
    wanted, offset = np.arange(10, 70) / 30, rng.uniform(-0.05, 0.05)
    indices, error = frame_plan(times, offset, wanted)
    for i, e, t in zip(indices, error, wanted, strict=True):
        if i >= 0:
            assert abs(e) == pytest.approx(np.abs(times - offset - t).min())
            assert times[i] - offset - t == pytest.approx(e)
    assert (indices >= 0).mean() > 0.95


def test_a_single_image_and_none():
    assert frame_plan(np.zeros(1), 0.0, np.arange(3) / 30)[0].tolist() == [0, -1, -1]
    assert frame_plan(np.zeros(1), 0.0, np.zeros(1))[0].tolist() == [0]
    assert frame_plan(np.zeros(0), 0.0, np.zeros(2))[0].tolist() == [-1, -1]


# Which frames a session has ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "stop", "step", "expected"),
    [(0, None, 1, range(100)), (10, 20, 1, range(10, 20)), (5, None, 7, range(5, 100, 7)), (98, 400, 1, [98, 99])],
)
def test_start_stop_step(start, stop, step, expected):
    times = {"a": np.arange(100) / 60, "b": np.arange(100) / 60}
    assert session_frames(times, no_offsets(times), 60, start, stop, step).tolist() == list(expected)


def test_the_session_ends_with_the_second_last_camera():
    times = {"a": np.arange(100) / 60, "b": np.arange(80) / 60, "c": np.arange(90) / 60}
    assert session_frames(times, no_offsets(times), 60)[-1] == 89
    assert session_frames({"a": times["a"]}, no_offsets(["a"]), 60)[-1] == 99
    sync = given_offsets({"a": 5, "b": 0, "c": -4}, 60)
    frames = session_frames(times, sync, 60)
    assert (frames[0], frames[-1]) == (0, 93)


def test_the_session_begins_with_the_first_image():
    times = {c: (np.arange(20) + 7) / 30 for c in "ab"}  # image folders numbered from 7
    assert session_frames(times, no_offsets(times), 30).tolist() == list(range(7, 27))
    assert session_frames(times, no_offsets(times), 30, start=0, step=5).tolist() == [10, 15, 20, 25]


def test_an_empty_range_names_the_field():
    times = {"a": np.arange(100) / 60}
    with pytest.raises(InputError, match=r"capture\.frames.*frame 99"):
        session_frames(times, no_offsets(times), 60, start=100)


def test_session_rate():
    assert session_rate({"a": 29.97, "b": 30.0, "c": 29.97}) == pytest.approx(29.97)
    with pytest.raises(InputError, match=r"capture\.fps.*b 60"):
        session_rate({"a": 30.0, "b": 60.0})


def test_offsets_agree_around_every_loop():
    sync = motion_offsets(shifted([0.0, 0.2, 0.5, -0.4], 10, 60, 21), 2.0)
    for a, b in itertools.combinations(range(4), 2):
        pair = {k: v for k, v in shifted([0.0, 0.2, 0.5, -0.4], 10, 60, 21).items() if k in (f"c{a}", f"c{b}")}
        alone = motion_offsets(pair, 2.0)
        assert abs((alone.offsets_s[1] - alone.offsets_s[0]) - (sync.offsets_s[b] - sync.offsets_s[a])) * 60 < 1.0
    assert sync.spread_s.max() * 60 < 0.5
