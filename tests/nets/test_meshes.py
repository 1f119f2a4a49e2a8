"""Normals of vertices: by area, by angle, across seams."""

import numpy as np
import pytest

from nets.meshes import vertex_normals

CUBE = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
QUADS = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
FACES = np.concatenate([QUADS[:, [0, 1, 2]], QUADS[:, [0, 2, 3]]])


def test_by_angle_a_corner_points_outwards_however_its_sides_are_cut():
    expected = (CUBE - 0.5) / np.linalg.norm(CUBE - 0.5, axis=1, keepdims=True)
    assert vertex_normals(CUBE, FACES, "angle") == pytest.approx(expected)
    assert np.abs(vertex_normals(CUBE, FACES) - expected).max() > 0.1  # by area, the cuts show


def test_welded_vertices_share_their_normal_and_unused_ones_have_none():
    roof = np.array([[0, 0, 1], [0, 1, 1], [-1, 0, 0], [1, 0, 0], [0, 0, 1], [0, 1, 1], [9, 9, 9.0]])
    faces = np.array([[0, 1, 2], [5, 4, 3]])
    apart = vertex_normals(roof, faces)
    assert apart[0] == pytest.approx([-(0.5**0.5), 0, 0.5**0.5]) and apart[4] == pytest.approx([0.5**0.5, 0, 0.5**0.5])
    joined = vertex_normals(roof, faces, weld=np.array([0, 1, 2, 3, 0, 1, 4]))
    assert joined[[0, 1, 4, 5]] == pytest.approx(np.tile([0, 0, 1.0], (4, 1)))
    assert joined[2] == pytest.approx(apart[2]) and not joined[6].any()
