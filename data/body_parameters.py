"""Bodies fitted elsewhere, read as tracks: SMPL-X parameters in npz files, and EasyMocap's JSON.

Recognised by content:

- ``bodies.npz`` as Troupe exports it: everybody in one file.
- npz of one person in the layout of AMASS for SMPL-X: ``poses`` (F, 165) or its parts, ``trans`` (F, 3), ``betas``;
  or with the names of SMPL-X's own parameters (``global_orient``, ``body_pose``, ``transl``, ``betas``, hands as full
  axis-angle). ``frames`` (F,) says which frames they are, else they count from 0. A folder of such files is several
  people, in order of name; ``person_<id>...npz`` keeps its id.
- a folder of EasyMocap's results, one JSON a frame: a list of ``{id, Rh, Th, poses, shapes, expression}`` with the 87
  or 165 pose numbers of SMPL-X.

Axis-angle in radians, metres in the calibration's world. Nothing is unpickled.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from data.detections.frame_files import MAX_FRAME_BYTES, numbered_json, read_json
from pipeline.body.parameters import BodyTrack
from pipeline.errors import InputError

_REMEDY = "Give SMPL-X parameters as npz (see data/body_parameters.py) or a folder of EasyMocap's SMPL-X results"
_WIDTHS = {
    "global_orient": 3, "body_pose": 63, "left_hand_pose": 45, "right_hand_pose": 45, "jaw_pose": 3, "expression": 10,
    "transl": 3,
}  # fmt: skip
FARTHEST_M = 200.0
"""A body farther from the world's origin is in other units."""


def read_body_parameters(path: Path, model: Mapping[str, np.ndarray]) -> dict[int, BodyTrack]:
    """Person id -> track over the frames that are given, ascending.

    Args:
        model: arrays of the session's body model; EasyMocap's hands are coefficients of its components.

    Raises:
        InputError: unreadable or foreign files, wrong shapes, parameters of another model, units that are not metres.
    """
    found = _read(path, model)
    for body in found.values():
        if np.nanmax(np.abs(body.transl), initial=0.0) > FARTHEST_M:
            raise InputError(
                path, f"a body is {np.nanmax(np.abs(body.transl)):.0f} m away from the world's origin",
                "Give translations in metres, in the calibration's world",
            )  # fmt: skip
    return found


def on_frames(body: BodyTrack, frames: np.ndarray) -> BodyTrack:
    """The track over ``frames``; those that it does not have are absent."""
    _, rows, own = np.intersect1d(frames, body.frames, return_indices=True)
    values = {}
    for name in _WIDTHS:
        values[name] = np.full((len(frames), _WIDTHS[name]), np.nan, np.float32)
        values[name][rows] = getattr(body, name)[own]
    valid, error = np.zeros(len(frames), bool), np.full(len(frames), np.nan, np.float32)
    valid[rows], error[rows] = body.valid[own], body.fit_error_m[own]
    reason = np.where(valid, 0, BodyTrack.REASONS.index("absent")).astype(np.int8)
    return BodyTrack(np.asarray(frames, np.int64), body.betas, *values.values(), valid, reason, error)


def people_in(path: Path) -> tuple[int, ...]:
    """Ids of the people, ascending, without reading their poses where the format allows."""
    if path.is_dir():
        files = sorted(path.glob("*.npz"))
        if files:
            return tuple(sorted(_numbered(files)))
        ids = {int(e["id"]) for file in numbered_json(path).values() for e in _entries(file)}
        return tuple(sorted(ids))
    arrays = _load(path)
    return tuple(sorted(int(i) for i in arrays["person_ids"])) if "person_ids" in arrays else (0,)


def _read(path: Path, model: Mapping[str, np.ndarray]) -> dict[int, BodyTrack]:
    if path.is_dir():
        files = sorted(path.glob("*.npz"))
        if files:
            return {i: _one_person(file, _load(file)) for i, file in sorted(_numbered(files).items())}
        return _easymocap(path, model)
    arrays = _load(path)
    return _everybody(path, arrays) if "person_ids" in arrays else {0: _one_person(path, arrays)}


