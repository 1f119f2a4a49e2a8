"""People of a session side by side: what is kept one person an artifact, on one timeline."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.association.tracks import Tracks
from pipeline.skeletons import SKEL19

_MISSING = {"keypoints": np.nan, "joints": np.nan, "residuals": np.nan, "confidence": 0, "scores": 0, "instances": -1}


def timeline(parts: Sequence[np.ndarray], frames: np.ndarray | None = None) -> np.ndarray:
    """(F,) int64 ascending: ``frames`` if given, else every frame that is in any of ``parts``."""
    if frames is None:
        frames = np.concatenate([np.zeros(0, np.int64), *parts])
    return np.unique(np.asarray(frames, np.int64))


def on_timeline(frames: np.ndarray, part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where frames of ``part`` stand in ``frames``: rows of ``frames`` and the rows of ``part`` that are in it."""
    _, rows, part_rows = np.intersect1d(frames, part, assume_unique=True, return_indices=True)
    return rows, part_rows


def merged_tracks(tracks: Sequence[Tracks], frames: np.ndarray | None = None) -> Tracks:
    """Tracks of one or more people each as one, on the union of their frames or on ``frames``, ids ascending.

    Raises:
        ValueError: an id that comes twice, or no tracks at all: see ``no_tracks``.
    """
    if not tracks:
        raise ValueError("no tracks to merge")
    frames = timeline([t.frames for t in tracks], frames)
    ids = np.concatenate([t.person_ids for t in tracks]).astype(np.int32)
    if len(np.unique(ids)) != len(ids):
        raise ValueError(f"a person id comes twice in {ids.tolist()}")
    places = [on_timeline(frames, t.frames) for t in tracks]

    def dense(name: str) -> np.ndarray:
        columns = []
        for track, (rows, part_rows) in zip(tracks, places, strict=True):
            values = getattr(track, name)
            column = np.full((len(frames), *values.shape[1:]), _MISSING[name], values.dtype)
            column[rows] = values[part_rows]
            columns.append(column)
        return np.concatenate(columns, axis=1)[:, np.argsort(ids)]

    return Tracks(frames, np.sort(ids), *(dense(name) for name in Tracks.FIELDS[2:]))


def no_tracks(frames: np.ndarray, cameras: int) -> Tracks:
    """Tracks of nobody, over ``frames`` (F,) in so many cameras."""
    f, j = len(frames), len(SKEL19)

    def none(*shape: int, kind: type = np.float32) -> np.ndarray:
        return np.zeros((f, 0, *shape), kind)

    return Tracks(
        np.asarray(frames, np.int64), np.zeros(0, np.int32), none(j, 3), none(j), none(cameras, j, 2), none(cameras, j),
        none(cameras, j), none(cameras, kind=np.int32),
    )  # fmt: skip


def npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A compressed npz that needs no pickle to read.

    Raises:
        ValueError: an array of Python objects.
    """
    plain = {name: np.asarray(value) for name, value in arrays.items()}
    if objects := [name for name, value in plain.items() if value.dtype.hasobject]:
        raise ValueError(f"arrays of Python objects: {', '.join(objects)}")
    file = io.BytesIO()
    np.savez_compressed(file, **plain)
    return file.getvalue()
