"""What was found, drawn over what was filmed: one video a camera, for a first look at a session."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np

from pipeline.association.tracks import Tracks
from pipeline.cameras import Camera
from pipeline.files import atomic_path
from pipeline.keypoints.detections import Detections
from pipeline.meshes.colours import person_colour
from pipeline.quality.drawing import (
    NOBODY,
    Mesh,
    View,
    draw_bodies,
    draw_limbs,
    draw_masks,
    draw_person,
    draw_residuals,
    draw_tag,
)
from pipeline.raster import Raster
from pipeline.raster_open3d import Open3DRaster
from pipeline.segmentation.masks import Masks
from pipeline.video_encoding import use_reproducible_h264


@dataclass
class Overlay:
    """Draws one camera's frames. Layers that are None are left out.

    Thin lines and dots are detections: in the colour of the person they were given to, grey if nobody's. Thick limbs
    are the projected 3D skeletons, left side lighter and right side darker, with rings for joints nobody observed in
    that frame. Red lines join a detected joint with its projection where they are further apart than
    ``residual_px``. Bodies are shaded and outlined.

    Attributes:
        camera: of the undistorted images.
        detections: of this camera.
        tracks: everybody's (``pipeline.export.people.merged_tracks``).
        camera_index: which of the cameras in ``tracks`` this is.
        bodies: person id -> (vertices, faces) of a frame number.
        masks: of a chunk that holds the frames drawn; people's pixels are tinted, where they are hidden is hatched.
        fps: frame numbers a second, for the time in the label.
        scale: size of the picture against the image.
        residual_px: in pixels of the image.
        opacity: of bodies.
    """

    camera: Camera
    detections: Detections | None = None
    tracks: Tracks | None = None
    camera_index: int = 0
    bodies: Callable[[int], Mapping[int, Mesh]] | None = None
    masks: Masks | None = None
    fps: float | None = None
    scale: float = 0.5
    residual_px: float = 20.0
    opacity: float = 0.5
    raster: Raster = field(default_factory=lambda: Open3DRaster(threads=1))  # sessions run a camera a process

    @cached_property
    def view(self) -> View:
        return View.at_scale(self.camera, self.scale)

    def draw(self, image: np.ndarray | None, frame: int) -> np.ndarray:
        """A picture (H, W, 3) RGB of frame number ``frame``; ``image`` is this camera's, or None for a dark ground."""
        picture = self.view.resized(image)
        if self.bodies is not None:
            draw_bodies(picture, self.view, self.bodies(frame), self.raster, self.opacity)
        if self.masks is not None:
            self._draw_masks(picture, frame)
        row = _row(self.tracks, frame)
        if self.detections is not None:
            self._draw_detections(picture, frame, row)
        if row is not None:
            self._draw_tracks(picture, row)
        time = "" if self.fps is None else f"  {frame / self.fps:.2f} s"
        unit = self.view.unit
        draw_tag(picture, f"{self.camera.name}  frame {frame}{time}", (0, 0), unit)
        return picture

    def _draw_masks(self, picture: np.ndarray, frame: int) -> None:
        masks, name = self.masks, self.camera.name
        if name in masks.cameras and frame in masks.frames:
            hidden = {p: masks.hidden(name, frame, p) for p in masks.people}
            draw_masks(picture, masks.labels(name, frame), hidden, masks.people, self.opacity)

    def _draw_detections(self, picture: np.ndarray, frame: int, row: int | None) -> None:
        found = _row(self.detections, frame)
        if found is None:
            return
        owners = {} if row is None else self._owners(row)
        unit = self.view.unit
        for i in range(*self.detections.instances(found).indices(len(self.detections.keypoints))):
            points = np.where(self.detections.scores[i][:, None] > 0, self.detections.keypoints[i], np.nan)
            colour = person_colour(owners[i]) if i in owners else NOBODY
            draw_limbs(picture, self.view.points(points), self.detections.joints, colour, thickness=unit,
                       radius=2.2 * unit)

    def _owners(self, row: int) -> dict[int, int]:
        """Row of an instance in ``detections`` -> person id."""
        instances = self.tracks.instances[row, :, self.camera_index]
        return {int(i): int(p) for i, p in zip(instances, self.tracks.person_ids, strict=True) if i >= 0}

    def _draw_tracks(self, picture: np.ndarray, row: int) -> None:
        tracks, c = self.tracks, self.camera_index
        for p in np.flatnonzero(np.isfinite(tracks.joints[row, :, :, 0]).any(-1)).tolist():
            joints = tracks.joints[row, p]
            far = tracks.residuals[row, p, c] > self.residual_px
            draw_person(picture, self.view, int(tracks.person_ids[p]), joints, tracks.confidence[row, p])
            if far.any():
                detected = self.view.points(tracks.keypoints[row, p, c][far])
                draw_residuals(picture, detected, self.view.drawn.project(joints[far]), self.view.unit)


def write_overlay_video(path: Path, pictures: Iterable[np.ndarray], fps: float, *, quality: int = 23) -> int:
    """Write pictures (H, W, 3) RGB as an H.264 MP4 that plays anywhere and starts before it is loaded.

    Odd sizes are padded by a row or column, as the format needs even ones.

    Args:
        path: the file; it appears when it is complete.
        pictures: at least one, all of one size.
        fps: pictures a second.
        quality: x264's constant rate factor; less is better and larger.

    Returns:
        the number of pictures.

    Raises:
        ValueError: no picture, or one of another size.
    """
    import av

    count = 0
    with (
        atomic_path(path) as temporary,
        av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"}) as container,
    ):
        for picture in pictures:
            if not count:
                shape = picture.shape
                stream = _stream(container, shape, fps, quality)
            elif picture.shape != shape:
                raise ValueError(f"picture {count} is {picture.shape}, the first is {shape}")
            container.mux(stream.encode(_video_frame(picture)))
            count += 1
        if not count:
            raise ValueError(f"no pictures for {path}")
        container.mux(stream.encode(None))
    return count


def _stream(container, shape: tuple[int, ...], fps: float, quality: int):
    stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
    stream.height, stream.width = ((n + 1) // 2 * 2 for n in shape[:2])
    use_reproducible_h264(stream, quality)
    stream.codec_context.colorspace = stream.codec_context.color_primaries = stream.codec_context.color_trc = _BT709
    stream.codec_context.color_range = 1  # limited, as every player assumes
    return stream


def _video_frame(picture: np.ndarray):
    import av

    height, width = picture.shape[:2]
    if height % 2 or width % 2:
        picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    return frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")


def _row(part: Tracks | Detections | None, frame: int) -> int | None:
    if part is None:
        return None
    row = int(np.searchsorted(part.frames, frame))
    return row if row < len(part.frames) and part.frames[row] == frame else None


_BT709 = 1
