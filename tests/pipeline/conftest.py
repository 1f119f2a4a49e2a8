"""What many tests of bodies share."""

import pytest


@pytest.fixture(scope="session")
def model():
    """The open body model, neutral."""
    from data.body_models import load_body_arrays, open_body_model
    from nets.body import BodyModel

    return BodyModel(load_body_arrays(open_body_model()))
