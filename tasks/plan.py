"""``plan``: what so many sessions a night need, from what their stages took so far, by simulating the schedule."""

from __future__ import annotations

import json
import math
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.config import Session
from pipeline.errors import InputError
from tasks import check
from tasks.calibration import calibrated_rig
from tasks.disk import used_bytes
from tasks.graph import SHORTEST_CHUNK, TASKS_WANTED, Graph, Look
from tasks.limits import automatic_workers
from tasks.parts import Part
from tasks.records import Made, Records
from tasks.simulation import Job, Night, longest_chain, simulate
from tasks.stages import STAGES
from tasks.surfaces import wanted_frames

OVERHEAD_S = 0.15
"""Of a part beside its own work: a process, keys, the record, the artifact's seal. See bench_orchestration."""

WORTHWHILE = 0.85
"""Doubling the machines is said to help while it shortens the night to this share or less."""

LOAD_LIMIT = 0.5
"""From this share of its time one scheduler begins to hold others up."""

MACHINES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Cost:
    """Of a stage: seconds a part and frame on one process, and whether it ran on a GPU. ``parts`` were measured; a
    process held at most ``memory_mb``."""

    seconds_per_frame: float
    gpu: bool
    parts: int
    memory_mb: float = 0.0


class Foreseen(Graph):
    """A session's graph as it will be: what is not known yet (people, frames) is given."""

    def __init__(self, session: Session, cameras: Sequence[str], frames: int, people: int) -> None:
        super().__init__(session)
        self._cameras, self._frames, self._people = tuple(cameras), frames, tuple(range(people))

    @property
    def frame_count(self) -> int:
        return self._frames

    def cameras(self, look: Look | None = None) -> tuple[str, ...]:
        return self._cameras

    def chunks(self, look: Look | None = None) -> list[tuple[int, int]]:
        length = self.session.config.compute.chunk_frames
        if length == "auto":
            length = SHORTEST_CHUNK
            while self._frames / length * len(self._cameras) > TASKS_WANTED:
                length *= 2
        return [(k, k + length) for k in range(0, self._frames, length)]

    def people(self, look: Look | None = None) -> tuple[int, ...]:
        return self._people

    def _numbers(self, part: Part) -> range:
        if part.chunk is None or part.stage.startswith("stills"):
            return range(self._frames)
        return range(part.chunk[0], min(self._frames, part.chunk[1]))

    @property
    def surface_frames(self) -> int | None:
        """For how many frames surfaces are made; None if the session makes none."""
        if not any(s.name == "surface" for s in self.stages()):
            return None
        return len(wanted_frames(self.session, (0, self._frames), range(self._frames)))


def command(sessions: list[Session], options: Any) -> int:
    """Print the plan; 1 if some stage was never measured, so that the plan is too short."""
    foreseen = [_foreseen(s, options.people, options.frames) for s in sessions]
    costs = measured(sessions)
    nights = [foreseen[k % len(foreseen)] for k in range(options.sessions or len(foreseen))]
    unmeasured = sorted({s.name for g in foreseen for s in g.stages()} - set(costs), key=list(STAGES).index)
    if not costs:
        raise InputError("plan", "nothing of these sessions was ever made", "Run one of them, or a part: run --frames")
    workers = options.workers or automatic_workers()
    table = rows(nights, costs, workers, options.gpus, options.machines)
    each = {id(g): jobs_of(g, costs, 0) for g in foreseen}
    told = {
        "sessions": len(nights),
        "parts": sum(len(each[id(g)]) for g in nights),
        "hours_of_work": sum(j.seconds for g in nights for j in each[id(g)]) / 3600,
        "longest_chain_hours": max(map(longest_chain, each.values())) / 3600,
        "storage_gb": storage_bytes(nights) / 1e9,
        "memory_gb": max((c.memory_mb for c in costs.values()), default=0.0) / 1000,
        "hungriest": max(costs, key=lambda name: costs[name].memory_mb),
        "surfaces": [[g.surface_frames, g.frame_count] for g in foreseen],
        "storage_free_gb": shutil.disk_usage(_existing(sessions[0])).free / 1e9,
        "machines": table,
        "unmeasured": unmeasured,
        "costs": {name: vars(cost) for name, cost in costs.items()},
    }
    print(json.dumps(told, indent=2) if options.json else text(told, options.hours, workers, options.gpus))
    return 1 if unmeasured else 0


def _foreseen(session: Session, people: int | None, frames: int | None) -> Foreseen:
    """From what is cached where it is there, else from calibration and recordings."""
    graph = Graph(session)
    rig = calibrated_rig(session)
    known = graph.people()
    count = people or (len(known) if known else 2)
    note = graph._planning("timeline", None, None)
    return Foreseen(
        session, rig.names, frames or (note["frames"][3] if note else check.frame_count(session, rig)), count
    )


def measured(sessions: Sequence[Session]) -> dict[str, Cost]:
    """What a frame of each stage took, over everything that was made of these sessions."""
    notes: dict[str, list[Made]] = defaultdict(list)
    for session in sessions:
        graph = Graph(session)
        records = Records(graph.cache)
        for stage in graph.stages():
            notes[stage.name] += [m for m in map(records.made, graph.parts(stage) or []) if m is not None]
    found = {}
    for name, made in notes.items():
        frames = sum(m.frames for m in made)
        if made:
            seconds = sum(m.seconds for m in made)
            memory = max(m.memory_mb for m in made)
            found[name] = Cost(seconds / max(frames, 1), any(m.gpu for m in made), len(made), memory)
    return found


