"""The graph of a session's parts: which there are, what each needs, and whether its artifact is current."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.artifacts import Artifact, DamagedArtifact, Header, quarantine, read_header
from pipeline.cameras import Rig
from pipeline.config import Session
from tasks.keys import FileDigests, key_of, settings_of
from tasks.parts import Part
from tasks.stages import CAMERA, PERSON, PERSON_CHUNK, SESSION, SPAN, STAGES, Stage

TASKS_WANTED = 240
"""Chunks are made longer until a session has no more of them than this."""
SHORTEST_CHUNK = 120


class Graph:
    """A session seen as parts. Reads headers, so asking it is cheap; it writes nothing, but puts aside the one artifact
    that it has to read whole (calibration) if that is damaged.

    What it finds may change under it while a run goes on: nothing is remembered but digests of input files and what
    upstream artifacts said when they were complete.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.cache = session.output / "cache"
        self.digests = FileDigests(self.cache / "digests.json")
        self._planned: dict[str, tuple[str, Any]] = {}

    # What there is

    def stages(self) -> list[Stage]:
        """Stages that this session has, in order."""
        config = self.session.config
        skipped = set() if self.session.looks_again else {"redetection"}
        if config.calibration.refine is False:
            skipped |= {"refinement"} if self.session.looks_again else {"refinement", "draft"}
        if not self.session.has_images:
            skipped |= {"frames", "segmentation", "overlays"}
        if not config.export.overlays:
            skipped.add("overlays")
        return [s for s in STAGES.values() if s.name not in skipped]

    @cached_property
    def _stage_names(self) -> set[str]:
        return {s.name for s in self.stages()}

    def inputs_of(self, stage: Stage) -> tuple[str, ...]:
        choose = getattr(stage.module, "inputs", None)
        names = choose(self.session) if choose else stage.inputs
        return tuple(n for n in names if n in self._stage_names)

    def parts(self, stage: Stage) -> list[Part] | None:
        """Parts of a stage, or None while an artifact that tells them is not there yet."""
        if stage.scope == SESSION:
            return [Part(stage.name)]
        if stage.scope == PERSON:
            people = self.people()
            return None if people is None else [Part(stage.name, person=p) for p in people]
        cameras, chunks = self.cameras(), self.chunks()
        if stage.scope in (SPAN, PERSON_CHUNK):
            people = (None,) if stage.scope == SPAN else self.people()
            if chunks is None or people is None:
                return None
            return [Part(stage.name, person=p, chunk=k) for p in people for k in chunks]
        if cameras is None:
            return None
        if stage.scope == CAMERA:
            return [Part(stage.name, camera=c) for c in cameras]
        return None if chunks is None else [Part(stage.name, camera=c, chunk=k) for c in cameras for k in chunks]

    def cameras(self) -> tuple[str, ...] | None:
        """Names of the session's cameras, from the calibration artifact."""
        return self._planning("calibration", lambda path: Rig.from_arrays(Artifact(path, "rig").arrays()).names)

    def chunks(self) -> list[tuple[int, int]] | None:
        """Chunks in frame numbers, from the timeline artifact. Aligned, so that a longer session keeps its first."""
        note = self._planning("timeline", None)
        if note is None:
            return None
        start, stop, step, count = note["frames"]
        wanted = self.session.config.compute.chunk_frames
        if wanted == "auto":
            wanted = SHORTEST_CHUNK
            while count / wanted * len(self.cameras() or ()) > TASKS_WANTED:
                wanted *= 2
        length = wanted * step
        return [(k, k + length) for k in range(start // length * length, stop, length)]

    def people(self) -> tuple[int, ...] | None:
        """Ids of the people, from the association artifact and the user's rules."""
        note = self._planning("association", None)
        return None if note is None else STAGES["identities"].module.people(self.session, tuple(note["people"]))

    def _planning(self, stage: str, read) -> Any:
        """What the artifact of a session-wide stage tells for planning: its note, or what ``read`` makes of it."""
        path = self.path(Part(stage))
        header = read_header(path)
        if header is None:
            return None
        if read is None:
            return header.note
        known = self._planned.get(stage)
        if known is None or known[0] != header.sha256:
            try:
                self._planned[stage] = (header.sha256, read(path))
            except DamagedArtifact:
                quarantine(path, self.cache / "quarantine")
                return None
        return self._planned[stage][1]

    # What a part needs

    def path(self, part: Part) -> Path:
        return self.cache / part.stage / f"{part.name}.h5"

    def input_parts(self, part: Part) -> list[Part] | None:
        """Parts whose artifacts this part reads, or None while they cannot be told."""
        found: list[Part] = []
        for name in self.inputs_of(STAGES[part.stage]):
            parts = self.parts(STAGES[name])
            if parts is None:
                if STAGES[part.stage].tolerant:
                    continue
                return None
            found += [p for p in parts if _meets(part, p)]
        return found

    def components(self, part: Part, seen: dict[Part, Header | None] | None = None) -> dict[str, Any] | None:
        """What the key of a part is made of, or None while an input is not current.

        ``seen`` remembers what ``current`` found, within one question.

        Raises:
            InputError: an input file cannot be read.
        """
        stage = STAGES[part.stage]
        inputs = self.input_parts(part)
        seen = {} if seen is None else seen
        if inputs is None:
            return None
        contents = {}
        for source in inputs:
            header = self.current(source, seen)
            if header is not None:
                contents[str(source)] = header.content
            elif not stage.tolerant:
                return None
        module, session = stage.module, self.session
        parameters = settings_of(session, stage.settings)
        parameters |= module.parameters(session, part) if hasattr(module, "parameters") else {}
        files = module.input_files(session, part) if hasattr(module, "input_files") else {}
        digests = {name: self.digests.digest(path) for name, path in files.items()}
        digests |= module.digests(session, self.digests) if hasattr(module, "digests") else {}
        return {
            "stage": str(part),
            "revision": stage.revision,
            "parameters": parameters,
            "inputs": contents,
            "files": digests,
        }

    # Whether it is there

    def rerun_marker(self, part: Part) -> Path:
        """While this file exists the part counts as stale (``rerun``)."""
        return self.cache / ".state" / part.stage / f"{part.name}.rerun"

    def current(self, part: Part, seen: dict[Part, Header | None] | None = None) -> Header | None:
        """The header of a part's artifact if it is complete and made from what there is now, else None.

        Everything above it is asked too: a part below one that is being remade is not current.
        """
        seen = {} if seen is None else seen
        if part not in seen:
            seen[part] = self._current(part, seen)
        return seen[part]

    def _current(self, part: Part, seen: dict[Part, Header | None]) -> Header | None:
        header = read_header(self.path(part))
        if header is None or self.rerun_marker(part).exists():
            return None
        components = self.components(part, seen)
        if components is None or key_of(components) != header.key:
            return None
        if STAGES[part.stage].schema == "manifest" and not self._files_stand(part):
            return None
        return header

    def _files_stand(self, part: Part) -> bool:
        """The files that a manifest lists are all there, at their size."""
        try:
            with Artifact(self.path(part), "manifest") as manifest:
                names, sizes = manifest["names"], manifest["sizes"]
        except (DamagedArtifact, FileNotFoundError):
            return False
        root = self.session.output
        for name, size in zip(names, sizes, strict=True):
            path = root / name.decode()
            if not path.is_file() or path.stat().st_size != size:
                return False
        return True


def _meets(part: Part, source: Part) -> bool:
    """A part reads of another stage what belongs to its own camera, chunk and person."""
    if part.camera is not None and source.camera is not None and part.camera != source.camera:
        return False
    if part.person is not None and source.person is not None and part.person != source.person:
        return False
    return part.chunk is None or source.chunk is None or part.chunk == source.chunk
