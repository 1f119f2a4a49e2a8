"""When each stage ran, as an SVG: where the night went, and when a machine stood idle."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.quality.markup import text
from pipeline.quality.summary import StageFigures

WIDTH, ROW = 1040, 22
_LEFT, _RIGHT = 130, 70
_COLOURS = {"done": "#5d8f6d", "failed": "#b4442c", "running": "#4c7db0"}


def svg_of_night(stages: Sequence[StageFigures]) -> str:
    """A bar a stage, from its first part's beginning to its last one's end; "" if nothing was timed."""
    timed = [s for s in stages if s.began is not None and s.ended is not None]
    if not timed:
        return ""
    first, last = min(s.began for s in timed), max(s.ended for s in timed)
    span = max(last - first, 1.0)
    height = ROW * len(timed) + 24

    def x(moment: float) -> float:
        return _LEFT + (moment - first) / span * (WIDTH - _LEFT - _RIGHT)

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="When each stage ran" '
        'font-family="system-ui, sans-serif" font-size="12">'
    ]
    step = _step(span)
    for k in range(int(span // step) + 1):
        at = x(first + k * step)
        parts.append(f'<path d="M{at:.1f} 0V{height - 20}" stroke="#e4e6ea" fill="none"/>')
        label = _clock(k * step)
        parts.append(f'<text x="{at:.1f}" y="{height - 6}" text-anchor="middle" fill="#5c6570">{label}</text>')
    for row, stage in enumerate(timed):
        y = row * ROW
        colour = _COLOURS.get(stage.state, "#8a93a0")
        left, wide = x(stage.began), max(2.0, x(stage.ended) - x(stage.began))
        parts.append(
            f'<text x="{_LEFT - 8}" y="{y + 15}" text-anchor="end" fill="#1d232b">{text(stage.stage)}</text>'
            f'<rect x="{left:.1f}" y="{y + 4}" width="{wide:.1f}" height="{ROW - 8}" rx="3" fill="{colour}"/>'
            f'<text x="{left + wide + 6:.1f}" y="{y + 15}" fill="#5c6570">{_clock(stage.ended - stage.began)}</text>'
        )
    return "".join([*parts, "</svg>"])


def _step(span: float) -> float:
    steps = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200)
    return next((s for s in steps if span / s <= 8), 86400.0 * max(1, span // (8 * 86400)))


def _clock(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes}:{rest:02d} min" if rest else f"{minutes} min"
    return f"{seconds / 3600:.1f} h"
