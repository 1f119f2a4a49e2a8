"""A night simulated: parts with their costs on so many processes and GPUs, in the order in which the engine takes them.

Plain list scheduling: a free process takes the part that is farthest along among those whose inputs are made. What
Luigi's one scheduler can answer is a limit of its own (``SchedulerLoad``).
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

ANSWER_S, ANSWER_PER_PENDING_S = 0.002, 2.3e-6
"""One request to Luigi's scheduler, and what every pending part adds to it (it sorts them all). tests/benchmarks
measures both: bench_orchestration."""

REQUESTS_PER_PART = 3.0
"""A part is offered, handed out and reported."""

POLLS_PER_SECOND = 4.0
"""Of every machine that waits for work."""


@dataclass
class Job:
    """A part: ``rank`` says how far along it is; ``below`` are the jobs that wait for it."""

    session: int
    rank: int
    seconds: float
    gpu: bool = False
    needs: int = 0
    below: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Night:
    """What came out.

    Attributes:
        seconds: until the last part is made. ended: the same a session.
        busy_share: of the processes' time. gpu_busy_share: of the GPUs'.
        most_pending: parts that the scheduler held at once.
    """

    seconds: float
    ended: tuple[float, ...]
    busy_share: float
    gpu_busy_share: float
    most_pending: int

    def scheduler_load(self, parts: int, machines: int, processes: int) -> float:
        """Share of one scheduler's time that answering takes; towards 1 it holds everybody up.

        A machine asks for work while any of its processes is free.
        """
        answer = ANSWER_S + ANSWER_PER_PENDING_S * self.most_pending
        idle_polls = POLLS_PER_SECOND * min(machines, processes * (1 - self.busy_share))
        return answer * (REQUESTS_PER_PART * parts / max(self.seconds, 1e-9) + idle_polls)


def simulate(jobs: Sequence[Job], processes: int, gpus: int, overhead_s: float = 0.0) -> Night:
    """Run all jobs; ``overhead_s`` is added to each.

    Raises:
        ValueError: a job needs a GPU and there is none, or there is no process.
    """
    if processes < 1 or (gpus < 1 and any(j.gpu for j in jobs)):
        raise ValueError("there is nothing to compute on")
    needs = [j.needs for j in jobs]
    sessions = 1 + max((j.session for j in jobs), default=0)
    ended = [0.0] * sessions
    ready: dict[bool, list[tuple[int, int, int]]] = {False: [], True: []}
    running: list[tuple[float, int]] = []
    for n, job in enumerate(jobs):
        if not needs[n]:
            heapq.heappush(ready[job.gpu], (-job.rank, job.session, n))
    now = busy = gpu_busy = 0.0
    free, free_gpus = processes, gpus
    waiting = most = sum(map(len, ready.values()))
    while running or any(ready.values()):
        while free:
            choices = [ready[g][0] for g in (False, True) if ready[g] and (not g or free_gpus)]
            if not choices:
                break
            chosen = min(choices)
            job = jobs[chosen[2]]
            heapq.heappop(ready[job.gpu])
            waiting -= 1
            spent = job.seconds + overhead_s
            heapq.heappush(running, (now + spent, chosen[2]))
            free -= 1
            free_gpus -= job.gpu
            busy += spent
            gpu_busy += spent * job.gpu
        now, n = heapq.heappop(running)
        job = jobs[n]
        free += 1
        free_gpus += job.gpu
        ended[job.session] = max(ended[job.session], now)
        for below in job.below:
            needs[below] -= 1
            if not needs[below]:
                other = jobs[below]
                heapq.heappush(ready[other.gpu], (-other.rank, other.session, below))
                waiting += 1
        most = max(most, waiting)
    whole = max(now, 1e-9)
    return Night(now, tuple(ended), busy / (whole * processes), gpu_busy / (whole * gpus) if gpus else 0.0, most)


def longest_chain(jobs: Sequence[Job]) -> float:
    """Seconds of the longest way through the jobs: no number of machines is faster. Jobs are in order of need."""
    reach = [0.0] * len(jobs)
    for n, job in enumerate(jobs):
        reach[n] += job.seconds
        for below in job.below:
            reach[below] = max(reach[below], reach[n])
    return max(reach, default=0.0)