def _numbered(files: list[Path]) -> dict[int, Path]:
    """Files by person: the number after ``person_``, or their place."""
    numbers = []
    for k, file in enumerate(files):
        digits = file.stem.removeprefix("person_").split("_")[0]
        numbers.append(int(digits) if file.stem.startswith("person_") and digits.isdigit() else k)
    if len(set(numbers)) != len(numbers):
        raise InputError(files[0].parent, "two files are of one person", "Name them person_<id>.npz, all or none")
    return dict(zip(numbers, files, strict=True))


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise InputError(path, "no such file", "Check body.parameters") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(path, f"cannot be read as npz without unpickling ({error})", _REMEDY) from error


def _table(path: Path, arrays: Mapping[str, np.ndarray], name: str, frames: int) -> np.ndarray:
    """(F, width) float32 of a field; zeros if it is not there."""
    width = _WIDTHS[name]
    if name not in arrays:
        return np.zeros((frames, width), np.float32)
    values = np.asarray(arrays[name])
    if values.dtype.kind not in "fiu" or values.size != frames * width:
        raise InputError(path, f"{name} has shape {values.shape}, not ({frames}, {width})", _REMEDY)
    return values.reshape(frames, width).astype(np.float32)


def _track(frames: np.ndarray, betas: np.ndarray, values: Mapping[str, np.ndarray], valid: np.ndarray) -> BodyTrack:
    order = np.argsort(frames, kind="stable")
    whole = np.all([np.isfinite(v).all(1) for v in values.values()], axis=0) & np.isfinite(betas).all()
    valid = (valid & whole)[order]
    tables = (np.where(whole[:, None], values[name], np.nan)[order].astype(np.float32) for name in _WIDTHS)
    reason = np.where(valid, 0, BodyTrack.REASONS.index("absent")).astype(np.int8)
    error = np.full(len(frames), np.nan, np.float32)
    return BodyTrack(frames[order].astype(np.int64), betas.astype(np.float32), *tables, valid, reason, error)


def _betas(path: Path, values: np.ndarray) -> np.ndarray:
    """The first ten; one shape a person."""
    values = np.atleast_2d(np.asarray(values, np.float64))
    if values.ndim != 2 or values.shape[1] < 10:
        raise InputError(path, f"betas have shape {values.shape}; ten are needed", _REMEDY)
    return np.nanmedian(values, axis=0)[:10]


def _frames(path: Path, arrays: Mapping[str, np.ndarray], count: int) -> np.ndarray:
    frames = np.asarray(arrays.get("frames", np.arange(count))).reshape(-1)
    if len(frames) != count or len(np.unique(frames)) != count or frames.dtype.kind not in "iu":
        raise InputError(path, "frames must be one different whole number a row", _REMEDY)
    return frames


_AMASS = {"root_orient": "global_orient", "pose_body": "body_pose", "pose_jaw": "jaw_pose", "trans": "transl"}


def _one_person(path: Path, arrays: Mapping[str, np.ndarray]) -> BodyTrack:
    named = {_AMASS.get(k, k): v for k, v in arrays.items()}
    if "poses" in named and "body_pose" not in named:
        poses = np.asarray(named["poses"])
        if poses.ndim != 2 or poses.shape[1] != 165:
            raise InputError(path, f"poses have shape {poses.shape}; SMPL-X has (F, 165)", _REMEDY)
        named |= {
            "global_orient": poses[:, :3], "body_pose": poses[:, 3:66], "jaw_pose": poses[:, 66:69],
            "left_hand_pose": poses[:, 75:120], "right_hand_pose": poses[:, 120:165],
        }  # fmt: skip
    if "pose_hand" in named and np.size(named["pose_hand"]) and "left_hand_pose" not in named:
        hands = np.asarray(named["pose_hand"]).reshape(len(named["pose_hand"]), -1)
        named |= {"left_hand_pose": hands[:, :45], "right_hand_pose": hands[:, 45:]}
    missing = [n for n in ("global_orient", "body_pose", "transl", "betas") if n not in named]
    if missing:
        raise InputError(path, f"holds no {', '.join(missing)}", _REMEDY)
    count = len(np.asarray(named["transl"]).reshape(-1, 3))
    values = {name: _table(path, named, name, count) for name in _WIDTHS}
    valid = np.asarray(named.get("valid", np.ones(count)), bool).reshape(-1)
    if len(valid) != count:
        raise InputError(path, f"valid has {len(valid)} rows, not {count}", _REMEDY)
    return _track(_frames(path, named, count), _betas(path, named["betas"]), values, valid)


