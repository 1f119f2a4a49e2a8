"""What the report shows of the night itself, and of everybody from all around."""

import io
import re

import numpy as np
from PIL import Image

from pipeline.meshes.colours import person_colour
from pipeline.quality.flags import all_flags
from pipeline.quality.night import svg_of_night
from pipeline.quality.report import Picture, render_report
from pipeline.quality.summary import PartRecord, Summary, stage_figures
from pipeline.quality.turntable import turntable
from pipeline.raster_open3d import Open3DRaster


def box(centre, size=(0.4, 0.4, 1.8)):
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * np.array(size) / 2 + centre
    faces = [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6],
             [0, 6, 4], [1, 5, 7], [1, 7, 3]]  # fmt: skip
    return corners, np.array(faces)


def coloured(picture, person):
    """Pixels in the person's hue, whatever the light."""
    colour = np.array(person_colour(person), float)
    pixels = np.asarray(picture.convert("RGB"), float)
    bright = pixels.sum(-1) > 120
    alike = (pixels @ colour) / (np.linalg.norm(pixels, axis=-1) * np.linalg.norm(colour) + 1e-9)
    return bright & (alike > 0.985)


def test_everybody_is_seen_whole_from_all_around():
    people = {0: box([0, 0, 0.9]), 4: box([3, 0, 0.9])}
    data = turntable(people, np.array([0, 0, 1.0]), Open3DRaster(threads=1), views=8, height=120)
    film = Image.open(io.BytesIO(data))
    assert film.format == "WEBP" and film.n_frames == 8
    places = []
    for view in range(8):
        film.seek(view)
        for person in people:
            rows, columns = np.nonzero(coloured(film, person))
            if len(rows) > 50:  # else hidden behind the other
                assert rows.min() > 1 and rows.max() < film.size[1] - 2
                tall, wide = (np.ptp(np.quantile(along, (0.1, 0.9))) for along in (rows, columns))
                assert tall > wide
        both = [np.nonzero(coloured(film, p))[1] for p in people]
        if all(len(c) > 50 for c in both):
            places.append(np.median(both[0]) - np.median(both[1]))
    assert min(places) < -20 and max(places) > 20  # they change sides as it turns


def test_the_night_is_drawn_by_the_clock_and_names_are_escaped():
    def stage(name, began, ended, tries=1):
        return stage_figures(name, "", [PartRecord("a", "done", ended - began, 10.0, "m", ended=ended, tries=tries)])

    drawn = svg_of_night([stage("<frames>", 100.0, 160.0), stage("bodies", 160.0, 190.0), stage_figures("x", "", [])])
    assert "&lt;frames&gt;" in drawn and "<frames>" not in drawn
    first, second = (float(w) for w in re.findall(r'<rect [^>]*width="([0-9.]+)"', drawn))
    assert np.isclose(first, 2 * second, rtol=0.01)
    assert svg_of_night([stage_figures("x", "", None)]) == ""
    (flag,) = all_flags([stage("surface", 0.0, 9.0, tries=3)], (), (), frames=10, fps=30)
    assert "surface: 1 of 1 parts" in flag.text and "workers" in flag.remedy


def test_a_turntable_is_part_of_the_page_and_its_words_are_escaped():
    picture = Picture("Frame 3", "<script>alert(1)</script>", b"RIFF", kind="webp")
    summary = Summary("s", "now", "complete", "fine", {}, {}, (), (), (), ())
    page = render_report(summary, (), turntable=picture)
    assert 'src="data:image/webp;base64,UklGRg=="' in page and "<script" not in page
