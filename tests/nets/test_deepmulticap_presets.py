"""Every preset and every setting builds a network that runs, says what it is and comes back from its file."""

import json
from dataclasses import replace

import pytest
import torch

from nets.checkpoints import CheckpointError, read_state, write_state
from nets.deepmulticap import presets, weights
from nets.deepmulticap.decoders import MaxOfViews, MeanInsideHead, MeanOfViews, NoFusion
from nets.deepmulticap.inputs import SurfaceInputs
from nets.deepmulticap.network import BodyDepth, CameraDepth, build
from nets.deepmulticap.presets import PRESET_NAMES, Preset, choices, preset, with_choices
from nets.layers import ViewAttention
from nets.normals import SMALL_NORMALS, NormalNetwork, predict_normals
from tests.nets.ball_person import ask, awake, random_inputs, random_points

SETTINGS = [
    ("fine_inputs", "normals", "rgb_normals"), ("volume", "occupancy", "semantic"), ("depth", "canonical", "camera"),
    ("coarse_embedding", "tokens", "mlp"), ("layer_norm", False, True), ("read_out", "first", "pooled"),
]  # fmt: skip
READS = {
    "ours": {"rgb", "normals", "global_normals", "mask", "body_depth", "volume"},
    "ours_without_attention": {"rgb", "normals", "global_normals", "mask", "body_depth", "volume"},
    "ours_without_normal_maps": {"rgb", "normals", "mask", "body_depth", "volume"},
    "pifu_mean": {"rgb"}, "pifu_attention": {"rgb"},
    "pifuhd_mean": {"rgb", "normals"}, "pifuhd_attention": {"rgb", "normals"},
    "pamir_mean": {"rgb", "volume"},
    "deepvisualhull": {"rgb"},
}  # fmt: skip


def with_little_volume(of):
    if of.coarse.volume is None:
        return of
    return replace(of, coarse=replace(of.coarse, volume=replace(of.coarse.volume, resolution=32)))


def only(inputs, names):
    """The inputs with what is not in ``names`` taken away: a network must not want more than it says."""
    return replace(inputs, **{n: None for n in (*presets.MAP_CHANNELS, "volume") if n not in names})


def run(of, seed=0) -> tuple:
    torch.manual_seed(seed)
    net = awake(build(of))
    channels = presets.VOLUME_CHANNELS[of.coarse.volume.kind] if of.coarse.volume else 1
    inputs: SurfaceInputs = only(random_inputs(3, channels=channels), of.inputs)
    prediction = ask(net, inputs, random_points(9))
    assert prediction.fine.shape == (1, 9)
    assert bool(torch.isfinite(prediction.fine).all())
    (prediction.fine.mean() + prediction.coarse.mean()).backward()
    idle = [name for name, p in net.named_parameters() if p.grad is None]
    assert idle == [], "every parameter takes part"
    return net, prediction


@pytest.mark.parametrize("name", [n for n in PRESET_NAMES if n.endswith("_small")])
def test_a_small_preset_runs_forward_and_back(name):
    of = preset(name)
    assert of.name == name
    run(with_little_volume(of))


@pytest.mark.parametrize("name", [n for n in PRESET_NAMES if not n.endswith("_small")])
def test_a_full_preset_has_the_released_sizes(name):
    with torch.device("meta"):
        net = build(preset(name))
        released = build(preset("released"))
    image = net.coarse.sources["image"].filter
    if name != "deepvisualhull":
        filters = (image, released.coarse.sources["image"].filter)
        ours, theirs = ({k: v.shape for k, v in f.named_parameters()} for f in filters)
        assert {k for k in ours if ours[k] != theirs[k]} <= {"conv1.weight"}  # the stem takes what the method reads
        assert [layer.out_features for layer in net.coarse.decoder.head.mlp.layers] == [1024, 512, 256, 128, 1]


@pytest.mark.parametrize(("setting", "a", "b"), SETTINGS)
@pytest.mark.parametrize("base", ["small", "paper_small"])
def test_each_setting_swaps_a_module_and_is_named(base, setting, a, b):
    made = {}
    for value in (a, b):
        of = with_little_volume(with_choices(preset(base), **{setting: value}))
        shown = {False: "no", True: "yes"}.get(value, value)
        assert choices(of)[setting] == shown
        assert of.name.endswith(f"+{setting}={shown}")
        assert weights.card_of(of)[setting] == shown
        made[value] = run(of)
    assert not torch.allclose(made[a][1].fine, made[b][1].fine)


