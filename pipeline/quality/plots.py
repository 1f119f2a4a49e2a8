"""Line plots of figures per frame as SVG text: no library, no script, legible from disk and on paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pipeline.meshes.colours import person_colour
from pipeline.quality.markup import text
from pipeline.quality.summary import QualityTrack, Summary

WIDTH, HEIGHT = 1040, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 26
_POINTS = 1000  # more than the plot has pixels shows nothing
CAMERA_COLOURS = ("#46566b", "#a3542f", "#4f7f52", "#7a4f8f", "#b08a1e", "#2f7f8f", "#8a3f4f", "#6b7a2f")


@dataclass(frozen=True)
class Series:
    """One line: its label, values (F,) with NaN for gaps, and colour as #rrggbb."""

    label: str
    values: np.ndarray
    colour: str


@dataclass(frozen=True)
class Plot:
    """A plot over frame numbers (F,): title, unit, lines, and a dashed line at ``limit`` if there is one."""

    title: str
    unit: str
    frames: np.ndarray
    series: tuple[Series, ...]
    limit: float | None = None
    note: str = ""


_TITLES = {
    "people found": ("People found", "in each frame, in 3D"),
    "reprojection": ("Reprojection", "from detections to projected joints, median of a person's joints and cameras"),
    "leave-one-out": ("Leave-one-camera-out", "how far a camera lies from where the others put the people"),
    "mask off the body": (
        "Masks against bodies",
        "100 % less intersection over union (IoU) of a mask and the projected body; the worst person in the camera",
    ),
    "fusion change": ("Fusion", "how far surfaces were moved by their neighbours in time, along the body's normals"),
    "flicker": ("Flicker", "what is left of the surface's trembling on the body, from frame to frame"),
    "fit error": ("Body fit", "from the body's joints to the triangulated ones, median"),
}


def plots_of(summary: Summary) -> list[Plot]:
    """One plot a name among the summary's quality tracks, in their order."""
    groups: dict[str, list[QualityTrack]] = {}
    for track in summary.quality:
        groups.setdefault(track.name, []).append(track)
    cameras = [c.camera for c in summary.cameras]
    plots = []
    for name, tracks in groups.items():
        title, note = _TITLES.get(name, (name[:1].upper() + name[1:], ""))
        rows = _rows_shown(tracks)
        series = tuple(Series(_label(t), np.asarray(t.values)[rows], _colour(t, cameras)) for t in tracks)
        plots.append(Plot(title, tracks[0].unit, summary.frames[rows], series, tracks[0].limit, note))
    return plots


def _rows_shown(tracks: Sequence[QualityTrack]) -> slice:
    """All frames, or those around the figures if these fill less than a quarter: surfaces were asked of few."""
    known = np.flatnonzero(np.any([np.isfinite(t.values) for t in tracks], axis=0))
    count = len(tracks[0].values)
    if not len(known) or 4 * (known[-1] + 1 - known[0]) >= count:
        return slice(0, count)
    margin = max(1, (known[-1] + 1 - known[0]) // 10)
    return slice(max(0, known[0] - margin), known[-1] + 1 + margin)


def svg(plot: Plot) -> str:
    """The plot as an ``<svg>`` element that takes the width it is given.

    The axis follows the bulk of the values: what lies above it is drawn at its upper edge with a triangle.
    """
    frames = np.asarray(plot.frames)
    if not len(frames):
        return ""
    top, ticks = _axis(plot)
    bins = _bins(len(frames))

    def x(rows: np.ndarray | float) -> np.ndarray:
        return _LEFT + np.asarray(rows) / max(1, len(frames) - 1) * (WIDTH - _LEFT - _RIGHT)

    def y(values: np.ndarray | float) -> np.ndarray:
        return HEIGHT - _BOTTOM - np.minimum(values, top) / top * (HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text(plot.title)}" '
        'font-family="system-ui, sans-serif" font-size="12">'
    ]
    for tick in ticks:
        parts.append(f'<path d="M{_LEFT} {y(tick):.1f}H{WIDTH - _RIGHT}" stroke="#e4e6ea" fill="none"/>')
        parts.append(_label_at(_LEFT - 7, float(y(tick)) + 4, f"{tick:g}", "end"))
    for row in _rows_of_ticks(frames):
        parts.append(f'<path d="M{x(row):.1f} {HEIGHT - _BOTTOM}v4" stroke="#9aa1ab" fill="none"/>')
        at = float(np.clip(x(row), _LEFT, WIDTH - 24))  # a long number at the end stays inside
        parts.append(_label_at(at, HEIGHT - 8, str(frames[row]), "middle"))
    if plot.limit is not None and plot.limit < top:
        line = f"M{_LEFT} {y(plot.limit):.1f}H{WIDTH - _RIGHT}"
        parts.append(f'<path d="{line}" stroke="#b4442c" stroke-dasharray="5 4" fill="none"/>')
    for series in plot.series:
        values = np.asarray(series.values, np.float64)
        rows = np.array([(a + b - 1) / 2 for a, b in bins])
        peaks = np.array([np.max(values[a:b][np.isfinite(values[a:b])], initial=-np.inf) for a, b in bins])
        peaks = np.where(np.isfinite(peaks), peaks, np.nan)
        path = _path(x(rows), y(peaks))
        parts.append(
            f'<path d="{path}" stroke="{text(series.colour)}" stroke-width="1.6" stroke-linecap="round" '
            f'stroke-linejoin="round" fill="none"><title>{text(series.label)}</title></path>'
        )
        for row in np.flatnonzero(_alone(peaks)):
            at, high = float(x(rows[row])), float(y(peaks[row]))
            parts.append(f'<circle cx="{at:.1f}" cy="{high:.1f}" r="3" fill="{text(series.colour)}"/>')
        for row in rows[peaks > top]:
            at = float(x(row))
            parts.append(f'<path d="M{at - 4:.1f} {_TOP}h8l-4 -8z" fill="{text(series.colour)}"/>')
    return "".join([*parts, "</svg>"])


