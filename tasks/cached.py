"""Everything of a session that is cached and intact, current or not: what the report and ``inspect`` look at."""

from __future__ import annotations

from contextlib import ExitStack

from pipeline.artifacts import Artifact, DamagedArtifact
from pipeline.cameras import Rig
from pipeline.config import Session
from tasks.graph import Graph
from tasks.parts import Part
from tasks.stages import STAGES


class Cached:
    """Opens artifacts of a session; a context manager that closes them."""

    def __init__(self, session: Session) -> None:
        self.session, self.graph = session, Graph(session)
        self._stack = ExitStack()
        self._opened: dict[Part, Artifact | None] = {}

    def __enter__(self) -> Cached:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def parts(self, stage: str) -> list[Part]:
        """Parts of a stage that have an intact artifact."""
        if stage not in {s.name for s in self.graph.stages()}:
            return []
        return [p for p in self.graph.parts(STAGES[stage]) or [] if self._try(p) is not None]

    def open(self, part: Part) -> Artifact:
        """Raises FileNotFoundError if there is no intact artifact."""
        artifact = self._try(part)
        if artifact is None:
            raise FileNotFoundError(self.graph.path(part))
        return artifact

    def rig(self) -> Rig | None:
        """The session's cameras without lens distortion, refined if there is that, or None if they are not known."""
        for stage in ("refinement", "calibration"):
            for part in self.parts(stage):
                return Rig.from_arrays(self.open(part).arrays()).undistorted()
        return None

    def _try(self, part: Part) -> Artifact | None:
        if part not in self._opened:
            try:
                opened = Artifact(self.graph.path(part), STAGES[part.stage].schema)
                self._opened[part] = self._stack.enter_context(opened)
            except (FileNotFoundError, DamagedArtifact):
                self._opened[part] = None
        return self._opened[part]
