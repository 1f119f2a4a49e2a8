"""``viewer.html``: the animated scene of a session, turned in the browser from a file on disk, with nothing installed.

Browsers do not fetch files beside a page on disk, so the scene is embedded, up to ``MOST_BYTES``; larger ones are
opened with the page's button. Nothing is loaded from anywhere, and only the page's own script may run.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.cameras import Rig
from pipeline.meshes.geometry import y_up_from_world
from pipeline.quality.markup import text

MOST_BYTES = 15_000_000
GOOD_MM, DOUBTFUL_MM = 25.0, 60.0
"""Fit errors up to which a frame counts as good, and as doubtful."""

_BUNDLE = Path(__file__).parent / "viewer" / "viewer.bundle.js"
_STYLE = """
html,body{margin:0;height:100%;font:14px/1.4 system-ui,sans-serif;color:#222;background:#f3f3f1}
body{display:flex;flex-direction:column}
canvas{flex:1;min-height:0;width:100%;display:block}
.bar{display:flex;flex-wrap:wrap;gap:.4em 1em;align-items:center;padding:.5em .8em;background:#fff;
border-top:1px solid #ddd}
.bar input[type=range]{flex:1;min-width:12em}
.bar label{white-space:nowrap}
#people{display:flex;gap:.3em .8em;flex-wrap:wrap}
#frame{font-variant-numeric:tabular-nums;min-width:11em}
button,select{font:inherit}
"""


@dataclass(frozen=True)
class Viewed:
    """Somebody in the scene: ``name`` of the node, ``label`` for people, and how good each frame's body is: (F,) fit
    error in metres, NaN where there is none."""

    name: str
    label: str
    fit_error_m: np.ndarray


def viewer_page(
    session: str, glb: bytes, rig: Rig, people: Sequence[Viewed], frames: np.ndarray, fps: float, step: int
) -> str:
    """The page.

    Args:
        glb: the animated scene, +y up.
        rig: cameras, world of the calibration; their frusta are drawn.
        frames: (F,) numbers; fps: frame numbers a second; step: between frames.
    """
    scene: dict[str, Any] = {
        "fps": float(fps),
        "step": int(step),
        "first_frame": int(frames[0]) if len(frames) else 0,
        "cameras": _cameras(rig),
        "people": [{"name": p.name, "label": p.label, "first_row": 0, "quality": _quality(p)} for p in people],
    }
    script = _bundle()
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(_STYLE)}'; img-src data: blob:; "
        "connect-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    embedded = base64.b64encode(glb).decode() if len(glb) <= MOST_BYTES else ""
    # What stands in a script element must not be able to end it.
    told = json.dumps(scene, allow_nan=False).replace("<", "\\u003c")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{text(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(session)} · Troupe viewer</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<canvas id="view"></canvas>\n{_CONTROLS}\n'
        f'<script type="application/json" id="scene">{told}</script>\n'
        f'<script type="text/plain" id="glb">{embedded}</script>\n<script>{script}</script>\n</body>\n</html>\n'
    )


_CONTROLS = """<div class="bar">
<button id="play">Pause</button>
<input id="time" type="range" min="0" max="1" step="0.0001" value="0" aria-label="time">
<span id="frame"></span>
<label>speed <select id="speed"><option>0.25</option><option>0.5</option><option selected>1</option><option>2</option>
</select></label>
</div>
<div class="bar">
<span id="people"></span>
<label><input id="cameras" type="checkbox" checked> cameras</label>
<label><input id="quality" type="checkbox"> quality of the fit as colour</label>
<label>open another GLB <input id="file" type="file" accept=".glb"></label>
</div>"""


@cache
def _bundle() -> str:
    return _BUNDLE.read_text(encoding="utf-8").replace("</script", "<\\/script")


def _digest(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _quality(person: Viewed) -> list[int | None]:
    """0 good, 1 doubtful, 2 bad, None without a body."""
    limits = np.array([GOOD_MM, DOUBTFUL_MM]) / 1000
    return [int(np.searchsorted(limits, e)) if np.isfinite(e) else None for e in np.asarray(person.fit_error_m)]


def _cameras(rig: Rig) -> list[Mapping[str, Any]]:
    """Place and axes of each camera in the +y up world of the scene: columns are the camera's x, y and z."""
    turn = y_up_from_world(rig.up)
    return [
        {
            "name": c.name,
            "size": list(c.size),
            "f": float(c.K[0, 0]),
            "cx": float(c.K[0, 2]),
            "cy": float(c.K[1, 2]),
            "centre": (turn @ c.centre).tolist(),
            "axes": (turn @ c.R.T).T.tolist(),
        }
        for c in rig.cameras
    ]
