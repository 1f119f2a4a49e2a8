"""The user's identities.yaml: what it does to tracks and what it says about mistakes."""

import numpy as np
import pytest

from data.identities import read_identities
from pipeline.association.identities import apply_rules, describe
from pipeline.association.tracks import Tracks
from pipeline.errors import InputError


def _tracks(present: np.ndarray) -> Tracks:
    """People whose joints all are at x = id, y = frame."""
    F, P = present.shape
    frames = np.arange(100, 100 + F)
    joints = np.zeros((F, P, 19, 3), np.float32)
    joints[..., 0], joints[..., 1] = np.arange(P)[None, :, None], frames[:, None, None]
    joints[~present] = np.nan
    seen = np.where(present[..., None], 0.5 + 0.1 * np.arange(P)[:, None], 0.0) * np.ones(19)
    scores = seen[:, :, None] * np.ones((1, 1, 2, 1))
    return Tracks(
        frames, np.arange(P, dtype=np.int32), joints, seen.astype(np.float32), np.zeros((F, P, 2, 19, 2), np.float32),
        scores.astype(np.float32), np.zeros((F, P, 2, 19), np.float32), np.zeros((F, P, 2), np.int32),
    )  # fmt: skip


def _rules(tmp_path, text):
    path = tmp_path / "identities.yaml"
    path.write_text(text)
    return read_identities(path)


def test_swap_from_a_frame_exchanges_the_rest(tmp_path):
    tracks = apply_rules(_tracks(np.ones((10, 3), bool)), _rules(tmp_path, "swap:\n - {people: [0, 2], from: 104}"))
    assert list(tracks.person_ids) == [0, 1, 2]
    assert np.all(tracks.joints[:4, 0, :, 0] == 0) and np.all(tracks.joints[4:, 0, :, 0] == 2)
    assert np.all(tracks.joints[4:, 2, :, 0] == 0) and np.all(tracks.joints[:, 1, :, 0] == 1)


def test_swap_with_an_end_only_exchanges_the_span(tmp_path):
    rules = _rules(tmp_path, "swap: [{people: [0, 1], from: 102, to: 103}]")
    tracks = apply_rules(_tracks(np.ones((6, 2), bool)), rules)
    assert list(tracks.joints[:, 0, 0, 0]) == [0, 0, 1, 1, 0, 0]


def test_merge_keeps_the_first_id_and_never_renumbers(tmp_path):
    present = np.zeros((10, 3), bool)
    present[:4, 0] = present[6:, 1] = present[:, 2] = True
    tracks = apply_rules(_tracks(present), _rules(tmp_path, "merge: [[0, 1]]"))
    assert list(tracks.person_ids) == [0, 2]
    assert list(tracks.present[:, 0]) == [True] * 4 + [False] * 2 + [True] * 4
    told = describe(tracks, {0: "Anna"})["people"]
    assert told[0]["spans"] == [[100, 103], [106, 109]] and told[0]["name"] == "Anna" and told[1]["name"] is None
    assert told[1]["spans"] == [[100, 109]] and told[1]["frames"] == 10 and told[1]["views_mean"] == 2


def test_merge_of_overlapping_people_takes_the_better_seen(tmp_path):
    tracks = apply_rules(_tracks(np.ones((3, 2), bool)), _rules(tmp_path, "merge: [[0, 1]]"))
    assert np.all(tracks.joints[:, 0, :, 0] == 1) and list(tracks.person_ids) == [0]


def test_drop_and_empty_file(tmp_path):
    tracks = _tracks(np.ones((3, 3), bool))
    assert list(apply_rules(tracks, _rules(tmp_path, "drop: [1]")).person_ids) == [0, 2]
    same = apply_rules(tracks, _rules(tmp_path, ""))
    assert np.array_equal(same.joints, tracks.joints) and list(same.person_ids) == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("swap: [{people: [0, 0], from: 3}]", "two different ids"),
        ("swap: [{people: [0, 1]}]", "people and from"),
        ("swap: [{people: [0, 1], from: 9, to: 3}]", "in order"),
        ("swap: {people: [0, 1], from: 3}", "not a list"),
        ("merge: [[0]]", "two or more"),
        ("merge: [[0, 0]]", "twice"),
        ("drop: [first]", "not a person's id"),
        ("drop: [-1]", "not a person's id"),
        ("drop: [true]", "not a person's id"),
        ("name: {0: 7}", "not a name"),
        ("name: {0: Anna, 1: Anna}", "same name"),
        ("rename: {0: Anna}", "unknown key"),
        ("- 1", "not a mapping"),
        ("drop: [", "not YAML"),
        ("!!python/object/apply:os.system ['true']", "not YAML"),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path, text, says):
    with pytest.raises(InputError, match=says) as error:
        _rules(tmp_path, text)
    assert "identities.yaml" in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("drop: [7]", "no person 7"),
        ("name: {5: Eve}", "no person 5"),
        ("swap: [{people: [0, 1], from: 99}]", "outside the session"),
        ("merge: [[0, 1], [1, 2]]", "twice or in a circle"),
        ("merge: [[0, 1]]\ndrop: [1]", "merged and dropped"),
    ],
)
def test_rules_that_do_not_fit_the_session_are_named(tmp_path, text, says):
    with pytest.raises(InputError, match=says):
        apply_rules(_tracks(np.ones((4, 3), bool)), _rules(tmp_path, text))


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_identities(tmp_path / "none.yaml")
