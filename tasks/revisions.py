"""What decides the result of a stage: a digest of its code, compared with the one its revision was given for.

``tests/revisions.lock`` holds a line a stage: name, revision, digest. A test fails when the digest changes: raise the
stage's revision in ``tasks/stages.py`` if results change, then accept either way with

    python -m tasks.revisions --accept
"""

from __future__ import annotations

import ast
import hashlib
import sys
from pathlib import Path

from pipeline.files import write_atomic
from tasks.stages import STAGES, Stage

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "tests" / "revisions.lock"


def code_digest(stage: Stage) -> str:
    """SHA-256 over the syntax trees of a stage's files: layout, comments and docstrings do not count."""
    digest = hashlib.sha256()
    for pattern in stage.modules:
        for path in sorted(ROOT.glob(pattern)):
            tree = ast.parse(path.read_text())
            for node in ast.walk(tree):
                _drop_docstring(node)
            digest.update(f"{path.relative_to(ROOT)}\n{ast.dump(tree)}\n".encode())
    return digest.hexdigest()[:16]


def current() -> dict[str, str]:
    """Stage -> its line in the lock, as the code is now."""
    return {name: f"{name} {stage.revision} {code_digest(stage)}" for name, stage in STAGES.items()}


def locked() -> dict[str, str]:
    """Stage -> its line in the lock."""
    lines = LOCK.read_text().splitlines() if LOCK.exists() else []
    return {line.split()[0]: line for line in lines if line and not line.startswith("#")}


def _drop_docstring(node: ast.AST) -> None:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
        first = node.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            node.body = node.body[1:] or [ast.Pass()]


def main() -> int:
    changed = [name for name, line in current().items() if locked().get(name) != line]
    print("\n".join(f"{name}: {locked().get(name, 'not locked')} -> {current()[name]}" for name in changed))
    if "--accept" in sys.argv[1:]:
        head = "# stage, revision, digest of the code that decides its result; see tasks/revisions.py\n"
        write_atomic(LOCK, head + "\n".join(current().values()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
