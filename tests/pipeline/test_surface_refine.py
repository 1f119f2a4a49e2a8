"""Surfaces bent by normals, on a wrinkled ball whose normals are known: what is told is followed, no more."""

import numpy as np
import pytest
import torch
import trimesh

from nets.deepmulticap.inputs import CanonicalFrame
from nets.normals import SMALL_REFINER, NormalNetwork
from pipeline.cameras import Camera
from pipeline.meshes.geometry import vertex_normals
from pipeline.meshes.sequence import Mesh
from pipeline.surface import refine
from pipeline.surface.prepare import Prepared

RADIUS, HEIGHT, WAVES = 0.3, 0.004, 40
SIZE = 192


def ball(wrinkled: bool) -> tuple[np.ndarray, np.ndarray]:
    """Wrinkles run round the ball, 4 mm high and 4.7 cm long."""
    mesh = trimesh.creation.icosphere(subdivisions=6, radius=1.0)
    unit = np.asarray(mesh.vertices)
    latitude = np.arcsin(np.clip(unit[:, 2], -1, 1))
    height = HEIGHT * np.sin(WAVES * latitude) * np.cos(latitude) if wrinkled else 0 * latitude
    return unit * (RADIUS + height)[:, None], np.asarray(mesh.faces, np.int32)


def cameras(count: int = 6) -> list[Camera]:
    out = []
    for k in range(count):
        angle = 2 * np.pi * k / count
        eye = 2 * np.array([np.cos(angle), np.sin(angle), 0.1])
        z = -eye / np.linalg.norm(eye)
        x = np.cross(z, [0, 0, 1])
        x /= np.linalg.norm(x)
        R = np.stack([x, np.cross(z, x), z])
        K = np.array([[2.8 * SIZE, 0, SIZE / 2], [0, 2.8 * SIZE, SIZE / 2], [0, 0, 1]])
        out.append(Camera(str(k), (SIZE, SIZE), K, R, -R @ eye))
    return out


def seen_ball(vertices, faces) -> Mesh:
    normals, views = vertex_normals(vertices, faces), cameras()
    seen = np.stack([((c.centre - vertices) * normals).sum(-1) > 0 for c in views], 1)
    return Mesh(vertices, faces, np.ones(len(vertices), np.float32), seen)


def height_error(vertices) -> float:
    """Root mean square, metres, about the equator, where all cameras look."""
    true, _ = ball(True)
    some = np.abs(true[:, 2]) < 0.15
    error = np.linalg.norm(vertices[some], axis=1) - np.linalg.norm(true[some], axis=1)
    return float(np.sqrt(((error - error.mean()) ** 2).mean()))


def test_wrinkles_that_normals_tell_of_rise_from_a_smooth_surface():
    smooth, faces = ball(False)
    true = vertex_normals(ball(True)[0], faces)
    moved = refine.bent(smooth, faces, true, np.ones(len(smooth)))
    assert height_error(moved) < 0.4 * height_error(smooth)  # one view's word against the surface's own: 1 to 0.3


def test_normals_that_are_wrong_all_over_hardly_move_the_broad_shape():
    smooth, faces = ball(False)
    own = vertex_normals(smooth, faces)
    tilted = own + np.array([0, 0, 0.2])  # as one light from above may mislead a network
    tilted /= np.linalg.norm(tilted, axis=1, keepdims=True)
    moved = refine.bent(smooth, faces, tilted, np.ones(len(smooth)))
    assert np.abs(np.linalg.norm(moved, axis=1) - RADIUS).max() < 0.006


def test_what_nobody_tells_of_stays_where_it_is_and_nothing_moves_far():
    smooth, faces = ball(False)
    wild = np.random.default_rng(0).normal(size=smooth.shape)
    wild /= np.linalg.norm(wild, axis=1, keepdims=True)
    untold = refine.bent(smooth, faces, wild, np.zeros(len(smooth)))
    assert np.abs(untold - smooth).max() < 2e-4  # a ball of flat triangles is not quite as its own normals say
    assert np.linalg.norm(refine.bent(smooth, faces, wild, np.ones(len(smooth))) - smooth, axis=1).max() < 0.0151


def test_roughness_that_nobody_tells_of_is_faired():
    smooth, faces = ball(False)
    rough = smooth * (1 + np.random.default_rng(0).normal(0, 0.002, (len(smooth), 1)))
    true, nobody = vertex_normals(smooth, faces), np.zeros(len(smooth))
    faired = refine.bent(rough, faces, vertex_normals(rough, faces), nobody)
    before, after = ((vertex_normals(v, faces) * true).sum(-1).mean() for v in (rough, faired))
    assert 1 - after < 0.25 * (1 - before)
    assert np.abs(np.linalg.norm(faired, axis=1) - RADIUS).max() < 0.003


def test_maps_of_all_views_are_joined_to_the_normals_they_show():
    vertices, faces = ball(True)
    mesh, views = seen_ball(vertices, faces), cameras()
    maps = torch.from_numpy(refine.guide_maps(vertices, faces, views))
    told, weight = refine.joined_normals(mesh, views, maps)
    known = weight > 0.3
    assert known.mean() > 0.6
    cosine = (told * vertex_normals(vertices, faces)).sum(-1)[known]
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean() < 3
    nothing, weight = refine.joined_normals(mesh, views, torch.zeros_like(maps))
    assert not weight.any() and np.allclose(nothing, vertex_normals(vertices, faces))


class _Shown(torch.nn.Module):
    """Says what a picture holds, as if normals were painted on it."""

    def forward(self, images):
        return images[:, :3]


def prepared(maps: np.ndarray) -> Prepared:
    count = len(maps)
    painted = np.clip(np.rint((maps.transpose(0, 2, 3, 1) + 1) * 127.5), 0, 255).astype(np.uint8)
    return Prepared(
        cameras=tuple(str(k) for k in range(count)),
        projection=np.stack([c.P for c in cameras()]),
        frame=CanonicalFrame(np.eye(3), np.zeros(3), 1.5),
        rgb=painted,
        mask=np.where(np.abs(maps).sum(1) > 0, 255, 0).astype(np.uint8),
        blocked=np.zeros((count, SIZE, SIZE), bool),
        volume=np.zeros((0, 0, 0, 0), np.uint8),
    )


def test_pictures_bend_a_surface_and_hidden_pixels_do_not():
    smooth, faces = ball(False)
    maps = refine.guide_maps(*ball(True), cameras())
    given = prepared(maps)
    moved = refine.refined(seen_ball(smooth, faces), given, _Shown())
    assert height_error(moved.vertices) < 0.5 * height_error(smooth)
    given.blocked[:] = True
    still = refine.refined(seen_ball(smooth, faces), given, _Shown())
    assert np.abs(still.vertices - smooth).max() < 2e-4


def test_a_fresh_refiner_reads_picture_and_guide():
    torch.manual_seed(0)
    network = NormalNetwork(SMALL_REFINER).eval()
    images = torch.rand(2, 6, 64, 64, requires_grad=True)
    network(images).sum().backward()
    assert (images.grad.abs().sum((0, 2, 3)) > 0).all()


@pytest.mark.parametrize("scale", [1.0, -0.01])
def test_a_camera_is_known_from_its_projection(scale):
    for camera in cameras(3):
        found = Camera.of_projection(scale * camera.P, camera.size)
        for name in ("K", "R", "t"):
            assert getattr(found, name) == pytest.approx(getattr(camera, name), abs=1e-9)
