"""Pictures of what surface networks are given, for ``inspect``."""

from __future__ import annotations

import numpy as np

from pipeline.errors import InputError
from tasks.cached import Cached

STAGE = "surface_inputs"


def inputs_picture(cached: Cached, frame: int, person: int | None) -> np.ndarray:
    """The sheet of one person's inputs.

    Raises:
        InputError: nothing of that frame is there, with the reason if the frame is marked.
    """
    from pipeline.quality.surfaces import inputs_sheet
    from pipeline.surface.stored import StoredInputs

    parts = [p for p in cached.parts(STAGE) if p.chunk[0] <= frame < p.chunk[1] and person in (None, p.person)]
    if not parts:
        raise InputError(f"stage {STAGE}", f"nothing of frame {frame} is cached", "See run_pipeline.py status")
    stored, where = StoredInputs(cached.open(parts[0])), f"{parts[0]}, frame {frame}"
    try:
        return inputs_sheet(stored.prepared(frame))
    except KeyError:
        there = f"{stored.frames[0]} to {stored.frames[-1]}" if len(stored.frames) else "none"
        raise InputError(where, "is not among the frames of surface.frames", f"Frames here: {there}") from None
    except ValueError as error:
        raise InputError(where, str(error), "Look at the stages before it") from None
