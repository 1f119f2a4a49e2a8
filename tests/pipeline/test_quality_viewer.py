"""viewer.html: what stands in it, and that nothing a name says becomes part of the page."""

import base64
import hashlib
import json
import re

import numpy as np

from data.synthetic.walkers import ring_rig
from pipeline.meshes.geometry import y_up_from_world
from pipeline.quality import viewer_page
from pipeline.quality.viewer_page import Viewed

RIG = ring_rig(4)
ERROR = np.array([0.01, 0.04, 0.2, np.nan])
NASTY = '</script><img src=x onerror="alert(1)">'


def page(glb=b"glTF", session="a", label="Anna"):
    people = [Viewed("person_0", label, ERROR)]
    return viewer_page.viewer_page(session, glb, RIG, people, np.arange(100, 108, 2), 50.0, 2)


def element(html, name):
    return re.search(rf'id="{name}">(.*?)</script>', html, re.S)[1]


def test_the_scene_is_embedded_whole():
    data = bytes(range(256)) * 10
    assert base64.b64decode(element(page(data), "glb")) == data


def test_what_is_too_large_is_left_to_the_button(monkeypatch):
    monkeypatch.setattr(viewer_page, "MOST_BYTES", 10)
    html = page(b"0" * 11)
    assert element(html, "glb") == "" and 'type="file"' in html


def test_only_the_pages_own_script_may_run_and_nothing_is_loaded():
    html = page()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src &#x27;sha256-{digest}&#x27;" in policy or f"script-src 'sha256-{digest}'" in policy
    assert "default-src" in policy and "unsafe" not in policy and "http" not in policy.lower()


def test_names_cannot_break_out():
    html = page(session=NASTY, label=NASTY)
    assert NASTY not in html and html.count("<script") == 3 and "<img" not in html
    assert json.loads(element(html, "scene"))["people"][0]["label"] == NASTY


def test_cameras_stand_where_they_are_and_look_where_they_look():
    scene = json.loads(element(page(), "scene"))
    turn = y_up_from_world(RIG.up)
    for told, camera in zip(scene["cameras"], RIG.cameras, strict=True):
        point = camera.centre + camera.R.T @ np.array([0.1, -0.2, 2.0])
        local = [0.1, -0.2, 2.0]
        there = np.array(told["centre"]) + sum(np.array(a) * x for a, x in zip(told["axes"], local, strict=True))
        np.testing.assert_allclose(there, turn @ point, atol=1e-9)


def test_frames_are_good_doubtful_bad_or_without_a_body():
    scene = json.loads(element(page(), "scene"))
    assert scene["people"][0]["quality"] == [0, 1, 2, None]
    assert (scene["first_frame"], scene["step"], scene["fps"]) == (100, 2, 50.0)
