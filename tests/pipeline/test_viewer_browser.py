"""The viewer in a headless Chromium: from a file on disk, without a network, and by what is seen of it."""

import base64
import io

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from data.synthetic.walkers import ring_rig
from nets.body import BodyModel
from pipeline.export.bodies import session_glb
from pipeline.meshes.glb import StillMesh, glb_changing, glb_meshes
from pipeline.quality.viewer_page import Viewed, viewer_page
from tests.pipeline.browser import Page, chromium
from tests.pipeline.gltf_player import GltfPlayer
from tests.pipeline.small_body import moving_body, small_body_arrays

pytestmark = pytest.mark.skipif(chromium() is None, reason="there is no Chromium here")
RIG = ring_rig(4)
RED, BLUE, GREEN = (200, 20, 20), (20, 20, 200), (45, 160, 66)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Two balls; the first turns from red to blue in frame 12 and is gone from frame 16 on."""
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.5)
    left, right = (ball.vertices + np.array([x, 0, 1]) for x in (-0.8, 0.8))
    colours = np.tile(np.array(BLUE, np.uint8), (len(left), 1))
    people = {
        "person_0": [(n, StillMesh("a", left, ball.faces, RED, colours=c)) for n, c in ((10, None), (12, colours))],
        "person_1": [(10, StillMesh("b", right, ball.faces, RED))],
    }
    glb = glb_changing(people, np.array([0, 0, 1.0]), 10.0, (10, 18), 4)
    viewed = [Viewed(f"person_{i}", f"É {i}", np.full(9, 0.01)) for i in (0, 1)]
    folder = tmp_path_factory.mktemp("with spaces and é")
    path = folder / "viewer é.html"
    path.write_text(viewer_page("walk", glb, RIG, viewed, np.arange(10, 19), 10.0, 1), encoding="utf-8")
    with Page(path, folder / "profile") as opened:
        opened.until("document.body?.dataset.loaded == 'yes'")
        opened.run("troupe.camera.position.set(0, 1, 6); troupe.controls.target.set(0, 1, 0)")
        yield opened
        assert opened.problems == []


def shown(page, seconds, script="0"):
    """Which of the colours are seen at ``seconds``, left and right of the middle."""
    page.run(f"troupe.seek({seconds}); {script}")
    page.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")
    data = page.run("document.getElementById('view').toDataURL()").split(",")[1]
    picture = np.array(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)
    middle = picture.shape[1] // 2
    return tuple(_colour(half) for half in (picture[:, :middle], picture[:, middle:]))


def _colour(half):
    strong = half[half.max(-1) - half.min(-1) > 60]
    if len(strong) < 2000:
        return None
    return ("red", "green", "blue")[int(strong.mean(0).argmax())]


def test_meshes_change_come_and_go(page):
    assert shown(page, 0.0) == ("red", "red")
    assert shown(page, 0.3) == ("blue", "red")
    assert shown(page, 0.7) == (None, None)
    assert "frame 17" in page.run("document.getElementById('frame').textContent")


def test_people_are_switched_off_and_on(page):
    click = "document.querySelectorAll('#people input')[{}].click()"
    assert shown(page, 0.0, click.format(0)) == (None, "red")
    assert shown(page, 0.0, click.format(1)) == (None, None)
    page.run(click.format(0))
    assert shown(page, 0.3, click.format(1)) == ("blue", "red")
    assert page.run("document.getElementById('people').textContent").split() == ["É", "0", "É", "1"]


def test_the_quality_of_the_fit_is_shown_as_colour_and_taken_back(page):
    click = "document.getElementById('quality').click()"
    assert shown(page, 0.3, click) == ("green", "green")
    assert shown(page, 0.3, click) == ("blue", "red")


def test_cameras_are_drawn_and_hidden(page):
    frusta = "troupe.world.children.filter((o) => o.type == 'Group' && o.children[0].isLine)[0]"
    assert page.run(f"{frusta}.children.map((o) => o.name)") == list(RIG.names)
    page.run("document.getElementById('cameras').click()")
    assert page.run(f"{frusta}.visible") is False
    page.run("document.getElementById('cameras').click()")


def test_it_plays(page):
    page.run("troupe.seek(0.1)")
    assert page.run("document.getElementById('play').textContent") == "Play"
    page.run("document.getElementById('play').click()")
    before = page.run("document.getElementById('frame').textContent")
    page.until(f"document.getElementById('frame').textContent != {before!r}", 20)


def test_files_that_it_cannot_read_are_told_and_the_scene_stays(page):
    ball = trimesh.creation.icosphere(subdivisions=2, radius=0.5)
    packed = glb_meshes([StillMesh("a", ball.vertices, ball.faces, RED)], np.array([0, 0, 1.0]), "draco")
    for data, told in ((packed, "x.glb: compressed with Draco"), (b"no model", "x.glb: ")):
        text = base64.b64encode(data).decode()
        page.run("document.getElementById('play').textContent == 'Play' && document.getElementById('play').click()")
        page.run(f"troupe.load(Uint8Array.from(atob('{text}'), (c) => c.charCodeAt(0)).buffer, 'x.glb'); 0")
        page.until(f"document.getElementById('frame').textContent.startsWith({told!r})", 20)
    assert shown(page, 0.3) == ("blue", "red")


def test_the_floor_lies_at_the_soles(tmp_path):
    """Where the lowest skin of those who are there mostly is; joints lie higher, absent people are points anywhere."""
    frames, up = np.arange(10, 34), np.array([0, 0, 1.0])
    bodies = {i: moving_body(frames, seed=i, absent=gone) for i, gone in enumerate(((), (10, 11, 12)))}
    glb = session_glb(BodyModel(small_body_arrays(), dtype=torch.float64), bodies, up, 10.0, (10, 33))
    viewed = [Viewed(f"person_{i}", str(i), np.full(24, 0.01)) for i in bodies]
    path = tmp_path / "viewer.html"
    path.write_text(viewer_page("walk", glb, RIG, viewed, frames, 10.0, 1), encoding="utf-8")
    player, lowest = GltfPlayer(glb), []
    for seconds in 2.3 * np.arange(12) / 12:
        skins = [player.skinned(f"person_{i}_body", seconds) for i in bodies]
        lowest.append(min(s[:, 1].min() for s in skins if np.ptp(s, axis=0).max() > 0))
    with Page(path, tmp_path / "profile") as page:
        page.until("document.body?.dataset.loaded == 'yes'")
        floor = page.run("troupe.world.getObjectByName('floor').position.y")
        assert page.problems == []
    np.testing.assert_allclose(floor, np.sort(lowest)[3], atol=1e-3)
