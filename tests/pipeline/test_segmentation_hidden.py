"""What a thing hides of a body, told from the pixels where the body is and nobody is seen."""

import numpy as np
import pytest

from pipeline.segmentation.contest import AROUND_M, hidden_by_things

PIXELS_PER_METRE = 200.0


def strip(width_m):
    missing = np.zeros((200, 120), bool)
    half = round(width_m * PIXELS_PER_METRE / 2)
    missing[60:160, 60 - half : 60 + half] = True
    return missing


def test_a_leg_behind_a_thing_is_hidden_and_so_is_what_is_round_it():
    leg = strip(0.09)
    hidden = hidden_by_things(leg, PIXELS_PER_METRE)
    assert hidden[65:155][leg[65:155]].all()
    columns = np.nonzero(hidden[110])[0]
    assert (np.ptp(columns) + 1) / PIXELS_PER_METRE == pytest.approx(0.09 + 2 * AROUND_M, abs=0.02)


def test_what_a_fit_may_be_off_by_is_not_hidden():
    assert not hidden_by_things(strip(0.04), PIXELS_PER_METRE).any()
    assert not hidden_by_things(np.zeros((50, 50), bool), PIXELS_PER_METRE).any()
