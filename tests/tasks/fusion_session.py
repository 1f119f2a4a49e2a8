"""A session whose surfaces are there, as far as a test wants them; all above is written by hand, under true keys.

One person of the open body model walks by; surfaces are the skin, in noise of a few millimetres.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from data.calibration.pose2sim import write_pose2sim
from data.synthetic.carried_skin import smooth_noise
from pipeline.artifacts import SCHEMAS, ArtifactWriter
from pipeline.association.tracks import Tracks
from pipeline.body.parameters import BodyTrack
from pipeline.config import load_session
from pipeline.export.people import no_tracks
from pipeline.images import encode
from pipeline.meshes.sequence import Mesh, MeshWriter
from pipeline.skeletons import SKEL19
from tasks.execution import make
from tasks.graph import Graph
from tasks.keys import key_of
from tasks.parts import Part
from tasks.stages import STAGES
from tests.pipeline.fusion_person import walker
from tests.tasks.surface_session import SIZE, rig

FRAMES = 6
CAMERAS = 4


class FusionSession:
    """Writes artifacts of a session in ``folder``, current by their keys."""

    def __init__(self, folder: Path, chunk: int, fusion: str = "window: 3", absent: tuple[int, ...] = ()) -> None:
        (folder / "i").mkdir(parents=True)
        (folder / "net.safetensors").write_bytes(b"never read here")
        write_pose2sim(rig(), folder / "calibration.toml")
        self.grey = grey = encode(np.full((*SIZE[::-1], 3), 90, np.uint8), "png")
        for camera in rig().cameras:
            (folder / "i" / camera.name).mkdir()
            for n in range(FRAMES):
                (folder / "i" / camera.name / f"{n:06d}.png").write_bytes(grey)
        (folder / "session.yaml").write_text(
            "session: fused\noutput: out\n"
            "capture: {calibration: calibration.toml, images: 'i/{camera}/{frame:06d}.png', fps: 30}\n"
            "surface: {network: net.safetensors, resolution: 128, device: cpu}\n"
            f"fusion: {{{fusion}}}\nexport: {{formats: [ply], simplify_mm: 0, overlays: false, texture: false}}\n"
            f"compute: {{workers: 1, chunk_frames: {chunk}}}\n"
        )
        self.graph = Graph(load_session(folder / "session.yaml"))
        self.session = self.graph.session
        self.absent = absent
        self.chunks = [(k, k + chunk) for k in range(0, FRAMES, chunk)]
        for stage in self.graph.stages():
            if stage.name == "surface":
                break
            for part in self.graph.parts(stage):
                self._write(part)

    def _write(self, part: Part, fill=None) -> None:
        components = self.graph.components(part)
        assert components is not None, part
        stage = STAGES[part.stage]
        with ArtifactWriter(
            self.graph.path(part), stage=part.stage, schema=stage.schema, key=key_of(components), components=components
        ) as writer:
            (fill or getattr(self, f"_{part.stage}", self._nothing))(writer)

    def _nothing(self, writer: ArtifactWriter) -> None:
        """What the schema wants, and no rows of it."""
        kinds = {"f": np.float32, "i": np.int64, "u": np.uint8, "b": bool, "S": "S1"}
        for name, (kind, dimensions) in SCHEMAS[writer._schema][1].items():
            writer.put(name, np.zeros((0,) * dimensions, kinds[kind]))

    def _calibration(self, writer: ArtifactWriter) -> None:
        writer.put_all(rig().to_arrays())

    _refinement = _calibration

    def _timeline(self, writer: ArtifactWriter) -> None:
        frames = np.arange(FRAMES)
        writer.put("frames", frames)
        writer.put("times_s", frames / 30.0)
        writer.put("plan", np.tile(frames, (CAMERAS, 1)))
        writer.put("time_error_s", np.zeros((CAMERAS, FRAMES)))
        writer.attribute("fps", 30.0)
        writer.note = {"frames": [0, FRAMES, 1, FRAMES]}

    def _frames(self, writer: ArtifactWriter) -> None:
        images = writer.stream("images")
        for _ in range(FRAMES):
            images.append(self.grey)
        writer.put("frames", np.arange(FRAMES))
        writer.put("valid", np.ones(FRAMES, bool))

    def _association(self, writer: ArtifactWriter) -> None:
        self._nothing(writer)
        writer.note = {"people": [0]}

    def _untangling(self, writer: ArtifactWriter) -> None:
        writer.put_all(no_tracks(np.arange(0), CAMERAS).to_arrays())
        writer.put("looked", np.zeros((0, 0, CAMERAS), bool))

    def _identities(self, writer: ArtifactWriter) -> None:
        frames, cameras, joints = np.arange(FRAMES), CAMERAS, len(SKEL19)
        none = no_tracks(frames, cameras)
        one = {
            name: np.zeros((FRAMES, 1, *getattr(none, name).shape[2:]), getattr(none, name).dtype)
            for name in none.FIELDS[2:]
        }
        one["joints"] += np.array([0, 1, 0], np.float32) * np.ones((joints, 1), np.float32)
        writer.put_all(Tracks(none.frames, np.zeros(1, np.int32), **one).to_arrays())
        writer.attribute("name", None)
        writer.attribute("joint_set", SKEL19.name)

    def _bodies(self, writer: ArtifactWriter) -> None:
        writer.put_all(self.track().to_arrays())

    _contact = _bodies

    def track(self) -> BodyTrack:
        track = walker(FRAMES, 0).track
        reason = np.where(np.isin(track.frames, self.absent), 1, 0).astype(np.int8)
        return replace(track, valid=reason == 0, reason=reason)

    def surface(
        self, chunk: tuple[int, int], change: int | None = None, broken: dict | None = None, far: int | None = None
    ) -> Part:
        """Write the surfaces of a chunk. ``change``: a frame whose noise is another's; ``broken``: frame -> reason;
        ``far``: a frame whose surface is somewhere else."""
        part = Part("surface", person=0, chunk=chunk)
        person = walker(FRAMES, 0)

        def fill(writer: ArtifactWriter) -> None:
            with MeshWriter(writer, rig().names) as out:
                for n in range(chunk[0], min(chunk[1], FRAMES)):
                    if n in self.absent or n in (broken or {}):
                        out.mark(n, (broken or {}).get(n, "no_body"))
                        continue
                    moved = smooth_noise(person.rest, np.random.default_rng((n, n == change)), 0.004, 0.05)
                    vertices = person.skin(n, moved) + 2.0 * (n == far)
                    seen = np.ones((len(vertices), CAMERAS), bool)
                    out.add(n, Mesh(vertices, person.faces.astype(np.int32), np.full(len(vertices), 0.9), seen))

        self._write(part, fill)
        return part

    def fuse(self, chunk: tuple[int, int]) -> Part:
        """Make a chunk's fusion as a run does."""
        part = Part("fusion", person=0, chunk=chunk)
        make(self.session, part)
        return part
