"""Builds the open body model: arrays in the format of an SMPL-X file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.body_models import KEYPOINT_NAMES
from data.open_body import makehuman, phenotypes, regressor, shape_space, smplx_joints, tpose
from data.open_body.correctives import pose_blend_shapes
from data.open_body.hands import hand_arrays
from data.open_body.keypoints import keypoint_vertices
from data.open_body.landmarks import Face, landmark_arrays, sample_mask
from data.open_body.makehuman import FACE_GROUPS, BaseMesh, Rig
from data.open_body.recipe import recipe
from pipeline.skeletons import SMPLX55, SMPLX55_PARENTS

SAMPLES = 600
SEED = 20
BETAS = EXPRESSIONS = 10
BATCH = 50


@dataclass(frozen=True)
class _Skin:
    """The kept vertices: ``kept`` (V,) base-mesh ids; ``mirror`` (V,) in kept numbering; triangles and UV triangles."""

    kept: np.ndarray
    mirror: np.ndarray
    triangles: np.ndarray
    uv_triangles: np.ndarray


def _skin(mesh: BaseMesh) -> _Skin:
    kept = np.sort(np.concatenate([mesh.groups[g] for g in FACE_GROUPS]))
    number = np.full(len(mesh.vertices), -1)
    number[kept] = np.arange(len(kept))
    quads = number[mesh.quads]
    halves = ([0, 1, 2], [0, 2, 3])
    return _Skin(
        kept,
        number[mesh.mirror[kept]],
        np.concatenate([quads[:, h] for h in halves], 1).reshape(-1, 3),
        np.concatenate([mesh.quad_uvs[:, h] for h in halves], 1).reshape(-1, 3),
    )


@dataclass(frozen=True)
class Samples:
    """T-pose figures: ``skin`` (n, V, 3), ``joints`` (n, 55, 3), ``mean_base`` (N, 3) a mean figure with helpers."""

    skin: np.ndarray
    joints: np.ndarray
    mean_base: np.ndarray


def sample(
    folder: Path,
    mesh: BaseMesh,
    rig: Rig,
    kept: np.ndarray,
    gender: str,
    report: Callable[[float], None] = lambda fraction: None,
) -> Samples:
    """Random adults (``draw_adults`` from ``SEED``) in T-pose with the pelvis at the origin."""
    blend = phenotypes.blend(phenotypes.draw_adults(SAMPLES, gender, np.random.default_rng(SEED)))
    blend = {name: weight for name, weight in blend.items() if weight.any()}
    targets = makehuman.read_targets(folder, list(blend), len(mesh.vertices)).reshape(len(blend), -1)
    amounts = np.stack(list(blend.values()), 1).astype(np.float32)
    report(0.2)
    skin, joints, total = [], [], np.zeros_like(mesh.vertices)
    for start in range(0, SAMPLES, BATCH):
        part = amounts[start : start + BATCH]
        figures = mesh.symmetric(mesh.vertices + (part @ targets).reshape(len(part), -1, 3))
        posed = tpose.to_tpose(mesh, rig, figures)
        places = smplx_joints.joint_positions(rig, posed)
        posed -= places[:, :1]
        skin.append(posed[:, kept])
        joints.append(places - places[:, :1])
        total += posed.sum(0)
        report(0.2 + 0.4 * (start + BATCH) / SAMPLES)
    return Samples(np.concatenate(skin), np.concatenate(joints), total / SAMPLES)


def _expressions(folder: Path, mesh: BaseMesh, kept: np.ndarray) -> np.ndarray:
    """(10, V, 3) expression components from MakeHuman's facial units, the mean of its three sets."""
    units = sorted((folder / "targets" / "expression" / "units" / phenotypes.RACES[0]).glob("*.target.gz"))
    names = [path.name.removesuffix(".target.gz") for path in units]
    sets = [
        makehuman.read_targets(folder, [f"expression/units/{race}/{name}" for name in names], len(mesh.vertices))
        for race in phenotypes.RACES
    ]
    return shape_space.expression_components(np.mean(sets, 0)[:, kept].astype(np.float64), EXPRESSIONS)


