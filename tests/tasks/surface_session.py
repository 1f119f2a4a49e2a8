"""What the surface stages read, written by hand: two people of the open body model before four cameras, three frames.

Person 0 stands free; person 1 has no body in the last frame. Images show the bodies' normals; masks are exact.
"""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from nets.deepmulticap import weights
from nets.deepmulticap.network import build
from nets.deepmulticap.presets import Preset, preset, with_choices
from nets.normals import NormalNetwork, NormalOptions
from pipeline.artifacts import ArtifactWriter
from pipeline.body.parameters import BodyTrack
from pipeline.cameras import Camera, Rig
from pipeline.config import load_session
from pipeline.images import encode
from pipeline.raster_open3d import Open3DRaster
from pipeline.segmentation.masks import MaskWriter
from tasks.bodies import load_model
from tasks.execution import Context
from tasks.parts import Part
from tasks.stages import STAGES

FRAMES = np.array([4, 5, 6])
CHUNK = (0, 120)
CAMERAS = 4
SIZE = (200, 160)
UP = np.array([0.0, 1.0, 0.0])
AT = ((-0.5, 0.0, 0.0), (0.5, 0.0, 0.1))


def tiny_preset() -> Preset:
    """``ours_small`` with crops of 64 pixels and a body volume, to run in a second."""
    of = with_choices(preset("ours_small"), volume="occupancy")
    coarse = replace(of.coarse, image=replace(of.coarse.image, base=8), volume=replace(of.coarse.volume, resolution=32))
    normals = NormalOptions(base=8, halvings=2, blocks=1, most=16)
    return replace(of, name="tiny", coarse=coarse, image_size=64, normals=normals)


def write_weights(path: Path, of: Preset | None = None) -> None:
    """A fresh network: its surface is the body."""
    torch.manual_seed(0)
    of = of or tiny_preset()
    weights.save(path, build(of), NormalNetwork(of.normals), weights.card_of(of))


def rig() -> Rig:
    cameras = []
    for k in range(CAMERAS):
        angle = 2 * np.pi * k / CAMERAS + 0.4
        centre = np.array([3.2 * np.sin(angle), 0.4, 3.2 * np.cos(angle)])
        z = -centre / np.linalg.norm(centre)
        x = np.cross(z, UP)
        x /= np.linalg.norm(x)
        R = np.stack([x, np.cross(z, x), z])
        K = np.array([[190.0, 0, 99.5], [0, 190, 79.5], [0, 0, 1]])
        cameras.append(Camera(f"cam{k}", SIZE, K, R, -R @ centre))
    return Rig(tuple(cameras), UP)


def track(person: int) -> BodyTrack:
    """Arms half lowered, legs a little apart; moves by a centimetre a frame."""
    count = len(FRAMES)
    pose = np.zeros((count, 63), np.float32)
    pose[:, 15 * 3 + 2], pose[:, 16 * 3 + 2] = -0.9, 0.9
    pose[:, 2], pose[:, 5] = 0.12, -0.12
    transl = np.array(AT[person]) + 0.01 * np.arange(count)[:, None]
    valid = np.array([True, True, person == 0])
    still = {
        "left_hand_pose": 45, "right_hand_pose": 45, "jaw_pose": 3, "expression": 10, "global_orient": 3,
    }  # fmt: skip
    return BodyTrack(
        frames=FRAMES, betas=np.zeros(10, np.float32), body_pose=pose, transl=transl.astype(np.float32), valid=valid,
        reason=np.where(valid, 0, 3).astype(np.int8), fit_error_m=np.full(count, 0.01, np.float32),
        **{name: np.zeros((count, width), np.float32) for name, width in still.items()},
    )  # fmt: skip


class StubGraph:
    """Where artifacts are, and which of them a part reads: nothing is checked."""

    def __init__(self, session) -> None:
        self.session, self.cache = session, session.output / "cache"

    def path(self, part: Part) -> Path:
        return self.cache / part.stage / f"{part.name}.h5"

    def input_parts(self, part: Part, look=None) -> list[Part]:
        cameras = [Part("frames", camera=c.name) for c in rig().cameras]
        mine = [Part("bodies", person=part.person)]
        spans = [Part("segmentation", chunk=part.chunk)]
        rest = [Part("calibration"), Part("timeline"), *cameras, *mine, *spans]
        return [*rest, Part("surface_inputs", person=part.person, chunk=part.chunk)]


