"""Stage: an SMPL-X body fitted to one person's whole track."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from data.body_models import licensed_body_model, load_body_arrays, open_body_model
from data.open_body.recipe import recipe
from pipeline.association.tracks import Tracks
from pipeline.config import Session
from tasks.execution import Context
from tasks.keys import FileDigests
from tasks.parts import Part


def model_path(session: Session) -> Path:
    """The body model's file: the open one (built on first use), or the user's."""
    config = session.config.body
    if config.model == "open":
        return open_body_model(config.gender)
    return licensed_body_model(session.resolve(config.model), config.gender)


def input_files(session: Session, part: Part) -> dict[str, Path]:
    config = session.config.body
    if config.model == "open":
        return {}
    return {"body model": licensed_body_model(session.resolve(config.model), config.gender)}


def digests(session: Session, files: FileDigests) -> dict[str, str]:
    """The open model is known by its recipe, without building it."""
    config = session.config.body
    if config.model != "open":
        return {}
    return {"body model": hashlib.sha256(recipe(config.gender).encode()).hexdigest()}


def load_model(session: Session):
    """The session's ``nets.body.BodyModel``."""
    from nets.body import BodyModel

    return BodyModel(load_body_arrays(model_path(session)))


def compute(context: Context) -> None:
    from pipeline.body.fit import fit_track
    from pipeline.body.options import FitOptions

    person = context.input("identities")
    tracks = Tracks.from_arrays(person.arrays())
    options = FitOptions(
        fps=context.input("timeline").attribute("fps"),
        max_fit_error_m=context.session.config.body.max_residual_m,
        landmarks=person.attribute("joint_set"),
    )
    body = fit_track(load_model(context.session), context.rig(), tracks, options, context.progress)
    context.writer.put_all(body.to_arrays())
    error = np.nanmedian(body.fit_error_m) if np.isfinite(body.fit_error_m).any() else np.nan
    print(f"{int(body.valid.sum())} of {len(body.frames)} frames valid, median joint distance {1000 * error:.1f} mm")
