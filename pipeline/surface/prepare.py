"""One person in one frame as a surface network reads it: crops, masks, body maps and volume, in a compact form.

The same function serves the stage and whoever brings images, masks, cameras and bodies of their own. Images are kept at
eight bits (a normal's component is off by 0.004 at most, depth by 0.03 mm), so that what is stored and what is computed
with are one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from nets.deepmulticap import compat, inputs, presets, volumes
from nets.deepmulticap.inputs import CanonicalFrame, Crop, SurfaceInputs
from nets.meshes import vertex_normals
from nets.normals import NormalNetwork, predict_normals
from pipeline.cameras import Camera
from pipeline.raster import Raster, RasterResult, Window, projected_window
from pipeline.surface.band import Silhouettes
from pipeline.surface.network_level import sixteen_bits

NO_VIEW, NO_MASK, ONE_VIEW = "no_view", "no_mask", "one_view"
LEAST_MISSING = 0.025
"""Metres: half the width of the thinnest part of a body whose absence from a mask is the mask's error."""
_DEPTH_STEPS = 65534.0
_DEPTH_RANGE = 2.0  # canonical units; a body is at most 1 across


@dataclass(frozen=True)
class View:
    """A person in an image without lens distortion.

    Attributes:
        camera: pinhole, of the image.
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) bool, the person's own pixels.
        blocked: (H, W) bool, where someone or something else may be in front; None where nothing is.
    """

    camera: Camera
    image: np.ndarray
    mask: np.ndarray
    blocked: np.ndarray | None = None


@dataclass(frozen=True)
class Body:
    """A posed body mesh.

    Attributes:
        vertices: (V, 3) float64 metres, world. faces: (F, 3) int, counter-clockwise seen from outside.
        forward: (3,) direction that it faces. up: (3,) of the world.
        codes: (V, 3) where on the body each vertex is (``volumes.semantic_codes``), for networks that read it.
    """

    vertices: np.ndarray
    faces: np.ndarray
    forward: np.ndarray
    up: np.ndarray
    codes: np.ndarray | None = None


@dataclass(frozen=True)
class Prepared:
    """What a network reads of one person in one frame: V views, crops of S pixels.

    Attributes:
        cameras: names of the views.
        projection: (V, 3, 4) float64, world to crop pixels.
        frame: the body's canonical frame, as the network knows it.
        rgb: (V, S, S, 3) uint8, of the whole crop. mask: (V, S, S) uint8, 255 on the person.
        blocked: (V, S, S) bool, where a view cannot say that nothing is there.
        volume: (C, R, R, R) uint8, even voxels of the body volume, 255 for one; (0, 0, 0, 0) where nobody reads it.
        global_normals, normals: (V, S, S, 3) uint8, -1 to 1 as 1 to 255; None where not there.
        depth: (V, S, S) uint16 of the body, 0 off it; None where not there.
    """

    cameras: tuple[str, ...]
    projection: np.ndarray
    frame: CanonicalFrame
    rgb: np.ndarray
    mask: np.ndarray
    blocked: np.ndarray
    volume: np.ndarray
    global_normals: np.ndarray | None = None
    normals: np.ndarray | None = None
    depth: np.ndarray | None = None

    @property
    def size(self) -> int:
        return self.rgb.shape[1]

    def soft_masks(self) -> Tensor:
        """(1, V, S, S) in 0..1."""
        return torch.from_numpy(self.mask)[None].float() / 255

    def masked_rgb(self) -> Tensor:
        """(1, V, 3, S, S) in -1..1, 0 off the person."""
        return inputs.masked_rgb(_channels_first(self.rgb).float(), self.soft_masks()[:, :, None])

    def blocked_pixels(self) -> Tensor:
        """(1, V, S, S) bool."""
        return torch.from_numpy(self.blocked)[None]

    def to_inputs(self, of: presets.Preset) -> SurfaceInputs:
        """Batch of one, on the CPU. Maps that are not there are left out; the network names what it misses."""
        maps: dict[str, Tensor] = {"rgb": self.masked_rgb()} if presets.RGB in of.inputs else {}
        for name in (presets.NORMALS, presets.GLOBAL_NORMALS):
            if name in of.inputs and (stored := getattr(self, name)) is not None:
                maps[name] = _from_bytes(stored)
        if presets.MASK in of.inputs:
            maps["mask"] = inputs.mask_map(self.soft_masks(), self.blocked_pixels())[0][:, :, None]
        if presets.BODY_DEPTH in of.inputs and self.depth is not None:
            maps["body_depth"] = _depth_from_steps(self.depth)
        if self.volume.size:
            maps["volume"] = torch.from_numpy(self.volume)[None].float() / 255
        f = self.frame
        return SurfaceInputs(
            size=self.size,
            projection=torch.from_numpy(self.projection).float()[None],
            rotation=torch.from_numpy(f.rotation).float()[None],
            centre=torch.from_numpy(f.centre).float()[None],
            scale=torch.tensor([f.scale], dtype=torch.float32),
            **maps,
        )

    def silhouettes(self, margin: float = 8.0) -> Silhouettes:
        """The masks as what carves the visual hull; ``margin`` in pixels of the crops."""
        return Silhouettes(self.projection, list(self.mask > 127), list(self.blocked), margin)


