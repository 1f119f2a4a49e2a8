"""The example configurations are what a user copies: they load, and they say what is true."""

from pathlib import Path

import pytest
import yaml

from pipeline.config import SessionConfig, StillsConfig, load_session

CONFIGS = Path(__file__).parent.parent.parent / "configs"
SESSIONS = [p for p in (*CONFIGS.glob("*.yaml"), *CONFIGS.glob("real/*.yaml")) if p.name != "synthesize.example.yaml"]
"""That one is another verb's; tests/tasks/test_synthesize.py loads it."""


@pytest.mark.parametrize("path", sorted(SESSIONS), ids=lambda p: p.name)
def test_it_loads(path):
    load_session(path)


def test_the_example_shows_every_field_at_its_default():
    example = yaml.safe_load((CONFIGS / "capture.example.yaml").read_text())
    config = load_session(CONFIGS / "capture.example.yaml").config
    assert example["notify"] == config.notify == []
    assert example["stills"] is None
    only_shown_commented = {"images", "offsets", "detections", "model", "parameters"}
    for section in set(SessionConfig.model_fields) - {"session", "output", "notify", "stills"}:
        model = getattr(config, section)
        fields = type(model).model_fields
        assert set(fields) - only_shown_commented == set(example[section]) - only_shown_commented, section
        for name, field in fields.items():
            if not field.is_required() and name in example[section] and name not in ("videos",):
                assert getattr(model, name) == field.default, f"{section}.{name}"


def test_the_stills_example_shows_every_field_at_its_default():
    example = yaml.safe_load((CONFIGS / "stills.example.yaml").read_text())["stills"]
    config = load_session(CONFIGS / "stills.example.yaml").config.stills
    assert set(example) == set(StillsConfig.model_fields)
    for name, field in StillsConfig.model_fields.items():
        assert field.is_required() or getattr(config, name) == field.default, name
