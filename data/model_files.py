"""Where the model files of installed packages are."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from pipeline.errors import InputError

_DETECTOR = "modules/pose_detection/pose_detection.tflite"
_LANDMARKS = "modules/pose_landmark/pose_landmark_full.tflite"


def blazepose_files() -> tuple[Path, Path]:
    """The two BlazePose networks (detector, landmarks) inside the mediapipe wheel, which is not imported.

    Raises:
        InputError: mediapipe is not installed, or is a version that does not carry the files.
    """
    remedy = "Install the version in requirements.txt (make setup)"
    spec = importlib.util.find_spec("mediapipe")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("mediapipe", "the package that carries the BlazePose networks is not installed", remedy)
    root = Path(next(iter(spec.submodule_search_locations)))
    files = root / _DETECTOR, root / _LANDMARKS
    for file in files:
        if not file.is_file():
            raise InputError(file, "this version of mediapipe does not carry the network", remedy)
    return files


WEIGHTS = Path(__file__).parent / "weights"


def open_weights(name: str) -> Path | None:
    """Our own weights of that name (``surface``, ``parsing``, ``stills``), or None if they are not shipped."""
    path = WEIGHTS / f"{name}.safetensors"
    return path if path.is_file() else None