def test_settings_of_the_released_code_and_of_the_paper():
    code = ["normals", "occupancy", "canonical", "tokens", "no", "first"]
    paper = ["rgb_normals", "semantic", "camera", "mlp", "yes", "pooled"]
    assert list(choices(preset("released")).values()) == code
    assert list(choices(preset("paper")).values()) == paper
    assert list(choices(preset("paper"))) == [setting for setting, *_ in SETTINGS]


def test_settings_that_do_not_exist_are_refused():
    for base, bad in [
        ("small", {"depth": "none"}), ("small", {"volume": "mesh"}), ("small", {"fine_inputs": "rgb"}),
        ("pifu_mean", {"layer_norm": True}), ("pifu_mean", {"volume": "semantic"}),
        ("pifu_mean", {"read_out": "first"}), ("pifu_mean", {"fine_inputs": "normals"}),
        ("small", {"coarse_embedding": "sdf"}),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(bad))):
            with_choices(preset(base), **bad)
    with pytest.raises(ValueError, match="known are released, paper, ours"):
        preset("resnet")


@pytest.mark.parametrize("suffix", ["", "_small"])
def test_comparison_networks_are_those_of_the_papers(suffix):
    with torch.device("meta"):
        nets = {name: build(preset(name + suffix)) for name in READS}
    for name, net in nets.items():
        without = {"volume"} if suffix and name.startswith("ours") else set()  # the nearest point of the body says it
        assert net.preset.inputs == READS[name] - without
        attends = name in ("ours", "ours_without_normal_maps", "pifu_attention", "pifuhd_attention")
        assert isinstance(net.coarse.decoder.fusion, ViewAttention if attends else NoFusion)
    assert isinstance(nets["pifu_mean"].coarse.depth, CameraDepth)
    assert isinstance(nets["pifu_mean"].coarse.decoder.head, MeanInsideHead)
    assert nets["pifu_mean"].fine is None
    assert nets["pamir_mean"].fine is None
    assert nets["pamir_mean"].preset.coarse.volume.kind == "semantic"
    assert nets["pifuhd_mean"].preset.embedding == "mlp"
    assert isinstance(nets["pifuhd_attention"].fine.decoder.fusion, ViewAttention)
    assert isinstance(nets["pifuhd_attention"].fine.decoder.head.pool, MeanOfViews)
    assert isinstance(nets["ours"].coarse.depth, BodyDepth)
    assert isinstance(nets["deepvisualhull"].coarse.decoder.head.pool, MaxOfViews)
    assert all(p.order_free for p in (preset(n + suffix) for n in READS))


@torch.no_grad()
def test_mean_pooling_is_in_the_middle_of_the_mlp():
    """One view given twice is one view; a single view goes through an ordinary MLP."""
    torch.manual_seed(0)
    net = build(preset("pifu_mean_small")).eval()
    one = only(random_inputs(1), {"rgb"})
    twice = replace(one, projection=one.projection.repeat(1, 2, 1, 1), rgb=one.rgb.repeat(1, 2, 1, 1, 1))
    points = random_points(10)
    assert torch.allclose(net(one, points).fine, net(twice, points).fine, atol=1e-6)
    features = net.encode(one)
    located = net.locate(features, points)
    tokens = net.coarse.tokens(features.coarse, located, net.pixels, None)[0, :, 0]
    ordinary = net.coarse.decoder.head.mlp(tokens, tokens[:, :0])
    assert torch.allclose(ordinary, net.predict(features, points).coarse[0], atol=1e-6)


@torch.no_grad()
def test_camera_depth_is_metres_from_the_body_along_the_axis():
    net = build(preset("pifu_mean_small"))
    inputs = only(random_inputs(3), {"rgb"})
    axis = inputs.projection[:, :, 2, :3]
    points = inputs.centre[:, None] + 0.25 * axis[:, 1][:, None]  # a quarter metre from the body, away from view 1
    located = net.locate(net.encode(inputs), points)
    assert located.depth[0, 1, 0] == pytest.approx(0.25 * float(inputs.scale), abs=1e-5)
    aslant = 0.25 * float(axis[0, 1] @ axis[0, 0]) * float(inputs.scale)
    assert located.depth[0, 0, 0] == pytest.approx(aslant, abs=1e-5)


