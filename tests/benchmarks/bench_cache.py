"""Speed of telling whether parts are complete: headers alone, against verifying whole artifacts."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from pipeline.artifacts import Artifact, ArtifactWriter, read_header

PARTS = 200


def rows() -> list[dict]:
    """Row ``cache/headers``: seconds for all parts, each of a megabyte."""
    data = np.random.default_rng(0).integers(0, 255, 1 << 20, np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{i}.h5" for i in range(PARTS)]
        for path in paths:
            with ArtifactWriter(path, stage="bench", schema="manifest", key="00" * 32) as writer:
                writer.put("names", np.array([b"a"]))
                writer.put("sizes", np.array([1]))
                writer.stream("data").append(data.tobytes())
        begin = time.perf_counter()
        for path in paths:
            read_header(path)
        headers = time.perf_counter() - begin
        begin = time.perf_counter()
        for path in paths:
            Artifact(path).close()
        whole = time.perf_counter() - begin
    return [
        {
            "name": "cache/headers",
            "seconds": headers,
            "baseline_seconds": whole,
            "unit": f"s for {PARTS} parts",
            "detail": "completeness from 512-byte headers; baseline: opening and verifying a megabyte each",
        }
    ]
