"""Surfaces without a session: the published demo's layout and ours, and folders that are wrong."""

import shutil
from argparse import Namespace

import cv2
import numpy as np
import pytest
import trimesh

from data.calibration.pose2sim import write_pose2sim
from data.surface_folder import mesh_heading, read_surface_folder
from pipeline.errors import InputError
from pipeline.raster_open3d import Open3DRaster, RayScene
from tasks import surface_alone
from tests.tasks.surface_session import SIZE, UP, posed, rig, write_weights


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A body, and (image, mask) of each camera."""
    from types import SimpleNamespace

    from pipeline.config import SessionConfig

    config = SessionConfig.model_validate(
        {"session": "s", "output": "o", "capture": {"calibration": "c", "images": "i/{camera}/{frame}.png", "fps": 25}}
    )
    vertices, faces = posed(SimpleNamespace(config=config), 0, 4)
    raster, pictures = Open3DRaster(threads=1), []
    for camera in rig().cameras:
        seen = raster.render(vertices, faces, camera)
        image = np.where(seen.hit[..., None], 128 + 120 * seen.normal, 60).astype(np.uint8)
        pictures.append((image, seen.hit))
    folder = tmp_path_factory.mktemp("weights")
    write_weights(folder / "net.safetensors")
    return vertices, faces, pictures, folder / "net.safetensors"


def write_mesh(path, vertices, faces):
    path.parent.mkdir(parents=True)
    trimesh.Trimesh(vertices, faces, process=False).export(path)


def write_published(folder, scene, upwards=True):
    vertices, faces, pictures, _ = scene
    write_mesh(folder / "smplx" / "20_0" / "smplx.obj", vertices, faces)
    for kind in ("img", "mask", "parameter"):
        (folder / kind / "20_0").mkdir(parents=True)
    for k, (camera, (image, mask)) in enumerate(zip(rig().cameras, pictures, strict=True)):
        K = camera.K.copy()
        if upwards:
            K[1] *= -1
            K[1, 2] += SIZE[1]
        np.save(folder / "parameter" / "20_0" / f"{k}_intrinsic.npy", K)
        np.save(folder / "parameter" / "20_0" / f"{k}_extrinsic.npy", np.column_stack([camera.R, camera.t]))
        cv2.imwrite(str(folder / "img" / "20_0" / f"{k}.jpg"), image[..., ::-1])
        cv2.imwrite(str(folder / "mask" / "20_0" / f"{k}.png"), np.repeat(255 * mask[..., None].astype(np.uint8), 3, 2))


def write_ours(folder, scene):
    vertices, faces, pictures, _ = scene
    write_mesh(folder / "bodies" / "person_1" / "0007.ply", vertices, faces)
    folder.mkdir(exist_ok=True)
    write_pose2sim(rig(), folder / "calibration.toml")
    for camera, (image, mask) in zip(rig().cameras, pictures, strict=True):
        for kind, picture in (("images", image[..., ::-1]), ("masks", 2 * mask.astype(np.uint8))):
            (folder / kind / camera.name).mkdir(parents=True)
            cv2.imwrite(str(folder / kind / camera.name / "0007.png"), picture)


def run(folder, scene, **options):
    given = {"network": str(scene[3]), "resolution": 48, "device": "cpu", "out": None} | options
    return surface_alone.command(Namespace(folder=str(folder), **given))


def off_the_body(path, scene):
    mesh = trimesh.load(path, process=False)
    found = RayScene(*scene[:2], threads=1).nearest(np.asarray(mesh.vertices))
    return np.linalg.norm(found["point"] - mesh.vertices, axis=1)


@pytest.mark.parametrize("upwards", [True, False])
def test_the_published_layout_is_read_as_it_is(tmp_path, scene, upwards):
    write_published(tmp_path, scene, upwards)
    (subject,) = read_surface_folder(tmp_path)
    views, body = subject.load()
    for view, camera in zip(views, rig().cameras, strict=True):
        assert np.allclose(view.camera.project(body.vertices), camera.project(scene[0]), atol=1e-3)
    assert body.forward @ [0, 0, 1] > 0.95  # the open body faces +z at rest
    if upwards:
        assert run(tmp_path, scene) == 0
        assert np.median(off_the_body(tmp_path / "meshes" / "20_0.ply", scene)) < 0.008


def test_our_layout_and_the_command(tmp_path, scene, capsys):
    write_ours(tmp_path, scene)
    assert run(tmp_path, scene, out=str(tmp_path / "out")) == 0
    assert np.median(off_the_body(tmp_path / "out" / "person_1" / "0007.ply", scene)) < 0.008
    assert "4 views" in capsys.readouterr().out


def test_a_person_who_cannot_be_made_does_not_stop_the_others(tmp_path, scene, capsys):
    write_ours(tmp_path, scene)
    shutil.copytree(tmp_path / "bodies" / "person_1", tmp_path / "bodies" / "person_0")  # nobody is labelled 1
    assert run(tmp_path, scene) == 1
    told = capsys.readouterr()
    assert "1 of 2 surfaces" in told.out and "person_0/0007: no surface: no_mask" in told.err


def test_folders_that_are_wrong_are_named(tmp_path, scene):
    with pytest.raises(InputError, match="no such folder"):
        read_surface_folder(tmp_path / "nowhere")
    with pytest.raises(InputError, match="neither parameter/"):
        read_surface_folder(tmp_path)
    write_published(tmp_path / "a", scene)
    np.save(tmp_path / "a" / "parameter" / "20_0" / "1_intrinsic.npy", np.full((3, 3), np.nan))
    with pytest.raises(InputError, match="not finite numbers"):
        read_surface_folder(tmp_path / "a")[0].load()
    (tmp_path / "a" / "smplx" / "20_0" / "smplx.obj").write_text("v 1 2\nf 1 2")
    with pytest.raises(InputError, match=r"smplx\.obj"):
        read_surface_folder(tmp_path / "a")[0].load()
    write_ours(tmp_path / "b", scene)
    cv2.imwrite(str(tmp_path / "b" / "masks" / "cam0" / "0007.png"), np.zeros((5, 5), np.uint8))
    with pytest.raises(InputError, match="is \\(5, 5\\), its image"):
        read_surface_folder(tmp_path / "b")[0].load()
    with pytest.raises(InputError, match="no such weights"):
        surface_alone.weights_file(str(tmp_path / "none"))


def test_where_a_body_faces(scene):
    vertices = scene[0]
    turn = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])  # +z to +x
    assert mesh_heading(vertices @ turn.T, UP) @ [1, 0, 0] > 0.95
