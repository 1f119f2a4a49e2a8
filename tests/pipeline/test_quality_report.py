"""The report: everything that comes from outside is text, nothing loads or runs, and all the figures are there."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from pipeline.quality.flags import all_flags
from pipeline.quality.markup import text
from pipeline.quality.plots import Plot, Series, plots_of, svg
from pipeline.quality.report import Link, Picture, log_tail, render_report
from pipeline.quality.summary import (
    CameraFigures,
    PartRecord,
    PersonFigures,
    QualityTrack,
    Summary,
    stage_figures,
    verdict,
)

HOSTILE = "</title><script>alert(1)</script>\"'><img src=x onerror=alert(2)>&\u202egnp\x00\x1b[31m"
VOID = {"meta", "img", "br", "path", "rect"}


class Page(HTMLParser):
    """Elements with their attributes, and all text; fails on tags that do not match."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements, self.words, self._open = [], [], []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID or (tag == "path" and not self.get_starttag_text().endswith("/>")):
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def shape(self):
        return [(tag, sorted(attributes)) for tag, attributes in self.elements]

    @property
    def text(self):
        return " ".join(self.words)


def summary_of(name="session", error="it broke", frames=120):
    numbers = np.arange(100, 100 + frames)
    stages = (
        stage_figures("frames", "images", [PartRecord(name, "done", 2.5, host=name)]),
        stage_figures("bodies", name, [PartRecord(name, "failed", None, None, name, error, name, f"log of\n{error}")]),
    )
    person = PersonFigures(0, name, frames, 100, 219, 1.0, ((120, 121),), 6.25, 20.0, 9.5, 110, 24.0, 51.0, {name: 3})
    camera = CameraFigures(name, 1088, 1920, 0, 2.5, 0.9, 0.8, 6.0, 9.0, -0.004, 0.95)
    flags = all_flags(stages, [person], [camera], frames=frames, fps=60)
    values = 5 + np.sin(np.arange(frames))
    quality = (
        QualityTrack("people found", "people", np.ones(frames)),
        QualityTrack("reprojection", "px", values, person=0, limit=15),
        QualityTrack("leave-one-out", "px", values, camera=name),
        QualityTrack(name, name, np.where(values > 5, np.nan, values), camera=name),
    )
    state, sentence = verdict(stages, [person], flags, frames, 1)
    return Summary(
        name, "2026-01-01 07:00", state, sentence, {"reprojection_median_px": 6.25, "coverage_share": 0.987},
        {"computing_s": 12.0}, stages,
        (person,), (camera,), flags, numbers, 60.0, quality, {name: name},
    )  # fmt: skip


def page_of(name, pictures=(), links=()):
    summary = summary_of(name, name)
    return render_report(summary, plots_of(summary), pictures, links)


def test_hostile_names_and_logs_stay_text():
    pictures = [Picture(HOSTILE, HOSTILE, b"\xff\xd8jpeg", HOSTILE)]
    html = page_of(HOSTILE, pictures, [Link("javascript:alert(1)", HOSTILE), Link(f"a/{HOSTILE}", HOSTILE)])
    page, plain = Page(html), Page(page_of("session", [Picture("", "", b"", "run")], [Link("a", ""), Link("b", "")]))
    # the same elements and attributes as for a harmless name: nothing was broken out of
    assert page.shape == plain.shape
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "iframe", "object", "embed", "link", "form", "base"}
    assert not [k for _, attributes in page.elements for k in attributes if k.startswith("on") or k == "style"]
    for tag, attributes in page.elements:
        assert "src" not in attributes or attributes["src"].startswith("data:image/jpeg;base64,")
        assert tag != "a" or attributes["href"].startswith("./")
    assert "<script>alert(1)</script>" in page.text
    assert not re.search("[\x00\x1b\u202e]", html)