def jobs_of(graph: Foreseen, costs: dict[str, Cost], session: int) -> list[Job]:
    """The session's parts, each after those it needs."""
    look, jobs, number = Look(), [], {}
    order = list(STAGES)
    firm = [s for s in graph.stages() if not s.tolerant]
    for stage in [*firm, *(s for s in graph.stages() if s.tolerant)]:
        cost = costs.get(stage.name, Cost(0.0, False, 0))
        for part in graph.parts(stage, look) or []:
            seconds = cost.seconds_per_frame * graph.frames_of(part)
            number[part] = len(jobs)
            job = Job(session, order.index(stage.name), seconds, cost.gpu)
            sources = number if stage.tolerant else graph.input_parts(part, look) or []
            for source in sources:
                if source in number and source != part and not (stage.tolerant and STAGES[source.stage].tolerant):
                    jobs[number[source]].below.append(number[part])
                    job.needs += 1
            jobs.append(job)
    return jobs


def together(graphs: Sequence[Foreseen], costs: dict[str, Cost]) -> list[Job]:
    """The parts of all sessions as one list."""
    every: list[Job] = []
    known: dict[int, list[Job]] = {}
    for session, graph in enumerate(graphs):
        if id(graph) not in known:
            known[id(graph)] = jobs_of(graph, costs, 0)
        start = len(every)
        every += [
            replace(job, session=session, below=[b + start for b in job.below]) for job in known[id(graph)]
        ]
    return every


def rows(
    graphs: Sequence[Foreseen], costs: dict[str, Cost], workers: int, gpus: int, machines: int | None = None
) -> list[dict[str, Any]]:
    """A simulated night for each number of machines, until more of them no longer help."""
    jobs, found = together(graphs, costs), []
    for count in [machines] if machines else MACHINES:
        night = simulate(jobs, count * workers, count * gpus, OVERHEAD_S)
        load = night.scheduler_load(len(jobs), count, count * workers)
        found.append(
            {
                "machines": count,
                "hours": night.seconds / 3600,
                "first_session_hours": min(night.ended) / 3600,
                "processes_busy": night.busy_share,
                "gpus_busy": night.gpu_busy_share,
                "scheduler_load": load,
                "schedulers": _schedulers(night, load),
            }
        )
        if len(found) > 1 and found[-1]["hours"] > WORTHWHILE * found[-2]["hours"]:
            break
    return found


def _schedulers(night: Night, load: float) -> int:
    """How many schedulers to share the sessions out over; a session stays whole."""
    return min(len(night.ended), max(1, math.ceil(load / LOAD_LIMIT)))


def storage_bytes(graphs: Sequence[Foreseen]) -> float:
    """What the sessions will hold: as much a frame as those that were made to the end, else as check estimates."""
    total, known = 0.0, {}
    for graph in graphs:
        session = graph.session
        if session.path not in known:
            done = Graph(session)
            note = done._planning("timeline", None, None)
            if note is not None and done.present(Part("export")):
                known[session.path] = used_bytes(session.output) / note["frames"][3]
            else:
                rig = calibrated_rig(session)
                known[session.path] = check.needed_bytes(session, rig) / max(1, check.frame_count(session, rig))
        total += known[session.path] * graph.frame_count
    return total


def _existing(session: Session) -> Any:
    folder = session.output
    while not folder.exists():
        folder = folder.parent
    return folder


def text(told: dict[str, Any], hours: float, workers: int, gpus: int) -> str:
    """The same for people."""
    lines = [
        f"{told['sessions']} sessions, {told['parts']} parts, {told['hours_of_work']:.1f} hours of work for one "
        f"process; the longest chain takes {told['longest_chain_hours']:.1f} hours whatever there is",
        f"storage: {told['storage_gb']:,.0f} GB a night, {told['storage_free_gb']:,.0f} GB are free"
        + ("" if told["storage_gb"] < told["storage_free_gb"] else ": too little"),
        f"memory: up to {told['memory_gb']:.1f} GB a process (stage {told['hungriest']}), "
        f"{told['memory_gb'] * workers:.0f} GB a machine of {workers}",
        *(
            f"surfaces: for {made} of {frames} frames, as surface.frames asks"
            for made, frames in dict.fromkeys(map(tuple, told["surfaces"]))
            if made is not None and made < frames
        ),
        "",
        f"machines ({workers} processes, {gpus} GPUs each)   hours   first done   processes busy   GPUs busy   luigids",
    ]
    for row in told["machines"]:
        mark = "  <- in time" if row["hours"] <= hours else ""
        lines.append(
            f"{row['machines']:>8}{'':33}{row['hours']:7.1f}{row['first_session_hours']:13.1f}"
            f"{row['processes_busy']:17.0%}{row['gpus_busy']:12.0%}{row['schedulers']:10}{mark}"
        )
    enough = next((r for r in told["machines"] if r["hours"] <= hours), None)
    last = told["machines"][-1]
    lines.append("")
    if enough:
        count = enough["machines"]
        lines.append(f"A night of {hours:g} hours needs {count} machine{'s' * (count > 1)} of this kind.")
    else:
        lines.append(
            f"No number of machines makes it in {hours:g} hours: more than {last['machines']} hardly help. Give fewer "
            "sessions a night, shorter chunks (compute.chunk_frames) or fewer frames."
        )
    crowded = next((r for r in told["machines"] if r["schedulers"] > 1), None)
    if crowded:
        lines.append(
            f"From {crowded['machines']} machines on one luigid is too slow (it would be busy "
            f"{crowded['scheduler_load']:.0%} of the time): share the sessions out over {crowded['schedulers']} of "
            "them, each with its own machines, run and --scheduler-url. Hours hold for so many luigids as are in the "
            "table."
        )
    if told["unmeasured"]:
        lines.append(
            f"Never measured, so counted as nothing: {', '.join(told['unmeasured'])}. Run a few frames to know: "
            "run CONFIG --frames 0:100."
        )
    return "\n".join(lines)