def _everybody(path: Path, arrays: Mapping[str, np.ndarray]) -> dict[int, BodyTrack]:
    """``bodies.npz``: the people side by side."""
    ids = np.asarray(arrays["person_ids"]).astype(int)
    try:
        frames = np.asarray(arrays["frames"])
        columns = {name: np.asarray(arrays[name]).reshape(len(frames), len(ids), w) for name, w in _WIDTHS.items()}
        betas = np.asarray(arrays["betas"]).reshape(len(ids), 10)
        valid = np.asarray(arrays["valid"], bool).reshape(len(frames), len(ids))
    except (KeyError, ValueError) as error:
        raise InputError(path, f"is not a whole bodies.npz ({error})", "Give one that Troupe exported") from error
    frames = _frames(path, arrays, len(frames))
    return {
        int(i): _track(frames, betas[k], {n: v[:, k] for n, v in columns.items()}, valid[:, k])
        for k, i in enumerate(ids)
    }


def _entries(file: Path) -> list[dict[str, Any]]:
    content = read_json(file, MAX_FRAME_BYTES)
    if isinstance(content, dict):
        content = content.get("annots", content.get("results"))
    if not isinstance(content, list) or not all(isinstance(e, dict) and isinstance(e.get("id"), int) for e in content):
        raise InputError(file, "is no list of people with an id each", _REMEDY)
    return content


_MOVED = {"Rh": 3, "Th": 3, "expression": 10}


def _easymocap(folder: Path, model: Mapping[str, np.ndarray]) -> dict[int, BodyTrack]:
    """``Rh`` and ``Th`` turn and move the body about the model's origin, not about its pelvis: v = R v0 + Th."""
    found: dict[int, dict[str, list]] = {}
    for frame, file in numbered_json(folder).items():
        for entry in _entries(file):
            person = found.setdefault(int(entry["id"]), {name: [] for name in ("frames", "poses", "betas", *_MOVED)})
            poses = _numbers(file, entry, "poses")
            if poses.size not in (87, 165):
                kind = " (of SMPL: its shapes mean another body)" if poses.size in (69, 72) else ""
                raise InputError(file, f"poses hold {poses.size} numbers{kind}; SMPL-X has 87 or 165", _REMEDY)
            person["frames"].append(frame)
            person["poses"].append(poses)
            for name, width in _MOVED.items():
                given = name in entry or name != "expression"
                person[name].append(_numbers(file, entry, name, width) if given else np.zeros(width))
            person["betas"].append(_numbers(file, entry, "shapes")[:10])
    template, regressor = np.asarray(model["v_template"], np.float64), np.asarray(model["J_regressor"])[0]
    tracks = {}
    for i, rows in sorted(found.items()):
        betas = _betas(folder, np.array(rows["betas"]))
        root = regressor @ (template + np.asarray(model["shapedirs"])[:, :, :10] @ betas)
        turn = Rotation.from_rotvec(np.array(rows["Rh"]))
        full = np.array([_all_poses(p, model) for p in rows["poses"]])
        orient = turn * Rotation.from_rotvec(full[:, :3])
        values = {
            "global_orient": orient.as_rotvec(), "body_pose": full[:, 3:66], "jaw_pose": full[:, 66:69],
            "left_hand_pose": full[:, 75:120], "right_hand_pose": full[:, 120:165],
            "expression": np.array(rows["expression"]), "transl": np.array(rows["Th"]) + turn.apply(root) - root,
        }  # fmt: skip
        tracks[i] = _track(np.array(rows["frames"]), betas, values, np.ones(len(full), bool))
    return tracks


def _numbers(file: Path, entry: Mapping[str, Any], name: str, size: int | None = None) -> np.ndarray:
    try:
        values = np.asarray(entry[name], np.float64).ravel()
    except (KeyError, TypeError, ValueError):
        raise InputError(file, f"a person has no {name} in numbers", _REMEDY) from None
    if size is not None and values.size != size:
        raise InputError(file, f"{name} holds {values.size} numbers, not {size}", _REMEDY)
    return values


def _all_poses(poses: np.ndarray, model: Mapping[str, np.ndarray]) -> np.ndarray:
    """165 numbers in the order of SMPL-X, from 87: body, six components a hand, jaw and eyes."""
    if poses.size == 165:
        return poses
    left = poses[66:72] @ np.asarray(model["hands_componentsl"])[:6] + model["hands_meanl"]
    right = poses[72:78] @ np.asarray(model["hands_componentsr"])[:6] + model["hands_meanr"]
    return np.concatenate([poses[:66], poses[78:87], left, right])
