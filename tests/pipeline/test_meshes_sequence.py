"""Meshes over frames: what is written comes back to 0.015 mm, frame by frame, and what is no mesh is refused."""

import numpy as np
import pytest

from pipeline.artifacts import Artifact, ArtifactWriter
from pipeline.meshes.sequence import Mesh, MeshSequence, MeshWriter

CAMERAS = tuple(f"cam{i}" for i in range(9))


def blob(seed: int, vertices: int = 400, cameras: int = len(CAMERAS)) -> Mesh:
    rng = np.random.default_rng(seed)
    return Mesh(
        vertices=rng.uniform(-0.9, 0.9, (vertices, 3)) + np.array([4.0, -2.0, 1.0]),
        faces=rng.integers(0, vertices, (2 * vertices, 3)).astype(np.int32),
        confidence=rng.uniform(0, 1, vertices).astype(np.float32),
        seen=rng.random((vertices, cameras)) < 0.5,
    )


def artifact(path, **options):
    return ArtifactWriter(path, stage="surface", schema="surface", key="ab" * 32, **options)


def write(path, meshes, cameras=CAMERAS):
    with artifact(path) as writer, MeshWriter(writer, cameras) as out:
        for frame, mesh in meshes.items():
            out.mark(frame, mesh) if isinstance(mesh, str) else out.add(frame, mesh)
    return writer.header


def test_round_trip(tmp_path):
    meshes = {10: blob(0), 12: "no_view", 13: blob(1, vertices=3), 20: blob(2, vertices=5000)}
    write(tmp_path / "a.h5", meshes)
    with Artifact(tmp_path / "a.h5", "surface") as opened:
        sequence = MeshSequence(opened)
        assert sequence.frames.tolist() == [10, 12, 13, 20] and sequence.cameras == CAMERAS
        assert sequence.valid.tolist() == [True, False, True, True]
        assert sequence.reasons == ["", "no_view", "", ""]
        assert sequence.has(13) and not sequence.has(12) and not sequence.has(11)
        for frame in (20, 10, 13):
            found, true = sequence.mesh(frame), meshes[frame]
            assert np.abs(found.vertices - true.vertices).max() <= 0.0151e-3
            assert np.array_equal(found.faces, true.faces) and found.faces.dtype == np.int32
            assert np.abs(found.confidence - true.confidence).max() <= 0.5 / 255 + 1e-6
            assert np.array_equal(found.seen, true.seen)
        with pytest.raises(ValueError, match="no_view"):
            sequence.mesh(12)
        with pytest.raises(KeyError):
            sequence.mesh(11)


def test_digests_of_frames_tell_what_changed(tmp_path):
    write(tmp_path / "a.h5", {1: blob(0), 2: blob(1)})
    write(tmp_path / "b.h5", {1: blob(0), 2: blob(2)})
    with Artifact(tmp_path / "a.h5") as a, Artifact(tmp_path / "b.h5") as b:
        first, second = MeshSequence(a), MeshSequence(b)
        assert first.digest(1) == second.digest(1) and first.digest(2) != second.digest(2)
    assert write(tmp_path / "c.h5", {1: blob(0), 2: blob(1)}).content == write(
        tmp_path / "d.h5", {1: blob(0), 2: blob(1)}
    ).content  # fmt: skip


def test_no_cameras_and_no_frames(tmp_path):
    write(tmp_path / "a.h5", {5: blob(0, cameras=0)}, cameras=())
    write(tmp_path / "b.h5", {})
    with Artifact(tmp_path / "a.h5", "surface") as opened:
        assert MeshSequence(opened).mesh(5).seen.shape == (400, 0)
    with Artifact(tmp_path / "b.h5", "surface") as opened:
        assert len(MeshSequence(opened).frames) == 0


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"vertices": np.full((400, 3), np.nan)}, "not finite"),
        ({"faces": np.array([[0, 1, 400]])}, "faces use vertices"),
        ({"faces": np.zeros((0, 3), np.int32)}, "no faces"),
        ({"confidence": np.zeros(3)}, "confidence"),
        ({"seen": np.zeros((400, 2), bool)}, "seen"),
    ],
)
def test_what_is_no_mesh_is_refused(tmp_path, change, match):
    values = vars(blob(0)) | change
    with pytest.raises(ValueError, match=match):
        write(tmp_path / "a.h5", {1: Mesh(**values)})
    assert not (tmp_path / "a.h5").exists()


def test_frames_come_in_order(tmp_path):
    with pytest.raises(ValueError, match="comes after"):
        write(tmp_path / "a.h5", {4: blob(0), 3: "empty"})
