"""What a surface network is made of: options, the named presets, and the card that states them.

A preset picks modules; the networks themselves hold no switches. Names: an architecture, or an architecture with
``_small`` for the size of our own weights and of CPUs.

``released``                  the DeepMultiCap network as its code has it; the published checkpoint loads into it
``paper``                     the same as its paper has it (equations 1-6), where the code deviates
``ours``                      this project's own: with the image in the fine level, layer norms and a pooled read-out,
                              so that no view is first; around the body: each point knows the nearest point of the
                              body and each view's mask and body depth there, and the network adds to the body's
                              signed distance
``ours_without_attention``    "ours w/o Att" of Table 1: mean pooling inside the MLP
``ours_without_normal_maps``  "ours w/o SN" of Table 1: no global normal maps
``pifu_mean``                 PIFu (Saito 2019): camera depth, mean pooling at the middle of the MLP
``pifu_attention``            "PIFu + Att" of Table 1
``pifuhd_mean``               PIFuHD (Saito 2020): high-resolution RGB and front normals, no back normals, the coarse
                              MLP's middle layer as 3D embedding
``pifuhd_attention``          "PIFuHD + Att" of Table 1
``pamir_mean``                PaMIR (Zheng 2021): one level, three-channel semantic volume, mean pooling
``deepvisualhull``            after Huang 2018: multi-scale features of images alone, max over views; no body, no depth

The six settings in which the released code and the paper differ are set by ``with_choices`` and read by ``choices``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from nets.deepmulticap.body_features import POINT_CHANNELS
from nets.normals import RELEASED_NORMALS, SMALL_NORMALS, NormalOptions

RGB, NORMALS, GLOBAL_NORMALS = "rgb", "normals", "global_normals"
MASK, BODY_DEPTH = "mask", "body_depth"
MAP_CHANNELS = {RGB: 3, NORMALS: 3, GLOBAL_NORMALS: 3, MASK: 1, BODY_DEPTH: 2}
VOLUME_CHANNELS = {"occupancy": 1, "semantic": 3}


@dataclass(frozen=True)
class FilterOptions:
    """A 2D encoder.

    Attributes:
        inputs: maps, joined in this order, of "rgb", "normals" (predicted), "global_normals", "mask".
        kind: "hourglass", "pyramid" or "unet".
        stride: image pixels per feature; 2 for a pyramid.
        upsample: inside the hourglasses; "bicubic" as released.
    """

    inputs: tuple[str, ...]
    outputs: int
    kind: str = "hourglass"
    base: int = 64
    stacks: int = 4
    stride: int = 4
    upsample: str = "bicubic"

    @property
    def channels(self) -> int:
        """Of the maps joined."""
        return sum(MAP_CHANNELS[name] for name in self.inputs)


@dataclass(frozen=True)
class VolumeOptions:
    """The 3D encoder of the body.

    Attributes:
        kind: "occupancy" (1 inside the body) or "semantic" (where on the body, three channels; PaMIR section 3.2).
        widths: channels of its two stages.
        norm: "batch" as released, or "group", which is the same in training and after.
        resolution: voxels along the unit cube; only even ones are ever read.
    """

    kind: str = "occupancy"
    widths: tuple[int, int] = (32, 64)
    norm: str = "batch"
    resolution: int = 128


@dataclass(frozen=True)
class AttentionOptions:
    layers: int = 2
    heads: int = 8
    head_width: int = 32
    hidden: int = 256
    dropout: float = 0.1
    layer_norm: bool = False


@dataclass(frozen=True)
class LevelOptions:
    """One level: features of views at points, their fusion, the implicit function.

    Attributes:
        volume: None for a level that sees no body.
        attention: None for no attention among views.
        pooling: how views become one: "first" (token of the first visible view), "mean", "max" (all before the MLP), or
            "mean_inside" (each view goes through the MLP's first half, their mean through the second; PIFu).
        depth: what a point says of its place: "canonical" (xyz in the body's frame), "camera" (depth in each view),
            "body" (canonical, at several scales, and in each view how far behind the body's surface, and the mask) or
            "none".
        widths: hidden layers of the MLP.
    """

    image: FilterOptions
    volume: VolumeOptions | None
    attention: AttentionOptions | None
    pooling: str
    depth: str
    widths: tuple[int, ...]


@dataclass(frozen=True)
class ResidualOptions:
    """The network adds to the body's signed distance d: the logit is -(d + reach x output) / width.

    A fresh network gives exactly the body, since its last layer starts at zero.

    Attributes:
        width: metres over which occupancy changes at the surface.
        reach: metres that an output of one adds.
    """

    width: float = 0.006
    reach: float = 0.05


@dataclass(frozen=True)
class Preset:
    """A whole network.

    Attributes:
        image_size: side of the square crops in pixels.
        sampling: how pixels become places in feature maps: "centres" (pixel centres at integers) or "released".
        embedding: what the fine level reads of the coarse one: "tokens" (fused, one a view) or "mlp" (its middle).
        point_channels: numbers a caller adds to every point beside its place: those of ``body_features``, if any.
        residual: None for logits as the heads give them.
        normals: the network that predicts normal maps; None where nothing reads them.
        refiner: the guided normal network by which the finished surface is bent; None where it stays as it is.
    """

    name: str
    coarse: LevelOptions
    fine: LevelOptions | None = None
    image_size: int = 512
    sampling: str = "centres"
    embedding: str = "tokens"
    point_channels: int = 0
    residual: ResidualOptions | None = None
    normals: NormalOptions | None = None
    refiner: NormalOptions | None = None

    @property
    def levels(self) -> tuple[LevelOptions, ...]:
        return (self.coarse,) if self.fine is None else (self.coarse, self.fine)

    @property
    def inputs(self) -> frozenset[str]:
        """What has to be prepared: of the names of maps, and "volume"."""
        names = {name for level in self.levels for name in level.image.inputs}
        names |= {name for level in self.levels if level.depth == "body" for name in (MASK, BODY_DEPTH)}
        return frozenset(names | ({"volume"} if any(level.volume for level in self.levels) else set()))

    @property
    def order_free(self) -> bool:
        """Whether the result is the same whichever view comes first."""
        return all(level.pooling != "first" for level in self.levels)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dicts, for a card."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preset:
        """Raises TypeError or KeyError where ``values`` do not describe a preset."""
        rest = {k: v for k, v in values.items() if k not in ("coarse", "fine", "normals", "refiner", "residual")}
        coarse, fine, normals = values["coarse"], values.get("fine"), values.get("normals")
        residual, refiner = values.get("residual"), values.get("refiner")
        return cls(
            **rest,
            coarse=_level(coarse),
            fine=None if fine is None else _level(fine),
            normals=None if normals is None else NormalOptions(**normals),
            refiner=None if refiner is None else NormalOptions(**refiner),
            residual=None if residual is None else ResidualOptions(**residual),
        )


def _level(values: Mapping[str, Any]) -> LevelOptions:
    image, volume, attention = values["image"], values["volume"], values["attention"]
    return LevelOptions(
        image=FilterOptions(**{**image, "inputs": tuple(image["inputs"])}),
        volume=None if volume is None else VolumeOptions(**{**volume, "widths": tuple(volume["widths"])}),
        attention=None if attention is None else AttentionOptions(**attention),
        pooling=values["pooling"],
        depth=values["depth"],
        widths=tuple(values["widths"]),
    )


@dataclass(frozen=True)
class Sizes:
    """How large the modules of an architecture are; every method of a comparison takes the same.

    Attributes:
        body_volume: whether "ours" reads the body as a volume too. Its points know the body's nearest point, which says
            more than voxels of 3 cm, and 3D convolutions train twenty times slower on a CPU than all the rest.
    """

    suffix: str
    coarse_filter: FilterOptions
    fine_filter: FilterOptions
    volume: VolumeOptions
    coarse_attention: AttentionOptions
    fine_attention: AttentionOptions
    coarse_widths: tuple[int, ...]
    fine_widths: tuple[int, ...]
    normals: NormalOptions
    body_volume: bool


FULL = Sizes(
    suffix="",
    coarse_filter=FilterOptions((RGB, GLOBAL_NORMALS), 256, base=64, stacks=4, stride=4),
    fine_filter=FilterOptions((NORMALS, GLOBAL_NORMALS), 32, base=16, stacks=1, stride=1),
    volume=VolumeOptions(),
    coarse_attention=AttentionOptions(layers=2),
    fine_attention=AttentionOptions(layers=1),
    coarse_widths=(1024, 512, 256, 128),
    fine_widths=(512, 256, 128),
    normals=RELEASED_NORMALS,
    body_volume=True,
)

SMALL = Sizes(
    suffix="_small",
    coarse_filter=FilterOptions((RGB, GLOBAL_NORMALS), 48, kind="unet", base=24, stride=4),
    fine_filter=FilterOptions((NORMALS, GLOBAL_NORMALS), 24, kind="unet", base=16, stride=2),
    volume=VolumeOptions(widths=(16, 16), norm="group"),
    coarse_attention=AttentionOptions(layers=1, heads=4, head_width=16, hidden=96, dropout=0.0),
    fine_attention=AttentionOptions(layers=1, heads=4, head_width=16, hidden=96, dropout=0.0),
    coarse_widths=(128, 128, 64),
    fine_widths=(128, 64),
    normals=SMALL_NORMALS,
    body_volume=False,
)


def _released(s: Sizes) -> Preset:
    coarse = LevelOptions(s.coarse_filter, s.volume, s.coarse_attention, "first", "canonical", s.coarse_widths)
    fine = LevelOptions(s.fine_filter, None, s.fine_attention, "first", "canonical", s.fine_widths)
    return Preset("released", coarse, fine, sampling="released", normals=s.normals)


def _without_first_view(s: Sizes) -> Preset:
    base = with_choices(_released(s), fine_inputs="rgb_normals", layer_norm=True, read_out="pooled")
    return replace(base, sampling="centres")


def _ours(s: Sizes) -> Preset:
    base = _each_level(_without_first_view(s), depth="body")
    coarse, fine = (replace(lv, image=_reading(lv.image, *lv.image.inputs, MASK)) for lv in base.levels)
    coarse = coarse if s.body_volume else replace(coarse, volume=None)
    around = {"point_channels": POINT_CHANNELS, "residual": ResidualOptions()}
    return replace(base, name="ours", coarse=coarse, fine=fine, **around)


def _paper(s: Sizes) -> Preset:
    base = with_choices(_without_first_view(s), volume="semantic", depth="camera", coarse_embedding="mlp")
    # Equation 6 has no z(X): as in PIFuHD, the embedding carries it.
    return replace(base, name="paper", fine=replace(base.fine, depth="none"))


def _ours_without_attention(s: Sizes) -> Preset:
    return replace(_each_level(_ours(s), attention=None, pooling="mean_inside"), name="ours_without_attention")


def _ours_without_normal_maps(s: Sizes) -> Preset:
    ours = _ours(s)
    coarse, fine = (
        replace(level, image=_reading(level.image, *(i for i in level.image.inputs if i != GLOBAL_NORMALS)))
        for level in ours.levels
    )
    return replace(ours, name="ours_without_normal_maps", coarse=coarse, fine=fine)


def _pifu_mean(s: Sizes) -> Preset:
    image = _reading(s.coarse_filter, RGB)
    return Preset("pifu_mean", LevelOptions(image, None, None, "mean_inside", "camera", s.coarse_widths))


def _pifuhd_mean(s: Sizes) -> Preset:
    coarse_filter, fine_filter = (_reading(f, RGB, NORMALS) for f in (s.coarse_filter, s.fine_filter))
    coarse = LevelOptions(coarse_filter, None, None, "mean_inside", "camera", s.coarse_widths)
    fine = LevelOptions(fine_filter, None, None, "mean_inside", "none", s.fine_widths)
    return Preset("pifuhd_mean", coarse, fine, embedding="mlp", normals=s.normals)


def _with_attention(preset: Preset, name: str, s: Sizes) -> Preset:
    """Mean pooling replaced by the attention module of "ours": its layer norms and its pooled read-out too."""
    options = (replace(a, layer_norm=True) for a in (s.coarse_attention, s.fine_attention))
    levels = [replace(lv, attention=a, pooling="mean") for lv, a in zip(preset.levels, options, strict=False)]
    return replace(preset, name=name, coarse=levels[0], fine=levels[1] if len(levels) > 1 else None)


def _pamir_mean(s: Sizes) -> Preset:
    volume = replace(s.volume, kind="semantic")
    coarse = LevelOptions(_reading(s.coarse_filter, RGB), volume, None, "mean_inside", "camera", s.coarse_widths)
    return Preset("pamir_mean", coarse)


def _deepvisualhull(s: Sizes) -> Preset:
    image = FilterOptions((RGB,), s.coarse_filter.outputs, kind="pyramid", stride=2)
    return Preset("deepvisualhull", LevelOptions(image, None, None, "max", "none", s.coarse_widths))


_ARCHITECTURES = {
    "released": _released,
    "paper": _paper,
    "ours": _ours,
    "ours_without_attention": _ours_without_attention,
    "ours_without_normal_maps": _ours_without_normal_maps,
    "pifu_mean": _pifu_mean,
    "pifu_attention": lambda s: _with_attention(_pifu_mean(s), "pifu_attention", s),
    "pifuhd_mean": _pifuhd_mean,
    "pifuhd_attention": lambda s: _with_attention(_pifuhd_mean(s), "pifuhd_attention", s),
    "pamir_mean": _pamir_mean,
    "deepvisualhull": _deepvisualhull,
}
PRESET_NAMES = (*_ARCHITECTURES, *(name + SMALL.suffix for name in _ARCHITECTURES if name != "released"))


def preset(name: str) -> Preset:
    """The preset of that name; "small" is short for "ours_small". Raises ValueError for a name that is not known."""
    name = "ours_small" if name == "small" else name
    if name not in PRESET_NAMES:
        raise ValueError(f"unknown network {name!r}; known are {', '.join(PRESET_NAMES)}")
    sizes = SMALL if name.endswith(SMALL.suffix) else FULL
    return replace(_ARCHITECTURES[name.removesuffix(sizes.suffix)](sizes), name=name)


def choices(of: Preset) -> dict[str, str]:
    """The six settings in which paper and released code differ, as every card names them; "none" where not there."""
    coarse, last = of.coarse, of.levels[-1]
    fine_inputs = set(of.fine.image.inputs) if of.fine else set()
    return {
        "fine_inputs": "_".join(n for n in (RGB, NORMALS) if n in fine_inputs) or "none",
        "volume": coarse.volume.kind if coarse.volume else "none",
        "depth": coarse.depth,
        "coarse_embedding": of.embedding if of.fine else "none",
        "layer_norm": "none" if coarse.attention is None else "yes" if coarse.attention.layer_norm else "no",
        "read_out": {"first": "first", "mean": "pooled"}.get(last.pooling, last.pooling),
    }


def with_choices(
    of: Preset,
    *,
    fine_inputs: str | None = None,
    volume: str | None = None,
    depth: str | None = None,
    coarse_embedding: str | None = None,
    layer_norm: bool | None = None,
    read_out: str | None = None,
) -> Preset:
    """``of`` with some of the six settings changed, and its name saying which.

    Args:
        fine_inputs: "normals" (released code) or "rgb_normals" (paper, equation 6).
        volume: "occupancy" (released code) or "semantic" (paper, equation 5).
        depth: "canonical" (released code), "camera" (paper, equation 1) or "body" (ours).
        coarse_embedding: "tokens" (released code) or "mlp" (the paper's Omega, after PIFuHD).
        layer_norm: False (released code) or True (the transformer the paper cites).
        read_out: "first" (released code) or "pooled" (no view comes first).
    """
    given = {k: v for k, v in locals().items() if k != "of" and v is not None}
    changes = {
        "fine_inputs": _with_fine_inputs, "volume": _with_volume, "depth": _with_depth, "read_out": _with_read_out,
        "coarse_embedding": _with_embedding, "layer_norm": _with_layer_norm,
    }  # fmt: skip
    out = of
    for key, value in given.items():
        out = changes[key](out, value)
    suffix = "".join(f"+{k}={choices(out)[k]}" for k in given)
    return replace(out, name=of.name + suffix)


def _with_fine_inputs(of: Preset, value: str) -> Preset:
    if of.fine is None or value not in ("normals", "rgb_normals"):
        raise ValueError(f"fine_inputs {value!r}: a fine level reads normals or rgb_normals")
    keep = [name for name in of.fine.image.inputs if name not in (RGB, NORMALS)]
    names = [RGB, NORMALS] if value == "rgb_normals" else [NORMALS]
    return replace(of, fine=replace(of.fine, image=_reading(of.fine.image, *names, *keep)))


def _with_volume(of: Preset, value: str) -> Preset:
    # A network whose points know the body may do without a volume, and be given one.
    volume = of.coarse.volume or (SMALL.volume if of.residual is not None else None)
    if volume is None or value not in VOLUME_CHANNELS:
        raise ValueError(f"volume {value!r}: a level with a body has one of {', '.join(VOLUME_CHANNELS)}")
    return replace(of, coarse=replace(of.coarse, volume=replace(volume, kind=value)))


def _with_depth(of: Preset, value: str) -> Preset:
    if value not in ("canonical", "camera", "body"):
        raise ValueError(f"depth {value!r}: canonical, camera or body")
    return _each_level(of, depth=value)


def _with_embedding(of: Preset, value: str) -> Preset:
    if of.fine is None or value not in ("tokens", "mlp"):
        raise ValueError(f"coarse_embedding {value!r}: a fine level reads tokens or mlp")
    return replace(of, embedding=value)


def _with_layer_norm(of: Preset, value: bool) -> Preset:
    if of.coarse.attention is None:
        raise ValueError("layer_norm is a setting of the attention, and there is none")
    levels = [replace(lv, attention=replace(lv.attention, layer_norm=value)) for lv in of.levels]
    return replace(of, coarse=levels[0], fine=levels[1] if of.fine else None)


def _with_read_out(of: Preset, value: str) -> Preset:
    if of.coarse.attention is None or value not in ("first", "pooled"):
        raise ValueError(f"read_out {value!r}: attention is read out first or pooled")
    return _each_level(of, pooling={"first": "first", "pooled": "mean"}[value])


def _each_level(of: Preset, **changes: Any) -> Preset:
    fine = None if of.fine is None else replace(of.fine, **changes)
    return replace(of, coarse=replace(of.coarse, **changes), fine=fine)


def _reading(options: FilterOptions, *inputs: str) -> FilterOptions:
    return replace(options, inputs=inputs)
