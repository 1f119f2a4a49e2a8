"""The surface network: a coarse and, where the preset has one, a fine level over one body's views.

    network = build(preset("ours_small"))
    features = network.encode(inputs)                      # once a frame
    located = network.locate(features, points, seen)       # a batch of points
    fused = network.fuse_coarse(features, located)
    network.coarse.decoder.logits(fused)                   # coarse occupancy
    network.fine_logits(features, located, fused)          # fine occupancy, where it is wanted

``network(inputs, points, seen)`` does all of it, for training; ``network.occupancy`` evaluates points of any number.
The number of views is not in the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nets.deepmulticap import presets
from nets.deepmulticap.body_features import POINT_CHANNELS
from nets.deepmulticap.compat import ReleasedPixels
from nets.deepmulticap.decoders import (
    AroundBody,
    Decoder,
    FirstView,
    Fused,
    HiddenEmbedding,
    MaxOfViews,
    MeanInsideHead,
    MeanOfViews,
    NoFusion,
    PlainLogits,
    PooledHead,
    TokenEmbedding,
)
from nets.deepmulticap.inputs import SurfaceInputs
from nets.deepmulticap.lookups import (
    Located,
    PixelCentres,
    canonical,
    look_at_cues,
    look_at_maps,
    look_at_volume,
    mask_tokens,
    negative_inside,
    project,
    settle_visibility,
)
from nets.layers import HourglassFilter, PyramidFilter, UNetFilter, ViewAttention, VolumeEncoder

LevelFeatures = Mapping[str, Tensor]


class ImageSource(nn.Module):
    """A 2D encoder, shared by all views, and what it says at points."""

    def __init__(self, options: presets.FilterOptions) -> None:
        super().__init__()
        self.names = options.inputs
        inputs = options.channels
        if options.kind == "hourglass":
            self.filter: nn.Module = HourglassFilter(
                inputs, options.outputs, options.base, options.stacks, options.stride, upsample=options.upsample
            )
        elif options.kind == "pyramid":
            self.filter = PyramidFilter(inputs, options.outputs)
        elif options.kind == "unet":
            self.filter = UNetFilter(inputs, options.outputs, options.base, options.stride)
        else:
            raise ValueError(f"unknown filter {options.kind!r}")
        self.outputs = options.outputs

    def encode(self, inputs: SurfaceInputs) -> Tensor:
        """(B, V, outputs, h, w)"""
        maps = torch.cat([inputs.map(name) for name in self.names], 2)
        flat = maps.flatten(0, 1)
        if torch.is_grad_enabled() or flat.is_cuda:
            out = self.filter(flat)
        else:  # a view at a time stays in the processor's cache
            out = torch.cat([self.filter(one) for one in flat.split(1)])
        return out.unflatten(0, maps.shape[:2]).float()  # places need more than 8 bits

    def look(self, maps: Tensor, located: Located, pixels: nn.Module) -> Tensor:
        return look_at_maps(maps, located, pixels.align_corners)


class VolumeSource(nn.Module):
    """The body's 3D encoder; every view has the same of it."""

    def __init__(self, options: presets.VolumeOptions) -> None:
        super().__init__()
        self.encoder = VolumeEncoder(presets.VOLUME_CHANNELS[options.kind], options.widths, options.norm)
        self.outputs = self.encoder.outputs

    def encode(self, inputs: SurfaceInputs) -> Tensor:
        """(B, outputs, R/4, R/4, R/4)"""
        return self.encoder(inputs.map("volume")).float()

    def look(self, volume: Tensor, located: Located, pixels: nn.Module) -> Tensor:
        return look_at_volume(volume, located)


class CanonicalDepth(nn.Module):
    """A point's place is xyz in the body's frame, 0 to 1 inside its cube (released code)."""

    per_view, per_point = 0, 3

    def of_views(self, located: Located) -> Tensor:
        return located.depth.transpose(1, 2)[..., None][..., :0]

    def of_points(self, located: Located) -> Tensor:
        return torch.cat([located.canonical + 0.5, located.extra], -1)