def prepare(
    views: Sequence[View], body: Body, of: presets.Preset, raster: Raster, *, fewest_views: int = 1
) -> Prepared | str:
    """All but the predicted normals, or a word why there is nothing to prepare: "no_mask" (the person is in no mask),
    "no_view" (the body is outside all views), "one_view" (fewer than ``fewest_views`` see the person).

    Views whose mask is empty are left out: the network shall not take them for views in which nobody is.
    """
    released = of.sampling == "released"
    frame = (compat.released_frame if released else inputs.canonical_frame)(body.vertices, body.forward, body.up)
    pixels = [v.camera.project(body.vertices) for v in views]
    in_view = [_inside(p, v.camera.size).any() for p, v in zip(pixels, views, strict=True)]
    if not any(in_view):
        return NO_VIEW
    seen = [k for k, v in enumerate(views) if in_view[k] and np.any(v.mask)]
    seen = sorted(sorted(seen, key=lambda k: -int(views[k].mask.sum()))[: inputs.MOST_VIEWS])
    crops = {k: _crop(views[k], pixels[k], of.image_size, released) for k in seen}
    seen = [k for k in seen if crops[k] is not None]
    if not seen:
        return NO_MASK
    if len(seen) < fewest_views:
        return ONE_VIEW
    images = [_cropped(views[k], crops[k]) for k in seen]
    cameras = [_crop_camera(views[k].camera, crops[k]) for k in seen]
    maps = _body_maps(body, frame, cameras, raster, released) if _reads_body_maps(of) else {}
    if maps and not released:
        radii = [LEAST_MISSING * _pixels_a_metre(c, frame) for c in cameras]
        images = [
            (rgb, mask, blocked | _missing_from_mask(depth > 0, mask, blocked, radius))
            for (rgb, mask, blocked), depth, radius in zip(images, maps["depth"], radii, strict=True)
        ]
    return Prepared(
        cameras=tuple(c.name for c in cameras),
        projection=np.stack([c.P for c in cameras]),
        frame=frame,
        rgb=np.stack([rgb for rgb, _, _ in images]),
        mask=np.stack([mask for _, mask, _ in images]),
        blocked=np.stack([blocked for _, _, blocked in images]),
        volume=_volume(body, frame, of, released),
        **maps,
    )


@torch.no_grad()
def with_normals(prepared: Prepared, network: NormalNetwork, device: torch.device | str = "cpu") -> Prepared:
    """With the normals that ``network`` (on ``device``) sees, a view at a time."""
    rgb, masks = prepared.masked_rgb(), prepared.soft_masks()
    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=sixteen_bits(device)):
        found = [
            predict_normals(network, rgb[:, v : v + 1].to(device), masks[:, v : v + 1].to(device)).float().cpu()
            for v in range(len(prepared.cameras))
        ]
    return replace(prepared, normals=to_bytes(torch.cat(found, 1)[0].permute(0, 2, 3, 1).numpy()))


def _reads_body_maps(of: presets.Preset) -> bool:
    return bool(of.inputs & {presets.GLOBAL_NORMALS, presets.BODY_DEPTH})


