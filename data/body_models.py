"""Body-model files: the open model, built once a machine, and licensed SMPL-X files given by path."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from pipeline.errors import InputError

GENDERS = ("neutral", "male", "female")
JOINTS = 55

_SHAPES: Mapping[str, tuple[int | str, ...]] = {
    "v_template": ("V", 3),
    "f": ("F", 3),
    "shapedirs": ("V", 3, "S"),
    "posedirs": ("V", 3, 486),
    "J_regressor": (JOINTS, "V"),
    "weights": ("V", JOINTS),
    "kintree_table": (2, JOINTS),
    "hands_componentsl": (45, 45),
    "hands_componentsr": (45, 45),
    "hands_meanl": (45,),
    "hands_meanr": (45,),
}
"""What every SMPL-X file holds; letters are sizes that must agree."""
_OPTIONAL = ("lmk_faces_idx", "lmk_bary_coords", "dynamic_lmk_faces_idx", "dynamic_lmk_bary_coords", "vt", "ft")
_MAX_MEMBER_BYTES = 2 << 30
_REMEDY = "Give a SMPLX_NEUTRAL.npz, SMPLX_MALE.npz or SMPLX_FEMALE.npz of SMPL-X 1.0 or 1.1, or `model: open`"

KEYPOINT_NAMES = tuple(
    "nose right_eye left_eye right_ear left_ear left_big_toe left_small_toe left_heel right_big_toe right_small_toe "
    "right_heel left_thumb left_index left_middle left_ring left_pinky right_thumb right_index right_middle right_ring "
    "right_pinky".split()
)
"""Keypoints on the skin, in the order in which `smplx` appends them to its joints."""
_LICENSED_VERTICES = 10475
_SMPLX_KEYPOINT_KEYS = (
    "nose reye leye rear lear LBigToe LSmallToe LHeel RBigToe RSmallToe RHeel "
    "lthumb lindex lmiddle lring lpinky rthumb rindex rmiddle rring rpinky"
).split()


def cache_folder() -> Path:
    """Where things made once a machine live: ``$TROUPE_CACHE``, else ``troupe`` in the user's cache folder."""
    if given := os.environ.get("TROUPE_CACHE"):
        return Path(given).expanduser()
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base).expanduser() / "troupe"
    return Path("~/.cache/troupe").expanduser()


def open_body_model(gender: str = "neutral") -> Path:
    """Path of the open body model, ``SMPLX_<GENDER>.npz``; built on first use (some seconds).

    Several processes may call it at once: one builds, the others wait. Where `anny` is not installed, a model of the
    same revision that was built elsewhere and carried into the cache folder is taken.

    Raises:
        InputError: unknown gender, `anny` not installed, or the cache folder cannot be written.
    """
    from data.open_body.recipe import recipe

    if gender not in GENDERS:
        raise InputError("body.gender", f"unknown gender {gender!r}", f"Choose one of {', '.join(GENDERS)}")
    if importlib.util.find_spec("anny") is None and (carried := _carried(gender)) is not None:
        return carried
    name = hashlib.sha256(recipe(gender).encode()).hexdigest()[:12]
    folder = cache_folder() / "open_body" / name
    path = folder / f"SMPLX_{gender.upper()}.npz"
    if path.is_file():
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / "lock"):
            if not path.is_file():
                _build(gender, path)
    except OSError as error:
        raise InputError(
            folder, f"the open body model cannot be stored there ({error.strerror or error})",
            "Make room or point TROUPE_CACHE to a folder that can be written",
        ) from error  # fmt: skip
    return path


def _carried(gender: str) -> Path | None:
    """A model of this revision in the cache folder, whichever `anny` it was built from."""
    from data.open_body.recipe import REVISION

    wanted = f"troupe open body {gender}, revision {REVISION},"
    for path in sorted((cache_folder() / "open_body").glob(f"*/SMPLX_{gender.upper()}.npz")):
        with _opened(path) as archive:
            if str(_member(path, archive, "troupe_recipe")).startswith(wanted):
                return path
    return None


