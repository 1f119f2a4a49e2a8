"""Table 1 of the DeepMultiCap paper in shape: methods against true clothed surfaces in its five categories.

For every scene and setting each method gets what a lab would have (``Given``), and its meshes are held against the
truth.
A score that has been found stays in the benchmark's folder, so that an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from data.scene_files import StoredScenes
from data.surface_scenes import CATEGORIES, SceneBody, SceneSource, SurfaceScene, Triangles
from pipeline.config import Number, Section
from pipeline.errors import InputError
from pipeline.files import write_atomic
from pipeline.quality.metrics import normalising_scale, score_surface, seen_by, silhouette_iou
from tasks.benchmarks.benchmark import Benchmark, Request, Row
from tasks.benchmarks.scene_sources import DatasetConfig, open_source
from tasks.benchmarks.surface_methods import Given, Method, external, make, read_mesh
from tasks.benchmarks.tables import json_text

Category = Literal["single", "occluded", "two_natural", "two_close", "three"]

PUBLISHED = {
    "PIFu, mean": (1.131, 1.220, 1.402, 1.522, 1.578, 1.620, 1.745, 1.831, 1.780, 1.564),
    "PIFuHD, mean": (0.914, 0.948, 1.365, 1.406, 1.353, 1.376, 1.614, 1.655, 1.814, 1.496),
    "PaMIR, mean": (1.173, 1.113, 1.362, 1.309, 1.227, 1.110, 1.400, 1.198, 1.414, 1.281),
    "PIFu, attention": (1.054, 1.174, 1.343, 1.479, 1.566, 1.605, 1.773, 1.845, 1.541, 1.383),
    "PIFuHD, attention": (0.845, 0.867, 1.195, 1.189, 1.278, 1.272, 1.515, 1.450, 1.468, 1.287),
    "DeepMultiCap w/o attention": (1.015, 0.967, 1.251, 1.181, 1.020, 0.925, 1.264, 1.088, 1.309, 1.246),
    "DeepMultiCap w/o SMPL normals": (1.063, 1.017, 1.277, 1.233, 1.126, 0.989, 1.357, 1.141, 1.334, 1.155),
    "DeepMultiCap": (0.895, 0.887, 1.041, 1.021, 0.956, 0.927, 1.134, 1.067, 1.130, 1.078),
}
"""Table 1 of the paper: Chamfer and point-to-surface in centimetres, in the order of ``CATEGORIES``, on MultiHuman."""

MEASURES = {"chamfer_cm": 3, "p2s_cm": 3, "normal_consistency": 3, "seen_cm": 3, "unseen_cm": 3, "seen_share": 2,
            "silhouette_iou": 3, "occlusion": 2}  # fmt: skip


class SettingConfig(Section):
    """What the methods are given."""

    bodies: Literal["given", "fitted"] = Field(
        "given", description="given: the true bodies; fitted: found and fitted by the pipeline in the scene's pictures."
    )
    views: int = Field(6, ge=1, le=64, description="Cameras.")
    body_error_cm: Number = Field(0.0, ge=0, le=30, description="Mean error of the given bodies' vertices.")
    mask_error_px: Number = Field(0.0, ge=-50, le=50, description="Masks larger (or smaller) all round by this.")
    camera_error_cm: Number = Field(0.0, ge=0, le=50, description="Error of each camera's place.")

    @model_validator(mode="after")
    def _one_error_of_bodies(self) -> SettingConfig:
        if self.bodies == "fitted" and self.body_error_cm:
            raise ValueError("body_error_cm is for bodies: given; fitted bodies have errors of their own")
        return self


class Table1Benchmark(Section):
    """See configs/benchmarks/table1.yaml."""

    output: str = Field(description="Folder for scores, meshes and pictures; a second run takes what is there.")
    dataset: DatasetConfig = Field(DatasetConfig(), description="Where scenes come from, see DatasetConfig.")
    categories: list[Category] = Field(list(CATEGORIES), min_length=1, description="Kinds of scenes.")
    scenes: int | None = Field(None, ge=1, description="Only the first scenes of each category; null: all.")
    names: list[str] | None = Field(None, min_length=1, description="Only the scenes of these names; null: all.")
    groups: dict[str, list[str]] | None = Field(
        None, min_length=1, description="Rows by these names of scenes in place of categories: {dress: [single_15]}."
    )
    methods: list[str] = Field(min_length=1, description="Names in tasks/benchmarks/surface_methods.py.")
    settings: list[SettingConfig] = Field([SettingConfig()], min_length=1, description="See SettingConfig.")
    samples: int = Field(100_000, ge=1000, le=10_000_000, description="Points drawn from each surface.")
    resolution: int = Field(256, ge=32, le=1024, description="Voxels along a person's box, for the networks.")
    hull_voxel_m: Number = Field(0.01, ge=0.002, le=0.1, description="Grid of the visual hull, metres.")
    keep_scenes: bool = Field(True, description="Keep scenes below OUTPUT/scenes, some 20 MB a person.")
    keep_meshes: bool = Field(False, description="Write every mesh below OUTPUT/meshes, laid out as --external reads.")
    pictures: bool = Field(True, description="A picture a category: what was seen, every method, the truth.")
    seed: int = Field(0, ge=0, description="Of points and errors.")


@dataclasses.dataclass(frozen=True)
class _Case:
    """One scene under one setting."""

    scene: SurfaceScene
    setting: SettingConfig
    given: Given
    scale: float


def run(config: Table1Benchmark, request: Request) -> list[Row]:
    """One row a method, category and setting: means over people, then over scenes."""
    output = request.resolve(config.output)
    source: SceneSource = open_source(config.dataset, request.resolve)
    if config.keep_scenes:
        source = StoredScenes(source, output / "scenes")
    chosen = _chosen(source, config)
    if not any(chosen.values()):
        raise InputError(f"{request.path}: categories", "there is no scene", "Choose other categories or names")
    methods: dict[str, Method] = {name: make(name, config) for name in dict.fromkeys(config.methods)}
    readers = {name: external(folder) for name, folder in request.external.items()}
    _check_external(request.external, [n for names in chosen.values() for n in names])
    if clash := set(methods) & set(readers):
        raise InputError(f"--external {clash.pop()}", "is the name of one of our methods", "Choose another name")
    rows, each = [], []
    for setting in config.settings:
        for category, names in chosen.items():
            found: dict[str, list[dict[str, float]]] = defaultdict(list)
            for number, name in enumerate(names):
                cases = _SceneUnderTest(source, name, setting, config)
                for method, score in _scores(cases, methods, readers, output, config):
                    found[method].append(score)
                    each.append({"method": method, "category": category, "scene": name, **_told(setting), **score})
                if config.pictures and number == 0 and setting == config.settings[0]:
                    _picture(cases, methods, readers, output, config)
                request.tell(f"table1: {category}, scene {number + 1} of {len(names)}, {_words(setting)}")
            for method, scores in found.items():
                rows.append({"method": method, "category": category, **_told(setting), "scenes": len(scores),
                             **_means(scores)})  # fmt: skip
    write_atomic(output / "per_scene.json", json_text("table1", {}, each))
    order = [*methods, *readers]
    return sorted(rows, key=lambda row: order.index(row["method"]))


def _chosen(source: SceneSource, config: Table1Benchmark) -> dict[str, list[str]]:
    """Names of scenes by category or group. Raises InputError for a name that no scene of these categories has."""
    found = {category: list(source.names(category)) for category in config.categories}
    known = {name for names in found.values() for name in names}
    asked = {"names": config.names or [], **{f"groups.{g}": names for g, names in (config.groups or {}).items()}}
    for field, names in asked.items():
        if unknown := [name for name in names if name not in known]:
            raise InputError(field, f"there is no scene {unknown[0]}", "Its category has to be among categories too")
    if config.groups is not None:
        found = dict(config.groups)
    if config.names is not None:
        found = {category: [n for n in names if n in config.names] for category, names in found.items()}
    return {category: names[: config.scenes] for category, names in found.items()}


def _told(setting: SettingConfig) -> dict[str, Any]:
    return setting.model_dump()


def _words(setting: SettingConfig) -> str:
    told = {k: v for k, v in setting.model_dump().items() if v}
    return ", ".join(f"{k} {v}" for k, v in told.items())


class _SceneUnderTest:
    """A scene that is loaded, and its inputs prepared, only if something has to be made of it."""

    def __init__(self, source: SceneSource, name: str, setting: SettingConfig, config: Table1Benchmark) -> None:
        self.source, self.name, self.setting, self.config = source, name, setting, config
        self._case: _Case | None = None

    def key(self, method: str, digest: str) -> str:
        """Of a score: what it depends on."""
        parts = {
            "scene": [self.name, self.source.digest(self.name)], "setting": _told(self.setting), "method": method,
            "digest": digest, "samples": self.config.samples, "seed": self.config.seed, "revision": REVISION,
        }  # fmt: skip
        if self.setting.bodies == "fitted":
            from tasks.benchmarks.fitted_bodies import revisions

            parts["pipeline"] = revisions()
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def case(self) -> _Case:
        if self._case is None:
            scene = self.source.load(self.name, self.setting.views)
            given = prepare(scene, self.setting, _generator(self.config.seed, self.name))
            self._case = _Case(scene, self.setting, given, normalising_scale([p.height_m for p in scene.people]))
        return self._case


REVISION = 2
"""Raised when scores of the same meshes would come out otherwise."""


def _generator(seed: int, name: str) -> np.random.Generator:
    """The same errors for a scene whatever else is run."""
    return np.random.default_rng([seed, *hashlib.sha256(name.encode()).digest()[:8]])


def prepare(scene: SurfaceScene, setting: SettingConfig, generator: np.random.Generator) -> Given:
    """What the methods are given of a scene: true, or wrong as the setting says."""
    from data.synthetic.disturbances import grown_labels, shifted_cameras

    if setting.bodies == "fitted":
        from tasks.benchmarks.fitted_bodies import fitted

        bodies, labels = fitted(scene)
    else:
        bodies, labels = tuple(p.body for p in scene.people), scene.labels
        if setting.body_error_cm:
            bodies = tuple(_wrong(b, setting.body_error_cm / 100, scene.name, generator) for b in bodies)
    labels = tuple(grown_labels(image, setting.mask_error_px) for image in labels)
    rig = scene.rig
    if setting.camera_error_cm:
        rig = shifted_cameras(rig, setting.camera_error_cm / 100, generator)
    return Given(rig, scene.images, labels, bodies)


def _wrong(
    body: SceneBody | None, error_m: float, scene: str, generator: np.random.Generator
) -> SceneBody | None:
    from data.synthetic.disturbances import body_vertices, disturbed_body
    from tasks.benchmarks.fitted_bodies import open_model

    if body is None or body.parameters is None:
        raise InputError("settings: body_error_cm", f"scene {scene} has no body parameters to disturb", "Set it to 0")
    parameters = disturbed_body(open_model(), body.parameters, error_m, generator)
    return SceneBody((body_vertices(open_model(), parameters), body.mesh[1]), parameters)


def _scores(
    cases: _SceneUnderTest,
    methods: Mapping[str, Method],
    readers: Mapping[str, Any],
    output: Path,
    config: Table1Benchmark,
) -> Iterator[tuple[str, dict[str, float]]]:
    """A score of the scene for every method."""
    for name, method in methods.items():
        memory = output / "scores" / f"{cases.key(name, method.digest)}.json"
        score = _remembered(memory)
        if score is None:
            meshes = list(method.reconstruct(cases.case().given))
            if config.keep_meshes:
                _keep(output / "meshes" / name / cases.name, meshes)
            score = score_scene(cases.case().scene, meshes, cases.case().scale, config.samples, config.seed)
            write_atomic(memory, json.dumps(score, indent=1) + "\n")
        yield name, score
    for name, read in readers.items():
        case = cases.case()
        yield name, score_scene(case.scene, read(cases.name, len(case.scene.people)), case.scale, config.samples,
                                config.seed)  # fmt: skip


def score_scene(
    scene: SurfaceScene, meshes: Sequence[Triangles], scale: float, samples: int, seed: int
) -> dict[str, float]:
    """Means over the people of a scene, centimetres at 180 cm; silhouettes where there are no true surfaces."""
    if len(meshes) != len(scene.people):
        raise ValueError(f"{len(meshes)} meshes for {len(scene.people)} people")
    if scene.witnesses:
        found = [
            {"silhouette_iou": silhouette_iou(*mesh, w.camera, w.labels == k + 1)}
            for k, mesh in enumerate(meshes) for w in scene.witnesses
        ]  # fmt: skip
        return _means(found)
    everything = scene.everything()

    def visible(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        return seen_by(points, normals, scene.rig.cameras, *everything).any(1)

    found = [
        score_surface(mesh, person.surface, scale=scale, visible=visible, samples=samples, seed=seed + k).as_dict()
        for k, (mesh, person) in enumerate(zip(meshes, scene.people, strict=True))
    ]
    return _means(found) | {"occlusion": scene.occlusion}


def _means(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of each measure over those that know it; NaN where none does."""
    out = {}
    for key in scores[0]:
        known = [s[key] for s in scores if s[key] is not None and math.isfinite(s[key])]
        out[key] = float(np.mean(known)) if known else float("nan")
    return out


