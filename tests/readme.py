"""The README's table of figures is made from ``docs/figures.json``: ``python -m tests.readme`` writes it anew."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README, FIGURES = ROOT / "README.md", ROOT / "docs" / "figures.json"
SECTION = re.compile(r"(?<=<!-- figures -->\n).*?(?=<!-- end of figures -->)", re.DOTALL)


def table() -> str:
    """The figures as a Markdown table."""
    figures = json.loads(FIGURES.read_text())
    lines = [f"{figures['machine']}", "", "| what | figure | aim | command |", "|---|---|---|---|"]
    lines += [f"| {r['what']} | {r['figure']} | {r['aim']} | `{r['command']}` |" for r in figures["rows"]]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Put the table into the README."""
    README.write_text(SECTION.sub(lambda _: table(), README.read_text()))


if __name__ == "__main__":
    main()
