"""What the released DeepMultiCap network does differently from this project, and only that.

Key names of its files, its way of placing pixels in feature maps, the frame its body maps and volumes are in, its crops
and the axes of its cameras. Facts from its code, read and measured; see also ``presets``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from nets.checkpoints import CheckpointError, load_strictly, without_prefix
from nets.deepmulticap.inputs import CanonicalFrame, Crop, canonical_frame
from nets.deepmulticap.volumes import even_centres, inside_grid
from nets.meshes import vertex_normals

# --- checkpoints ----------------------------------------------------------------------------------------------------

PREFIX = "module."  # of torch's DataParallel

KEY_MAP = {
    "image_filter.conv1_n.": "coarse.sources.image.filter.conv1.",
    "image_filter.": "coarse.sources.image.filter.",
    "conv_filter3d.": "coarse.sources.volume.encoder.",
    "feature_fusion.": "coarse.decoder.fusion.",
    "surface_classifier.": "coarse.decoder.head.mlp.",
    "normal_filter_hr.conv1_nh.": "fine.sources.image.filter.conv1.",
    "normal_filter_hr.": "fine.sources.image.filter.",
    "feature_fusion_n.": "fine.decoder.fusion.",
    "fine_sc.": "fine.decoder.head.mlp.",
}
"""Beginnings of released keys and of ours; the first that fits counts."""

DROPPED = {
    r"normal_filter\..*": "a third filter that no forward pass runs",
    r"color_filter\..*": "a fourth filter that no forward pass runs",
    r"image_filter\.conv1\..*": "a stem without normal maps, not run",
    r"normal_filter_hr\.conv1_h\..*": "a stem without body normal maps, not run",
    r"conv_filter3d\.stage_d\..*": "a decoder stage that is not run",
    r"conv_filter3d\..*\.channel_net\..*": "a change of channels where none change, not run",
    r".*\.bn4\.(weight|bias)": "the same tensor as downsample.0, or unused where there is none",
    r"feature_fusion(_n)?\.position_enc\.pos_table": "a table of positions that is not added",
}
"""Released keys that are read and dropped, each with its reason. Any other unknown key is an error."""

COARSE_HEAD = "surface_classifier."


@dataclass(frozen=True)
class Released:
    """What loading a released file found.

    Attributes:
        dropped: its keys that no forward pass uses.
        coarse_head: whether the file has the coarse level's own head; fine occupancy does not need it.
    """

    dropped: tuple[str, ...]
    coarse_head: bool


def released_state(state: Mapping[str, Tensor], where: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """A released network's tensors under our names, and the keys that were dropped.

    Raises:
        CheckpointError: for a key that is neither used nor known as unused.
    """
    out, dropped, unknown = {}, [], []
    for key, value in without_prefix(state, PREFIX).items():
        if any(re.fullmatch(pattern, key) for pattern in DROPPED):
            dropped.append(key)
            continue
        start = next((s for s in KEY_MAP if key.startswith(s)), None)
        if start is None:
            unknown.append(key)
            continue
        # Heads are 1x1 convolutions there and linear layers here.
        is_head = start in (COARSE_HEAD, "fine_sc.") and value.ndim == 3 and value.shape[-1] == 1
        out[KEY_MAP[start] + key.removeprefix(start)] = value[..., 0] if is_head else value
    if unknown:
        raise CheckpointError(
            where, f"keys that the released network does not have: {_some(unknown)}", "Give its netG file"
        )
    return out, tuple(dropped)


def released_name(ours: str) -> str:
    """The released key of one of our parameter names."""
    start = next(theirs for theirs, mine in KEY_MAP.items() if ours.startswith(mine))
    return start + ours.removeprefix(KEY_MAP[start])


def load_released(network: nn.Module, state: Mapping[str, Tensor], where: str) -> Released:
    """Load a released ``netG`` state dict into the network of preset "released".

    Raises:
        CheckpointError: naming used keys that are missing, unknown keys, or a tensor of the wrong shape.
    """
    ours, dropped = released_state(state, where)
    head = KEY_MAP[COARSE_HEAD]
    has_head = any(key.startswith(head) for key in ours)
    if not has_head:
        fresh = network.state_dict()
        ours |= {key: value for key, value in fresh.items() if key.startswith(head)}
    load_strictly(network, ours, where, name=released_name)
    return Released(dropped, has_head)


def load_released_normals(network: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load a released ``netN`` state dict into ``nets.normals.NormalNetwork()``; its names are ours."""
    load_strictly(network, without_prefix(state, PREFIX), where)