class CameraDepth(nn.Module):
    """A point's place is its depth in each view, from the body's centre (equation 1)."""

    per_view, per_point = 1, 0

    def of_views(self, located: Located) -> Tensor:
        return mask_tokens(located.depth.transpose(1, 2)[..., None], located)

    def of_points(self, located: Located) -> Tensor:
        return located.extra


class NoDepth(nn.Module):
    per_view, per_point = 0, 0

    def of_views(self, located: Located) -> Tensor:
        return located.depth.transpose(1, 2)[..., None][..., :0]

    def of_points(self, located: Located) -> Tensor:
        return located.extra


class BodyDepth(nn.Module):
    """A point's place is told by the body: xyz in its frame at several scales, its nearest point, and in each view how
    far behind its surface the point is and whether the mask covers it."""

    octaves = 3
    per_view, per_point = 3, 3 + 6 * octaves

    def of_views(self, located: Located) -> Tensor:
        behind, hit, mask = located.cues.unbind(-1)
        return mask_tokens(torch.stack([(10 * behind).clamp(-2, 2), hit, mask], -1), located)

    def of_points(self, located: Located) -> Tensor:
        xyz = located.canonical
        waves = [2**k * 2 * torch.pi * xyz for k in range(self.octaves)]
        extra = located.extra
        if extra.shape[-1] == POINT_CHANNELS:  # distance and way in decimetres, directions as they are
            distance, normal, way = extra.split((1, 3, 3), -1)
            extra = torch.cat([(10 * distance).clamp(-2, 2), normal, (10 * way).clamp(-2, 2)], -1)
        return torch.cat([xyz + 0.5, *(f(w) for w in waves for f in (torch.sin, torch.cos)), extra], -1)


_DEPTHS = {"canonical": CanonicalDepth, "camera": CameraDepth, "body": BodyDepth, "none": NoDepth}
_POOLS = {"first": FirstView, "mean": MeanOfViews, "max": MaxOfViews}
_PIXELS = {"centres": PixelCentres, "released": ReleasedPixels}
_EMBEDDINGS = {"tokens": TokenEmbedding, "mlp": HiddenEmbedding}


