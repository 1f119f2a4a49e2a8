"""Body-model files of all kinds: what is taken, what is refused and what the message says."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from data import body_models
from data.body_models import body_model_digest, file_gender, licensed_body_model, load_body_arrays, open_body_model
from pipeline.errors import InputError
from pipeline.skeletons import SMPLX55_PARENTS


def licensed_like(**changes) -> dict[str, np.ndarray]:
    """Arrays with the names, shapes and types of a licensed file, all zeros but the tree; ``None`` leaves one out."""
    arrays = {
        "v_template": np.zeros((10475, 3)),
        "f": np.zeros((8, 3), dtype=np.uint32),
        "shapedirs": np.zeros((10475, 3, 400), dtype=np.float32),
        "posedirs": np.zeros((10475, 3, 486), dtype=np.float32),
        "J_regressor": np.zeros((55, 10475), dtype=np.float32),
        "weights": np.zeros((10475, 55)),
        "kintree_table": np.stack([SMPLX55_PARENTS, np.arange(55)]).astype(np.uint32),
        "hands_componentsl": np.eye(45),
        "hands_componentsr": np.eye(45),
        "hands_meanl": np.zeros(45),
        "hands_meanr": np.zeros(45),
        "lmk_faces_idx": np.zeros(51, dtype=np.int64),
        "part2num": np.array({"a": 1}, dtype=object),  # licensed files hold such fields; they are never read
        **changes,
    }
    return {key: value for key, value in arrays.items() if value is not None}


def save(path, arrays):
    with path.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    return path


def forged_header(path):
    """A file whose v_template claims a terabyte."""
    save(path, licensed_like(v_template=None))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 37, 3)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("v_template.npy", header.getvalue())


def truncated(path):
    whole = save(path, licensed_like()).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def damaged(path):
    """One byte changed in the middle of the compressed data of a needed field."""
    rng = np.random.default_rng(0)
    save(path, licensed_like(v_template=rng.standard_normal((10475, 3))))
    with zipfile.ZipFile(path) as archive:
        offset = archive.getinfo("v_template.npy").header_offset + 2000
    content = bytearray(path.read_bytes())
    content[offset] ^= 0xFF
    path.write_bytes(content)


SMPL = {
    "v_template": np.zeros((6890, 3)),
    "f": np.zeros((8, 3), dtype=np.uint32),
    "shapedirs": np.zeros((6890, 3, 10)),
    "posedirs": np.zeros((6890, 3, 207), dtype=np.float32),
    "J_regressor": np.zeros((24, 6890)),
    "weights": np.zeros((6890, 24)),
    "kintree_table": np.zeros((2, 24), dtype=np.uint32),
}
SMPLH = SMPL | {
    "posedirs": np.zeros((6890, 3, 459), dtype=np.float32),
    "J_regressor": np.zeros((52, 6890)),
    "weights": np.zeros((6890, 52)),
    "kintree_table": np.zeros((2, 52), dtype=np.uint32),
    "hands_componentsl": np.eye(45),
    "hands_componentsr": np.eye(45),
    "hands_meanl": np.zeros(45),
    "hands_meanr": np.zeros(45),
}
INFINITE = np.full((10475, 3), np.inf)
CYCLE = np.stack([np.r_[-1, np.arange(2, 55), 1], np.arange(55)])

REFUSED = {
    "text": (lambda p: p.write_text("not a model"), "npz"),
    "empty": (lambda p: p.write_bytes(b""), "npz"),
    "pickle": (lambda p: p.write_bytes(b"\x80\x04}\x94."), "npz"),
    "missing": (lambda p: None, "no such"),
    "truncated": (truncated, "npz"),
    "damaged": (damaged, ""),
    "forged header": (forged_header, "v_template"),
    "other npz": (lambda p: save(p, {"poses": np.zeros((9, 165)), "trans": np.zeros((9, 3))}), "lacks v_template"),
    "SMPL": (lambda p: save(p, SMPL), "lacks hands_componentsl"),
    "SMPL+H": (lambda p: save(p, SMPLH), "posedirs"),
    "object weights": (lambda p: save(p, licensed_like(weights=np.array([None], dtype=object))), "weights"),
    "text weights": (lambda p: save(p, licensed_like(weights=np.full((10475, 55), "x"))), "weights"),
    "no posedirs": (lambda p: save(p, licensed_like(posedirs=None)), "lacks posedirs"),
    "other sizes": (lambda p: save(p, licensed_like(v_template=np.zeros((10000, 3)))), "shapedirs"),
    "infinite": (lambda p: save(p, licensed_like(v_template=INFINITE)), "v_template"),
    "faces out of range": (lambda p: save(p, licensed_like(f=np.full((8, 3), 10475, dtype=np.uint32))), "field f"),
    "not a tree": (lambda p: save(p, licensed_like(kintree_table=CYCLE)), "kintree_table"),
    "few shapes": (lambda p: save(p, licensed_like(shapedirs=np.zeros((10475, 3, 10)))), "shapedirs"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_wrong_files_are_refused_by_name_field_and_remedy(kind, tmp_path):
    make, field = REFUSED[kind]
    path = tmp_path / "SMPLX_NEUTRAL.npz"
    make(path)
    with pytest.raises(InputError) as raised:
        load_body_arrays(path)
    assert raised.value.where == str(path)
    assert field in raised.value.problem
    assert raised.value.remedy


def test_a_licensed_file_is_read_without_its_pickled_fields(tmp_path):
    arrays = load_body_arrays(save(tmp_path / "SMPLX_MALE.npz", licensed_like()))
    assert arrays["shapedirs"].shape == (10475, 3, 400)
    assert "part2num" not in arrays


def test_the_digest_of_a_given_file_is_that_of_its_bytes(tmp_path):
    path = save(tmp_path / "SMPLX_MALE.npz", licensed_like())
    before = body_model_digest(path)
    assert before == body_model_digest(save(tmp_path / "copy.npz", licensed_like()))
    save(path, licensed_like(v_template=np.full((10475, 3), 1e-3)))
    assert body_model_digest(path) != before


def test_the_digest_of_the_open_model_is_that_of_its_recipe(tmp_path):
    recipe = np.array("troupe open body neutral, revision 9, anny 0.0")
    one = save(tmp_path / "a.npz", {"troupe_recipe": recipe, "v_template": np.zeros(3)})
    two = save(tmp_path / "b.npz", {"troupe_recipe": recipe, "v_template": np.full(3, 1e-9)})
    other = save(tmp_path / "c.npz", {"troupe_recipe": np.array("revision 10"), "v_template": np.zeros(3)})
    assert body_model_digest(one) == body_model_digest(two) != body_model_digest(other)


@pytest.mark.parametrize("inside", ["", "smplx", "models/smplx"])
def test_a_folder_of_licensed_models_gives_the_gender_asked_for(inside, tmp_path):
    folder = tmp_path / inside
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("SMPLX_MALE.npz", "SMPLX_FEMALE.npz"):
        (folder / name).write_bytes(b"x")
    assert licensed_body_model(tmp_path, "female") == folder / "SMPLX_FEMALE.npz"
    assert licensed_body_model(folder / "SMPLX_MALE.npz", "female") == folder / "SMPLX_MALE.npz"
    with pytest.raises(InputError, match=r"SMPLX_FEMALE\.npz, SMPLX_MALE\.npz"):
        licensed_body_model(tmp_path, "neutral")


def test_a_missing_model_path_says_so(tmp_path):
    with pytest.raises(InputError, match="no such"):
        licensed_body_model(tmp_path / "nowhere.npz")


def test_file_names_tell_the_gender(tmp_path):
    names = {"SMPLX_MALE.npz": "male", "SMPLX_FEMALE.npz": "female", "SMPLX_NEUTRAL.npz": "neutral", "x.npz": "neutral"}
    assert {name: file_gender(tmp_path / name) for name in names} == names


def test_unknown_gender_and_unwritable_cache_are_named(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="neutral, male, female"):
        open_body_model("other")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TROUPE_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="TROUPE_CACHE"):
        open_body_model()


def test_the_cache_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("TROUPE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert body_models.cache_folder() == tmp_path / "troupe"
    monkeypatch.setenv("TROUPE_CACHE", str(tmp_path / "mine"))
    assert body_models.cache_folder() == tmp_path / "mine"
