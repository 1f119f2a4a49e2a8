"""Joints as markers for motion analysis: TRC text and C3D, +y up, missing where a person is absent."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline.meshes.geometry import y_up_from_world

MILLIMETRES = 1000.0


def trc_text(
    joints: np.ndarray, names: Sequence[str], frames: np.ndarray, rate: float, up: np.ndarray, file: str
) -> str:
    """One person's joints as OpenSim reads them, metres.

    Args:
        joints: (F, J, 3) world metres, NaN where missing.
        frames: (F,) numbers; time counts from the first of the file.
        rate: rows a second. up: (3,) of the world. file: name that stands in the header.
    """
    points = joints @ y_up_from_world(up).T
    count, markers = points.shape[:2]
    head = [
        f"PathFileType\t4\t(X/Y/Z)\t{file}",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"{rate:g}\t{rate:g}\t{count}\t{markers}\tm\t{rate:g}\t{int(frames[0])}\t{count}",
        "Frame#\tTime\t" + "\t\t\t".join(names) + "\t\t",
        "\t\t" + "\t".join(f"X{k}\tY{k}\tZ{k}" for k in range(1, markers + 1)),
        "",
    ]
    rows = []
    for number, (frame, row) in enumerate(zip(frames, points.reshape(count, -1), strict=True)):
        values = "\t".join("" if np.isnan(v) else f"{v:.6f}" for v in row)
        rows.append(f"{int(frame)}\t{number / rate:.6f}\t{values}")
    return "\n".join(head + rows) + "\n"


def c3d_bytes(
    people: Mapping[str, np.ndarray], names: Sequence[str], first: int, rate: float, up: np.ndarray
) -> bytes:
    """Everybody's joints in one file, millimetres, labels ``<person>:<joint>``.

    Args:
        people: name to joints (F, J, 3) world metres, NaN where missing.
        first: number of the first frame.
    """
    import ezc3d

    turn = y_up_from_world(up)
    labels = [f"{person}:{joint}" for person in people for joint in names]
    points = np.concatenate([joints @ turn.T for joints in people.values()], 1) * MILLIMETRES
    missing = np.isnan(points).any(-1)
    data = np.ones((4, len(labels), len(points)))
    data[:3] = np.where(missing[..., None], np.nan, points).transpose(2, 1, 0)
    file = ezc3d.c3d()
    file["header"]["points"]["first_frame"] = int(first)
    file["parameters"]["POINT"]["RATE"]["value"] = [float(rate)]
    file["parameters"]["POINT"]["LABELS"]["value"] = labels
    file["parameters"]["POINT"]["UNITS"]["value"] = ["mm"]
    file.add_parameter("POINT", "X_SCREEN", "+X")
    file.add_parameter("POINT", "Y_SCREEN", "+Y")
    file["data"]["points"] = data
    residuals = np.where(missing.T[None], -1.0, 0.0)
    file["data"]["meta_points"] = {"residuals": residuals, "camera_masks": np.zeros((7, *residuals.shape[1:]), bool)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "session.c3d"
        file.write(str(path))
        return path.read_bytes()
