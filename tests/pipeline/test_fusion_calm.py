"""How calmly a body moves: a fit's trembling is told from motion, and motion from what frames around cannot know."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.fusion.calm import LIMIT_M, Calm
from pipeline.fusion.fuse import fuse_window, window_frame
from pipeline.fusion.skinning import bind
from tests.pipeline.fusion_ball import OPTIONS, at, ball, body, frame_of

FPS = 25.0


def falling(frames=40):
    """(F, 300, 3) points of a thing that is thrown: a parabola, half a millimetre to five centimetres a frame."""
    start = np.random.default_rng(0).normal(0, 0.3, (300, 3))
    t = np.arange(frames)[:, None, None] / FPS
    return start + t * [1.0, 0, 2.0] - 0.5 * t**2 * [0, 0, 9.81]


def told(positions, missing=()):
    return Calm(lambda k: positions[k] if 0 <= k < len(positions) and k not in missing else None, FPS)


def test_trembling_is_taken_out_of_a_body_that_flies():
    true = falling()
    fitted = true + np.random.default_rng(1).normal(0, 0.002, true.shape)
    calm = told(fitted)
    steadied = np.stack([fitted[k] + calm(k)[0] for k in range(10, 30)])
    before, after = (
        np.sqrt((np.diff(x - true[10:30], 2, axis=0) ** 2).mean()) for x in (fitted[10:30], steadied)
    )
    assert after < 0.45 * before
    assert np.mean([calm(k)[1].mean() for k in range(10, 30)]) > 0.5


def test_a_body_that_moves_as_no_parabola_does_is_left_and_is_not_calm():
    struck = falling()
    struck[20:] += [0.05, 0, 0]  # five centimetres from one frame to the next
    shift, calm = told(struck)(20)
    assert np.abs(shift).max() < 0.0015 and calm.max() < 0.06
    far_shift, far_calm = told(struck)(8)
    assert np.abs(far_shift).max() < 1e-6 and far_calm.min() > 0.999


def test_the_limit_is_where_it_says():
    off = falling()
    off[20] += [LIMIT_M, 0, 0]  # a parabola through nine places, one of them off, is off by 59 / 231 there
    calm = told(off)(20)[1]
    gaps = [shift * LIMIT_M for shift in (172 / 231, 54 / 231, 39 / 231, 14 / 231)]
    mean = (gaps[0] ** 2 + 2 * sum(g**2 for g in gaps[1:])) / 7
    np.testing.assert_allclose(calm, 1 / (1 + mean / LIMIT_M**2) ** 2, rtol=1e-6)


def test_where_bodies_are_missing_less_is_known():
    flying = falling()
    assert told(flying, {20})(20) is None
    assert told(flying, {18, 22})(20)[1].min() > 0.999
    assert told(flying, set(range(40)) - {19, 20, 21, 22})(20) is None


def known(posed, calm, steadier=0.0):
    size = np.shape(posed.vertices)
    return replace(posed, steadier=np.broadcast_to(steadier, size), calm=np.full(size[0], calm))


@pytest.mark.parametrize("calm", [0.0, 1.0])
def test_frames_further_away_count_as_far_as_the_body_is_calm(calm):
    options = replace(OPTIONS, window=5)
    frames = [window_frame(frame_of(k).surface, known(body(k), calm), options) for k in range(5)]
    far = 0.2 if calm else 0.0
    near = (1 - 2 * far) / 3
    np.testing.assert_allclose(fuse_window(frames, 2, options).contributions, [far, near, near, near, far], atol=0.02)


@pytest.mark.parametrize("missing", [(), (1,), (1, 3)])
def test_a_wide_window_is_the_mean_of_its_frames(missing):
    """Balls of five sizes: the mean of their distances is zero at the mean radius, whoever is not there."""
    options = replace(OPTIONS, window=5)
    sizes = [0.199, 0.202, 0.200, 0.203, 0.201]
    frames = []
    for k, size in enumerate(sizes):
        surface = None if k in missing else frame_of(k, *ball(size)).surface
        frames.append(window_frame(surface, known(body(k), 1.0), options))
    out = fuse_window(frames, 2, options)
    there = [k for k in range(5) if k not in missing]
    mean = window_frame(frame_of(2, *ball(np.mean([sizes[k] for k in there]))).surface, body(2), options)
    radius, expected = (
        np.linalg.norm(f.vertices - at(2)[:, 3], axis=1).mean() for f in (out, fuse_window([mean], 0, options))
    )
    assert radius == pytest.approx(expected, abs=1e-4)  # with what the coarse grid takes off both
    np.testing.assert_allclose(out.contributions, [k in there and 1 / len(there) for k in range(5)], atol=0.04)


def test_what_the_fit_trembles_by_does_not_carry_meshes():
    off = np.array([0.003, 0.0, 0.0])
    own, other, mesh = body(0), body(1), frame_of(0).surface
    moved = np.concatenate([np.zeros((3, 3)), off[:, None]], 1)
    wrong = replace(other, vertices=other.vertices + off, blended=other.blended + moved)
    true = bind(mesh, own, OPTIONS).carry(other)
    np.testing.assert_allclose(bind(mesh, own, OPTIONS).carry(wrong), true + off, atol=1e-9)
    told = known(wrong, 1.0, -off)
    np.testing.assert_allclose(bind(mesh, known(own, 1.0), OPTIONS).carry(told), true, atol=1e-9)