def _alone(values: np.ndarray) -> np.ndarray:
    """Which values have no neighbour: a line would not show them."""
    known = np.isfinite(np.pad(values, 1, constant_values=np.nan))
    return known[1:-1] & ~known[:-2] & ~known[2:]


def _label(track: QualityTrack) -> str:
    if track.person is not None:
        return f"person {track.person}"
    return track.camera or track.name


def _colour(track: QualityTrack, cameras: Sequence[str]) -> str:
    if track.person is not None:
        return "#{:02x}{:02x}{:02x}".format(*person_colour(track.person))
    if track.camera in cameras:
        return CAMERA_COLOURS[cameras.index(track.camera) % len(CAMERA_COLOURS)]
    return "#2f3b4a"


def _axis(plot: Plot) -> tuple[float, list[float]]:
    """Upper end and ticks of the y axis."""
    values = np.concatenate([np.asarray(s.values, np.float64).ravel() for s in plot.series] or [np.zeros(0)])
    values = values[np.isfinite(values)]
    highest = float(values.max(initial=0))
    bulk = float(np.quantile(values, 0.99)) if values.size else 0.0
    wanted = max(min(highest, 2.5 * bulk), 1e-9 if highest else 1.0)
    step = 10 ** math.floor(math.log10(wanted))
    step = next(s for s in (0.2 * step, 0.5 * step, step, 2 * step, 5 * step) if wanted / s <= 5)
    if plot.unit == "people":
        step = max(1.0, math.ceil(step))
    count = max(1, math.ceil(wanted / step - 1e-9))
    return count * step, [round(i * step, 10) for i in range(count + 1)]


def _bins(count: int) -> list[tuple[int, int]]:
    edges = np.linspace(0, count, min(count, _POINTS) + 1).round().astype(int).tolist()
    return list(pairwise(edges))


def _rows_of_ticks(frames: np.ndarray, most: int = 10) -> list[int]:
    """Rows of the frames at round numbers."""
    step = _round_step(max(1, int(frames[-1] - frames[0])) / most)
    wanted = np.arange(-(-int(frames[0]) // step) * step, int(frames[-1]) + 1, step)
    return np.unique(np.searchsorted(frames, wanted)).tolist()


def _round_step(least: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, ... that is at least ``least``."""
    power = 10 ** max(0, math.floor(math.log10(max(1.0, least))))
    return next(s for s in (power, 2 * power, 5 * power, 10 * power) if s >= least)


def _path(x: np.ndarray, y: np.ndarray) -> str:
    """Move and line commands; a lone point between gaps becomes a dot."""
    out, pen = [], False
    for px, py in zip(x.tolist(), y.tolist(), strict=True):
        if not math.isfinite(py):
            pen = False
            continue
        out.append(f"{'L' if pen else 'M'}{px:.1f} {py:.1f}" + ("" if pen else "h0"))
        pen = True
    return "".join(out)


def _label_at(x: float, y: float, label: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#5c6570">{text(label)}</text>'

