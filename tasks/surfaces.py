"""What the surface stages share: the network's files, the frames that are wanted, a person's posed body."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.model_files import open_weights
from pipeline.body.parameters import BodyTrack
from pipeline.config import Session
from pipeline.errors import InputError
from tasks.parts import Part

if TYPE_CHECKING:
    from nets.body import BodyModel
    from pipeline.surface.prepare import Body

_POSES = ("global_orient", "body_pose", "left_hand_pose", "right_hand_pose", "jaw_pose", "expression", "transl")
STAGES_OF_SURFACES = ("surface_inputs", "surface", "fusion")


def network_files(session: Session) -> dict[str, Path]:
    """The surface network's files by logical name: one of ours, or a released ``netG`` and the ``netN`` beside it.
    Empty where the session makes no surfaces: it wants none, has no images, or ours are not shipped."""
    network = session.config.surface.network
    if not session.has_surfaces:
        return {}
    if network == "open":
        path = open_weights("surface")
        return {} if path is None else {"surface network": path}
    path = session.resolve(network)
    beside = path.with_name(path.name.replace("netG", "netN", 1))
    return {"surface network": path} | ({"normal network": beside} if beside != path and beside.is_file() else {})


def check_network(session: Session, thorough: bool = True) -> str:
    """What to tell about the surface network before the night; "" if there is nothing to tell.

    Args:
        thorough: load it too, in a process of its own, since torch must not come into this one.

    Raises:
        InputError: the file that the configuration names cannot be used.
    """
    files = network_files(session)
    if session.has_surfaces and not files:
        return "surface.network: no weights of ours are shipped with this version, so no surfaces are made"
    if not files:
        return ""
    path = files["surface network"]
    if not path.is_file():
        raise InputError(f"{session.path}: surface.network", f"{path}: no such file", "Give the path of weights")
    if thorough:
        done = subprocess.run([sys.executable, "-c", _LOAD, str(path)], capture_output=True, text=True, cwd=_ROOT)
        if done.returncode:
            lines = done.stdout.splitlines() + done.stderr.splitlines()[-1:]
            raise InputError(f"{session.path}: surface.network", lines[0] if lines else "cannot be loaded", _REMEDY)
    return ""


_ROOT = Path(__file__).resolve().parent.parent
_REMEDY = "Give weights of ours, or a released netG with netN beside it"
_LOAD = """\
import sys
from pathlib import Path
from pipeline.errors import InputError
from pipeline.surface.networks import load_networks
try:
    load_networks(Path(sys.argv[1]))
except InputError as error:
    print(f"{error.where}: {error.problem}")
    sys.exit(1)
"""


def wanted_span(session: Session, chunk: tuple[int, int]) -> tuple[int, int, int] | None:
    """start, stop and step of ``surface.frames`` within a chunk; None if there is nothing of it in there."""
    rule = session.config.surface.frames
    first = rule.start
    if chunk[0] > first:
        first += -(-(chunk[0] - first) // rule.step) * rule.step
    stop = chunk[1] if rule.stop is None else min(chunk[1], rule.stop)
    return (first, stop, rule.step) if first < stop else None


def wanted_frames(session: Session, chunk: tuple[int, int], timeline: Iterable[int]) -> list[int]:
    """Frame numbers of the session, within a chunk, for which surfaces are made."""
    span = wanted_span(session, chunk)
    return [] if span is None else [int(n) for n in timeline if n in range(*span)]


def wants(session: Session, chunk: tuple[int, int]) -> bool:
    """Whether a chunk has frames for which surfaces are made: the others have no parts."""
    return wanted_span(session, chunk) is not None


def span_parameters(session: Session, part: Part) -> Mapping[str, Any]:
    """For keys: which frames of this chunk are wanted. Those of other chunks stale nothing here."""
    return {"frames": list(wanted_span(session, part.chunk) or ())}


class Bodies:
    """A person's posed bodies as surface networks take them."""

    def __init__(self, model: BodyModel, track: BodyTrack, up: np.ndarray) -> None:
        self._model, self._track, self._up = model, track, np.asarray(up, np.float64)
        self._faces = model.faces.cpu().numpy()

    def body(self, frame: int) -> Body | None:
        """None where no body was fitted."""
        import torch

        from nets.deepmulticap.inputs import heading
        from nets.deepmulticap.volumes import semantic_codes
        from pipeline.export.bodies import posable
        from pipeline.skeletons import SMPLX55
        from pipeline.surface.prepare import Body

        row = int(np.searchsorted(self._track.frames, frame))
        if row == len(self._track.frames) or self._track.frames[row] != frame:
            return None
        if not (self._track.usable[row] and posable(self._track)[row]):
            return None
        poses = {name: torch.as_tensor(getattr(self._track, name)[row : row + 1]) for name in _POSES}
        with torch.no_grad():
            posed = self._model(betas=torch.as_tensor(self._track.betas)[None], **poses)
        vertices, joints = (x[0].double().cpu().numpy() for x in posed[:2])
        sides = [joints[[SMPLX55.index(f"{side}_{j}") for j in ("hip", "shoulder")]] for side in ("left", "right")]
        codes = semantic_codes(self._model.template.cpu().numpy())
        return Body(vertices, self._faces, heading(*sides, self._up), self._up, codes)