def test_the_policy_allows_the_style_by_hash_and_pictures_alone():
    html = page_of("session")
    style = re.search(r"<style>(.*?)</style>", html, re.S).group(1)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = next(a["content"] for t, a in Page(html).elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert html.index("Content-Security-Policy") < html.index("<style>")
    assert "http://" not in html and "https://" not in html


def test_every_figure_is_on_the_page():
    words = Page(page_of("stage_cam")).text
    for figure in (
        "This session is incomplete: bodies failed.", "6.25", "98.7 %", "20 px", "9.5 px", "24 mm", "51 mm", "100 %",
        "90.0 %", "80.0 %", "95.0 %", "−4.0 ms", "1088 × 1920", "2.5 s", "12 s", "log of", "100 – 219", "failed",
    ):  # fmt: skip
        assert figure in words, figure


def test_a_session_without_any_result_still_has_a_page():
    stages = (stage_figures("frames", "", None),)
    state, sentence = verdict(stages, (), (), 0, 0)
    page = Page(render_report(Summary("s", "now", state, sentence, {}, {}, stages, (), (), ()), []))
    assert "frames not done" in page.text and "missing" in page.text and "People" not in page.words


def test_pictures_are_in_the_file_with_the_command_that_makes_them_anew():
    jpeg = b"\xff\xd8\xff" + bytes(range(256))
    page = Page(page_of("s", [Picture("Frame 7", "12 px", jpeg, "run_pipeline.py rerun 'a b.yaml' bodies")]))
    image = next(a for t, a in page.elements if t == "img")
    assert base64.b64decode(image["src"].split(",")[1]) == jpeg and image["alt"] == "Frame 7"
    assert "run_pipeline.py rerun 'a b.yaml' bodies" in page.text


def test_logs_are_cut_to_their_end():
    assert log_tail("a\r\n" + "10%\r50%\r100%\n" + "z\n") == "a\n100%\nz"
    long = log_tail("\n".join(f"line {i} " + "x" * 500 for i in range(1000)))
    assert len(long) <= 6000 and "line 999" in long


@pytest.mark.parametrize(("given", "shown"), [("a<b>&\"'", "a&lt;b&gt;&amp;&quot;&#x27;"), ("\udc80é\t\n", "?é\t\n")])
def test_escaping(given, shown):
    assert text(given) == shown


def lines_of(plot):
    root = ElementTree.fromstring(svg(plot))
    return root, [p for p in root.iter("path") if p.find("title") is not None]


def test_plots_draw_values_where_they_are_and_leave_gaps():
    values = np.array([0, 10, np.nan, 5, np.nan, 2])
    root, (line,) = lines_of(Plot("T", "px", np.arange(6), (Series("a", values, "#123456"),), limit=8))
    moves = re.findall(r"([ML])([\d.]+) ([\d.]+)", line.get("d"))
    assert [m[0] for m in moves] == ["M", "L", "M", "M"]  # a new stroke after each gap
    x, y = np.array(moves)[:, 1].astype(float), np.array(moves)[:, 2].astype(float)
    np.testing.assert_allclose(np.diff(x), np.diff([0, 1, 3, 5]) * (x[1] - x[0]), atol=0.2)
    np.testing.assert_allclose((y[0] - y) / (y[0] - y[1]), [0, 1, 0.5, 0.2], atol=0.01)
    assert any(p.get("stroke-dasharray") for p in root.iter("path"))


def test_figures_of_few_frames_are_shown_large_and_single_ones_as_dots():
    values = np.full(1000, np.nan)
    values[[500, 502, 503]] = 3.0, 4.0, 5.0
    quality = (QualityTrack("flicker", "mm", values, person=0), QualityTrack("fit error", "mm", np.ones(1000)))
    summary = Summary("s", "now", "complete", "", {}, {}, (), (), (), (), np.arange(1000), 30.0, quality)
    few, many = plots_of(summary)
    assert (few.frames[0], few.frames[-1]) == (499, 504) and len(many.frames) == 1000
    root, (line,) = lines_of(few)
    (dot,) = root.iter("circle")
    assert f"M{dot.get('cx')} {dot.get('cy')}h0" in line.get("d")


def test_a_single_spike_does_not_flatten_the_rest():
    values = np.full(1000, 5.0)
    values[500] = 1e6
    root, (line,) = lines_of(Plot("T", "px", np.arange(1000), (Series("a", values, "#123456"),)))
    heights = np.array(re.findall(r"[ML][\d.]+ ([\d.]+)", line.get("d")), float)
    assert np.ptp(heights) > 50 and len([p for p in root.iter("path") if "z" in p.get("d")]) == 1


@pytest.mark.parametrize("count", [1, 2, 7, 30000])
def test_plots_of_any_length_stay_small_and_keep_their_peaks(count):
    frames = 1000 + 5 * np.arange(count)
    values = np.full(count, 1.0)
    values[count // 2] = 2.0
    _, (line,) = lines_of(Plot("T", "px", frames, (Series("a", values, "#123456"),)))
    heights = [float(h) for h in re.findall(r"[ML][\d.]+ ([\d.]+)", line.get("d"))]
    assert len(line.get("d")) < 20000 and (count == 1 or min(heights) < max(heights) - 20)


def test_plots_of_nothing():
    assert svg(Plot("T", "px", np.zeros(0), ())) == ""
    empty, flat = Series("a", np.full(3, np.nan), "#123456"), Series("b", np.zeros(3), "#654321")
    _, (first, second) = lines_of(Plot("T", "px", np.arange(3), (empty, flat)))
    assert first.get("d") == "" and second.get("d").count("L") == 2
