"""Stage: the cameras of the session, checked, in one convention."""

from __future__ import annotations

import warnings
from pathlib import Path

from data.calibration.reader import read_calibration
from pipeline.cameras import Rig
from pipeline.config import NAME, Session
from pipeline.errors import InputError
from pipeline.rig_checks import check_rig
from tasks.execution import Context
from tasks.parts import Part


def input_files(session: Session, part: Part) -> dict[str, Path]:
    return {"calibration": session.resolve(session.config.capture.calibration)}


def read_rig(session: Session) -> Rig:
    """The configured cameras as the session's images show them.

    Raises:
        InputError: calibration that cannot be read, cameras that it lacks, or names that cannot be file names.
    """
    capture = session.config.capture
    path = session.resolve(capture.calibration)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what had to be assumed is a finding of ``check``, told once
        rig = read_calibration(
            path,
            capture.calibration_format,
            units=capture.units,
            up=capture.up,
            apply_viewrotation=capture.apply_viewrotation,
            size_of=lambda camera: _image_size(session, camera),
        )
    if capture.cameras is not None:
        for name in capture.cameras:
            if name not in rig.names:
                known = ", ".join(rig.names)
                raise InputError(
                    f"{session.path}: capture.cameras", f"{path} has no camera {name!r}", f"It has {known}"
                )
        rig = rig.subset(capture.cameras)
    for name in rig.names:
        if not NAME.fullmatch(name):
            raise InputError(path, f"camera name {name!r} cannot be a file name", "Use letters, digits, _ . and -")
    return rig if capture.undistort else rig.undistorted()


def _image_size(session: Session, camera: str) -> tuple[int, int]:
    from tasks.timeline import source_of

    if not session.has_images:
        raise InputError(
            session.resolve(session.config.capture.calibration),
            f"camera {camera}: the image size is not in the calibration and there are no images",
            "Add the image size to the calibration",
        )
    return source_of(session, camera).size


def compute(context: Context) -> None:
    rig = read_rig(context.session)
    for finding in check_rig(rig):
        print(f"{finding.severity}: {finding.camera or 'rig'}: {finding.message}. {finding.remedy}")
    context.writer.put_all(rig.to_arrays())
