"""``report.html``: the page that a lab reads in the morning.

One file without scripts that opens from disk: its style is allowed by hash and pictures are inside it; the content
security policy forbids everything else, so that nothing a name or a log might hold can load or run. Whatever comes
from outside passes ``text``.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from pipeline.meshes.colours import person_colour
from pipeline.quality.markup import text
from pipeline.quality.night import svg_of_night
from pipeline.quality.plots import Plot, svg
from pipeline.quality.report_style import STYLE
from pipeline.quality.summary import (
    CameraFigures,
    Flag,
    PartRecord,
    PersonFigures,
    StageFigures,
    StillFigures,
    Summary,
)

LOG_LINES, LOG_CHARACTERS = 40, 6000
MOST_STILLS = 500
"""Rows of the table of stills; ``summary.json`` has them all."""


@dataclass(frozen=True)
class Picture:
    """A picture with what is seen, and the command that makes its frame anew ("" for none). ``kind``: jpeg or webp."""

    title: str
    caption: str
    data: bytes
    command: str = ""
    kind: str = "jpeg"


@dataclass(frozen=True)
class Link:
    """A file beside the report: its path relative to the report, and what it is."""

    path: str
    what: str


def render_report(
    summary: Summary,
    plots: Sequence[Plot],
    pictures: Sequence[Picture] = (),
    links: Sequence[Link] = (),
    turntable: Picture | None = None,
    still_pictures: Sequence[Picture] = (),
    still_method: str = "",
) -> str:
    """The whole page.

    Args:
        summary: the figures, the same as in ``summary.json``.
        plots: see ``pipeline.quality.plots.plots_of``.
        pictures: worst frames.
        links: exported files.
        turntable: everybody from all around.
        still_pictures: stills with the bodies found in them.
        still_method: what the way in which they were found can do.
    """
    night = svg_of_night(summary.stages)
    sections = [
        _section("Look at this", _flags(summary.flags), summary.flags),
        _section("Errors and logs", "".join(_problem(s, p) for s in summary.stages for p in s.problems),
                 any(s.problems for s in summary.stages)),
        _section("People", _people(summary), summary.people),
        _section("Cameras", _cameras(summary.cameras), summary.cameras),
        _section("Stills", _stills(summary.stills, still_pictures, still_method), summary.stills),
        _section("Quality per frame", "".join(map(_plot, plots)), plots),
        _section("Worst frames", f'<div class="pictures">{"".join(map(_picture, pictures))}</div>', pictures),
        _section("From all around", f'<div class="pictures wide">{_picture(turntable)}</div>' if turntable else "",
                 turntable),
        _section("Stages", _stages(summary.stages) + (f'<figure class="plot">{night}</figure>' if night else ""),
                 summary.stages),
        _section("Files", _links(links), links),
    ]  # fmt: skip
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_style_hash()}'; base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{text(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(summary.session)} · Troupe report</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"{_header(summary)}\n{''.join(sections)}\n{_footer(summary)}\n</main>\n</body>\n</html>\n"
    )


def log_tail(content: str) -> str:
    """The end of a log, as much as the report shows; progress bars keep their last state alone."""
    lines = [line.rsplit("\r", 1)[-1] for line in content.replace("\r\n", "\n").rstrip().split("\n")]
    return "\n".join(lines[-LOG_LINES:])[-LOG_CHARACTERS:]


def _style_hash() -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()


def _header(summary: Summary) -> str:
    about = [f"made {summary.created}"]
    if len(summary.frames):
        about.append(f"frames {summary.frames[0]} to {summary.frames[-1]}")
    if summary.fps:
        about.append(f"{summary.fps:g} frames a second")
    tiles = "".join(_tile(name, value) for name, value in summary.counts.items())
    return (
        f'<header class="{text(summary.state)}"><p class="brand">Troupe</p><h1>{text(summary.session)}</h1>'
        f'<p class="verdict">{text(summary.verdict)}</p><p class="about">{text(" · ".join(about))}</p></header>'
        f'<div class="tiles">{tiles}</div>'
    )


def _tile(name: str, value: float | int | None) -> str:
    label, figure, unit = _figure(name, value)
    return f'<div class="tile"><b>{figure}{f" <i>{text(unit)}</i>" if unit else ""}</b>{text(label)}</div>'


def _section(title: str, body: str, wanted: object) -> str:
    return f"<section><h2>{text(title)}</h2>{body}</section>\n" if wanted else ""


def _flags(flags: Sequence[Flag]) -> str:
    return "".join(
        f'<div class="flag {"error" if f.severity == "error" else "warning"}"><p><b>{text(f.text)}</b></p>'
        f"<p>{text(f.remedy)}</p></div>"
        for f in flags
    )


def _stages(stages: Sequence[StageFigures]) -> str:
    columns: list[tuple[str, str, Callable[[StageFigures], str]]] = [
        ("Stage", "", lambda s: f"<b>{text(s.stage)}</b><small>{text(s.purpose)}</small>"),
        ("State", "", lambda s: f'<span class="state {text(s.state)}">{text(s.state)}</span>'),
        ("Parts", "n", lambda s: f"{s.parts_done} / {s.parts}" if s.parts else "–"),
        ("Time", "n", lambda s: _seconds(s.seconds)),
        ("Longest part", "n", lambda s: _seconds(s.longest_part_s)),
        ("Memory", "n", lambda s: _number(s.peak_memory_mb, " MB")),
        ("GPU memory", "n", lambda s: _number(s.peak_gpu_memory_mb, " MB")),
        ("Tried again", "n", lambda s: f"{s.retried}" if s.retried else "–"),
        ("Machines", "", lambda s: text(", ".join(s.hosts)) or "–"),
    ]
    empty = {
        "Memory": all(s.peak_memory_mb is None for s in stages),
        "GPU memory": all(s.peak_gpu_memory_mb is None for s in stages),
        "Tried again": not any(s.retried for s in stages),
    }
    columns = [c for c in columns if not empty.get(c[0])]
    return _table(columns, stages)


def _people(summary: Summary) -> str:
    def name(p: PersonFigures) -> str:
        chip = '<svg class="chip" viewBox="0 0 1 1"><rect width="1" height="1" fill="rgb({},{},{})"/></svg>'
        title = f"{p.person}" + (f" · {p.name}" if p.name else "")
        return chip.format(*person_colour(p.person)) + f"<b>{text(title)}</b>"

    def invalid(p: PersonFigures) -> str:
        return text(", ".join(f"{k} {v}" for k, v in p.invalid_frames.items())) or "–"

    return _table(
        [
            ("Person", "", name),
            ("Frames", "n", lambda p: f"{p.frames_present}"),
            ("From – to", "n", lambda p: f"{_number(p.first_frame)} – {_number(p.last_frame)}"),
            ("Coverage", "n", lambda p: _share(p.coverage)),
            ("Gaps", "n", lambda p: f"{len(p.gaps)}"),
            ("Reprojection", "n", lambda p: _number(p.reprojection_median_px, " px")),
            ("95 % within", "n", lambda p: _number(p.reprojection_p95_px, " px")),
            ("Leave-one-out", "n", lambda p: _number(p.leave_one_out_median_px, " px")),
            ("Body frames", "n", lambda p: f"{p.body_frames}"),
            ("Fit error", "n", lambda p: _number(p.fit_error_median_mm, " mm")),
            ("95 % within", "n", lambda p: _number(p.fit_error_p95_mm, " mm")),
            ("Frames without a valid body", "", invalid),
        ],
        summary.people,
    )


def _cameras(cameras: Sequence[CameraFigures]) -> str:
    overlaps = [
        (title, "n", lambda c, name=name: _share(getattr(c, name)))
        for title, name in (
            ("Masks on bodies", "mask_body_iou"), ("Masks on surfaces", "mask_surface_iou"),
            ("Silhouettes of the result", "silhouette_iou"),
        )
        if any(getattr(c, name) is not None for c in cameras)
    ]
    if any(c.colour_error is not None for c in cameras):
        overlaps.append(("Colours off by", "n", lambda c: _number(c.colour_error)))
    return _table(
        [
            ("Camera", "", lambda c: f"<b>{text(c.camera)}</b>"),
            ("Size", "n", lambda c: f"{c.width} × {c.height}"),
            ("Frames missing", "n", lambda c: _number(c.frames_missing)),
            ("Detected a frame", "n", lambda c: _number(c.detections_per_frame)),
            ("Assigned", "n", lambda c: _share(c.assigned_share)),
            ("Sees people in", "n", lambda c: _share(c.seen_share)),
            ("Reprojection", "n", lambda c: _number(c.reprojection_median_px, " px")),
            ("Leave-one-out", "n", lambda c: _number(c.leave_one_out_median_px, " px")),
            ("Time offset", "n", lambda c: _offset(c.offset_s)),
            ("Sync", "n", lambda c: _share(c.sync_confidence)),
            *overlaps,
        ],
        cameras,
    )


def _stills(stills: Sequence[StillFigures], pictures: Sequence[Picture], method: str) -> str:
    """Images that could not be used first, then as they come."""
    rows = sorted(stills, key=lambda s: not s.reason)
    table = _table(
        [
            ("Image", "", lambda s: f"<b>{text(s.image)}</b>"),
            ("State", "", lambda s: f'<span class="state {"failed" if s.reason else "done"}">'
             f'{text(s.reason or "looked at")}</span>'),
            ("Size", "n", lambda s: f"{s.width} × {s.height}" if s.width else "–"),
            ("People", "n", lambda s: "–" if s.reason else f"{s.people}"),
            ("Unsurest", "n", lambda s: _share(s.least_score)),
            ("Smallest", "n", lambda s: _number(s.shortest_px, " px")),
        ],
        rows[:MOST_STILLS],
    )  # fmt: skip
    more = f"<p>{len(rows) - MOST_STILLS} more images are in summary.json.</p>" if len(rows) > MOST_STILLS else ""
    told = f"<p>{text(method)}</p>" if method else ""
    return f'{told}<div class="pictures">{"".join(map(_picture, pictures))}</div>{table}{more}'


def _table(columns: Sequence[tuple[str, str, Callable]], rows: Iterable) -> str:
    def row(tag: str, cells: Iterable[tuple[str, str]]) -> str:
        return "<tr>" + "".join(f'<{tag}{f" class={c}" if c else ""}>{v}</{tag}>' for c, v in cells) + "</tr>"

    head = row("th", [(c, text(title)) for title, c, _ in columns])
    body = "".join(row("td", [(c, cell(item)) for _, c, cell in columns]) for item in rows)
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>'


def _plot(plot: Plot) -> str:
    legend = "".join(
        f'<span><svg class="chip" viewBox="0 0 1 1"><rect width="1" height="1" fill="{text(s.colour)}"/></svg>'
        f"{text(s.label)}</span>"
        for s in plot.series
        if len(plot.series) > 1 or s.label.lower() != plot.title.lower()
    )
    unit = f" <i>{text(plot.unit)}</i>" if plot.unit and plot.unit != "people" else ""
    note = f"<small>{text(plot.note)}</small>" if plot.note else ""
    caption = f"<figcaption><b>{text(plot.title)}{unit}</b>{note}{legend}</figcaption>"
    return f'<figure class="plot">{caption}{svg(plot)}</figure>'


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.data).decode()
    kind = "webp" if picture.kind == "webp" else "jpeg"
    command = f"<code>{text(picture.command)}</code>" if picture.command else ""
    return (
        f'<figure><img alt="{text(picture.title)}" src="data:image/{kind};base64,{data}">'
        f"<figcaption><b>{text(picture.title)}</b>{text(picture.caption)}{command}</figcaption></figure>"
    )


def _problem(stage: StageFigures, part: PartRecord) -> str:
    tail = f"<pre>{text(log_tail(part.log_tail))}</pre>" if part.log_tail else ""
    log = f"<small>{text(part.log)}</small>" if part.log else ""
    host = f" on {text(part.host)}" if part.host else ""
    body = f"<summary><b>{text(stage.stage)} {text(part.part)}</b>{host}: {text(part.error or part.state)}</summary>"
    return f'<details class="problem"{" open" if tail else ""}>{body}{log}{tail}</details>'


def _links(links: Sequence[Link]) -> str:
    items = "".join(f'<li><a href="{text(_relative(k.path))}">{text(k.path)}</a> {text(k.what)}</li>' for k in links)
    return f"<ul>{items}</ul>"


def _relative(path: str) -> str:
    # "./" in front: a name such as javascript:x is a path, not an address.
    return "./" + quote(path.encode("utf-8", "surrogateescape"))


def _footer(summary: Summary) -> str:
    figures = (_figure(name, value) for name, value in summary.totals.items())
    totals = "".join(f"<li>{text(label)}: {figure} {text(unit)}</li>" for label, figure, unit in figures)
    versions = text(" · ".join(f"{name} {version}" for name, version in summary.versions.items()))
    return f'<footer><ul>{totals}</ul><p>{versions}</p><p>{text(summary.schema)}</p></footer>'


_UNITS = {"px": "px", "mm": "mm", "m": "m", "s": "s", "mb": "MB"}


def _figure(name: str, value: float | int | None) -> tuple[str, str, str]:
    """``reprojection_median_px`` and 6.254 -> ("reprojection median", "6.25", "px"); a ``_share`` is in per cent."""
    *words, last = name.split("_")
    if words and last == "share":
        return " ".join(words), _share(value), ""
    if words and last in _UNITS:
        return " ".join(words), _number(value), _UNITS[last]
    return " ".join([*words, last]), _number(value), ""


def _number(value: float | int | None, unit: str = "") -> str:
    if value is None or value != value:
        return "–"
    shown = f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return shown.replace(",", "\u202f") + unit


def _share(value: float | None) -> str:
    if value is None:
        return "–"
    return "100 %" if value >= 1 else f"{min(99.9, 100 * value):.1f} %"


def _offset(value: float | None) -> str:
    return "–" if value is None else f"{1000 * value:.1f} ms".replace("-", "−")


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    if value < 60:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"
