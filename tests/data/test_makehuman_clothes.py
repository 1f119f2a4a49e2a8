"""Clothes made for the MakeHuman mesh: fitted, worn, closed to a solid; damaged files named."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from data.body_models import load_body_arrays, open_body_model
from data.synthetic.clothing import Figure
from data.synthetic.makehuman_clothes import base_mesh, read_clothes, worn_piece
from data.synthetic.surfaces import skin_layer
from pipeline.errors import InputError


@pytest.fixture(scope="module")
def arrays():
    return load_body_arrays(open_body_model())


@pytest.fixture
def folder(tmp_path, arrays):
    """A vest: the skin of the chest, lifted off it by one centimetre in front."""
    base, kept = base_mesh().vertices, np.asarray(arrays["troupe_base_vertices"])
    faces = kept[np.asarray(arrays["f"]).astype(int)]
    at = base[faces].mean(1)
    vest = faces[(at[:, 1] > 0.15) & (at[:, 1] < 0.40) & (np.abs(at[:, 0]) < 0.14) & (at[:, 2] > 0.02)]
    used, numbered = np.unique(vest, return_inverse=True)
    numbered = numbered.reshape(-1, 3)
    scale = [f"{a}_scale 5399 11998 {abs(base[5399, 0] - base[11998, 0]):.6f}" for a in "xyz"]
    for k, (a, (p, q)) in enumerate(zip("xyz", ((5399, 11998), (791, 881), (962, 5320)), strict=True)):
        scale[k] = f"{a}_scale {p} {q} {abs(base[p, k] - base[q, k]):.6f}"
    rows = [f"{v} {v} {v} 1 0 0 0 0 0.010" for v in used]
    head = ["basemesh hm08", "name vest", "obj_file vest.obj", *scale, "verts 0"]
    hidden = ["", "delete_verts", f"{used[0]} - {used[0] + 1} {used[5]}", ""]
    (tmp_path / "vest.mhclo").write_text("\n".join(head + rows + hidden))
    lines = [*(f"v {i} 0 0" for i in used), "vt 0 0", "vt 1 0", "vt 1 1"]
    lines += [f"f {a + 1}/1 {b + 1}/2 {c + 1}/3" for a, b, c in numbered]
    (tmp_path / "vest.obj").write_text("\n".join(lines))
    return tmp_path


def test_a_vest_lies_on_the_chest_of_every_figure(folder, arrays):
    (piece,) = read_clothes(folder)
    assert piece.kind == "upper" and piece.name == "vest/upper"
    for seed in range(2):
        betas = np.random.default_rng(seed).normal(0, 1, 10)
        shaped = np.asarray(arrays["v_template"], float) + arrays["shapedirs"][:, :, :10] @ betas
        figure = Figure.build(skin_layer(arrays), shaped, np.asarray(arrays["J_regressor"]) @ shaped, arrays)
        layer = worn_piece(figure, piece, arrays).layer
        sheet = layer.rest(shaped)[: len(piece.vertices)]
        distance = cKDTree(shaped).query(sheet)[0]
        assert 0.003 < np.median(distance) < 0.016 and distance.max() < 0.03
        f = layer.weld[np.concatenate([layer.faces, layer.closing])]
        ways = np.concatenate([f[:, [0, 1]], f[:, [1, 2]], f[:, [2, 0]]])
        count = int(layer.weld.max()) + 1
        there, back = np.sort(ways @ [count, 1]), np.sort(ways[:, ::-1] @ [count, 1])
        np.testing.assert_array_equal(there, back)  # closed: every edge is walked both ways


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("vest.mhclo", lambda t: t.replace("hm08", "g3"), "made for the mesh g3"),
        ("vest.mhclo", lambda t: t.replace("obj_file vest.obj", "obj_file gone.obj"), "gone.obj"),
        ("vest.mhclo", lambda t: t.replace("verts 0", "verts 0\n99999999"), "damaged"),
        ("vest.mhclo", lambda t: t.replace("x_scale", "q_scale"), "damaged"),
        ("vest.obj", lambda t: t.replace("f 1/", "f 999999/"), "damaged"),
    ],
    ids=["another mesh", "no mesh file", "vertex too many", "no scale", "wrong mesh file"],
)
def test_damaged_clothes_are_named(folder, name, change, said):
    (folder / name).write_text(change((folder / name).read_text()))
    with pytest.raises(InputError, match=said):
        read_clothes(folder)


def test_a_folder_without_clothes_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no \*\.mhclo"):
        read_clothes(tmp_path)
