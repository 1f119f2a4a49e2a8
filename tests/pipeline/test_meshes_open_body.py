"""session.glb of the open body model: what four influences a vertex and no pose shapes cost."""

import numpy as np

from data.body_models import load_body_arrays, open_body_model
from nets.body import BodyModel
from pipeline.export.bodies import posed_vertices, session_glb
from pipeline.meshes.geometry import y_up_from_world
from tests.pipeline.gltf_player import GltfPlayer
from tests.pipeline.small_body import moving_body


def test_the_open_body_plays_as_it_was_posed():
    model = BodyModel(load_body_arrays(open_body_model()))
    up, frames = np.array([0, 0, 1.0]), np.arange(40)
    body = moving_body(frames)  # swings every joint by up to 40 degrees: more than people do
    data = session_glb(model, {0: body}, up, 30.0, (0, 39))
    player, rows = GltfPlayer(data), np.arange(0, 40, 8)
    played = np.stack([player.skinned("person_0_body", row / 30.0) for row in rows]) @ y_up_from_world(up)
    gap_mm = 1000 * np.linalg.norm(played - posed_vertices(model, body, rows), axis=-1)
    assert gap_mm.mean() < 0.2 and np.quantile(gap_mm, 0.99) < 5 and gap_mm.max() < 30
    assert len(data) < 2_000_000
