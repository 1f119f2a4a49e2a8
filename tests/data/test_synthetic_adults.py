"""People of a chosen gender and age: figures as the open body's own targets have them, the choice told in the truth."""

from __future__ import annotations

import numpy as np
import pytest

from data.body_models import load_body_arrays, open_body_model
from data.open_body import makehuman, phenotypes
from data.synthetic import wardrobe
from data.synthetic.adults import GENDERS, Adults, betas
from pipeline.skeletons import SMPLX55


@pytest.fixture(scope="module")
def arrays():
    return load_body_arrays(open_body_model())


def figure(arrays, shape):
    return arrays["v_template"] + arrays["shapedirs"][:, :, :10] @ shape


def made_by_targets(arrays, male, old):
    """The average figure (V, 3) of MakeHuman's own sliders."""
    half, third = np.full(1, 0.5), np.full((1, 3), 1 / 3)
    who = phenotypes.Adults(
        np.array([male]), np.array([old]), half, half, half, 1.1 * half, third, np.zeros((1, len(phenotypes.LOCAL)))
    )
    blend = {name: weight for name, weight in phenotypes.blend(who).items() if weight.any()}
    folder = makehuman.data_folder()
    targets = makehuman.read_targets(folder, list(blend), len(makehuman.read_base_mesh(folder).vertices))
    return np.einsum("k,kvc->vc", np.concatenate(list(blend.values())), targets)[arrays["troupe_base_vertices"]]


def test_gender_and_age_change_the_figure_as_makehumans_targets_do(arrays):
    # Arms aside: the targets are drawn with them held otherwise.
    trunk = arrays["weights"][:, [SMPLX55.index(j) for j in ("pelvis", "spine1", "spine2", "spine3", "neck", "head")]]
    trunk = trunk.sum(1) > 0.9
    for ours, theirs in (
        ((("male", 30.0), ("female", 30.0)), ((1.0, 5 / 65), (0.0, 5 / 65))),
        ((("female", 60.0), ("female", 25.0)), ((0.0, 35 / 65), (0.0, 0.0))),
        ((("male", 60.0), ("male", 25.0)), ((1.0, 35 / 65), (1.0, 0.0))),
    ):
        a, b = (figure(arrays, betas(*who))[trunk] for who in ours)
        c, d = (made_by_targets(arrays, *who)[trunk] for who in theirs)
        moved, expected = ((x - x.mean(0)).ravel() for x in (a - b, c - d))
        assert np.corrcoef(moved, expected)[0, 1] > 0.8
        assert 0.6 < np.linalg.norm(moved) / np.linalg.norm(expected) < 1.6


def test_women_and_men_are_as_tall_as_adults_are_and_differ_among_themselves(arrays):
    g = np.random.default_rng(0)
    heights = {}
    for gender in GENDERS:
        drawn = [Adults((gender,)).draw(g) for _ in range(60)]
        assert {d[0] for d in drawn} == {gender} and all(25 <= d[1] <= 70 for d in drawn)
        heights[gender] = [np.ptp(figure(arrays, d[2])[:, 1]) for d in drawn]
    assert np.mean(heights["female"]) == pytest.approx(1.62, abs=0.03)
    assert np.mean(heights["male"]) == pytest.approx(1.76, abs=0.03)
    assert all(0.03 < np.std(h) < 0.1 for h in heights.values())


def test_a_person_of_a_chosen_gender_and_age_is_the_same_whenever_asked_for():
    wanted = Adults(("male",), (60.0, 70.0))
    people = [wardrobe.person("train", k, adults=wanted) for k in range(30)]
    assert all(p.gender == "male" and 60 <= p.age <= 70 for p in people)
    assert repr(people[3]) == repr(wardrobe.person("train", 3, adults=wanted))
    assert len({p.betas.tobytes() for p in people}) == 30
    assert not {p.betas.tobytes() for p in people} & {
        wardrobe.person("test", k, adults=wanted).betas.tobytes() for k in range(30)
    }
    grey = np.mean([np.ptp(p.complexion.hair) < 0.05 and np.mean(p.complexion.hair) > 0.4 for p in people])
    assert grey > 0.4
    unasked = wardrobe.person("train", 3)
    assert unasked.gender is None and unasked.age is None


@pytest.mark.parametrize(
    "wrong", [{"genders": ()}, {"genders": ("child",)}, {"ages": (12.0, 40.0)}, {"ages": (60.0, 30.0)}]
)
def test_only_adults_can_be_asked_for(wrong):
    with pytest.raises(ValueError, match="genders are"):
        Adults(**wrong)
