"""Bringing the clocks of the cameras together, and choosing source images for the frames of a session.

    session time = source time − offset        (seconds; offset: how much later a camera's clock shows the same event)

Estimated offsets come from what the cameras share: how much moves (``motion_offsets``) or what is heard
(``audio_offsets``). Both give for every pair of cameras the evidence for every lag as a log-likelihood ratio against
"nothing in common". Pairs are merged into groups, strongest evidence first; the peaks of all pairs, each refined by a
parabola, are then made consistent by weighted least squares. The confidence is the posterior probability of the chosen
lag against every other lag and against nothing in common, so it is low where clips share nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from pipeline.errors import InputError

MOTION_HEIGHT = 192
"""Pixels: the height of the grey images that motion energy is taken from."""

NOISE_GREY = 2.0
"""Grey levels of change between two images that count as noise of camera and coding."""

MOTION_RATE = 240.0
"""Samples a second at which motion signals are compared; finer than any common frame rate."""

BANDS_S = ((1 / 30, 2 / 15), (2 / 15, 8 / 15))
"""Widths (standard deviations, seconds) of the differences of Gaussians that motion is compared in. Limbs start and
stop within the first band in every view at once; how much they move at all, the slow part, depends on the view."""

MIN_OVERLAP = 0.4
"""Two clips share at least this part of the shorter one's time."""

AUDIO_BAND_HZ = (100.0, 7000.0)
"""Band of the sound that is compared."""

AUDIO_BLOCK_S = 20.0
"""Sound is compared in pieces of this length, so that memory does not grow with the recording."""

AUDIO_TAILS = 30.0
"""Degrees of freedom of the noise of a correlation (Student's t): more outliers than a Gaussian has."""