def _inside(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return (pixels > -0.5).all(-1) & (pixels < np.array(size) - 0.5).all(-1)


def _crop(view: View, pixels: np.ndarray, size: int, released: bool) -> Crop | None:
    return compat.released_crop(view.mask, size) if released else inputs.crop_around(view.mask, size, pixels)


def _crop_camera(camera: Camera, crop: Crop) -> Camera:
    return replace(camera, size=(crop.size, crop.size), K=crop.intrinsics(camera.K))


def _cropped(view: View, crop: Crop) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """rgb (S, S, 3) uint8, mask (S, S) uint8, blocked (S, S) bool: what lies off the image cannot be told either."""
    rgb = crop.resized(view.image).permute(1, 2, 0).numpy()
    soft = crop.resized(view.mask.astype(np.float32))[0].numpy()
    known = np.ones(view.mask.shape, np.float32) if view.blocked is None else (~view.blocked).astype(np.float32)
    told = crop.resized(known)[0].numpy()
    return _byte(rgb), _byte(255 * soft), (told < 0.5) & (soft < 0.5)


def _pixels_a_metre(camera: Camera, frame: CanonicalFrame) -> float:
    """At the body's distance."""
    return float(abs(camera.K[0, 0]) / max(camera.to_camera(frame.centre)[2], 1e-3))


def _missing_from_mask(body: np.ndarray, mask: np.ndarray, blocked: np.ndarray, radius: float) -> np.ndarray:
    """(S, S) bool: where so much of the projected body is off the mask that the mask has lost a limb there, rather than
    the body lying a little off: such pixels cannot say that nothing is there.

    Args:
        body, blocked: (S, S) bool. mask: (S, S) uint8. radius: pixels; thinner strips are the body's own error.
    """
    size = max(round(2 * radius), 3)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    lost = cv2.morphologyEx((body & (mask < 128) & ~blocked).astype(np.uint8), cv2.MORPH_OPEN, kernel)
    return (cv2.dilate(lost, kernel) > 0) & (mask < 128)


def _byte(values: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def _body_maps(
    body: Body, frame: CanonicalFrame, cameras: Sequence[Camera], raster: Raster, released: bool
) -> dict[str, np.ndarray]:
    """Global normals and depth of the body in the crops."""
    if released:
        values = compat.released_vertex_normals(body.vertices, body.faces, frame)
    else:
        values = frame.directions(vertex_normals(body.vertices, body.faces))
    windows = [projected_window(c, body.vertices) for c in cameras]
    results = raster.render_views(body.vertices, body.faces, cameras, windows=windows)
    normals, depths = [], []
    for camera, window, found in zip(cameras, windows, results, strict=True):
        S = camera.size[0]
        normal, depth = np.zeros((S, S, 3), np.float32), np.full((S, S), np.inf, np.float32)
        if window is not None:
            x0, y0, x1, y1 = window
            hit = found.hit & _from_outside(found, camera, window)
            of_pixels = inputs.global_normal_map(found.interpolate(body.faces, values, 0.0), hit)
            normal[y0:y1, x0:x1] = of_pixels.permute(1, 2, 0).numpy()
            depth[y0:y1, x0:x1] = np.where(hit, found.depth, np.inf)
        normals.append(normal)
        depths.append(depth_to_steps(depth, float(camera.to_camera(frame.centre)[2]), frame.scale))
    return {"global_normals": to_bytes(np.stack(normals)), "depth": np.stack(depths)}


def _from_outside(found: RasterResult, camera: Camera, window: Window) -> np.ndarray:
    """Where rays meet a face from its outside. Those that slip in through a hole of the mesh see its inside."""
    x0, y0, x1, y1 = window
    rays = camera.rays(np.stack(np.meshgrid(np.arange(x0, x1), np.arange(y0, y1)), -1))
    return (found.normal * rays).sum(-1) < 0


def _volume(body: Body, frame: CanonicalFrame, of: presets.Preset, released: bool) -> np.ndarray:
    options = next((level.volume for level in of.levels if level.volume is not None), None)
    if options is None and of.residual is not None:
        options = presets.VolumeOptions()  # no feature of the network, but it tells what is deep inside
    if options is None:
        return np.zeros((0, 0, 0, 0), np.uint8)
    vertices = frame.to_canonical(body.vertices)
    if released:
        found = compat.released_volume(vertices, body.faces, options.resolution)
    elif options.kind == "occupancy":
        found = volumes.body_occupancy(vertices, body.faces, options.resolution).numpy()
    elif body.codes is None:
        raise ValueError(f"network {of.name!r} reads where on the body places are, and the body does not say it")
    else:
        found = volumes.body_semantics(vertices, body.faces, body.codes, options.resolution).numpy()
    return _byte(255 * found)


# --- bytes ----------------------------------------------------------------------------------------------------------


def _channels_first(images: np.ndarray) -> Tensor:
    """(V, S, S, C) to (1, V, C, S, S)."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)[None]


def to_bytes(values: np.ndarray) -> np.ndarray:
    """-1..1 to 1..255; exactly 0 comes back as 0."""
    return np.rint(np.clip(values, -1, 1) * 127 + 128).astype(np.uint8)


def _from_bytes(stored: np.ndarray) -> Tensor:
    return (_channels_first(stored).float() - 128) / 127


def depth_to_steps(depth: np.ndarray, centre: float, scale: float) -> np.ndarray:
    hit = np.isfinite(depth)
    relative = np.where(hit, (np.where(hit, depth, 0) - centre) * scale, 0)
    steps = np.clip((relative + _DEPTH_RANGE / 2) / _DEPTH_RANGE, 0, 1) * _DEPTH_STEPS
    return np.where(hit, 1 + np.rint(steps), 0).astype(np.uint16)


def _depth_from_steps(stored: np.ndarray) -> Tensor:
    """(1, V, 2, S, S) as ``inputs.body_depth_map`` makes it."""
    hit = stored > 0
    relative = np.where(hit, (stored.astype(np.float32) - 1) / _DEPTH_STEPS * _DEPTH_RANGE - _DEPTH_RANGE / 2, 0)
    return torch.from_numpy(np.stack([relative, hit], 1).astype(np.float32))[None]
