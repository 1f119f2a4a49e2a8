"""What a stills network is made of, and the named configurations.

``crmh``        the network of CRMH (Jiang 2020) as released: its checkpoint loads into it; no part of MILI is on
``mili``        the paper's size with all its parts (sections 3.1-3.3), SMPL-X joints
``mili_small``  the same parts at a size for CPUs and for our own weights
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

ATTENTIONS = ("none", "shared", "separate")
GEOMETRIES = ("legacy", "modern")
NORMS = ("frozen", "group", "batch")


@dataclass(frozen=True)
class MiliOptions:
    """Sizes and parts of a stills network.

    Attributes:
        canvas: (width, height) pixels every image is brought to; multiples of 32.
        low: (width, height) pixels of a low-resolution image, before it is enlarged to the canvas.
        blocks: bottlenecks in each of the four stages of the backbone (ResNet-50: 3 4 6 3).
        width: channels of the first stage before expansion (ResNet-50: 64).
        norm: "frozen" batch norms, never updated, as released; "batch": those of a pretraining, which are updated (the
            same weights load into both); "group" for training from nothing.
        pyramid: channels of the feature pyramid.
        geometry: of boxes: "legacy" (inclusive pixels, as in the released detector) or "modern" (edges).
        anchor_scale: side of an anchor, in strides of its level.
        box_hidden: width of the box head.
        body_width, body_hidden: channels of the body head's convolutions, width of its regressor.
        body_cells: channels kept of each of a region's 7 x 7 cells for the regressor; 0: the cells' mean, as released.
            Training from nothing needs to know where in a region something is.
        rotations: joints the body head turns: 24 (SMPL) or 22 (SMPL-X without hands).
        ray_frame: the body head says how somebody stands before a camera that looks at them, not before the image's.
        dropout: in the body head's regressor.
        focal: pixels on the canvas; one camera for all images unless its own is known.
        attention: spatial attention before the backbone (equation 1): "none", "shared" by both resolutions or
            "separate".
        mask: the occlusion-aware mask network (section 3.2). restoration: the restoration network (section 3.3).
        feed_back: the restored feature replaces the pyramid's top level, else it only supervises.
        contrastive: the contrastive loss (equation 3), on level ``contrastive_level`` ("P5" or "P6").
        roi_constraint: the loss on the boxes of both resolutions (equation 4).
        teacher: of the high-resolution branch in the second stage: "shared" weights, "frozen" or "averaged".
    """

    name: str
    canvas: tuple[int, int] = (832, 512)
    low: tuple[int, int] = (208, 128)
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    width: int = 64
    norm: str = "frozen"
    pyramid: int = 256
    geometry: str = "modern"
    anchor_scale: float = 8.0
    box_hidden: int = 1024
    body_width: int = 256
    body_hidden: int = 1024
    body_cells: int = 0
    rotations: int = 22
    ray_frame: bool = False
    dropout: float = 0.5
    focal: float = 1000.0
    attention: str = "separate"
    mask: bool = True
    restoration: bool = True
    feed_back: bool = True
    contrastive: bool = True
    contrastive_level: str = "P5"
    roi_constraint: bool = True
    teacher: str = "frozen"

    def __post_init__(self) -> None:
        known = {"attention": ATTENTIONS, "geometry": GEOMETRIES, "norm": NORMS, "contrastive_level": ("P5", "P6"),
                 "teacher": ("shared", "frozen", "averaged"), "rotations": (22, 24)}  # fmt: skip
        for field, values in known.items():
            if getattr(self, field) not in values:
                raise ValueError(f"{field} is {getattr(self, field)!r}; known are {', '.join(map(str, values))}")
        if any(side % 32 for side in self.canvas):
            raise ValueError(f"canvas {self.canvas} is not a multiple of 32 pixels")

    @property
    def six(self) -> int:
        """Numbers by which rotations are given."""
        return 6 * self.rotations

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MiliOptions:
        """Raises TypeError or ValueError where ``values`` do not describe a network."""
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


_PARTS = {"attention": "none", "mask": False, "restoration": False, "contrastive": False, "roi_constraint": False}

CRMH = MiliOptions("crmh", geometry="legacy", rotations=24, feed_back=False, **_PARTS)
MILI = MiliOptions("mili")
SMALL = MiliOptions(
    "mili_small", canvas=(416, 256), blocks=(1, 2, 2, 1), width=24, pyramid=64, anchor_scale=4.0,
    box_hidden=192, body_width=96, body_hidden=256, body_cells=24, ray_frame=True, dropout=0.0, focal=500.0,
)  # fmt: skip
PRESETS = {o.name: o for o in (CRMH, MILI, SMALL)}

ABLATIONS: dict[str, dict[str, Any]] = {
    "full": {},
    "without_mask": {"mask": False},
    "without_restoration": {"restoration": False, "feed_back": False},
    "without_attention": {"attention": "none"},
    "without_contrastive": {"contrastive": False},
    "without_roi": {"roi_constraint": False},
    "crmh_baseline": {**_PARTS, "feed_back": False},
}
"""The rows of the ablation: what each switches off."""


def ablated(options: MiliOptions, row: str) -> MiliOptions:
    """``options`` with the parts off that a row of the ablation leaves out."""
    if row not in ABLATIONS:
        raise ValueError(f"unknown ablation {row!r}; known are {', '.join(ABLATIONS)}")
    name = options.name if row == "full" else f"{options.name}_{row}"
    return replace(options, name=name, **ABLATIONS[row])
