"""Scenes of spheres, whose every answer is known: a body is a sphere, its clothes a larger one."""

from functools import cache

import numpy as np

from data.surface_scenes import NOTHING, SceneBody, ScenePerson, SurfaceScene
from data.synthetic.walkers import ring_rig
from pipeline.raster_open3d import Open3DRaster

BODY, CLOTHED = 0.40, 0.45
PEOPLE = {"single": 1, "two_close": 2}


@cache
def sphere(rings=30):
    theta, phi = np.linspace(0, np.pi, rings), np.linspace(0, 2 * np.pi, 2 * rings, endpoint=False)
    t, p = np.meshgrid(theta, phi, indexing="ij")
    vertices = np.stack([np.sin(t) * np.cos(p), np.sin(t) * np.sin(p), np.cos(t)], -1).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(rings - 1), np.arange(2 * rings), indexing="ij")
    a, b = i * 2 * rings + j, i * 2 * rings + (j + 1) % (2 * rings)
    c, d = a + 2 * rings, b + 2 * rings
    faces = np.concatenate([np.stack(x, -1).reshape(-1, 3) for x in ((a, c, b), (b, c, d))])
    return vertices, faces


class Spheres:
    """A ``SceneSource``; ``loaded`` counts how often a scene was made."""

    loaded = 0

    def names(self, category):
        return [f"{category}_{k}" for k in range(2)] if category in PEOPLE else []

    def digest(self, name):
        return name

    def load(self, name, views):
        self.loaded += 1
        category, number = name.rsplit("_", 1)
        vertices, faces = sphere()
        people = []
        for k in range(PEOPLE[category]):
            centre = np.array([0.55 * (2 * k - 1) * (PEOPLE[category] - 1), 0.1 * int(number), 1.0])
            body = SceneBody((BODY * vertices + centre, faces))
            people.append(ScenePerson((CLOTHED * vertices + centre, faces), body, 0.9))
        rig = ring_rig(views, size=(320, 240), focal=300.0)
        labels = []
        for camera in rig.cameras:
            seen = [Open3DRaster(1).render(*p.surface, camera).depth for p in people]
            nearest = np.argmin(seen, 0) + 1
            labels.append(np.where(np.isfinite(np.min(seen, 0)), nearest, 0).astype(np.uint8))
        images = tuple((90 * image)[..., None].repeat(3, -1).astype(np.uint8) for image in labels)
        return SurfaceScene(name, category, rig, images, tuple(labels), tuple(people), NOTHING)


SOURCE = Spheres()


def open_spheres(root):
    return SOURCE
