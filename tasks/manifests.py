"""Manifests: which exported files belong to an artifact, so that a lost one is noticed and made again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tasks.execution import Context


def put_manifest(context: Context, files: Iterable[Path]) -> None:
    """Record files below the session's output folder with their sizes."""
    root = context.session.output
    found = sorted(set(files))
    names = [str(p.relative_to(root)).encode() for p in found]
    context.writer.put("names", np.array(names) if names else np.zeros(0, "S1"))
    context.writer.put("sizes", np.array([p.stat().st_size for p in found], np.int64))
