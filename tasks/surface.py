"""Stage: the surface of one clothed person in a chunk's frames, by the surface network."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from pipeline.artifacts import ArtifactWriter
from pipeline.config import Session
from pipeline.meshes.sequence import Mesh, MeshSequence, MeshWriter
from tasks.bodies import load_model
from tasks.execution import Context
from tasks.leases import leased_device
from tasks.partial import Partial
from tasks.parts import Part
from tasks.people import bodies_of
from tasks.surfaces import Bodies, network_files, span_parameters
from tasks.surfaces import wants as wants

BATCH = {"cpu": 2048, "cuda": 1 << 17}
"""Points asked at a time, by kind of device; halved where memory ran out."""


def input_files(session: Session, part: Part) -> dict[str, Path]:
    return network_files(session)


def parameters(session: Session, part: Part) -> dict:
    return dict(span_parameters(session, part))


def compute(context: Context) -> None:
    with leased_device(context.session.config.surface.device) as device, ThreadPoolExecutor(1) as beside:
        maker = _Maker(context, device, beside)
        partial = Partial(context)
        reasons: Counter[str] = Counter()
        with MeshWriter(context.writer, maker.cameras) as merged:
            for done, frame in enumerate(maker.frames, 1):
                with partial.frame(frame, lambda writer, n=frame: maker.write(writer, n)) as artifact:
                    sequence = MeshSequence(artifact)
                    merged.copy(sequence, frame)
                    reasons[sequence.reason(frame)] += 1
                context.progress(done / len(maker.frames))
    told = "".join(f", {n} {why}" for why, n in reasons.items() if why)
    print(f"{reasons['']} of {len(maker.frames)} frames{told}")


class _Maker:
    """Makes single frames; the next one's inputs are read while one is queried."""

    def __init__(self, context: Context, device: str, beside: ThreadPoolExecutor) -> None:
        from pipeline.surface.networks import load_networks
        from pipeline.surface.options import SurfaceOptions
        from pipeline.surface.stored import StoredInputs

        self._stored = StoredInputs(context.input("surface_inputs"))
        self.frames = [int(n) for n in self._stored.frames]
        rig = context.rig()
        self.cameras = rig.names
        (track,) = bodies_of(context).values()
        self._bodies = Bodies(load_model(context.session), track, rig.up)
        self._networks = load_networks(network_files(context.session)["surface network"]).to(device)
        self._options = SurfaceOptions(device=device, batch=context.batch(BATCH[device.partition(":")[0]]))
        self._resolution = -(-context.session.config.surface.resolution // 8) * 8
        self._beside, self._next = beside, {}

    def write(self, writer: ArtifactWriter, frame: int) -> None:
        """One frame as an artifact of its own."""
        with MeshWriter(writer, self.cameras) as out:
            mesh = self._mesh(frame)
            out.mark(frame, mesh) if isinstance(mesh, str) else out.add(frame, mesh)

    def _mesh(self, frame: int) -> Mesh | str:
        from pipeline.surface.reconstruct import reconstruct

        row = self._stored.row(frame)
        if not self._stored.valid[row]:
            return self._stored.reasons[row]
        waiting = self._next.pop(frame, None)
        prepared = self._stored.prepared(frame) if waiting is None else waiting.result()
        following = next((n for n in self.frames[row + 1 :] if self._stored.valid[self._stored.row(n)]), None)
        if following is not None:
            self._next[following] = self._beside.submit(self._stored.prepared, following)
        outcome = reconstruct(self._networks, prepared, self._bodies.body(frame), self._resolution, self._options)
        told = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in outcome.seconds.items())
        print(f"frame {frame}: {outcome.reason or len(outcome.mesh.vertices)}, {outcome.points} points, {told}")
        if outcome.mesh is None:
            return outcome.reason
        return with_all_cameras(outcome.mesh, prepared.cameras, self.cameras)


def with_all_cameras(mesh: Mesh, views: tuple[str, ...], cameras: tuple[str, ...]) -> Mesh:
    """A column of ``seen`` for every camera of the session, not only for those that were read."""
    seen = np.zeros((len(mesh.vertices), len(cameras)), bool)
    seen[:, [cameras.index(v) for v in views]] = mesh.seen
    return Mesh(mesh.vertices, mesh.faces, mesh.confidence, seen)
