"""Stage: the cameras of the session, checked, in one convention."""

from __future__ import annotations

import warnings
from pathlib import Path

from data.calibration.fields import CalibrationWarning
from data.calibration.reader import read_calibration
from pipeline.cameras import Rig
from pipeline.config import NAME, Session
from pipeline.errors import InputError
from pipeline.rig_checks import Finding, check_rig, fit_to_images
from tasks.execution import Context
from tasks.keys import FileDigests
from tasks.media import media_path, source_of
from tasks.parts import Part


def input_files(session: Session, part: Part) -> dict[str, Path]:
    return {"calibration": session.resolve(session.config.capture.calibration)}


def digests(session: Session, files: FileDigests) -> dict[str, str]:
    """The sizes of the images: cameras are fitted to images that were scaled or turned after the calibration."""
    if not session.has_images:
        return {}
    return {
        f"image size of {name}": files.derived(
            media_path(session, name), "size", lambda name=name: "x".join(map(str, source_of(session, name).size))
        )
        for name in calibrated_rig(session).names
    }


def calibrated_rig(session: Session) -> Rig:
    """The configured cameras as the calibration has them. What had to be assumed is told by ``session_rig``.

    Raises:
        InputError: calibration that cannot be read, cameras that it lacks, or names that cannot be file names.
    """
    return _calibrated_rig(session)[0]


def _calibrated_rig(session: Session) -> tuple[Rig, list[Finding]]:
    """The same, with what had to be assumed."""
    with warnings.catch_warnings(record=True) as assumed:
        warnings.simplefilter("always")
        rig = _configured_cameras(session)
    told = (str(w.message).rpartition(". ") for w in assumed if issubclass(w.category, CalibrationWarning))
    return rig, [Finding("warning", None, message, remedy) for message, _, remedy in told]


def _configured_cameras(session: Session) -> Rig:
    capture = session.config.capture
    path = session.resolve(capture.calibration)
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


def session_rig(session: Session) -> tuple[Rig, list[Finding]]:
    """The cameras as the session's images show them, and what was assumed or is doubtful.

    Raises:
        InputError: as ``calibrated_rig``, or a recording that cannot be opened.
    """
    rig, found = _calibrated_rig(session)
    if session.has_images:
        rig, fitted = fit_to_images(rig, {name: tuple(source_of(session, name).size) for name in rig.names})
        found += fitted
    return rig, found + check_rig(rig)


def _image_size(session: Session, camera: str) -> tuple[int, int]:
    if not session.has_images:
        raise InputError(
            session.resolve(session.config.capture.calibration),
            f"camera {camera}: the image size is not in the calibration and there are no images",
            "Add the image size to the calibration",
        )
    return tuple(source_of(session, camera).size)


def compute(context: Context) -> None:
    rig, found = session_rig(context.session)
    for finding in found:
        print(f"{finding.severity}: {finding.camera or 'rig'}: {finding.message}. {finding.remedy}")
    context.writer.put_all(rig.to_arrays())