def _remembered(path: Path) -> dict[str, float] | None:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _keep(folder: Path, meshes: Sequence[Triangles]) -> None:
    from pipeline.meshes.ply import ply_bytes

    for k, (vertices, faces) in enumerate(meshes):
        if len(faces):
            write_atomic(folder / f"person_{k}.ply", ply_bytes(vertices, faces))


def _check_external(folders: Mapping[str, Path], scenes: Sequence[str]) -> None:
    """A folder without any of the scenes is a wrong folder; every mesh is read once before anything is started."""
    for name, folder in folders.items():
        for scene in scenes:
            for path in sorted((folder / scene).glob("person_*.*")) if (folder / scene).is_dir() else ():
                if path.suffix.lower() in (".ply", ".obj"):
                    read_mesh(path)
        if not any((folder / scene).is_dir() for scene in scenes):
            raise InputError(
                f"--external {name}",
                f"{folder} holds none of the {len(scenes)} scenes ({scenes[0]}, ...)",
                "Lay meshes out as FOLDER/<scene>/person_<k>.ply; keep_meshes: true shows how",
            )


def _picture(
    cases: _SceneUnderTest,
    methods: Mapping[str, Method],
    readers: Mapping[str, Any],
    output: Path,
    config: Table1Benchmark,
) -> None:
    """The first scene of a category, as it was seen and as everybody makes it."""
    from tasks.benchmarks.surface_pictures import compare

    key = cases.key("picture", " ".join([*(f"{n} {m.digest}" for n, m in methods.items()), *readers]))[:16]
    scene_of = cases.case().scene
    path = output / "pictures" / f"{scene_of.category}.png"
    stamp = path.with_suffix(".key")
    if path.exists() and not readers and stamp.exists() and stamp.read_text() == key:
        return
    case = cases.case()
    meshes = {name: list(method.reconstruct(case.given)) for name, method in methods.items()}
    meshes |= {name: read(cases.name, len(case.scene.people)) for name, read in readers.items()}
    write_atomic(path, compare(case.scene, meshes))
    write_atomic(stamp, key)


