"""Bodies as the pipeline finds them in the pictures of a scene that stands still."""

from __future__ import annotations

from functools import cache

import numpy as np

from data.surface_scenes import SceneBody, SurfaceScene
from pipeline.quality.metrics import match

NEAR_M = 0.5
"""A found body farther than this from a true one (mean over vertices) is somebody else."""
REPEATS = 6
"""How often the one moment is shown: people in fewer frames are taken for nobody."""
FPS = 25.0


@cache
def open_model():
    """The open body model, once a process."""
    from data.body_models import load_body_arrays, open_body_model
    from nets.body import BodyModel

    return BodyModel(load_body_arrays(open_body_model()))


def fitted(scene: SurfaceScene) -> tuple[tuple[SceneBody | None, ...], tuple[np.ndarray, ...]]:
    """Detection, association and fit on the scene's pictures.

    Returns:
        A body for each true person, None for those whom the pipeline does not find; and the label images.
    """
    found = _bodies(scene)
    true = [p.body for p in scene.people]
    cost = np.full((len(true), len(found)), np.nan)
    for i, person in enumerate(true):
        for j, body in enumerate(found):
            if person is not None and len(person.mesh[0]) == len(body.mesh[0]):
                cost[i, j] = np.linalg.norm(person.mesh[0] - body.mesh[0], axis=1).mean()
            elif (known := person.mesh if person is not None else scene.people[i].surface) is not None:
                cost[i, j] = np.linalg.norm(known[0].mean(0) - body.mesh[0].mean(0))
    partners = dict(match(cost, NEAR_M))
    bodies = tuple(found[partners[i]] if i in partners else None for i in range(len(true)))
    return bodies, scene.labels


def _bodies(scene: SurfaceScene) -> list[SceneBody]:
    from data.model_files import blazepose_files
    from data.synthetic.disturbances import body_vertices
    from pipeline.association.graph import associate
    from pipeline.association.options import AssociationOptions
    from pipeline.body.fit import fit_track
    from pipeline.body.options import FitOptions
    from pipeline.keypoints.blazepose import BlazePose, BlazePoseOptions

    detections = []
    for image in scene.images:
        detector = BlazePose(*blazepose_files(), BlazePoseOptions(max_people=6))
        detections.append(detector.run(((f, image) for f in range(REPEATS)), 0))
    tracks = associate(scene.rig, detections, AssociationOptions(fps=FPS))
    model, out = open_model(), []
    names = "global_orient body_pose left_hand_pose right_hand_pose jaw_pose expression transl".split()
    for k in range(len(tracks.person_ids)):
        track = fit_track(model, scene.rig, tracks.person(k), FitOptions(fps=FPS, landmarks=detections[0].joint_set))
        good = np.flatnonzero(track.valid)
        if not len(good):
            continue
        row = int(good[len(good) // 2])
        parameters = {n: getattr(track, n)[row : row + 1] for n in names} | {"betas": track.betas[None]}
        out.append(SceneBody((body_vertices(model, parameters), model.faces.numpy()), parameters))
    return out
