"""A walking person with an exact answer for every frame: the open body's skin, finely divided, with noise or relief
that rides on it. What temporal fusion is measured on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from data.synthetic import motion
from nets.meshes import vertex_normals
from pipeline.body.parameters import BodyTrack
from pipeline.fusion.skinning import PosedBody, posed_bodies
from pipeline.meshes.geometry import vertex_areas

FPS = 30.0


@dataclass(frozen=True)
class CarriedSkin:
    """A person over F frames.

    Attributes:
        bodies: F posed bodies.
        track: their parameters.
        mix: (V, B) skin points as mixtures of body vertices.
        faces: (T, 3).
        rest: (V, 3) metres, the skin of the unposed body.
    """

    bodies: list[PosedBody]
    track: BodyTrack
    mix: sparse.csr_matrix
    faces: np.ndarray
    rest: np.ndarray

    def skin(self, frame: int, offset: np.ndarray | float = 0.0) -> np.ndarray:
        """(V, 3) the skin of a frame, moved by ``offset`` (V,) metres along its normals."""
        vertices = self.mix @ self.bodies[frame].vertices
        return vertices + self.normals(vertices) * np.broadcast_to(offset, len(vertices))[:, None]

    def normals(self, vertices: np.ndarray) -> np.ndarray:
        """(V, 3) unit normals of the skin at positions ``vertices`` (V, 3)."""
        return vertex_normals(vertices, self.faces, "angle")

    def sample(self, count: int, generator: np.random.Generator) -> np.ndarray:
        """(count,) skin points, each square centimetre as likely as any other."""
        share = vertex_areas(self.rest, self.faces)
        return generator.choice(len(share), count, p=share / share.sum())


def walker(frames: int, divisions: int = 1) -> CarriedSkin:
    """Somebody who walks at 1.3 m/s, at 30 frames a second; each triangle of the body in 4^divisions."""
    import torch

    from data.body_models import load_body_arrays, open_body_model
    from nets.body import BodyModel

    model = BodyModel(load_body_arrays(open_body_model()))
    rest_joints = model.rest_joints(torch.zeros(1, 10))[0].numpy()
    lowest = float(model.template[:, 1].min())
    path = motion.Path(np.zeros(2), 0.3, 1.3)
    moved = motion.walk(rest_joints, np.full(2, lowest), path, np.arange(frames) / FPS, motion.Gait(), 0.2)
    hands = np.tile(model.relaxed_hands.numpy(), (frames, 1))
    track = BodyTrack(
        frames=np.arange(frames), betas=np.zeros(10, np.float32),
        **{k: np.asarray(v, np.float32) for k, v in moved.items()},
        left_hand_pose=hands[:, :45], right_hand_pose=hands[:, 45:],
        jaw_pose=np.zeros((frames, 3), np.float32), expression=np.zeros((frames, 10), np.float32),
        valid=np.ones(frames, bool), reason=np.zeros(frames, np.int8), fit_error_m=np.zeros(frames, np.float32),
    )  # fmt: skip
    faces = _largest_piece(model.faces.numpy(), len(model.template))
    mix = sparse.identity(len(model.template), format="csr")
    for _ in range(divisions):
        mix, faces = _divided(mix, faces)
    used, numbers = np.unique(faces, return_inverse=True)
    mix, faces = mix[used], numbers.reshape(-1, 3)
    return CarriedSkin(
        posed_bodies(model, track, np.arange(frames)), track, mix, faces, mix @ model.template.double().numpy()
    )


def smooth_noise(points: np.ndarray, generator: np.random.Generator, size: float, length: float) -> np.ndarray:
    """(N,) random values with standard deviation ``size``, correlated over ``length`` metres (Gaussian, its value
    e^(-1/2) at that distance): random waves."""
    waves = generator.normal(0, 1 / length, (200, 3))
    phases = generator.uniform(0, 2 * np.pi, 200)
    return size * np.sqrt(2 / 200) * np.cos(points @ waves.T + phases).sum(1)


def wrinkles(points: np.ndarray, size: float = 0.01, length: float = 0.06) -> np.ndarray:
    """(N,) folds of a height ``size`` from the middle, ``length`` apart, round the unposed body."""
    return size * np.sin(2 * np.pi * points[:, 1] / length)


def _largest_piece(faces: np.ndarray, count: int) -> np.ndarray:
    """No eyeballs, which a reconstruction has not either."""
    ones = np.ones(len(faces) * 2)
    graph = sparse.coo_matrix((ones, (faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel())), (count, count))
    label = connected_components(graph, directed=False)[1]
    return faces[label[faces[:, 0]] == np.bincount(label[faces[:, 0]]).argmax()]


def _divided(mix: sparse.csr_matrix, faces: np.ndarray) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Each triangle in four."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)
    unique, number = np.unique(edges, axis=0, return_inverse=True)
    ab, bc, ca = (number.reshape(-1) + mix.shape[0]).reshape(3, -1)
    a, b, c = faces.T
    divided = np.concatenate([np.stack(t, 1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
    rows = np.repeat(np.arange(len(unique)), 2)
    half = sparse.csr_matrix((np.full(len(rows), 0.5), (rows, unique.ravel())), (len(unique), mix.shape[0]))
    return sparse.vstack([mix, half @ mix]).tocsr(), divided
