"""People of the benchmark's scenes in motion, each frame reconstructed anew: what fusion does to such meshes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from data.surface_scenes import SceneBody, Triangles
from data.synthetic.surface_scenes import SceneMotion
from pipeline.fusion.skinning import PosedBody
from pipeline.fusion.steadiness import REACH_M
from pipeline.meshes.geometry import vertex_areas
from pipeline.quality.metrics import flicker_mm, normalising_scale, offsets_along_normals, score_surface
from tasks.benchmarks.surface_methods import Given, Method


@dataclass(frozen=True)
class Errors:
    """What is wrong with what the methods are given, anew in every frame.

    Attributes:
        keypoint_px: standard deviation of the keypoints that bodies are fitted to.
        mask_px: standard deviation of how much the masks are too large.
    """

    keypoint_px: float
    mask_px: float


@dataclass(frozen=True)
class Moving:
    """One person over F frames.

    Attributes:
        bodies: as the fusion is told they are, with what the frames around them say (``fusion.calm``).
        skins: (F, V, 3) the true body; ``skin_faces`` its triangles.
        surfaces: true clothed surfaces.
        meshes: reconstructed ones.
        scale: brings the scene's mean person to 180 cm.
    """

    bodies: list[PosedBody]
    skins: np.ndarray
    skin_faces: np.ndarray
    surfaces: list[Triangles]
    meshes: list[Triangles]
    scale: float

    def errors(self, frame: int, points: np.ndarray, mesh: Triangles) -> np.ndarray:
        """(N,) metres along the true body's normals from the true surface above skin points (N,) to a mesh; NaN where
        either is farther off than ``REACH_M``.

        Taken from the skin itself, the nearer of two sides of a mesh (a sole and an instep, hair and skull) jumps from
        one to the other between frames.
        """
        from nets.meshes import vertex_normals

        skin = self.skins[frame]
        normals = vertex_normals(skin, self.skin_faces, "angle")[points]
        above = offsets_along_normals(skin[points], normals, *self.surfaces[frame], reach_m=REACH_M)
        covered = np.isfinite(above)
        starts = skin[points] + np.where(covered, above, 0)[:, None] * normals
        return np.where(covered, offsets_along_normals(starts, normals, *mesh, reach_m=REACH_M), np.nan)

    def sample(self, count: int, generator: np.random.Generator) -> np.ndarray:
        """(count,) vertices of the body, by the area around them."""
        share = vertex_areas(self.skins[0], self.skin_faces)
        return generator.choice(len(share), count, p=share / share.sum())


def moving_people(
    motion: SceneMotion, judged: range, fps: float, method: Method, errors: Errors, generator: np.random.Generator
) -> Iterator[Moving]:
    """Reconstruct everybody in some frames of a motion, with bodies fitted over all of it.

    Args:
        judged: frames to reconstruct.
    """
    from data.synthetic.disturbances import grown_labels

    fitted = _fitted(motion, fps, errors.keypoint_px, generator)
    scenes, meshes = [], []
    for frame in judged:
        scene, told = motion.moment(frame), tuple(track[frame] for track in fitted)
        grown = errors.mask_px * generator.standard_normal(len(scene.labels))
        labels = tuple(grown_labels(image, px) for image, px in zip(scene.labels, grown, strict=True))
        meshes.append(method.reconstruct(Given(scene.rig, scene.images, labels, told)))
        scenes.append(scene)
    scale = normalising_scale([p.height_m for p in scenes[0].people])
    for k, person in enumerate(scenes[0].people):
        yield Moving(
            calmed([_posed(body) for body in fitted[k]], fps)[judged.start : judged.stop],
            np.stack([s.people[k].body.mesh[0] for s in scenes]),
            person.body.mesh[1],
            [s.people[k].surface for s in scenes],
            [frame[k] for frame in meshes],
            scale,
        )


def _fitted(
    motion: SceneMotion, fps: float, noise_px: float, generator: np.random.Generator
) -> list[list[SceneBody]]:
    """Each person's bodies in all frames, fitted as the pipeline does to keypoints of the true joints that cameras
    see."""
    from data.synthetic.body_scenes import Setting, observed
    from data.synthetic.disturbances import body_vertices
    from data.synthetic.walkers import visible
    from pipeline.body.fit import fit_track
    from pipeline.body.options import FitOptions
    from pipeline.body.regressor import regress, regressor_for
    from tasks.benchmarks.fitted_bodies import open_model

    model, rig = open_model(), motion.rig
    joints = np.stack([regress(model, regressor_for(model), p) for p in motion.parameters()], 1).astype(np.float64)
    seen = visible(rig, joints)
    out = []
    for k in range(joints.shape[1]):
        track = observed(rig, joints[:, k], seen[:, :, k], Setting(len(rig), noise_px), generator)
        fit = fit_track(model, rig, track, FitOptions(fps=fps, floor=0.0))
        every = [fit.parameters(frame) for frame in range(len(joints))]
        out.append([SceneBody((body_vertices(model, one), model.faces.numpy()), one) for one in every])
    return out


def calmed(bodies: list[PosedBody], fps: float) -> list[PosedBody]:
    """Bodies of consecutive frames, each with what those around it say."""
    from pipeline.fusion.calm import Calm

    calm = Calm(lambda k: bodies[k].vertices if 0 <= k < len(bodies) else None, fps)
    return [calm.told(k, body) for k, body in enumerate(bodies)]


def _posed(body: SceneBody) -> PosedBody:
    import torch

    from pipeline.fusion.skinning import posed_body
    from tasks.benchmarks.fitted_bodies import open_model

    model = open_model()
    return posed_body(model, {k: torch.as_tensor(np.asarray(v)).to(model.template) for k, v in body.parameters.items()})


def figures(person: Moving, fused: Mapping[int, Triangles], samples: int, seed: int) -> dict[str, float]:
    """Of the judged frames: error of the bodies, millimetres; Chamfer distance before and after, centimetres at 180 cm;
    flicker of the surface against the true one before and after, millimetres."""
    judged = sorted(fused)
    points = person.sample(samples, np.random.default_rng(seed))
    found = {}
    for name, meshes in (("before", person.meshes), ("after", fused)):
        errors = np.stack([person.errors(k, points, meshes[k]) for k in judged])
        scores = [
            score_surface(meshes[k], person.surfaces[k], scale=person.scale, samples=samples, seed=seed) for k in judged
        ]
        found[name] = float(np.mean([s.chamfer_cm for s in scores])), errors
    known = np.isfinite(found["before"][1]) & np.isfinite(found["after"][1])
    flicker = {name: flicker_mm(np.where(known, errors, np.nan)) for name, (_, errors) in found.items()}
    off = [np.linalg.norm(person.bodies[k].vertices - person.skins[k], axis=1).mean() for k in judged]
    return {
        "body_mm": 1000 * float(np.mean(off)),
        "chamfer_before_cm": found["before"][0], "chamfer_cm": found["after"][0],
        "flicker_before_mm": flicker["before"], "flicker_mm": flicker["after"],
    }  # fmt: skip
