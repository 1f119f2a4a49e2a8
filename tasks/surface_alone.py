"""``surface FOLDER``: surfaces of people whose images, masks, cameras and bodies come from elsewhere; no session."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path

from data.model_files import open_weights
from data.surface_folder import Subject, read_surface_folder
from pipeline.errors import InputError
from pipeline.files import write_atomic
from tasks.leases import leased_device

OK, INCOMPLETE = 0, 1


def command(options: Namespace) -> int:
    """Write ``<name>.ply`` for everybody in the folder; 1 if there is somebody without a surface."""
    folder = Path(options.folder).expanduser()
    subjects = read_surface_folder(folder)
    weights = weights_file(options.network)
    out = Path(options.out).expanduser() if options.out else folder / "meshes"
    missing = 0
    with leased_device(options.device) as device:
        maker = _Maker(weights, device, options.resolution)
        for subject in subjects:
            problem = maker.write(subject, out / f"{subject.name}.ply")
            if problem:
                print(f"{subject.name}: no surface: {problem}", file=sys.stderr)
                missing += 1
    print(f"{len(subjects) - missing} of {len(subjects)} surfaces in {out}")
    return INCOMPLETE if missing else OK


def weights_file(network: str) -> Path:
    """Raises InputError if there are no such weights."""
    path = open_weights("surface") if network == "open" else Path(network).expanduser()
    if path is None or not path.is_file():
        raise InputError("--network", f"{network}: there are no such weights", "Give the path of weights")
    return path


class _Maker:
    def __init__(self, weights: Path, device: str, resolution: int) -> None:
        import torch

        from pipeline.raster_open3d import Open3DRaster
        from pipeline.surface.networks import load_networks
        from pipeline.surface.options import SurfaceOptions

        threads = len(os.sched_getaffinity(0))
        torch.set_num_threads(threads)
        self._networks = load_networks(weights).to(device)
        self._raster, self._device = Open3DRaster(threads), device
        batch = 2048 if device == "cpu" else 1 << 17
        self._resolution, self._options = -(-resolution // 8) * 8, SurfaceOptions(device=device, batch=batch)

    def write(self, subject: Subject, path: Path) -> str:
        """The mesh of one subject; a word why there is none, or ""."""
        from pipeline.meshes.geometry import vertex_normals
        from pipeline.meshes.ply import ply_bytes
        from pipeline.surface.prepare import prepare, with_normals
        from pipeline.surface.reconstruct import reconstruct

        try:
            views, body = subject.load()
        except InputError as error:
            return str(error)
        prepared = prepare(views, body, self._networks.preset, self._raster)
        if isinstance(prepared, str):
            return prepared
        if self._networks.normals is not None:
            prepared = with_normals(prepared, self._networks.normals, self._device)
        outcome = reconstruct(self._networks, prepared, body, self._resolution, self._options)
        if outcome.mesh is None:
            return outcome.reason
        mesh = outcome.mesh
        data = ply_bytes(mesh.vertices, mesh.faces, normals=vertex_normals(mesh.vertices, mesh.faces))
        write_atomic(path, data)
        seconds = sum(outcome.seconds.values())
        told = f"{len(prepared.cameras)} views, {len(mesh.vertices)} vertices, {seconds:.1f} s"
        print(f"{subject.name}: {told}", flush=True)
        return ""
