"""Luigi, and nothing but: one task a part, a worker that plans while it works, and the scheduler that it asks.

The parent process never imports torch, Open3D or a detector: every part is made in a forked child (tasks.execution).
"""

from __future__ import annotations

import functools
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("LUIGI_CONFIG_PATH", str(Path(__file__).resolve().parent.parent / "configs" / "luigi.cfg"))

import luigi  # it reads its configuration when imported
import luigi.rpc
import luigi.scheduler
import luigi.worker
import psutil

from pipeline.artifacts import read_header
from tasks import execution
from tasks.parts import Part
from tasks.processes import die_with_parent, raise_file_limit
from tasks.stages import STAGES

if TYPE_CHECKING:
    from tasks.run import SessionRun

PATIENCE_S = 300.0
"""How long a scheduler on the network may be away before the work goes on without it."""

PROGRESS_S = 2.0
"""Progress is told to a scheduler on the network no oftener than this."""

_events: int | None = None
"""File descriptor that the worker and its children write lines to, for the progress bar."""


class PartTask(luigi.Task):
    """One part of a session: it is known by the session's name and folder, so that machines mean the same by it."""

    session = luigi.Parameter(description="name of the session and a digest of its output folder's identity")
    part = luigi.Parameter(description="encoded tasks.parts.Part")

    retry_count = 1_000_000
    """Whether another try may help is decided by tasks.run, which knows why a part failed."""

    of: SessionRun
    waits_for: Sequence[PartTask] = ()

    def requires(self) -> Sequence[PartTask]:
        return self.waits_for

    @property
    def priority(self) -> int:
        """Finish what is far along first: a night that ends early leaves whole results, not many halves."""
        return list(STAGES).index(Part.decode(self.part).stage)

    def complete(self) -> bool:
        """Asked after ``run`` alone: something stands where the artifact belongs."""
        return read_header(self.of.graph.path(Part.decode(self.part))) is not None

    def run(self) -> None:
        die_with_parent()
        part, run = Part.decode(self.part), self.of
        _tell("started", run, part)
        started = time.monotonic()
        try:
            execution.make(run.session, part, run.run, self._progress())
        except execution.PartFailed as error:
            _tell("failed", run, part, str(error))
            raise
        _tell("done", run, part, f"{time.monotonic() - started:.1f} s")

    def _progress(self) -> Any:
        due = 0.0

        def tell(fraction: float) -> None:
            nonlocal due
            if time.monotonic() < due:
                return
            try:
                self.set_progress_percentage(round(100 * fraction))
                self.set_status_message(f"{100 * fraction:.0f} % on {socket.gethostname()}")
                due = time.monotonic() + PROGRESS_S
            except Exception:  # a page that cannot show it is no reason to fail, or to wait for it often
                due = time.monotonic() + PATIENCE_S

        return tell


@functools.cache
def _kind(stage: str) -> type[PartTask]:
    """A task family a stage: that is how Luigi's page groups them."""
    return type(stage, (PartTask,), {"__module__": __name__})


def _task(run: SessionRun, part: Part) -> PartTask:
    task = _kind(part.stage)(session=f"{run.session.name} {run.run}", part=part.encode())
    task.of = run
    return task


