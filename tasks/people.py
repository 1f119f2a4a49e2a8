"""What export, overlays and the report read: everybody's tracks and bodies, as far as they are there."""

from __future__ import annotations

from pipeline.association.tracks import Tracks
from pipeline.body.parameters import BodyTrack
from tasks.execution import Context


def tracks_of(context: Context) -> dict[int, Tracks]:
    """Person id -> their track."""
    return {p.person: Tracks.from_arrays(context.open(p).arrays()) for p in context.parts("identities")}


def bodies_of(context: Context) -> dict[int, BodyTrack]:
    """Person id -> their fitted body."""
    return {p.person: BodyTrack.from_arrays(context.open(p).arrays()) for p in context.parts("bodies")}
