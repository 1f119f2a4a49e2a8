"""The graph of a session's parts: which there are, what each needs, and whether its artifact is current."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from pipeline.artifacts import Artifact, DamagedArtifact, Header, quarantine, read_block, read_header
from pipeline.cameras import Rig
from pipeline.config import Session
from pipeline.meshes.sequence import ENDS
from tasks.keys import FileDigests, key_of, settings_of
from tasks.parts import Part
from tasks.stages import BATCH, CAMERA, CHUNK, PERSON, PERSON_CHUNK, SESSION, SPAN, STAGES, Stage
from tasks.surfaces import STAGES_OF_SURFACES, network_files, wanted_frames

TASKS_WANTED = 240
"""Chunks are made longer until a session has no more of them than this."""
SHORTEST_CHUNK = 120


class Look:
    """What one question found, so that nothing is asked twice within it; never kept for the next question.

    Attributes:
        headers: part -> its header if it is current, else None.
        digests: file or folder -> digest.
    """

    def __init__(self) -> None:
        self.headers: dict[Part, Header | None] = {}
        self.digests: dict[Path, str] = {}
        self._own: dict[str, dict[str, str]] = {}
        self._notes: dict[str, Any] = {}
        self._parts: dict[str, list[Part] | None] = {}
        self._places: dict[str, dict[tuple, list[Part]]] = {}


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
        if not self.session.has_capture:
            return [s for s in STAGES.values() if s.scope == BATCH]
        skipped = set() if self.session.looks_again else {"redetection", "untangling"}
        if not config.keypoints.untangle:
            skipped.add("untangling")
        if config.calibration.refine is False:
            skipped |= {"refinement"} if self.session.looks_again else {"refinement", "draft"}
        if not self.session.has_images:
            skipped |= {"frames", "segmentation", "overlays"}
        if not network_files(self.session):
            skipped |= set(STAGES_OF_SURFACES)
        if config.fusion.window == 1:
            skipped.add("fusion")
        if not config.export.overlays:
            skipped.add("overlays")
        if not (config.export.texture and self.session.has_images):
            skipped.add("registration")
        if not (config.export.texture or config.export.simplify_mm) or "surface" in skipped:
            skipped.add("texture")
        if self.session.has_given_bodies:
            skipped |= {"draft", "refinement", "redetection", "association", "identities", "contact"}
        if not config.body.contact:
            skipped.add("contact")
        if config.stills is None:
            skipped |= {s.name for s in STAGES.values() if s.scope == BATCH}
        return [s for s in STAGES.values() if s.name not in skipped]

    @cached_property
    def _stage_names(self) -> set[str]:
        return {s.name for s in self.stages()}

    def inputs_of(self, stage: Stage) -> tuple[str, ...]:
        choose = getattr(stage.module, "inputs", None)
        names = [n for n in (choose(self.session) if choose else stage.inputs) if n in self._stage_names]
        both = ((n, self._refining.get(n)) for n in names)
        return tuple(n for pair in both for n in pair if n is not None and n != stage.name)

    def parts(self, stage: Stage, look: Look | None = None) -> list[Part] | None:
        """Parts of a stage, or None while an artifact that tells them is not there yet."""
        look = look or Look()
        if stage.name not in look._parts:
            look._parts[stage.name] = self._parts(stage, look)
        return look._parts[stage.name]

    def _parts(self, stage: Stage, look: Look) -> list[Part] | None:
        if stage.scope == SESSION:
            return [Part(stage.name)]
        if stage.scope == BATCH:
            return [Part(stage.name, chunk=k) for k in stage.module.batches(self.session)]
        if stage.scope == PERSON:
            people = self.people(look)
            return None if people is None else [Part(stage.name, person=p) for p in people]
        cameras, chunks = self.cameras(look), self.chunks(look)
        if stage.scope in (SPAN, PERSON_CHUNK):
            people = (None,) if stage.scope == SPAN else self.people(look)
            if chunks is None or people is None:
                return None
            wants = getattr(stage.module, "wants", None)
            chunks = [k for k in chunks if wants is None or wants(self.session, k)]
            return [Part(stage.name, person=p, chunk=k) for p in people for k in chunks]
        if cameras is None:
            return None
        if stage.scope == CAMERA:
            return [Part(stage.name, camera=c) for c in cameras]
        return None if chunks is None else [Part(stage.name, camera=c, chunk=k) for c in cameras for k in chunks]

    def cameras(self, look: Look | None = None) -> tuple[str, ...] | None:
        """Names of the session's cameras, from the calibration artifact."""
        return self._planning("calibration", _rig_names, look)

    def chunks(self, look: Look | None = None) -> list[tuple[int, int]] | None:
        """Chunks in frame numbers, from the timeline artifact. Aligned, so that a longer session keeps its first."""
        note = self._planning("timeline", None, look)
        if note is None:
            return None
        start, stop, step, count = note["frames"]
        wanted = self.session.config.compute.chunk_frames
        if wanted == "auto":
            wanted = SHORTEST_CHUNK
            while count / wanted * len(self.cameras(look) or ()) > TASKS_WANTED:
                wanted *= 2
        length = wanted * step
        return [(k, k + length) for k in range(start // length * length, stop, length)]

    def frames_of(self, part: Part) -> int:
        """How many frames a part is made for; 0 for stages that are not about frames."""
        numbers = self._numbers(part)
        if part.chunk is not None and hasattr(STAGES[part.stage].module, "wants"):
            return len(wanted_frames(self.session, part.chunk, numbers))
        return len(numbers)

    def _numbers(self, part: Part) -> range:
        """The session's frame numbers that a part covers."""
        note = self._planning("timeline", None, None)
        if note is None:
            return range(0)
        start, stop, step, _ = note["frames"]
        if part.chunk is None or STAGES[part.stage].scope == BATCH:
            return range(start, stop, step)
        first = start + max(0, -(-(part.chunk[0] - start) // step)) * step
        return range(first, min(stop, part.chunk[1]), step)

    def people(self, look: Look | None = None) -> tuple[int, ...] | None:
        """Ids of the people, from the association artifact and the user's rules, or those whose bodies are given."""
        if self.session.has_given_bodies:
            return self._given_people
        note = self._planning("association", None, look)
        return None if note is None else STAGES["identities"].module.people(self.session, noted_people(note))

    @cached_property
    def _refining(self) -> dict[str, str]:
        """Stage -> the one whose artifacts are read beside it, because they are better."""
        return {s.refines: s.name for s in self.stages() if s.refines}

    @cached_property
    def _given_people(self) -> tuple[int, ...]:
        return STAGES["bodies"].module.given_people(self.session)

    def _planning(self, stage: str, read: Callable[[Path], Any] | None, look: Look | None) -> Any:
        """What the artifact of a session-wide stage tells for planning: its note, or what ``read`` makes of it."""
        if look is None:
            return self._told(stage, read)
        if stage not in look._notes:
            look._notes[stage] = self._told(stage, read)
        return look._notes[stage]

    def _told(self, stage: str, read: Callable[[Path], Any] | None) -> Any:
        path = self.path(Part(stage))
        header = read_header(path)
        if header is None:
            return None
        if read is None:
            if _NOTES[stage](header.note):
                return header.note
            quarantine(path, self.cache / "quarantine")
            return None
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

    def input_parts(self, part: Part, look: Look | None = None) -> list[Part] | None:
        """Parts whose artifacts this part reads, or None while they cannot be told."""
        look = look or Look()
        found: list[Part] = []
        for name in self.inputs_of(STAGES[part.stage]):
            parts = self.parts(STAGES[name], look)
            if parts is None:
                if STAGES[part.stage].tolerant:
                    continue
                return None
            found += self._meeting(part, name, parts, look)
        return found

    def _meeting(self, part: Part, name: str, parts: list[Part], look: Look) -> list[Part]:
        """What a part reads of another stage: what belongs to its own camera, chunk and person.

        Looked up where there are few places to look, so that a thousand parts are planned in a moment.
        """
        scope = STAGES[name].scope
        place = (part.camera, part.person, part.chunk)
        spread = (scope in dimension for dimension in _DIMENSIONS)
        everybody = name in STAGES[part.stage].everybody
        if everybody or any(mine is None and theirs for mine, theirs in zip(place, spread, strict=True)):
            return [p for p in parts if _meets(part, p)]
        places = _places(name, parts, look)
        wanted = product(*((None,) if mine is None else (None, mine) for mine in place))
        return [p for key in wanted for p in places.get(key, ())]

    def border_parts(self, part: Part, look: Look | None = None) -> list[Part]:
        """Parts of neighbouring chunks of which this part reads the frames next to its own, in order.

        They are no condition: it is made without those that could not be made, and again when they appear.
        """
        stage = STAGES[part.stage]
        if not stage.borders or part.chunk is None:
            return []
        look, reach = look or Look(), stage.module.reach(self.session)
        (start, stop), found = part.chunk, []
        length = stop - start
        steps = range(1, -(-reach // length) + 1)
        for name in stage.borders:
            places = _places(name, self.parts(STAGES[name], look) or [], look)
            for k in (*(-n for n in reversed(steps)), *steps):
                chunk = (start + k * length, stop + k * length)
                found += places.get((part.camera, part.person, chunk), ())
        return found

    def components(self, part: Part, look: Look | None = None) -> dict[str, Any] | None:
        """What the key of a part is made of, or None while an input is not current.

        Raises:
            InputError: an input file cannot be read.
        """
        stage = STAGES[part.stage]
        look = look or Look()
        inputs = self.input_parts(part, look)
        if inputs is None:
            return None
        contents = {}
        for source in inputs:
            header = self.current(source, look)
            if header is not None:
                contents[str(source)] = header.content
            elif not stage.does_without(source):
                return None
        contents |= self._borders(part, look)
        module, session = stage.module, self.session
        parameters = settings_of(session, stage.settings)
        parameters |= module.parameters(session, part) if hasattr(module, "parameters") else {}
        files = module.input_files(session, part) if hasattr(module, "input_files") else {}
        digests = {name: self._digest(path, look) for name, path in files.items()}
        digests |= self._own_digests(stage, look)
        return {
            "stage": str(part),
            "revision": stage.revision,
            "parameters": parameters,
            "inputs": contents,
            "files": digests,
        }

    def _borders(self, part: Part, look: Look) -> dict[str, str]:
        """What the frames of neighbouring chunks hold that a part reads; nothing for chunks that are not there."""
        found = {}
        for source in self.border_parts(part, look):
            header = self.current(source, look)
            content = header and _border_content(header, source, part, STAGES[part.stage].module.reach(self.session))
            if content:
                found[f"{source} next to it"] = content
        return found

    def _digest(self, path: Path, look: Look) -> str:
        if path not in look.digests:
            look.digests[path] = self.digests.digest(path)
        return look.digests[path]

    def _own_digests(self, stage: Stage, look: Look) -> dict[str, str]:
        """What a stage's module digests itself; the same for all of its parts."""
        if not hasattr(stage.module, "digests"):
            return {}
        if stage.name not in look._own:
            look._own[stage.name] = stage.module.digests(self.session, self.digests)
        return look._own[stage.name]

    # Whether it is there

    def present(self, part: Part) -> bool:
        """Its artifact can be read: it stands there, current or not."""
        return read_header(self.path(part)) is not None

    def tombstone(self, part: Part) -> Path:
        """Keeps the header of an artifact that was released to make room (``tasks.disk``)."""
        return self.cache / ".state" / part.stage / f"{part.name}.released"

    def rerun_marker(self, part: Part) -> Path:
        """While this file exists the part counts as stale (``rerun``)."""
        return self.cache / ".state" / part.stage / f"{part.name}.rerun"

    def current(self, part: Part, look: Look | None = None) -> Header | None:
        """The header of a part's artifact if it is complete and made from what there is now, else None.

        Everything above it is asked too: a part below one that is being remade is not current. One that was released
        stays current, since all that needs it is made; see ``present``.
        """
        look = look or Look()
        if part not in look.headers:
            look.headers[part] = self._current(part, look)
        return look.headers[part]

    def _current(self, part: Part, look: Look) -> Header | None:
        header = read_header(self.path(part)) or read_block(self.tombstone(part))
        if header is None or self.rerun_marker(part).exists():
            return None
        components = self.components(part, look)
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


_DIMENSIONS = ((CAMERA, CHUNK), (PERSON, PERSON_CHUNK), (CHUNK, SPAN, PERSON_CHUNK, BATCH))
"""Scopes whose parts are told apart by camera, by person, by chunk."""


MAX_FRAMES, MAX_PEOPLE = 10_000_000, 10_000


def _whole_numbers(values: object) -> bool:
    return isinstance(values, list) and all(type(v) is int and v >= 0 for v in values)


def _tells_frames(note: object) -> bool:
    frames = note.get("frames") if isinstance(note, dict) else None
    if not _whole_numbers(frames) or len(frames) != 4:
        return False
    start, stop, step, count = frames
    return start < stop <= MAX_FRAMES * step and 0 < step <= MAX_FRAMES and 0 < count <= len(range(start, stop, step))


def people_note(people: Sequence[int]) -> dict[str, Any]:
    """For an artifact's note, in which a crowd fits as the ranges that its ids make."""
    if len(people) <= 40:
        return {"people": list(people)}
    starts = [p for p in people if p - 1 not in people]
    return {"people": {"ranges": [[a, next(b for b in range(a, max(people) + 2) if b not in people)] for a in starts]}}


def noted_people(note: Mapping[str, Any]) -> tuple[int, ...]:
    """The ids in an association's note."""
    people = note["people"]
    return tuple(people) if isinstance(people, list) else tuple(p for a, b in people["ranges"] for p in range(a, b))


def _tells_people(note: object) -> bool:
    people = note.get("people") if isinstance(note, dict) else None
    if isinstance(people, dict):
        ranges = people.get("ranges")
        sane = isinstance(ranges, list) and all(_whole_numbers(r) and len(r) == 2 and r[0] < r[1] for r in ranges)
        return sane and sum(b - a for a, b in ranges) <= MAX_PEOPLE
    return _whole_numbers(people) and len(people) <= MAX_PEOPLE and len(set(people)) == len(people)


_NOTES = {"timeline": _tells_frames, "association": _tells_people}
"""What has to hold of the notes that planning goes by: a folder may come from elsewhere."""


def _places(name: str, parts: list[Part], look: Look) -> dict[tuple, list[Part]]:
    """Parts of a stage by camera, person and chunk."""
    if name not in look._places:
        look._places[name] = {}
        for p in parts:
            look._places[name].setdefault((p.camera, p.person, p.chunk), []).append(p)
    return look._places[name]


def _border_content(header: Header, source: Part, part: Part, reach: int) -> str:
    """What the frames of a neighbouring part hold that are within reach, "" if there are none: digests of single frames
    where its note lists enough of them (``MeshWriter``), else that of all it holds."""
    ends = header.note.get("ends") if isinstance(header.note, dict) else None
    if not _tells_ends(ends):
        return header.content
    listed = ends[source.chunk < part.chunk]
    near = [(n, d) for n, d in listed if part.chunk[0] - reach <= n < part.chunk[1] + reach]
    if len(near) == len(listed) == ENDS:
        return header.content
    return " ".join(f"{n}:{digest}" for n, digest in near)


def _tells_ends(ends: object) -> bool:
    if not (isinstance(ends, list) and len(ends) == 2 and all(isinstance(e, list) for e in ends)):
        return False
    pairs = [*ends[0], *ends[1]]
    return all(isinstance(p, list) and [type(x) for x in p] == [int, str] for p in pairs)


def _rig_names(path: Path) -> tuple[str, ...]:
    with Artifact(path, "rig") as artifact:
        return Rig.from_arrays(artifact.arrays()).names


def _meets(part: Part, source: Part) -> bool:
    """A part reads of another stage what belongs to its own camera, chunk and person."""
    if part.camera is not None and source.camera is not None and part.camera != source.camera:
        return False
    if part.person is not None and source.person is not None and part.person != source.person:
        return source.stage in STAGES[part.stage].everybody
    return part.chunk is None or source.chunk is None or part.chunk == source.chunk
