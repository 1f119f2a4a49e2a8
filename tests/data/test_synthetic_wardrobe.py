"""People of the three splits: dressed in all kinds of clothes, with one watertight true surface round everything."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from data.still_samples import StillData, cutouts_of
from data.synthetic import wardrobe
from data.synthetic.makehuman_clothes import Piece
from data.synthetic.people import People
from data.synthetic.solids import union
from pipeline.raster_open3d import RayScene
from pipeline.skeletons import SMPLX55


@pytest.fixture(scope="module")
def people():
    return People(texture_size=32, fineness=1)


@pytest.fixture(scope="module", params=["coat", "skirt", "hoodie", "wide"])
def body(people, request):
    who = people.person("test", 4, (request.param,))
    return people.posed(who, people.pose(who, np.random.default_rng(3)))


def box(low, high):
    corners = np.array([[x, y, z] for z in (0, 1) for y in (0, 1) for x in (0, 1)]) * (np.subtract(high, low)) + low
    quads = [[4, 5, 7, 6], [0, 2, 3, 1], [0, 1, 5, 4], [3, 2, 6, 7], [2, 0, 4, 6], [1, 3, 7, 5]]
    return corners, np.array([t for q in quads for t in (q[:3], [q[0], q[2], q[3]])])


def is_watertight(solid) -> bool:
    f = solid.faces
    ways = np.concatenate([f[:, [0, 1]], f[:, [1, 2]], f[:, [2, 0]]]).astype(np.int64)
    key, back = ways @ [len(solid.vertices), 1], ways[:, ::-1] @ [len(solid.vertices), 1]
    return len(np.unique(key)) == len(key) and set(key.tolist()) == set(back.tolist())


def volume(vertices, faces) -> float:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


def test_the_union_of_boxes_has_its_volume_and_lies_on_them():
    (v, f), (w, g) = box((0, 0, 0), (0.2, 0.3, 0.4)), box((0.1, 0.1, 0.1), (0.35, 0.2, 0.25))
    solid = union(np.concatenate([v, w]), np.concatenate([f, g + 8]), 0.004)
    assert is_watertight(solid)
    assert volume(solid.vertices, solid.faces) == pytest.approx(0.024 + 0.15 * 0.1 * 0.15, rel=3e-3)
    off = np.minimum(np.abs(solid.vertices - [0, 0, 0]).min(1), np.abs(solid.vertices[:, None] - [[0.2, 0.3, 0.4], [
        0.35, 0.2, 0.25], [0.1, 0.1, 0.1]]).min((1, 2)))  # fmt: skip
    assert off.max() < 1e-6
    turned_out = union(np.concatenate([v, w]), np.concatenate([f, g[:, ::-1] + 8]), 0.004, np.repeat([2, 1], 12))
    assert volume(turned_out.vertices, turned_out.faces) == pytest.approx(0.024, rel=3e-3)


def test_the_true_surface_is_watertight_and_holds_the_body(body):
    solid = body.surface(0.008)
    assert is_watertight(solid)
    beneath = volume(body.vertices, body.body_faces)
    assert 1.03 * beneath < volume(solid.vertices, solid.faces) < 3 * beneath
    assert (solid.signed_distance(body.vertices) < 0.004).mean() > 0.995


def test_the_true_surface_is_what_is_seen(body):
    """From all around, rays meet the layers that are drawn where they meet the true surface."""
    solid = body.surface(0.004)
    starts = np.cumsum([0] + [len(x) for x in body.layers])
    faces = np.concatenate([x.faces + s for x, s in zip(body.wearer.dressed.layers, starts, strict=False)])
    drawn, true = RayScene(np.concatenate(body.layers), faces, 1), solid.scene
    middle = solid.vertices.mean(0)
    for angle in (0.3, 1.9, 3.5, 5.0):
        towards = -np.array([np.cos(angle), np.sin(angle), 0])
        side, up = np.array([towards[1], -towards[0], 0]), np.array([0, 0, 1.0])
        x, z = np.meshgrid(np.linspace(-0.6, 0.6, 60), np.linspace(-0.95, 0.95, 95))
        origins = middle + x[..., None] * side + z[..., None] * up - 3 * towards
        ways = np.broadcast_to(towards, origins.shape)
        one, other = (s.cast(origins, ways)["distance"] for s in (drawn, true))
        both = np.isfinite(one) & np.isfinite(other)
        assert (np.isfinite(one) == np.isfinite(other)).mean() > 0.99
        assert np.quantile(np.abs(one[both] - other[both]), 0.95) < 0.004


def test_cloth_folds_up_where_the_pose_crowds_it(people):
    kinds = ("shirt and trousers",)
    long = next(k for k in range(99) if wardrobe.person("test", k, kinds).outfit.worn[1].cut.leg > 1.8)
    who = people.person("test", long, kinds)
    straight = people.posed(who, {"body_pose": np.zeros((1, 63))})
    knee = SMPLX55.index("left_knee")
    pose = np.zeros((1, 63))
    pose[0, 3 * (knee - 1)] = 1.6
    sitting = people.posed(who, {"body_pose": pose})
    layer = who.dressed.layers[2]
    assert layer.name == "trousers"
    height = {}
    for name, body in (("straight", straight), ("bent", sitting)):
        turned = np.einsum("vj,jab,vb->va", who.dressed.weights[2], body.rotations, layer.offset)
        height[name] = np.linalg.norm(body.layers[2] - (layer.binding @ body.vertices + turned), axis=1)
    near = np.linalg.norm(layer.folds.rest - straight.joints[knee], axis=1) < 0.12
    moved = np.abs(height["bent"] - height["straight"])
    assert moved[near].max() > 0.003
    assert np.median(moved[near]) > 3 * np.median(moved[layer.folds.rest[:, 0] < -0.05])


def test_a_skirt_lies_on_the_lap_of_who_sits(people):
    who = people.person("test", 15, ("dress",))
    bent = np.zeros((1, 63))
    for side in ("left", "right"):
        for joint, angle in (("hip", -1.5), ("knee", 1.5)):
            bent[0, 3 * SMPLX55.index(f"{side}_{joint}") - 3] = angle
    upright = {"global_orient": np.array([[np.pi / 2, 0, 0]]), "transl": np.zeros((1, 3))}
    sitting = people.posed(who, upright | {"body_pose": bent})
    (skirt,) = (at for layer, at in zip(who.dressed.layers, sitting.layers, strict=True) if layer.name == "skirt")
    lap = np.mean([sitting.joints[SMPLX55.index(f"{s}_{j}")] for s in ("left", "right") for j in ("hip", "knee")], 0)
    over = skirt[np.linalg.norm((skirt - lap)[:, :2], axis=1) < 0.08]
    assert len(over) > 50 and 0.03 < over[:, 2].max() - lap[2] < 0.2  # the thighs are some 8 cm thick


def test_splits_share_neither_people_nor_clothes_and_many_wear_loose_ones():
    seen, loose = {}, []
    for split in wardrobe.SPLITS:
        people = [wardrobe.person(split, k) for k in range(120)]
        assert len({p.betas.tobytes() for p in people}) == 120
        loose += [p.outfit.loose for p in people]
        seen[split] = {repr(asdict(w)) for p in people for w in p.outfit.worn}
        seen[split] |= {p.betas.tobytes() for p in people}
    assert not (seen["train"] & seen["test"] or seen["train"] & seen["validation"] or seen["validation"] & seen["test"])
    assert np.mean(loose) >= 0.2


def test_splits_share_no_clothes_made_elsewhere_and_no_part_of_a_suit():
    nothing = np.zeros(0)
    made = [("suit", "upper"), ("suit", "lower"), ("trousers", "lower"), ("shoes", "shoes"), ("wig", "hair")]
    clothes = [Piece(f"{n}{k}/{kind}", kind, *[nothing] * 5) for k in range(10) for n, kind in made]
    worn = {}
    for split in wardrobe.SPLITS:
        people = [wardrobe.with_made(wardrobe.person(split, k), split, k, clothes) for k in range(150)]
        pieces = [[w.cut for w in p.outfit.worn if w.kind == "piece"] for p in people]
        assert 0.3 < np.mean([len(p) > 0 for p in pieces]) < 0.5
        worn[split] = {p.garment for some in pieces for p in some}
        assert {name.rstrip("0123456789") for name in worn[split]} == {"suit", "trousers", "shoes", "wig"}
    assert not (worn["train"] & worn["test"] or worn["train"] & worn["validation"] or worn["validation"] & worn["test"])


def test_stills_show_the_people_of_their_split(tmp_path):
    seen = {}
    for split in ("train", "test"):
        (one,) = cutouts_of(tmp_path, StillData(split, people=1, poses=1, scenes=1))
        np.testing.assert_array_equal(one.betas, wardrobe.person(split, 0).betas)
        seen[split] = one.betas
    assert not np.allclose(seen["train"], seen["test"])


def test_a_person_is_the_same_whenever_asked_for(people):
    one, again = (people.person("train", 7) for _ in range(2))
    assert repr(one.person) == repr(again.person)
    for a, b in zip(one.dressed.textures, again.dressed.textures, strict=True):
        np.testing.assert_array_equal(a, b)
