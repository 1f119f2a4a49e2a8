"""Rows of a benchmark as text and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.benchmarks.benchmark import Row


def text_table(rows: Sequence[Row], measures: Mapping[str, int]) -> str:
    """One line a row: method, category, the settings that some row has, the measures; what is not known is a dash."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    settings = [key for key in keys if key not in measures]
    shown = [m for m in measures if m in keys]
    lines = [[*settings, *shown]]
    lines += [[*(_setting(row.get(k)) for k in settings), *(_figure(row.get(m), measures[m]) for m in shown)]
              for row in rows]  # fmt: skip
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    out = []
    for line in lines:
        left = [cell.ljust(w) for cell, w in zip(line, widths, strict=True)][: len(settings)]
        right = [cell.rjust(w) for cell, w in zip(line, widths, strict=True)][len(settings) :]
        out.append("  ".join([*left, *right]).rstrip())
    out.insert(1, "-" * max(len(line) for line in out))
    return "\n".join(out)


def json_text(benchmark: str, software: Mapping[str, str], rows: Sequence[Row]) -> str:
    """The rows for programs; NaN becomes null, which JSON has."""
    content = {"benchmark": benchmark, "software": dict(software), "rows": [_plain(row) for row in rows]}
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _setting(value: Any) -> str:
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _figure(value: Any, digits: int) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _plain(row: Row) -> Row:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