class _Worker(luigi.worker.Worker):
    """Luigi's worker, which asks the sessions for parts between tasks, and knows why a process ended."""

    def __init__(self, runs: Sequence[SessionRun], **options: Any) -> None:
        self._runs = runs
        self._began: dict[str, float] = {}
        super().__init__(**options)

    # Planning

    def _get_work(self) -> Any:
        self._get_work_response_history.clear()  # for a summary that nobody reads; they would grow all night
        self._add_task_history.clear()
        running = Counter(id(p.task.of) for p in self._running_tasks.values())
        for run in self._runs:
            if run.wants_plan(running[id(run)]):
                self._offer(run, run.plan())
        with luigi.worker.fork_lock:
            for run in self._runs:
                run.finish()
        response = super()._get_work()
        if response.task_id is None:
            for run in self._runs:
                run.starved()
        return response

    def _handle_next_task(self) -> None:
        with luigi.worker.fork_lock:
            for run in self._runs:
                run.finish()
        super()._handle_next_task()

    def _offer(self, run: SessionRun, wanted: dict[Part, list[Part]]) -> None:
        """Tell the scheduler; what it knows already, and what is being made, stays as it is."""
        _tell("planned", run, None, str(len(wanted)))
        tasks = {part: _task(run, part) for part in wanted}
        for part, sources in wanted.items():
            task = tasks[part]
            if task.task_id in self._running_tasks:
                continue
            waits_for = [_task(run, s).task_id for s in sources]
            self._scheduled_tasks[task.task_id] = task
            self._add_task(
                worker=self._id,
                task_id=task.task_id,
                status=luigi.scheduler.PENDING,
                deps=waits_for,
                runnable=True,
                priority=task.priority,
                resources={},
                params=task.to_str_params(),
                family=task.task_family,
                module=task.task_module,
                retry_policy_dict={"retry_count": task.retry_count},
            )

    def _keep_alive(self, _: Any) -> bool:
        return not all(run.ended for run in self._runs)

    # Processes

    def _create_task_process(self, task: PartTask) -> Any:
        self._began[task.task_id] = time.monotonic()
        return super()._create_task_process(task)

    def _add_task(self, *args: Any, **kwargs: Any) -> None:
        task_id, status = kwargs["task_id"], kwargs["status"]
        if task_id in self._running_tasks and status in (luigi.scheduler.DONE, luigi.scheduler.FAILED):
            task = self._running_tasks[task_id].task
            task.of.told(Part.decode(task.part), status == luigi.scheduler.DONE)
        super()._add_task(*args, **kwargs)

    def _purge_children(self) -> None:
        """Luigi's own way to notice processes that died, after word of why was left; and limits of time.

        Limits are kept here, by the steady clock: Luigi's go by the time of day, which may jump.
        """
        for task_id, process in self._running_tasks.items():
            run, part = process.task.of, Part.decode(process.task.part)
            limit = run.session.config.compute.time_limit_s(part.stage)
            if process.is_alive() and limit and time.monotonic() > self._began[task_id] + limit:
                _kill(process.pid)
                process.join()
                message = f"took longer than its limit of {limit:g} s (compute.time_limits) and was ended"
                run.records.fail_ended(part, message, passing=False)
                _tell("failed", run, part, f"{part}: {message}")
            elif not process.is_alive() and process.exitcode:
                message, memory = _cause(process.exitcode)
                run.records.fail_ended(part, message, passing=True, memory=memory)
                _tell("failed", run, part, f"{part}: {message}")
        super()._purge_children()


def _cause(exitcode: int) -> tuple[str, bool]:
    """What ended a process, and whether that may have been a lack of memory."""
    if exitcode == -signal.SIGKILL:
        return "its process was killed (SIGKILL), most often for lack of memory", True
    if exitcode < 0:
        return f"its process crashed ({signal.Signals(-exitcode).name})", False
    return f"its process ended with {exitcode}", False