def notes(rows: Sequence[Row]) -> list[str]:
    """The paper's own layout, with its figures below, which are of other data."""
    if not any("chamfer_cm" in row for row in rows):
        return []
    found = list(dict.fromkeys(r["category"] for r in rows))
    categories = [c for c in (*CATEGORIES, *(f for f in found if f not in CATEGORIES)) if c in found]
    settings = list(SettingConfig.model_fields)
    out = []
    groups = dict.fromkeys(tuple(row[k] for k in settings) for row in rows)
    width = max(len(n) for n in [*PUBLISHED, *(r["method"] for r in rows)]) + 2
    for group in groups:
        told = ", ".join(f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}"
                         for k, v in zip(settings, group, strict=True) if v)  # fmt: skip
        out += ["", f"Chamfer / point-to-surface, cm at 180 cm body height; {told}", _line("", categories, width)]
        chosen = [r for r in rows if tuple(r[k] for k in settings) == group]
        for method in dict.fromkeys(r["method"] for r in chosen):
            by = {r["category"]: r for r in chosen if r["method"] == method}
            cells = [f"{by[c]['chamfer_cm']:.3f} / {by[c]['p2s_cm']:.3f}" if c in by else "-" for c in categories]
            out.append(_line(method, cells, width))
    categories = [c for c in categories if c in CATEGORIES]
    if not categories:
        return out
    out += ["", "Published (MultiHuman, six views: other data, not comparable)", _line("", categories, width)]
    for method, values in PUBLISHED.items():
        pairs = {c: values[2 * k : 2 * k + 2] for k, c in enumerate(CATEGORIES)}
        out.append(_line(method, [f"{pairs[c][0]:.3f} / {pairs[c][1]:.3f}" for c in categories], width))
    return out


def _line(first: str, cells: Sequence[str], width: int) -> str:
    return first.ljust(width) + "".join(cell.rjust(17) for cell in cells)


BENCHMARK = Benchmark(Table1Benchmark, run, MEASURES, notes, takes_external=True)