def _skinning_weights(rig: Rig, kept: np.ndarray) -> np.ndarray:
    weights = smplx_joints.merged_weights(rig)[kept]
    weights[weights < 1e-4] = 0.0
    weights = np.round(weights / weights.sum(1, keepdims=True), 6)
    return weights / weights.sum(1, keepdims=True)


def _face(folder: Path, mesh: BaseMesh, skin: _Skin, template: np.ndarray, weights: np.ndarray) -> Face:
    count = len(skin.kept)
    brow = makehuman.read_targets(folder, ["expression/units/caucasian/eyebrows-left-up"], len(mesh.vertices))[0]
    on_head = weights[:, [SMPLX55.index(j) for j in ("neck", "head", "jaw", "left_eye", "right_eye")]].sum(1) > 0.5
    return Face(
        template,
        skin.triangles,
        on_head,
        np.isin(skin.kept, mesh.groups["body"], invert=True),
        sample_mask(
            folder / "textures" / "mpfb_lips.jpg", mesh.uvs, skin.uv_triangles.ravel(), skin.triangles.ravel(), count
        ),
        brow[skin.kept, 1].astype(np.float64),
    )


def build_arrays(gender: str = "neutral", progress: Callable[[float], None] | None = None) -> dict[str, np.ndarray]:
    """Arrays of the open body model by SMPL-X key names: T-pose, y up, facing +z, metres, pelvis at the origin.

    Each gender has a mean and a shape space of its own, as the licensed models do: betas of one mean nothing in
    another.
    Arrays are rounded so that differences in the last bits of a machine's linear algebra vanish.
    """
    report = progress or (lambda fraction: None)
    folder = makehuman.data_folder()
    mesh = makehuman.read_base_mesh(folder)
    rig = makehuman.read_rig(folder, mesh)
    skin = _skin(mesh)
    report(0.05)
    samples = sample(folder, mesh, rig, skin.kept, gender, report)
    count = len(skin.kept)
    mean, components, held = shape_space.principal_components(np.concatenate([samples.skin, samples.joints], 1), BETAS)
    basis, joints = (np.concatenate([mean[part][None], components[:, part]]) for part in (np.s_[:count], np.s_[count:]))
    basis[0] = basis[0].round(6)
    faces = _expressions(folder, mesh, skin.kept)
    report(0.8)
    weights = _skinning_weights(rig, skin.kept)
    rows = regressor.joint_regressor(weights, basis, joints, faces, skin.mirror)
    report(0.95)
    keypoints = keypoint_vertices(mesh, rig, samples.mean_base)
    number = {int(base): k for k, base in enumerate(skin.kept)}
    return {
        "v_template": basis[0],
        "f": skin.triangles.astype(np.uint32),
        "shapedirs": np.concatenate([basis[1:], faces]).transpose(1, 2, 0).round(7),
        "posedirs": pose_blend_shapes(basis[0], rows @ basis[0], weights, skin.mirror),
        "J_regressor": rows,
        "weights": weights,
        "kintree_table": np.stack([SMPLX55_PARENTS, np.arange(55)]).astype(np.int64),
        **hand_arrays(),
        **landmark_arrays(_face(folder, mesh, skin, basis[0], weights)),
        "vt": mesh.uvs,
        "ft": skin.uv_triangles.astype(np.uint32),
        "troupe_base_vertices": skin.kept,
        "troupe_mirror": skin.mirror,
        "troupe_keypoint_names": np.array(KEYPOINT_NAMES),
        "troupe_keypoint_vertices": np.array([number[keypoints[name]] for name in KEYPOINT_NAMES]),
        "troupe_recipe": np.array(recipe(gender)),
        "troupe_gender": np.array(gender),
        "troupe_variance_held": np.array(round(held, 6)),
    }