def _build(gender: str, path: Path) -> None:
    from data.open_body.build import build_arrays

    print(f"building the open body model ({gender}), once for this machine", file=sys.stderr, flush=True)
    arrays = build_arrays(gender)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as stream:
            np.savez_compressed(stream, **arrays)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)  # a cache folder may be shared
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds an advisory lock; it is released with the process, so none can be left behind."""
    with path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def licensed_body_model(path: Path, gender: str = "neutral") -> Path:
    """The model file that ``path`` means: the file itself, or the gender's file in a folder of licensed models.

    A folder may hold the files directly or in ``smplx/`` or ``models/smplx/``, as they are handed out.

    Raises:
        InputError: nothing there for that gender.
    """
    if not path.is_dir():
        if path.is_file():
            return path
        raise InputError(path, "no such body-model file", _REMEDY)
    name = f"SMPLX_{gender.upper()}.npz"
    for folder in (path, path / "smplx", path / "models" / "smplx"):
        if (folder / name).is_file():
            return folder / name
    found = sorted(p.name for p in path.rglob("SMPLX_*.npz"))
    raise InputError(path, f"holds no {name}", f"It holds {', '.join(found)}" if found else _REMEDY)


def file_gender(path: Path) -> str:
    """Gender of a model file by its name; neutral when the name says none."""
    stem = path.stem.lower()
    return next((g for g in ("female", "male") if g in stem), "neutral")


def load_body_arrays(path: Path) -> dict[str, np.ndarray]:
    """Arrays of an SMPL-X-format npz: those of ``_SHAPES``, the landmarks and UVs where present, and ``troupe_*``.

    The file is not trusted: nothing is unpickled, only the needed members are read, their sizes are looked at first.
    Only the open model brings ``troupe_keypoint_names`` (21,) and ``troupe_keypoint_vertices`` (21,); those of the
    licensed mesh are known to `smplx` and to ``nets.body``.

    Raises:
        InputError: missing file, not an npz, another kind of model, damaged or inconsistent arrays.
    """
    path = Path(path)
    with _opened(path) as archive:
        names = {name.removesuffix(".npy") for name in archive.namelist()}
        missing = [key for key in _SHAPES if key not in names]
        if missing:
            raise InputError(path, f"is not an SMPL-X model: it lacks {', '.join(missing)}", _REMEDY)
        wanted = [*_SHAPES, *(k for k in sorted(names) if k in _OPTIONAL or k.startswith("troupe_"))]
        arrays = {key: _member(path, archive, key) for key in wanted}
    _check(path, arrays)
    if "troupe_keypoint_vertices" not in arrays and len(arrays["v_template"]) != _LICENSED_VERTICES:
        raise InputError(path, f"has {len(arrays['v_template'])} vertices instead of {_LICENSED_VERTICES}", _REMEDY)
    return arrays


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    if not path.is_file():
        raise InputError(path, "no such body-model file", _REMEDY)
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(path, f"cannot be read as an npz archive ({error})", _REMEDY) from error


def _member(path: Path, archive: zipfile.ZipFile, key: str) -> np.ndarray:
    name = f"{key}.npy"
    if archive.getinfo(name).file_size > _MAX_MEMBER_BYTES:
        raise InputError(path, f"field {key} is larger than any SMPL-X model's", _REMEDY)
    try:
        with archive.open(name) as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)
    except zipfile.BadZipFile:
        raise
    except Exception as error:  # a forged header can fail in many ways
        if "pickle" in str(error) or "Object arrays" in str(error):
            raise InputError(
                path, f"field {key} holds pickled objects, which are not read for safety",
                "Use the npz of SMPL-X 1.1, or store the field as a plain array with numpy.savez",
            ) from error  # fmt: skip
        raise InputError(path, f"field {key} is damaged ({error})", "Download the file again") from error


def _check(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    sizes: dict[str, int] = {}
    for key, shape in _SHAPES.items():
        array = arrays[key]
        sound = array.ndim == len(shape) and array.dtype.kind in "fiu" and all(
            sizes.setdefault(want, have) == have if isinstance(want, str) else want == have
            for want, have in zip(shape, array.shape, strict=True)
        )  # fmt: skip
        if not sound:
            expected = "×".join(map(str, shape))
            raise InputError(
                path, f"field {key} has shape {array.shape} of {array.dtype} where SMPL-X has {expected}", _REMEDY
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(path, f"field {key} holds values that are not finite", "Download the file again")
    if sizes["S"] < 20 or 20 < sizes["S"] < 400:
        raise InputError(path, f"field shapedirs has {sizes['S']} components instead of 20 or 400", _REMEDY)
    faces = arrays["f"]
    if faces.min() < 0 or faces.max() >= sizes["V"]:
        raise InputError(path, "field f names vertices that do not exist", "Download the file again")
    parents = arrays["kintree_table"][0].astype(np.int64)[1:]
    if (parents < 0).any() or (parents >= np.arange(1, JOINTS)).any():
        raise InputError(path, "field kintree_table is not a tree of 55 joints in SMPL-X order", _REMEDY)


def body_model_digest(path: Path) -> str:
    """SHA-256 that stands for the model in cache keys.

    For the open model it is that of its recipe, so that two machines share results; for other files that of the bytes.
    """
    path = Path(path)
    with _opened(path) as archive:
        if "troupe_recipe.npy" in archive.namelist():
            return hashlib.sha256(str(_member(path, archive, "troupe_recipe")).encode()).hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def keypoint_vertices(arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Keypoint name → vertex of the open model, for arrays of ``load_body_arrays``."""
    names, vertices = arrays["troupe_keypoint_names"], arrays["troupe_keypoint_vertices"]
    return {str(name): int(vertex) for name, vertex in zip(names, vertices, strict=True)}


def use_keypoints_in_smplx(arrays: Mapping[str, np.ndarray]) -> None:
    """Tells the `smplx` package which vertices are the open model's keypoints; call it before ``smplx.create``.

    For a licensed model, whose keypoints `smplx` knows, nothing is changed.
    """
    from smplx.vertex_ids import vertex_ids

    if "troupe_keypoint_vertices" not in arrays:
        return
    found = keypoint_vertices(arrays)
    vertex_ids["smplx"].update(
        {key: found[name] for key, name in zip(_SMPLX_KEYPOINT_KEYS, KEYPOINT_NAMES, strict=True)}
    )