def _some(keys: list[str], most: int = 5) -> str:
    rest = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(sorted(keys)[:most]) + rest


# --- pixels ---------------------------------------------------------------------------------------------------------


class ReleasedPixels(nn.Module):
    """Pixel 0 is the first feature and pixel ``size`` the last: up to half a feature off at the borders."""

    align_corners = True

    def forward(self, pixels: Tensor, size: int) -> Tensor:
        return (pixels - size / 2) / (size / 2)


# --- the body's frame, maps and volume ------------------------------------------------------------------------------


def released_frame(vertices: np.ndarray, forward: np.ndarray, up: np.ndarray) -> CanonicalFrame:
    """The canonical frame of released weights: as ours, but the body faces -z."""
    return canonical_frame(vertices, -np.asarray(forward), up)


def chest_heading(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(3,) unit direction that a mesh faces, from faces (F, 3) of a patch on its chest: their mean outward normal."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a).sum(0)
    return normal / np.linalg.norm(normal)


def released_vertex_normals(vertices: np.ndarray, faces: np.ndarray, frame: CanonicalFrame) -> np.ndarray:
    """(V, 3) what released global normal maps show: INWARD vertex normals in the released frame."""
    return -frame.directions(vertex_normals(vertices, faces))


def released_volume(vertices: np.ndarray, faces: np.ndarray, resolution: int = 128) -> np.ndarray:
    """Even voxels (1, R/2, R/2, R/2) float32 as released weights know them: voxels inside, and those the skin touches.

    Args:
        vertices: (V, 3) in the released canonical frame.
    """
    solid = inside_grid(vertices, faces, even_centres(resolution))
    touched = _touched(vertices[faces], resolution)[::2, ::2, ::2]
    return (solid | touched)[None].astype(np.float32)


def _touched(triangles: np.ndarray, resolution: int) -> np.ndarray:
    """(R, R, R) bool: voxels of the cube -0.5..0.5 that triangles (F, 3, 3), finely sampled, touch."""
    grid = np.zeros((resolution,) * 3, bool)
    corners = (triangles + 0.5) * resolution
    longest = np.linalg.norm(corners - np.roll(corners, 1, 1), axis=-1).max(1)
    steps = np.maximum(np.ceil(longest * 3).astype(int), 1)
    for n in np.unique(steps):
        i, j = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
        weights = np.stack([i, j, n - i - j], -1)[i + j <= n] / n
        cells = np.floor(np.einsum("pk,fkd->fpd", weights, corners[steps == n])).astype(int).reshape(-1, 3)
        cells = cells[((cells >= 0) & (cells < resolution)).all(-1)]
        grid[tuple(cells.T)] = True
    return grid


# --- images and cameras ---------------------------------------------------------------------------------------------


def released_crop(mask: np.ndarray, size: int = 512) -> Crop | None:
    """The square that released weights see: the mask drawn in by 5 pixels, 50 pixels above and below, centred across.

    Args:
        mask: (H, W) non-zero on the person. None is returned for a mask that vanishes when drawn in.
    """
    drawn_in = np.asarray(mask) > 0
    for axis in (0, 1):
        padded = np.pad(drawn_in, [(5, 5) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
        drawn_in = np.lib.stride_tricks.sliding_window_view(padded, 11, axis).all(-1)
    rows, columns = np.nonzero(drawn_in.any(1))[0], np.nonzero(drawn_in.any(0))[0]
    if not len(rows):
        return None
    top, side = int(rows[0]) - 50, int(rows[-1] - rows[0]) + 100
    left = np.rint((columns[0] + columns[-1]) / 2 - side / 2)
    return Crop(int(left), top, side, size)


def opencv_intrinsics(K: np.ndarray, height: int = 512) -> np.ndarray:
    """The OpenCV matrix of a stored camera, whose image rows count upwards from the bottom: rows become height - y."""
    out = np.array(K, np.float64)
    out[1] *= -1
    out[1, 2] += height
    return out
