"""A person made of a ball on a box, in metres, with closed-form insides, and a ring of cameras that see it."""

import numpy as np
import torch

from nets.deepmulticap.body_features import BodySurface, of_bodies
from nets.deepmulticap.inputs import CanonicalFrame, SurfaceInputs, body_depth_map, mask_map
from nets.deepmulticap.presets import MAP_CHANNELS
from nets.deepmulticap.volumes import even_centres

CENTRE = np.array([0.4, 1.1, -0.3])
BALL, BOX = 0.30, np.array([0.16, 0.45, 0.12])  # radius; half sides; the ball sits on the box's upper half
BALL_CENTRE = CENTRE + np.array([0.0, 0.35, 0.0])


def inside(points):
    """(..., 3) world points to bool."""
    ball = np.linalg.norm(points - BALL_CENTRE, axis=-1) < BALL
    return ball | (np.abs(points - CENTRE) < BOX).all(-1)


def body_inside(points):
    """The naked body: the box alone. The ball is what has to be learned from images."""
    return (np.abs(points - CENTRE) < BOX).all(-1)


def body_surface():
    """The naked body as a mesh: the box."""
    corners = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [(q[0], q[i], q[i + 1]) for q in quads for i in (1, 2)]
    vertices = torch.from_numpy(CENTRE + BOX * corners).float()
    return BodySurface(vertices, torch.tensor(faces), torch.eye(3))


def extra(net, points):
    """What ``net`` reads of the body at points (B, N, 3); None if nothing."""
    return of_bodies([body_surface()] * len(points), points) if net.preset.point_channels == 7 else None


def ask(net, inputs, points, seen=None):
    """``net`` at points, with what it reads of the body there."""
    return net(inputs, points, seen, extra(net, points))


def awake(net):
    """``net`` with a last layer that is not zero, so that a fresh network says more than the body does."""
    for level in (net.coarse, net.fine):
        if level is not None and net.preset.residual is not None:
            torch.nn.init.normal_(level.decoder.head.mlp.layers[-1].weight, std=0.1)
    return net


def frame():
    return CanonicalFrame(np.eye(3), CENTRE, 0.9 / 1.2)


def ring(views, size, distance=3.0, seed=0):
    """(V, 3, 4) projections of cameras around the person, looking at it from different heights."""
    out = []
    for k in range(views):
        angle = 2 * np.pi * k / views + seed
        eye = CENTRE + distance * np.array([np.sin(angle), 0.4 * np.sin(3 * angle), np.cos(angle)])
        z = (CENTRE - eye) / np.linalg.norm(CENTRE - eye)
        x = np.cross(z, [0, 1, 0])
        x /= np.linalg.norm(x)
        R = np.stack([x, np.cross(z, x), z])
        f = size * 1.6
        K = np.array([[f, 0, (size - 1) / 2], [0, f, (size - 1) / 2], [0, 0, 1]])
        out.append(K @ np.column_stack([R, -R @ eye]))
    return np.stack(out)


def silhouettes(projections, size, steps=96):
    """(V, S, S) bool by marching along every pixel's ray, and (V, S, S) depth of the box, infinity off it."""
    out, depths = [], []
    rows, columns = np.mgrid[:size, :size]
    for P in projections:
        eye = -np.linalg.solve(P[:, :3], P[:, 3])
        rays = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(P[:, :3]).T
        rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
        along = np.linspace(2.2, 3.8, steps)
        points = eye + rays[:, :, None] * along[:, None]
        out.append(inside(points).any(-1))
        hit = body_inside(points)
        distance = np.where(hit.any(-1), along[hit.argmax(-1)], np.inf)
        depths.append(distance * (rays @ P[2, :3]))
    return np.stack(out), np.stack(depths)


def surface_inputs(views, size, resolution=32, seed=0):
    """One person, RGB from silhouettes, flat global normals, the box as body volume."""
    projections = ring(views, size, seed=seed)
    covered, depths = silhouettes(projections, size)
    masks = torch.from_numpy(covered).float()[:, None]
    rgb = masks * torch.tensor([0.6, -0.2, 0.3])[:, None, None]
    volume_points = np.stack(np.meshgrid(*[even_centres(2 * resolution)] * 3, indexing="ij"), -1)
    f = frame()
    volume = torch.from_numpy(body_inside(f.to_world(volume_points))).float()
    return SurfaceInputs(
        size=size,
        projection=torch.from_numpy(projections).float()[None],
        rotation=torch.from_numpy(f.rotation).float()[None],
        centre=torch.from_numpy(f.centre).float()[None],
        scale=torch.tensor([f.scale]).float(),
        rgb=rgb[None],
        normals=(masks * torch.tensor([0.0, 0.0, -1.0])[:, None, None])[None],
        global_normals=(masks * torch.tensor([0.0, 1.0, 0.0])[:, None, None])[None],
        mask=torch.stack([mask_map(m[0]) for m in masks])[None],
        body_depth=torch.stack(
            [body_depth_map(d, P[2, :3] @ CENTRE + P[2, 3], f.scale) for d, P in zip(depths, projections, strict=True)]
        )[None],
        volume=volume[None, None],
    )


def random_inputs(views, size=32, people=1, resolution=16, channels=1, seed=0):
    """Inputs of the right shapes whose images are noise."""
    generator = torch.Generator().manual_seed(seed)
    f = frame()

    def noise(*shape):
        return torch.rand(*shape, generator=generator) * 2 - 1

    maps = {name: noise(people, views, channels, size, size) for name, channels in MAP_CHANNELS.items()}
    maps["body_depth"][:, :, 1] = (maps["body_depth"][:, :, 1] > 0).float()
    return SurfaceInputs(
        size=size,
        projection=torch.from_numpy(ring(views, size, seed=0.1 * seed)).float()[None].repeat(people, 1, 1, 1),
        rotation=torch.eye(3)[None].repeat(people, 1, 1),
        centre=torch.from_numpy(f.centre).float()[None].repeat(people, 1),
        scale=torch.full((people,), float(f.scale)),
        volume=(noise(people, channels, resolution, resolution, resolution) > 0).float(),
        **maps,
    )


def random_points(count, people=1, seed=1):
    """(people, count, 3) world points in the middle of the cube, all in all cameras."""
    points = np.random.default_rng(seed).uniform(-0.25, 0.25, (people, count, 3)) + CENTRE
    return torch.from_numpy(points).float()
