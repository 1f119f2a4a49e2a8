"""Everybody in an image: tiles through the network, bodies into the image's own camera, doubles removed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch

from nets.body import BodyModel
from nets.geometry import axis_angle_from_matrix, swing_between
from nets.mili.camera import translation
from nets.mili.network import Found, MiliNetwork, ProposalOptions, normalise
from pipeline.body.regressor import Regressor, regress
from pipeline.stills.people import StillCamera, StillPeople
from pipeline.stills.tiles import Tile, TileOptions, is_plain, tiles

_BODY = 22


@dataclass(frozen=True)
class FindOptions:
    """How people are looked for.

    Attributes:
        threshold: least score of a person.
        overlap: boxes that share more of their union are one person; ``inside``: or more of the smaller one.
        resolution: branch of the network: "low", "high", or "auto": low where an image had to be enlarged.
        batch: tiles looked at at a time.
        most_people: in an image.
        proposals: of a tile, of which the network says whether they are people.
    """

    threshold: float = 0.5
    overlap: float = 0.5
    inside: float = 0.8
    resolution: str = "auto"
    batch: int = 4
    most_people: int = 500
    proposals: int = 1000
    tiles: TileOptions = field(default_factory=TileOptions)


@dataclass(frozen=True)
class _Seen:
    """People of one tile: boxes (N, 4) in the image, scores less what they lose where the tile cuts them."""

    tile: Tile
    found: Found
    boxes: np.ndarray
    scores: np.ndarray


def find_people(
    image: np.ndarray,
    network: MiliNetwork,
    model: BodyModel,
    regressor: Regressor,
    options: FindOptions,
    focal: float | None = None,
    progress: Callable[[float], None] | None = None,
) -> StillPeople:
    """People in an RGB image (H, W, 3) uint8.

    Args:
        focal: pixels, if the camera is known.
    """
    size = (image.shape[1], image.shape[0])
    camera = StillCamera.of(size, focal, network.options.focal / network.options.canvas[0])
    kept = _everybody(image, network, options, progress)
    if not kept:
        return StillPeople.nobody(size, camera)
    return _people(kept, camera, size, network, model, regressor)


def find_boxes(
    image: np.ndarray,
    network: MiliNetwork,
    options: FindOptions,
    progress: Callable[[float], None] | None = None,
) -> np.ndarray:
    """(N, 4) boxes of the people whom ``find_people`` would find, best first, without their bodies."""
    return np.array([s.boxes[k] for s, k in _everybody(image, network, options, progress)]).reshape(-1, 4)


def _everybody(
    image: np.ndarray, network: MiliNetwork, options: FindOptions, progress: Callable[[float], None] | None
) -> list[tuple[_Seen, int]]:
    size = (image.shape[1], image.shape[0])
    planned = list(tiles(size, network.options.canvas, options.tiles))
    seen, done = [], 0
    for low, group in _by_branch(planned, network, options):
        for first in range(0, len(group), options.batch):
            some = group[first : first + options.batch]
            seen += _look(image, some, network, low, options, size)
            done += len(some)
            if progress is not None:
                progress(done / len(planned))
    return _one_each(seen, options)


def _by_branch(
    planned: list[Tile], network: MiliNetwork, options: FindOptions
) -> Iterable[tuple[bool, list[Tile]]]:
    low_from = math.sqrt(network.options.canvas[0] / network.options.low[0])
    groups: dict[bool, list[Tile]] = {}
    for tile in planned:
        low = options.resolution == "low" or (options.resolution == "auto" and tile.scale > low_from)
        groups.setdefault(low, []).append(tile)
    return groups.items()


def _look(
    image: np.ndarray, some: list[Tile], network: MiliNetwork, low: bool, options: FindOptions, size: tuple[int, int]
) -> list[_Seen]:
    device = next(network.parameters()).device
    cut = [(tile, pixels) for tile in some if not is_plain(pixels := tile.cut(image))]
    if not cut:
        return []
    some = [tile for tile, _ in cut]
    pixels = np.stack([pixels for _, pixels in cut]).transpose(0, 3, 1, 2)
    shown = torch.as_tensor((pixels != 0).any((1), keepdims=True), device=device)
    batch = normalise(torch.as_tensor(pixels, device=device).float()) * shown
    most = ProposalOptions(options.proposals, options.proposals, options.proposals)
    found_in = network.detect(batch, low, options.threshold, options.overlap, proposals=most)
    out = []
    for tile, found in zip(some, found_in, strict=True):
        boxes = found.boxes.cpu().numpy().astype(np.float64)
        scores = found.scores.cpu().numpy() * np.where(tile.cuts(boxes, size), 0.5, 1.0)
        corners = tile.to_image(boxes.reshape(-1, 2, 2)).reshape(-1, 4)
        out.append(_Seen(tile, found, corners, scores))
    return out


def _one_each(seen: list[_Seen], options: FindOptions) -> list[tuple[_Seen, int]]:
    """Best first, without those that overlap a better one or lie in it."""
    rows = [(s, k) for s in seen for k in range(len(s.scores))]
    rows.sort(key=lambda r: -float(r[0].scores[r[1]]))
    kept: list[tuple[_Seen, int]] = []
    boxes = np.zeros((0, 4))
    for s, k in rows:
        box = s.boxes[k]
        low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
        shared = np.clip(high - low, 0, None).prod(-1)
        areas, own = (boxes[:, 2:] - boxes[:, :2]).prod(-1), (box[2:] - box[:2]).prod()
        union = np.maximum(areas + own - shared, 1e-9)
        # Two people one behind the other share much of the smaller box too: only another tile's view of the same
        # person counts by that.
        other = np.array([o.tile is not s.tile for o, _ in kept], bool)
        within = other & (shared > options.inside * np.minimum(areas, own))
        if not ((shared > options.overlap * union) | within).any():
            kept.append((s, k))
            boxes = np.concatenate([boxes, box[None]])
        if len(kept) == options.most_people:
            break
    return kept


def _people(
    kept: list[tuple[_Seen, int]], camera: StillCamera, size: tuple[int, int], network: MiliNetwork, model: BodyModel,
    regressor: Regressor,
) -> StillPeople:  # fmt: skip
    boxes = np.array([s.boxes[k] for s, k in kept])
    rotations, betas, of_box = (
        torch.stack([getattr(s.found.bodies, name)[k].cpu() for s, k in kept]).double()
        for name in ("rotations", "betas", "camera")
    )
    if network.options.rotations != _BODY:
        betas = torch.zeros_like(betas)  # SMPL's shapes mean nothing to an SMPL-X body; its first 22 rotations do
    rotations = rotations[:, :_BODY].clone()
    # The network knows one camera, with the box where the tile has it or in its middle: what it saw is turned to where
    # it really is.
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    on_canvas = np.array([s.tile.to_canvas(c) for (s, _), c in zip(kept, centres, strict=True)])
    middle = (np.array(network.options.canvas) - 1) / 2
    across = (on_canvas - middle) / network.options.focal * (not network.options.ray_frame)
    taught = np.column_stack([across, np.ones(len(kept))])
    real = np.column_stack([(centres - camera.principal) / camera.focal, np.ones(len(kept))])
    rotations[:, 0] = swing_between(torch.as_tensor(taught), torch.as_tensor(real)) @ rotations[:, 0]
    principal = torch.as_tensor(camera.principal)
    transl = translation(of_box, torch.as_tensor(boxes), camera.focal, principal).numpy()
    poses = axis_angle_from_matrix(rotations).numpy().astype(np.float32)
    parameters = {
        "global_orient": poses[:, 0],
        "body_pose": poses[:, 1:].reshape(len(kept), -1),
        "betas": betas.numpy().astype(np.float32),
        "transl": transl.astype(np.float32),
    }
    joints = regress(model, regressor, parameters)
    masks = [s.found.masks[k] for s, k in kept if s.found.masks is not None]
    packed = torch.stack(masks).mul(255).round().byte().cpu().numpy() if masks else np.zeros((0, 28, 28), np.uint8)
    return StillPeople(
        size=size,
        camera=camera,
        boxes=boxes.astype(np.float32),
        scores=np.array([s.scores[k] for s, k in kept], np.float32),
        **parameters,
        joints=joints,
        keypoints=camera.project(joints.astype(np.float64)).astype(np.float32),
        masks=packed,
    )