def test_extra_numbers_of_points_take_part():
    of = with_little_volume(replace(preset("small"), point_channels=2, residual=None))
    net = build(of)
    inputs, points = random_inputs(2), random_points(4)
    extra = torch.zeros(1, 4, 2)
    assert not torch.allclose(net(inputs, points, extra=extra).fine, net(inputs, points, extra=extra + 1).fine)
    noise, features = torch.rand(1, 4, 2), net.encode(inputs)
    dense = net.occupancy(features, points, extra=noise, batch=3)
    assert torch.allclose(dense, net.predict(features, points, extra=noise).occupancy)


def test_the_fine_level_trains_over_a_frozen_coarse_one():
    net = build(with_little_volume(preset("small")))
    net.freeze_coarse()
    ask(net, random_inputs(2), random_points(5)).fine.sum().backward()
    assert all(p.grad is None for p in net.coarse.parameters())
    assert all(p.grad is not None for p in net.fine.parameters())


def test_presets_survive_their_cards():
    for name in PRESET_NAMES:
        assert Preset.from_dict(json.loads(json.dumps(preset(name).to_dict()))) == preset(name)


def test_our_file_says_what_it_is_and_comes_back(tmp_path):
    torch.manual_seed(0)
    of, path = preset("small"), tmp_path / "surface.safetensors"
    net, normals = build(of).eval(), NormalNetwork(SMALL_NORMALS).eval()
    weights.save(path, net, normals, weights.card_of(of, seed=0, data="none"), torch.float32)
    loaded = weights.load(path, expected=of)
    assert loaded.surface.preset == of
    assert loaded.card["read_out"] == "pooled"
    assert loaded.card["parameters"] == net.parameter_count()
    assert loaded.card["seed"] == 0
    for a, b in ((net, loaded.surface), (normals, loaded.normals)):
        assert all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())
    assert path.stat().st_size < 32e6
    weights.save(path, net, normals, {}, torch.float16)
    assert path.stat().st_size < 16e6
    assert weights.load(path).surface.coarse.decoder.head.mlp.conv0.weight.dtype == torch.float32


def test_weights_of_another_configuration_are_refused_by_name(tmp_path):
    path = tmp_path / "surface.safetensors"
    of = with_choices(preset("small"), read_out="first")
    weights.save(path, build(of), None, {})
    with pytest.raises(CheckpointError, match=r"small\+read_out=first', not 'ours_small' \(differ in name, co"):
        weights.load(path, expected=preset("small"))
    state, metadata = read_state(path)
    small = json.loads(metadata["preset"])
    for change, message in [
        ({"coarse": None}, "preset cannot be read"), ({"image_size": -5}, "preset cannot be read"),
        ({"coarse": small["coarse"] | {"image": small["coarse"]["image"] | {"stacks": 10**9}}}, "stacks is 1000000000"),
        ({"surprise": 1}, "preset cannot be read"),
        ({"coarse": small["coarse"] | {"widths": [128, 64]}}, "keys missing|has shape|unknown"),
    ]:  # fmt: skip
        write_state(path, state, {"preset": json.dumps(small | change)})
        with pytest.raises(CheckpointError, match=message):
            weights.load(path)


@torch.no_grad()
def test_the_small_normal_network_keeps_to_the_mask():
    torch.manual_seed(0)
    net = NormalNetwork(SMALL_NORMALS).eval()
    masks = torch.zeros(1, 2, 32, 32)
    masks[:, :, 8:24, 10:20] = 1
    normals = predict_normals(net, torch.rand(1, 2, 3, 32, 32) * 2 - 1, masks)
    assert normals.shape == (1, 2, 3, 32, 32)
    inner = torch.zeros_like(masks)
    inner[:, :, 9:23, 11:19] = 1  # drawn in by a pixel
    assert float((normals * (1 - inner[:, :, None])).abs().max()) == 0
    assert bool((normals[:, :, :, 9:23, 11:19] != 0).all())
    assert float(normals.abs().max()) <= 1