@dataclass(frozen=True)
class Sync:
    """Offsets of the cameras' clocks.

    Attributes:
        cameras: names.
        offsets_s: (C,) float64: session time = source time − offset.
        confidence: (C,) 0 to 1, how certain the offset is.
        spread_s: (C,) root mean square disagreement of the camera's pairs, 0 where nothing was estimated.
        method: none, offsets, motion or audio.
    """

    cameras: tuple[str, ...]
    offsets_s: np.ndarray
    confidence: np.ndarray
    spread_s: np.ndarray
    method: str

    def offset(self, camera: str) -> float:
        return float(self.offsets_s[self.cameras.index(camera)])

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {
            "cameras": np.array([c.encode() for c in self.cameras]),
            "offsets_s": np.asarray(self.offsets_s, np.float64),
            "confidence": np.asarray(self.confidence, np.float64),
            "spread_s": np.asarray(self.spread_s, np.float64),
            "method": np.array([self.method.encode()]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Sync:
        names = tuple(c.decode() for c in arrays["cameras"][...])
        values = (np.asarray(arrays[k][...], np.float64) for k in ("offsets_s", "confidence", "spread_s"))
        return cls(names, *values, arrays["method"][...][0].decode())


def no_offsets(cameras: Iterable[str]) -> Sync:
    """All clocks agree."""
    names = tuple(cameras)
    return Sync(names, np.zeros(len(names)), np.ones(len(names)), np.zeros(len(names)), "none")


def given_offsets(frames: Mapping[str, float], fps: float) -> Sync:
    """Offsets that the user knows, in frames of ``fps``, fractions allowed; ``frames`` names every camera."""
    offsets = np.array([float(f) / fps for f in frames.values()])
    return Sync(tuple(frames), offsets, np.ones(len(offsets)), np.zeros(len(offsets)), "offsets")


# ---------------------------------------------------------------------------------------------------------------------
# Session frames and source images


def session_rate(rates: Mapping[str, float]) -> float:
    """The frame rate of a session whose configuration names none: that of the videos.

    Raises ``InputError`` where they differ by more than 1 %.
    """
    values = np.array(list(rates.values()))
    if values.max() > 1.01 * values.min():
        listed = ", ".join(f"{name} {rate:.4g}" for name, rate in rates.items())
        raise InputError("capture.fps", f"the videos run at different rates ({listed})",
                         "Set capture.fps to the rate of the session")  # fmt: skip
    return float(np.median(values))


def session_frames(
    times_s: Mapping[str, np.ndarray], sync: Sync, fps: float, start: int = 0, stop: int | None = None, step: int = 1
) -> np.ndarray:
    """(F,) int64 numbers of the session's frames, frame n being at n / fps on the session's clock.

    From the first that any camera shows to the last that two of them show (one, if there is but one), within
    start:stop:step.

    Raises:
        InputError: no frame is left.
    """
    ends = sorted((t[-1] - sync.offset(name)) * fps for name, t in times_s.items())
    begin = min((t[0] - sync.offset(name)) * fps for name, t in times_s.items())
    last = int(np.floor(ends[-2 if len(ends) > 1 else -1] + 0.5 + 1e-6))
    first = max(int(np.ceil(begin - 0.5 - 1e-6)), 0)
    first = start + max(0, -(-(first - start) // step)) * step
    frames = np.arange(first, min(last + 1, stop if stop is not None else last + 1), step, dtype=np.int64)
    if not len(frames):
        raise InputError("capture.frames", f"start {start}, stop {stop} leave no frame: the videos end at frame {last}",
                         f"Choose start below {last + 1}")  # fmt: skip
    return frames


def frame_plan(times_s: np.ndarray, offset_s: float, session_times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which source image stands for which frame of the session.

    Args:
        times_s: (N,) when the source's images were taken, ascending, on its own clock.
        offset_s: session time = source time − offset.
        session_times: (F,) ascending, seconds on the session's clock.

    Returns:
        indices (F,) int64, the nearest image, or -1 where none is within half a period (half the interval where a
        variable rate makes intervals up to half as long again); time_error_s (F,) float64, by how much the image is
        later than the frame, NaN where there is none.
    """
    times = np.asarray(times_s, np.float64) - offset_s
    wanted = np.asarray(session_times, np.float64)
    if not len(times):
        return np.full(len(wanted), -1, np.int64), np.full(len(wanted), np.nan)
    gaps = np.diff(times)
    period = float(np.median(gaps)) if len(gaps) else np.inf
    if not len(gaps) and len(wanted) > 1:
        period = float(np.median(np.diff(wanted)))
    after = np.clip(np.searchsorted(times, wanted), 0, len(times) - 1)
    before = np.maximum(after - 1, 0)
    nearer_before = np.abs(times[before] - wanted) <= np.abs(times[after] - wanted)
    index = np.where(nearer_before, before, after)
    interval = times[after] - times[before]
    inside = (wanted >= times[0]) & (wanted <= times[-1]) & (interval <= 1.5 * period)
    # A hair more than half, so that an offset of exactly half a frame finds its images.
    limit = np.where(inside, np.inf, 0.5 * period) + 0.01 * min(period, 1.0)
    error = times[index] - wanted
    found = np.abs(error) <= limit
    return np.where(found, index, -1).astype(np.int64), np.where(found, error, np.nan)


# ---------------------------------------------------------------------------------------------------------------------
# Motion


def motion_energy(images: Iterable[tuple[float, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """How much moves: mean change of the image beyond noise, a second.

    Args:
        images: (time in s, grey (H, W) uint8) in order, small (see ``MOTION_HEIGHT``).

    Returns:
        times (N − 1,) float64 between the images, energy (N − 1,) float64.
    """
    times, energy, previous = [], [], None
    for time, image in images:
        image = image.astype(np.float32)
        if previous is not None and time > previous[0]:
            change = np.abs(image - previous[1]) - NOISE_GREY
            energy.append(float(np.maximum(change, 0).mean()) / (time - previous[0]))
            times.append(0.5 * (time + previous[0]))
        previous = (time, image)
    return np.array(times, np.float64), np.array(energy, np.float64)


def motion_offsets(energies: Mapping[str, tuple[np.ndarray, np.ndarray]], max_offset_s: float) -> Sync:
    """Offsets from motion energy.

    The logarithm takes out how near a camera is, and the bands what differs slowly between views.

    Args:
        energies: camera → (times_s, energy) from ``motion_energy``.
        max_offset_s: largest difference between two cameras that is looked for.

    Returns:
        offsets relative to the first camera that is certain; sub-frame.
    """
    names = tuple(energies)
    signals = [_motion_signal(*energies[name]) for name in names]
    lags = int(np.ceil(max_offset_s * MOTION_RATE))
    curves = {}
    for a, b in combinations(range(len(names)), 2):
        curves[a, b] = _motion_evidence(signals[a], signals[b], lags)
    starts = np.array([s.start_s for s in signals])
    return _solve(names, curves, starts, 1.0 / MOTION_RATE, lobe_s=BANDS_S[0][1] / 2, method="motion")


@dataclass(frozen=True)
class _Signal:
    """Band-passed motion on an even grid: bands (B, N), valid (N,) bool, time of sample 0."""

    bands: np.ndarray
    valid: np.ndarray
    start_s: float


def _motion_signal(times: np.ndarray, energy: np.ndarray) -> _Signal:
    bands = len(BANDS_S)
    if len(times) < 8 or not np.any(energy > 0):
        return _Signal(np.zeros((bands, 1)), np.zeros(1, bool), 0.0)
    level = _without_jolts(np.log(energy + 0.1 * np.median(energy) + 1e-3))
    period = float(np.median(np.diff(times)))
    start = np.ceil(times[0] * MOTION_RATE) / MOTION_RATE
    grid = start + np.arange(max(int((times[-1] - start) * MOTION_RATE), 1)) / MOTION_RATE
    after = np.clip(np.searchsorted(times, grid), 1, len(times) - 1)
    known = times[after] - times[after - 1] < 2.5 * period
    value = np.interp(grid, times, level)
    widths = [[max(w, period * w / BANDS_S[0][0]) for w in band] for band in BANDS_S]
    signal = np.stack([_smooth(value, known, fine) - _smooth(value, known, coarse) for fine, coarse in widths])
    spread = 1.4826 * np.median(np.abs(signal[:, known]), axis=1, keepdims=True) + 1e-9 if known.any() else 1.0
    return _Signal(np.clip(signal / spread, -4, 4) * known, known, float(start))


def _without_jolts(level: np.ndarray) -> np.ndarray:
    """Single samples that stand out from both neighbours (key frames, doubled frames) replaced by the nearer one.

    Only outliers: a median of everything would flatten every peak, and peaks are what tells the time.
    """
    padded = np.pad(level, 1, mode="edge")
    calm = np.median(np.stack([padded[:-2], padded[1:-1], padded[2:]]), axis=0)
    jolt = np.abs(level - calm)
    usual = np.quantile(jolt, 0.75)
    return np.where(jolt > 4 * usual + 0.05, calm, level)


def _smooth(value: np.ndarray, known: np.ndarray, width_s: float) -> np.ndarray:
    """Gaussian smoothing that takes no account of unknown samples or of what is beyond the ends."""
    from scipy.ndimage import gaussian_filter1d

    sigma = width_s * MOTION_RATE
    total = gaussian_filter1d(value * known, sigma, mode="constant")
    return total / np.maximum(gaussian_filter1d(known.astype(float), sigma, mode="constant"), 1e-6)


def _motion_evidence(a: _Signal, b: _Signal, lags: int) -> np.ndarray:
    """(2 lags + 1,) log-likelihood ratio of b being a, later by each lag, against no relation; −inf where they hardly
    overlap.

    For n independent samples of correlation r it is −(n − 2)/2 log(1 − r²) (Gaussian), less log(n)/2 for having chosen
    r. How many samples are independent follows from the autocorrelations of both (Bartlett 1946).
    """
    overlap = np.maximum(_correlate(a.valid.astype(float), b.valid.astype(float), lags), 0)
    total = np.where(overlap >= MIN_OVERLAP * min(a.valid.sum(), b.valid.sum()) + 1, 0.0, -np.inf)
    for x, y in zip(a.bands, b.bands, strict=True):
        power = _correlate(x * x, b.valid.astype(float), lags) * _correlate(a.valid.astype(float), y * y, lags)
        r = _correlate(x, y, lags) / np.sqrt(np.maximum(power, 1e-9))
        r = 0.98 * np.clip(r, -1, 1)  # bounds the logarithm and keeps the peak a peak
        independent = np.maximum(overlap / _samples_a_piece(x, y), 2)
        gain = -0.5 * (independent - 2) * np.log1p(-r * r) * np.sign(r)
        total += np.where(independent >= 4, gain - 0.5 * np.log(independent), 0.0)
    return total


def _samples_a_piece(x: np.ndarray, y: np.ndarray) -> float:
    """How many samples count as one independent one: the sum of the product of the autocorrelations."""
    reach = min(len(x), len(y), int(2 * MOTION_RATE)) - 1
    if reach < 1:
        return 1.0
    rho = [_correlate(s, s, reach) / max(float(s @ s), 1e-9) for s in (x, y)]
    return max(float((rho[0] * rho[1]).sum()), 1.0)


def _correlate(x: np.ndarray, y: np.ndarray, lags: int) -> np.ndarray:
    """(2 lags + 1,): sum over t of x[t] y[t + lag] for lag −lags to lags."""
    n = next_fast_len(max(len(x), len(y)) + lags + 1, real=True)
    c = irfft(np.conj(rfft(x, n)) * rfft(y, n), n)
    return np.concatenate([c[-lags:], c[: lags + 1]]) if lags else c[:1]


# ---------------------------------------------------------------------------------------------------------------------
# Sound


def audio_offsets(signals: Mapping[str, tuple[int, np.ndarray]], max_offset_s: float) -> Sync:
    """Offsets from sound: generalised cross-correlation with phase transform (Knapp & Carter 1976), in blocks.

    Sound takes 3 ms a metre; cameras at different distances from its source keep that error.

    Args:
        signals: camera → (rate, mono (N,) float), sample 0 at source time 0; all of one rate, at least 4000.
        max_offset_s: largest difference between two cameras that is looked for.
    """
    names = tuple(signals)
    rates = {int(rate) for rate, _ in signals.values()}
    if len(rates) != 1:
        raise ValueError(f"sounds of different rates: {sorted(rates)}")
    rate = rates.pop()
    lags = int(np.ceil(max_offset_s * rate))
    curves = {
        (a, b): _audio_evidence(signals[names[a]][1], signals[names[b]][1], rate, lags)
        for a, b in combinations(range(len(names)), 2)
    }
    return _solve(names, curves, np.zeros(len(names)), 1.0 / rate, lobe_s=0.005, method="audio")


def _audio_evidence(a: np.ndarray, b: np.ndarray, rate: int, lags: int) -> np.ndarray:
    """(2 lags + 1,) log-likelihood ratio of b being a, later by each lag, from its height over the noise."""
    block = int(AUDIO_BLOCK_S * rate)
    n = next_fast_len(2 * block + 2 * lags, real=True)
    f = np.fft.rfftfreq(n, 1 / rate)
    band = (f >= AUDIO_BAND_HZ[0]) & (f <= min(AUDIO_BAND_HZ[1], 0.45 * rate))
    total = np.zeros(2 * lags + 1)
    for begin in range(0, len(a), block):
        x = a[begin : begin + block]
        y = np.zeros(len(x) + 2 * lags, np.float32)
        low, high = max(begin - lags, 0), min(begin + len(x) + lags, len(b))
        if high <= low:
            break
        y[low - (begin - lags) : high - (begin - lags)] = b[low:high]
        X = rfft(_tapered(x, 0, len(x), rate), n)
        Y = rfft(_tapered(y, low - begin + lags, high - begin + lags, rate), n)
        used = band & (np.abs(X) > 1e-4 * np.abs(X).max()) & (np.abs(Y) > 1e-4 * np.abs(Y).max())
        cross = np.conj(X) * Y
        cross = np.where(used, cross / np.maximum(np.abs(cross), 1e-20), 0)
        total += irfft(cross, n)[: 2 * lags + 1]
    # Few loud events make the noise lumpy: a lump where any two of them meet. A true peak stands out from its own lump.
    wide, core = int(0.01 * rate), int(0.001 * rate)
    near = (_running_mean(total**2, wide) * wide - _running_mean(total**2, core) * core) / (wide - core)
    noise = np.sqrt(np.maximum(near, np.median(total**2)))
    if not noise.min() > 0:
        return np.zeros_like(total)
    height = np.maximum(total / noise, 0)
    return 0.5 * AUDIO_TAILS * np.log1p(height**2 / AUDIO_TAILS)


def _running_mean(x: np.ndarray, width: int) -> np.ndarray:
    from scipy.ndimage import uniform_filter1d

    return uniform_filter1d(x, width, mode="nearest")


def _tapered(x: np.ndarray, low: int, high: int, rate: int) -> np.ndarray:
    """Samples low:high faded in and out: a cut through a hum is a click, and all clips have cuts."""
    fade = min(int(0.1 * rate), (high - low) // 2)
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(fade) + 0.5) / max(fade, 1))
    out = x.astype(np.float32)
    out[low : low + fade] *= ramp
    out[high - fade : high] *= ramp[::-1]
    return out


# ---------------------------------------------------------------------------------------------------------------------
# Pairs to cameras


def _solve(
    names: tuple[str, ...],
    curves: Mapping[tuple[int, int], np.ndarray],
    starts_s: np.ndarray,
    tick_s: float,
    lobe_s: float,
    method: str,
) -> Sync:
    """Offsets from the evidence of all pairs.

    Args:
        curves: (a, b) with a < b → (2 L + 1,) evidence that sample t of a is sample t + lag of b.
        starts_s: (C,) source time of sample 0.
        tick_s: a sample.
        lobe_s: lags nearer than this to a peak belong to it.
    """
    count = len(names)
    if count < 2:
        return Sync(names, np.zeros(count), np.ones(count), np.zeros(count), method)
    evidence = _Evidence(curves, max(round(lobe_s / tick_s), 1))
    shift, confidence = _merge(evidence, count)
    shift = _settle(evidence, shift)
    exact, spread = _refine(evidence, shift, confidence)
    offsets = exact * tick_s + starts_s
    sure = int(np.argmax(confidence >= 0.5 * confidence.max()))
    return Sync(names, offsets - offsets[sure], confidence, spread * tick_s, method)


@dataclass(frozen=True)
class _Evidence:
    """Curves of all pairs, readable in both directions. Lags are in samples."""

    curves: Mapping[tuple[int, int], np.ndarray]
    lobe: int

    @property
    def lags(self) -> int:
        return (len(next(iter(self.curves.values()))) - 1) // 2

    def curve(self, a: int, b: int) -> np.ndarray:
        return self.curves[a, b] if a < b else self.curves[b, a][::-1]

    def between(self, group_a: dict[int, int], group_b: dict[int, int]) -> np.ndarray:
        """Evidence that group b (camera → shift) is later than group a by each lag, all pairs together.

        Pairs that share a camera are not independent, so the sum over k pairs is tempered by the root of k. A pair
        that hardly overlaps says nothing; lags at which no pair overlaps are excluded (−inf).
        """
        total = np.zeros(2 * self.lags + 1)
        compared = np.zeros(len(total), bool)
        for a, shift_a in group_a.items():
            for b, shift_b in group_b.items():
                curve = _shifted(self.curve(a, b), shift_b - shift_a)
                compared |= np.isfinite(curve)
                total += np.where(np.isfinite(curve), curve, 0.0)
        return np.where(compared, total / np.sqrt(len(group_a) * len(group_b)), -np.inf)

    def certainty(self, curve: np.ndarray) -> tuple[int, float]:
        """The best lag, and its posterior probability against other lags and against nothing in common."""
        best = int(np.argmax(curve))
        top = max(float(curve[best]), 0.0)
        likelihood = np.exp(curve - top)
        lobe = likelihood[max(best - self.lobe, 0) : best + self.lobe + 1].sum()
        nothing = np.isfinite(curve).sum() * np.exp(-top)
        return best - self.lags, float(lobe / max(likelihood.sum() + nothing, 1e-300))


def _shifted(curve: np.ndarray, by: int) -> np.ndarray:
    """out[i] = curve[i + by], −inf beyond the ends."""
    out = np.full_like(curve, -np.inf)
    n = len(curve)
    if abs(by) < n:
        out[max(-by, 0) : n - max(by, 0)] = curve[max(by, 0) : n + min(by, 0)]
    return out


def _merge(evidence: _Evidence, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Groups of cameras, merged strongest evidence first: shifts (C,) int in samples, confidence (C,).

    A camera is as certain as the weakest merge through which its group came to a larger one.
    """
    groups = [{c: 0} for c in range(count)]
    confidence = np.ones(count)
    while len(groups) > 1:
        best = None
        for i, j in combinations(range(len(groups)), 2):
            curve = evidence.between(groups[i], groups[j])
            lag, sure = evidence.certainty(curve)
            rank = (sure, float(curve.max()))
            if best is None or rank > best[0]:
                best = (rank, i, j, lag)
        (sure, _), i, j, lag = best
        a, b = groups[i], groups[j]
        for group in (a, b):
            if len(group) == 1 or len(group) < len(a) + len(b) - len(group) or (len(a) == len(b) and group is b):
                for c in group:
                    confidence[c] = min(confidence[c], sure)
        groups = [g for k, g in enumerate(groups) if k not in (i, j)] + [a | {c: s + lag for c, s in b.items()}]
    return np.array([groups[0][c] for c in range(count)]), confidence


def _settle(evidence: _Evidence, shift: np.ndarray) -> np.ndarray:
    """Each camera in turn to its best place given all others, near where it is, until nothing moves."""
    shift = shift.copy()
    for _ in range(20):
        moved = False
        for c in range(len(shift)):
            others = {o: int(shift[o] - shift[c]) for o in range(len(shift)) if o != c}
            curve = evidence.between(others, {c: 0})
            low = max(evidence.lags - evidence.lobe, 0)
            step = int(np.argmax(curve[low : evidence.lags + evidence.lobe + 1])) + low - evidence.lags
            moved |= step != 0
            shift[c] += step
        if not moved:
            break
    return shift


def _refine(evidence: _Evidence, shift: np.ndarray, confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least squares over the pairs' own peaks: shifts (C,) float, and each camera's disagreement (C,), in samples.

    A pair's peak is that of a parabola through its highest sample near the common solution and its neighbours; its
    weight is its curvature, which is the information that it holds, times the certainty of its cameras.
    """
    count = len(shift)
    rows, values, weights, pairs = [], [], [], []
    for a, b in combinations(range(count), 2):
        curve, centre = evidence.curve(a, b), int(shift[b] - shift[a]) + evidence.lags
        low, high = max(centre - evidence.lobe, 1), min(centre + evidence.lobe, len(curve) - 2)
        if high <= low:
            continue
        top = low + int(np.argmax(curve[low : high + 1]))
        left, mid, right = curve[top - 1 : top + 2]
        bend = left - 2 * mid + right if np.isfinite([left, mid, right]).all() else 0.0
        if top in (low, high) or bend >= 0:
            continue
        row = np.zeros(count)
        row[a], row[b] = -1, 1
        rows.append(row)
        values.append(top - evidence.lags + 0.5 * (left - right) / bend)
        weights.append(-bend * confidence[a] * confidence[b])
        pairs.append((a, b))
    if not rows:
        return shift.astype(float), np.zeros(count)
    A, value, weight = np.array(rows), np.array(values), np.array(weights)
    # A weak pull to the whole-sample solution holds what no pair determines, the common shift among it.
    pull = 1e-6 * max(weight.max(), 1e-12)
    normal = A.T @ (weight[:, None] * A) + pull * np.eye(count)
    exact = np.linalg.solve(normal, A.T @ (weight * value) + pull * shift)
    error = (A @ exact - value) ** 2 * weight
    spread = np.zeros(count)
    for c in range(count):
        mine = np.array([c in pair for pair in pairs])
        if mine.any() and weight[mine].sum() > 0:
            spread[c] = np.sqrt(error[mine].sum() / weight[mine].sum())
    return exact, spread
