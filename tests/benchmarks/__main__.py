"""``make bench``: every benchmark row, printed and written to ``benchmarks.json``; ``python -m tests.benchmarks fusion
body`` prints those of the modules that it names.

Each module ``bench_<name>.py`` here has ``rows() -> list[dict]`` with name, seconds, baseline_seconds, unit and detail;
baselines run beside in the same run, so that the ratio means something on a noisy machine.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
from pathlib import Path

from tasks.threads import limit_threads

FOLDER = Path(__file__).resolve().parent


def main(wanted: list[str]) -> int:
    limit_threads()  # rows are of one thread, as parts run; before anything numerical is imported
    found, known = [], sorted(path.stem.removeprefix("bench_") for path in FOLDER.glob("bench_*.py"))
    if unknown := sorted(set(wanted) - set(known)):
        print(f"{unknown[0]} is no benchmark: give some of {', '.join(known)}", file=sys.stderr)
        return 2
    for name in wanted or known:
        for row in importlib.import_module(f"tests.benchmarks.bench_{name}").rows():
            row = row | {"ratio": row["baseline_seconds"] / row["seconds"]}
            found.append(row)
            told = f"{row['seconds']:10.4f} s   {row['ratio']:8.2f} × baseline   {row['detail']}"
            print(f"{row['name']:<36} {told}", flush=True)
    if wanted:
        return 0
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    Path("benchmarks.json").write_text(json.dumps({"machine": machine, "rows": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
