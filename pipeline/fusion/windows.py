"""Which frames are fused into which: windows that stay within one run of a person, and a loop that binds each once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from pipeline.fusion.fuse import Fused, WindowFrame, fuse_window
from pipeline.fusion.options import FusionOptions


def runs(frames: np.ndarray, present: np.ndarray, step: int = 1) -> list[np.ndarray]:
    """Rows of each unbroken run of a person.

    A run ends where the person is absent or frame numbers jump by more than ``step``: who leaves and returns is two
    runs, and nothing is averaged across. A frame whose mesh is empty or whose body is invalid, while the person is
    there, does not end a run.

    Args:
        frames: (F,) ascending absolute frame numbers.
        present: (F,) bool, the person is there.
    """
    frames, rows = np.asarray(frames), np.flatnonzero(present)
    if not len(rows):
        return []
    breaks = (np.diff(frames[rows]) > step) | (np.diff(rows) > 1)
    return np.split(rows, np.flatnonzero(breaks) + 1)


def windows(frames: np.ndarray, present: np.ndarray, window: int, step: int = 1) -> dict[int, tuple[np.ndarray, int]]:
    """For each row with the person in it: the rows of its window, fewer at the ends of a run, and which is its own.

    Rows within ``FusionOptions.reach`` beyond a chunk are the border frames it reads from its neighbours.
    """
    half = window // 2
    out = {}
    for run in runs(frames, present, step):
        for k, row in enumerate(run.tolist()):
            first = max(0, k - half)
            out[row] = (run[first : k + half + 1], k - first)
    return out


def fuse_sequence(
    frames: np.ndarray,
    present: np.ndarray,
    load: Callable[[int], WindowFrame],
    options: FusionOptions,
    *,
    wanted: Sequence[int] | None = None,
    step: int = 1,
    threads: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Iterator[tuple[int, Fused]]:
    """Fuse rows one after another; each frame within ``options.reach`` is loaded and bound once.

    Args:
        frames, present, step: see ``runs``.
        load: a row's ``window_frame``.
        wanted: rows to fuse, ascending (a chunk's own); None: all with the person in them.
        progress: told the fraction done, 0..1.
    """
    plan = windows(frames, present, options.window, step)
    reached = windows(frames, present, 2 * options.reach + 1, step)
    rows = [r for r in (plan if wanted is None else wanted) if r in plan]
    held: OrderedDict[int, WindowFrame] = OrderedDict()
    for done, row in enumerate(rows):
        (members, centre), (needed, _) = plan[row], reached[row]
        for one in needed.tolist():
            if one not in held:
                held[one] = load(one)
        for old in [k for k in held if k < needed[0]]:
            del held[old]
        around = {one - row: held[one] for one in needed.tolist()}
        yield row, fuse_window([held[m] for m in members.tolist()], centre, options, threads, around)
        if progress is not None:
            progress((done + 1) / len(rows))