def configure(folder: Path, surface: str = "resolution: 64") -> StubGraph:
    """Write the configuration of a session whose artifacts are there, or come later."""
    (folder / "session.yaml").write_text(
        "session: pair\noutput: out\ncapture: {calibration: none.toml, images: 'i/{camera}/{frame}.png', fps: 25}\n"
        f"surface: {{network: net.safetensors, device: cpu, {surface}}}\n"
    )
    return StubGraph(load_session(folder / "session.yaml"))


def write_session(folder: Path) -> StubGraph:
    """Configuration, weights and the artifacts of all stages before."""
    write_weights(folder / "net.safetensors")
    graph = configure(folder)
    with _writer(graph, Part("calibration")) as writer:
        writer.put_all(rig().to_arrays())
    with _writer(graph, Part("timeline")) as writer:
        writer.put("frames", FRAMES)
        writer.put("times_s", FRAMES / 25.0)
        writer.put("plan", np.tile(FRAMES, (CAMERAS, 1)))
        writer.put("time_error_s", np.zeros((CAMERAS, len(FRAMES))))
        writer.attribute("fps", 25.0)
        writer.attribute("cameras", list(rig().names))
    for person in (0, 1):
        with _writer(graph, Part("bodies", person=person)) as writer:
            writer.put_all(track(person).to_arrays())
    _write_images(graph)
    return graph


def posed(session, person: int, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and faces of a person's body, valid or not."""
    from pipeline.export.bodies import posed_vertices

    model = load_model(session)
    rows = np.flatnonzero(frame == FRAMES)
    return posed_vertices(model, track(person), rows)[0].astype(float), model.faces.cpu().numpy()


def _writer(graph: StubGraph, part: Part) -> ArtifactWriter:
    return ArtifactWriter(graph.path(part), stage=part.stage, schema=STAGES[part.stage].schema, key="ab" * 32)


def _write_images(graph: StubGraph) -> None:
    raster, cameras = Open3DRaster(threads=1), rig().cameras
    bodies = {(p, n): posed(graph.session, p, n) for p in (0, 1) for n in FRAMES}
    with ExitStack() as stack:
        writers = [stack.enter_context(_writer(graph, Part("frames", camera=c.name))) for c in cameras]
        streams = [writer.stream("images") for writer in writers]
        writer = stack.enter_context(_writer(graph, Part("segmentation", chunk=CHUNK)))
        masks = MaskWriter(writer, rig(), [0, 1], FRAMES)
        for n in FRAMES:
            for camera, stream in zip(cameras, streams, strict=True):
                seen = [raster.render(*bodies[p, n], camera) for p in (0, 1)]
                first = seen[0].depth <= seen[1].depth
                own = [seen[0].hit & first, seen[1].hit & ~first]
                image = np.full((*SIZE[::-1], 3), 90, np.uint8)
                for p in (0, 1):
                    image[own[p]] = (128 + 120 * seen[p].normal[own[p]]).astype(np.uint8)
                    masks.put(camera.name, n, p, own[p], seen[p].hit & ~own[p])
                stream.append(encode(image, "png"))
        masks.close()
        for writer in writers:
            writer.put("frames", FRAMES)
            writer.put("valid", np.ones(len(FRAMES), bool))


def run_stage(
    graph: StubGraph, stage: str, person: int = 0, key: str = "cd" * 32, writer_of=None, memory_failures: int = 0
) -> Path:
    """Make one part; returns its artifact."""
    part = Part(stage, person=person, chunk=CHUNK)
    with ExitStack() as stack:
        writer = stack.enter_context(
            ArtifactWriter(graph.path(part), stage=stage, schema=STAGES[stage].schema, key=key)
        )
        context = Context(graph.session, part, graph, writer, lambda f: None, stack, memory_failures)
        STAGES[stage].module.compute(context)
    return graph.path(part)
