"""A surface network as a level function: encoded once a frame, then asked at points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from nets.deepmulticap.decoders import Fused
from nets.deepmulticap.inputs import SurfaceInputs
from nets.deepmulticap.lookups import Located
from nets.deepmulticap.network import Features, SurfaceNetwork
from nets.deepmulticap.presets import Preset
from pipeline.errors import InputError
from pipeline.surface.level import LevelFunction

CERTAIN = 4.0  # logit; 98 % sure
WIDE = 256  # widest hidden layer from which a CPU gains by bfloat16


def sixteen_bits(device: torch.device | str) -> bool:
    """Whether a device computes bfloat16 faster than float32: GPUs, and CPUs that say so."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported()
    return bool({"avx512_bf16", "amx_bf16"} & _cpu_flags())


def sixteen_bits_pay(device: torch.device | str, preset: Preset) -> bool:
    """Whether points are asked faster in bfloat16 than in float32.

    On a CPU (AVX-512 BF16, one thread) the released layers take 100 us a point instead of 165 to 190; layers as narrow
    as those of ``ours_small`` take as long either way, and float32 is exact.
    """
    if torch.device(device).type == "cpu" and max(max(level.widths) for level in preset.levels) < WIDE:
        return False
    return sixteen_bits(device)


@cache
def _cpu_flags() -> frozenset[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line for line in lines if line.startswith("flags")), "").split())


def encode(network: SurfaceNetwork, inputs: SurfaceInputs, half: bool = False) -> Features:
    """Features of one person in one frame, float32, computed in bfloat16 if ``half``.

    Raises InputError for inputs that hold NaN or do not fit the network.
    """
    try:
        with torch.no_grad(), torch.autocast(inputs.projection.device.type, torch.bfloat16, enabled=half):
            features = network.encode(inputs)
    except ValueError as error:
        raise InputError("surface inputs", str(error), "Prepare them for this network, or mark the frame.") from error
    for level in (features.coarse, features.fine):
        for name, value in level.items():
            if not bool(torch.isfinite(value).all()):
                raise InputError(f"features {name!r}", "hold NaN or infinity", "Check the weights of the network.")
    return features


def network_level(
    network: SurfaceNetwork,
    features: Features,
    seen: Callable[[Tensor], Tensor] | None = None,
    extra: Callable[[Tensor], Tensor] | None = None,
    certain: float = CERTAIN,
    coarse_head: bool = True,
    half: bool = False,
) -> LevelFunction:
    """Logits of the last level where the coarse one is uncertain, of the coarse one elsewhere.

    Points are located and coarse tokens fused once for both levels.

    Args:
        network: in eval mode, on the device of ``features`` and of the points.
        features: of one person, from ``encode``.
        seen: points (N, 3) to (V, N) bool, which views may speak of which points; all that are present if None.
        extra: points (N, 3) to (N, point_channels), for networks that read numbers of the caller's.
        certain: the fine level is asked where the coarse logit is smaller than this either way.
        coarse_head: False for weights whose coarse level cannot be asked by itself, or costs as much as the fine one:
            the fine one is asked everywhere.
        half: compute in bfloat16 what is neither place nor distance.
    """
    if features.inputs.projection.shape[0] != 1:
        raise InputError("features", "are of several people", "Encode one person at a time.")

    kind = features.inputs.projection.device.type

    @torch.inference_mode()
    def values(points: Tensor) -> Tensor:
        with torch.autocast(kind, torch.bfloat16, enabled=half):
            return answer(points).float()

    def answer(points: Tensor) -> Tensor:
        views = None if seen is None else seen(points)[None]
        numbers = None if extra is None else extra(points)[None]
        located = network.locate(features, points[None], views, numbers)
        fused = network.fuse_coarse(features, located)
        if network.fine is not None and not coarse_head:
            return network.fine_logits(features, located, fused)
        out = network.coarse.decoder.logits(fused)
        if network.fine is None:
            return out
        some = ~(out.abs() >= certain)
        if bool(some.any()):
            fine = network.fine_logits(features, _located(located, some), _fused(fused, some), out[some])
            out[some] = fine.to(out.dtype)
        return out

    return values


def _located(of: Located, some: Tensor) -> Located:
    """Those of one person's points."""
    return replace(
        of,
        pixels=of.pixels[:, :, some],
        grid=of.grid[:, :, some],
        depth=of.depth[:, :, some],
        canonical=of.canonical[:, some],
        visible=None if of.visible is None else of.visible[:, some],
        unseen=None if of.unseen is None else of.unseen[:, some],
        extra=of.extra[:, some],
        cues=None if of.cues is None else of.cues[:, some],
    )


def _fused(of: Fused, some: Tensor) -> Fused:
    visible, distance = (None if x is None else x[some] for x in (of.visible, of.distance))
    return Fused(of.tokens[some], of.point[some], visible, distance)
