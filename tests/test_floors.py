"""The five floors: each imports only from those below it, inside functions too."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = ["nets", "pipeline", "data", "tasks", "run_pipeline"]
FILES = [p for floor in FLOORS[:4] for p in sorted((ROOT / floor).rglob("*.py"))] + [ROOT / "run_pipeline.py"]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_imports_from_its_own_floor_and_below(path):
    floor = FLOORS.index(path.relative_to(ROOT).parts[0].removesuffix(".py"))
    above = [name for name in imports(path) if name.split(".")[0] in FLOORS[floor + 1 :]]
    assert not above


@pytest.mark.parametrize("path", [p for p in FILES if "nets" in p.relative_to(ROOT).parts], ids=lambda p: p.name)
def test_networks_need_torch_and_numpy_alone(path):
    allowed = set(sys.stdlib_module_names) | {"torch", "numpy", "nets"}
    assert {name.split(".")[0] for name in imports(path)} <= allowed


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_the_engine_imports_luigi(path):
    found = {name.split(".")[0] for name in imports(path)}
    assert "luigi" not in found or path == ROOT / "tasks" / "engine.py"


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("run_pipeline", "torch open3d mediapipe ai_edge_litert luigi h5py numpy smplx anny trimesh pydantic"),
        ("tasks.engine", "torch open3d mediapipe ai_edge_litert smplx anny trimesh av"),
        ("tasks.commands", "torch open3d mediapipe ai_edge_litert smplx anny trimesh av luigi"),
    ],
)
def test_importing_the_command_stays_light(module, forbidden):
    """The parent forks: torch, Open3D and detectors must not be in it; and --help has to come at once."""
    script = f"import sys, {module}; print(*(m for m in {forbidden.split()!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_planning_a_session_stays_light():
    """Stage modules are imported by the parent to make keys."""
    script = (
        "import sys; from tasks.stages import STAGES; [s.module for s in STAGES.values()];"
        "print(*(m for m in 'torch open3d mediapipe ai_edge_litert smplx anny trimesh av'.split() if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