class Level(nn.Module):
    """Sources of features, their fusion over views and the implicit function."""

    def __init__(self, options: presets.LevelOptions, embedding: int, of: presets.Preset) -> None:
        super().__init__()
        self.sources = nn.ModuleDict({"image": ImageSource(options.image)})
        if options.volume is not None:
            self.sources["volume"] = VolumeSource(options.volume)
        self.depth = _DEPTHS[options.depth]()
        self.width = embedding + sum(s.outputs for s in self.sources.values()) + self.depth.per_view
        attention, point = options.attention, self.depth.per_point + of.point_channels
        fusion: nn.Module = NoFusion()
        if attention is not None:
            fusion = ViewAttention(
                self.width, attention.layers, attention.heads, attention.head_width, attention.hidden,
                attention.dropout, attention.layer_norm,
            )  # fmt: skip
        if options.pooling == "mean_inside":
            head: nn.Module = MeanInsideHead(self.width, point, options.widths)
        else:
            head = PooledHead(_POOLS[options.pooling](), self.width, point, options.widths)
        residual = of.residual
        outcome = PlainLogits() if residual is None else AroundBody(residual.width, residual.reach)
        self.builds_on_body = residual is not None
        self.decoder = Decoder(fusion, head, outcome)

    def encode(self, inputs: SurfaceInputs) -> dict[str, Tensor]:
        return {name: source.encode(inputs) for name, source in self.sources.items()}

    def tokens(self, features: LevelFeatures, located: Located, pixels: nn.Module, embedding: Tensor | None) -> Tensor:
        """(B, N, V, width): what each view says of each point; ``embedding`` (B, N, V or 1, E) comes first."""
        parts = [] if embedding is None else [embedding]
        parts += [source.look(features[name], located, pixels) for name, source in self.sources.items()]
        parts.append(self.depth.of_views(located).to(parts[-1].dtype))
        views = located.depth.shape[1]
        return torch.cat([p.expand(-1, -1, views, -1) for p in parts], -1)

    def fuse(
        self, features: LevelFeatures, located: Located, pixels: nn.Module, embedding: Tensor | None = None
    ) -> Fused:
        """Fused tokens of B x N points, flat."""
        return self.decoder.fuse(*self._of_points(features, located, pixels, embedding))

    def logits(
        self, features: LevelFeatures, located: Located, pixels: nn.Module, embedding: Tensor, distance: Tensor | None
    ) -> Tensor:
        """(B x N,); ``distance`` (B x N,) metres to the surface that it builds on, if it does."""
        tokens, point, visible, _ = self._of_points(features, located, pixels, embedding)
        return self.decoder.logits_alone(tokens, point, visible, distance)

    def _of_points(
        self, features: LevelFeatures, located: Located, pixels: nn.Module, embedding: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        tokens = self.tokens(features, located, pixels, embedding).flatten(0, 1)
        visible = None if located.visible is None else located.visible.flatten(0, 1)
        distance = located.extra[..., 0].flatten() if self.builds_on_body else None
        return tokens, self.depth.of_points(located).flatten(0, 1), visible, distance


@dataclass(frozen=True)
class Features:
    """What the encoders made of B people's views, float32, and the geometry to look it up.

    Attributes:
        coarse, fine: per level, maps "image" (B, V, C, h, w) and, where there is one, "volume" (B, C, r, r, r).
        inputs: the inputs without their images: projection, frame, presence.
        cues: (B, V, 3, S, S) body depth, where it is, and the mask, if a level reads them at points.
        solid: (B, 1, r, r, r) even voxels, 1 inside the body, if the network builds on the body's distance.
    """

    coarse: LevelFeatures
    fine: LevelFeatures
    inputs: SurfaceInputs
    cues: Tensor | None = None
    solid: Tensor | None = None


@dataclass(frozen=True)
class Prediction:
    """Logits (B, N) of the levels; ``fine`` is ``coarse`` where there is no fine level."""

    coarse: Tensor
    fine: Tensor

    @property
    def occupancy(self) -> Tensor:
        return self.fine.sigmoid()


class SurfaceNetwork(nn.Module):
    """Built by ``build``. Its ``preset`` says what it is made of."""

    def __init__(self, of: presets.Preset) -> None:
        super().__init__()
        self.preset = of
        self.pixels = _PIXELS[of.sampling]()
        self.embedding = _EMBEDDINGS[of.embedding]()
        if of.residual is not None and of.point_channels != POINT_CHANNELS:
            raise ValueError(f"network {of.name!r} builds on the body's distance, but reads no body features")
        self.coarse = Level(of.coarse, 0, of)
        self.fine: Level | None = None
        if of.fine is not None:
            hidden = self.coarse.decoder.head.hidden_width
            embedding = {"tokens": self.coarse.width, "mlp": hidden}[of.embedding]
            self.fine = Level(of.fine, embedding, of)
        self.reads_cues = any(level.depth == "body" for level in of.levels)

    def encode(self, inputs: SurfaceInputs) -> Features:
        """Raises ValueError for inputs that this network cannot read, naming the field."""
        inputs.check(self.preset)
        fine = {} if self.fine is None else self.fine.encode(inputs)
        cues = torch.cat([inputs.body_depth, inputs.mask], 2).float() if self.reads_cues else None
        solid = None
        if self.preset.residual is not None and inputs.volume is not None:
            solid = (inputs.volume.amax(1, keepdim=True) > 0).float()
        return Features(self.coarse.encode(inputs), fine, inputs.geometry(), cues, solid)

    def locate(
        self, features: Features, points: Tensor, seen: Tensor | None = None, extra: Tensor | None = None
    ) -> Located:
        """Place points (B, N, 3) of the world in views and volume, at float32 whatever the rest is computed in.

        Args:
            seen: (B, V, N) bool, which views may speak of which points; all that are present if None.
            extra: (B, N, point_channels) numbers of the caller's for each point: ``body_features.of_bodies``.
        """
        with torch.autocast(points.device.type, enabled=False):
            return self._locate(features, points.float(), seen, extra)

    def _locate(self, features: Features, points: Tensor, seen: Tensor | None, extra: Tensor | None) -> Located:
        g = features.inputs
        B, N = points.shape[:2]
        pixels, metres = project(g.projection, points)
        _, at_centre = project(g.projection, g.centre[:, None])
        visible, unseen = settle_visibility(seen, g.present, N)
        if extra is None:
            extra = points.new_zeros(B, N, 0)
        if extra.shape != (B, N, self.preset.point_channels):
            raise ValueError(f"extra is {tuple(extra.shape)}; this network reads {self.preset.point_channels} a point")
        located = Located(
            pixels=pixels,
            grid=self.pixels(pixels, g.size),
            depth=(metres - at_centre) * g.scale[:, None, None],
            canonical=canonical(points, g.rotation, g.centre, g.scale),
            visible=visible,
            unseen=unseen,
            extra=extra,
        )
        if features.solid is not None:
            located = replace(located, extra=negative_inside(located, features.solid))
        if features.cues is None:
            return located
        return replace(located, cues=look_at_cues(features.cues, located, self.pixels.align_corners))

    def fuse_coarse(self, features: Features, located: Located) -> Fused:
        return self.coarse.fuse(features.coarse, located, self.pixels)

    def fine_logits(self, features: Features, located: Located, coarse: Fused, known: Tensor | None = None) -> Tensor:
        """(P,). A fine level that builds on a surface builds on the coarse level's, not once more on the body.

        Args:
            coarse: what ``fuse_coarse`` gave for the same points. known: their coarse logits (P,), if at hand.
        """
        B, N = located.canonical.shape[:2]
        embedding = self.embedding(self.coarse.decoder, coarse).unflatten(0, (B, N))
        distance = None
        if self.preset.residual is not None:
            logits = self.coarse.decoder.logits(coarse) if known is None else known
            distance = -logits * self.preset.residual.width
        return self.fine.logits(features.fine, located, self.pixels, embedding, distance)

    def predict(
        self, features: Features, points: Tensor, seen: Tensor | None = None, extra: Tensor | None = None
    ) -> Prediction:
        """Both levels at points (B, N, 3)."""
        located = self.locate(features, points, seen, extra)
        fused = self.fuse_coarse(features, located)
        coarse = self.coarse.decoder.logits(fused)
        shape = points.shape[:2]
        if self.fine is None:
            return Prediction(coarse.unflatten(0, shape), coarse.unflatten(0, shape))
        fine = self.fine_logits(features, located, fused, coarse)
        return Prediction(coarse.unflatten(0, shape), fine.unflatten(0, shape))

    def forward(
        self, inputs: SurfaceInputs, points: Tensor, seen: Tensor | None = None, extra: Tensor | None = None
    ) -> Prediction:
        return self.predict(self.encode(inputs), points, seen, extra)

    @torch.no_grad()
    def occupancy(
        self,
        features: Features,
        points: Tensor,
        seen: Tensor | None = None,
        extra: Tensor | None = None,
        batch: int = 8192,
    ) -> Tensor:
        """Occupancy (B, N) in 0..1 of the last level at points of any number, ``batch`` at a time."""
        parts = []
        for i in range(0, points.shape[1], batch):
            some = slice(i, i + batch)
            views = None if seen is None else seen[..., some]
            numbers = None if extra is None else extra[:, some]
            parts.append(self.predict(features, points[:, some], views, numbers).occupancy)
        return torch.cat(parts, 1)

    def freeze_coarse(self) -> None:
        """The fine level trains over a coarse one whose weights stay as they are."""
        self.coarse.requires_grad_(False)

    def parameter_count(self) -> int:
        return sum(p.numel() for p in self.parameters())


def build(of: presets.Preset) -> SurfaceNetwork:
    """The network of a preset, with fresh weights from torch's generator."""
    return SurfaceNetwork(of)