def _kill(pid: int) -> None:
    """A process and all that it started: decoders and solvers have processes of their own."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in [*process.children(recursive=True), process]:
            with suppress(psutil.NoSuchProcess):
                each.kill()


class _Patient:
    """A scheduler on the network that may be restarted or unreachable for a while, from a worker's side.

    What it forgot is offered to it again by the next plan. If it stays away, a worker that leads goes on with a
    scheduler of its own, and one that helps gives up.
    """

    def __init__(self, url: str, leads: bool) -> None:
        self._url, self._leads, self._pid = url, leads, os.getpid()
        self._remote: Any = luigi.rpc.RemoteScheduler(url)
        self._remote._rpc_retry_attempts = 1
        self._local: Any = None

    def __getattr__(self, name: str) -> Any:
        return functools.partial(self._call, name)

    def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        waits = os.getpid() == self._pid and threading.current_thread() is threading.main_thread()
        until, told = time.monotonic() + PATIENCE_S, False
        while self._local is None:
            try:
                return getattr(self._remote, name)(*args, **kwargs)
            except luigi.rpc.RPCError:
                if not waits:
                    raise
            if not told:
                print(f"the scheduler at {self._url} does not answer; waiting for it", file=sys.stderr, flush=True)
                told = True
            if time.monotonic() > until:
                if not self._leads:
                    raise luigi.rpc.RPCError(f"{self._url} does not answer")
                print(f"the scheduler at {self._url} stays away: going on alone", file=sys.stderr, flush=True)
                self._local = luigi.scheduler.Scheduler()
            time.sleep(1)
        return getattr(self._local, name)(*args, **kwargs)


def answers(url: str) -> bool:
    """Whether a luigid is there."""
    remote = luigi.rpc.RemoteScheduler(url, connect_timeout=5)
    remote._rpc_retry_attempts = 1
    try:
        remote.ping(worker="troupe-check")
    except (luigi.rpc.RPCError, ValueError):
        return False
    return True


def serve(address: str, port: int, folder: Path) -> None:
    """A central scheduler until it is interrupted; its state outlasts that in ``folder``.

    Workers that say nothing for 20 s are taken for dead, so that others get their parts.
    """
    import importlib.util

    import luigi.server

    history = importlib.util.find_spec("sqlalchemy") is not None
    if history:
        luigi.configuration.get_config().set("task_history", "db_connection", f"sqlite:///{folder / 'history.db'}")
    luigi.server.run(
        api_port=port,
        address=address,
        scheduler=luigi.scheduler.Scheduler(
            state_path=str(folder / "state.pickle"),
            record_task_history=history,
            worker_disconnect_delay=20,
            prune_on_get_work=True,
            retry_delay=-1,
            stable_done_cooldown_secs=0,
        ),
    )


def work(runs: Sequence[SessionRun], workers: int, scheduler_url: str | None = None) -> None:
    """Take every run to its end, with ``workers`` processes over all of them.

    Raises:
        ConnectionError: the scheduler of a run that this process only helps stays away.
    """
    logging.getLogger("luigi-interface").setLevel(logging.CRITICAL)
    logging.getLogger("luigi").setLevel(logging.CRITICAL)
    raise_file_limit()
    import cv2  # here once: every forked part would load it anew

    cv2.setNumThreads(1)
    leads = any(run.leads for run in runs)
    scheduler = _Patient(scheduler_url, leads) if scheduler_url else luigi.scheduler.Scheduler()
    with _monitor(len(runs) > 1):
        try:
            with _Worker(runs, scheduler=scheduler, worker_processes=workers) as worker:
                worker.run()
        except luigi.rpc.RPCError as error:
            raise ConnectionError(str(error)) from None


# Progress


def _tell(event: str, run: SessionRun, part: Part | None, detail: str = "") -> None:
    if _events is not None:
        line = f"{event}\t{run.session.name}\t{part or ''}\t{' '.join(detail.split())}"[:2000]
        os.write(_events, f"{line}\n".encode())


@contextmanager
def _monitor(several: bool) -> Iterator[None]:
    """A forked child that shows what is told: a bar on a terminal, plain lines elsewhere."""
    global _events
    reading, _events = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(_events)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            _show(reading, several)
        finally:
            os._exit(0)
    os.close(reading)
    try:
        yield
    finally:
        os.close(_events)
        _events = None
        os.waitpid(child, 0)


def _show(reading: int, several: bool) -> None:
    from tqdm import tqdm

    terminal = sys.stdout.isatty()
    bar = tqdm(total=0, disable=not terminal, unit="part", file=sys.stdout, dynamic_ncols=True)
    finished, planned = 0, {}
    with os.fdopen(reading) as lines, bar:
        for line in lines:
            event, session, part, detail = line.rstrip("\n").split("\t")
            name = f"{session} {part}" if several else part
            if event == "planned":
                planned[session] = int(detail)
            elif event == "started":
                bar.set_postfix_str(name)
            else:
                finished += 1
                planned[session] = max(0, planned.get(session, 1) - 1)  # made since the last plan
                bar.update()
            bar.total = finished + sum(planned.values())
            if event == "failed" or (event == "done" and not terminal):
                what = detail if event == "failed" else f"{name} {detail}"
                bar.write(f"[{finished}/{bar.total}] {event}: {what}", file=sys.stdout)
                sys.stdout.flush()
