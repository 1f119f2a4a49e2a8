"""Outputs equal those of the released DeepMultiCap for the same seeded weights and inputs (tests/golden/README.md)."""

import numpy as np
import pytest
import torch

from nets.deepmulticap.compat import load_released, load_released_normals
from nets.deepmulticap.inputs import SurfaceInputs
from nets.deepmulticap.network import build
from nets.deepmulticap.presets import preset
from nets.normals import NormalNetwork
from tests.golden.released import golden, released_keys, seeded_inputs, seeded_state

TOLERANCE = 1e-4
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def expected():
    return golden()


@pytest.fixture(scope="module")
def inputs():
    return seeded_inputs()


@pytest.fixture(scope="module")
def network():
    network = build(preset("released")).eval()
    load_released(network, seeded_state(released_keys()["netG"], "module."), "seeded")
    return network


@pytest.fixture(scope="module")
def features(network, inputs, expected):
    rgb, normals, global_normals, volume = inputs
    with torch.no_grad():
        return network.encode(
            SurfaceInputs(
                size=512,
                projection=torch.from_numpy(expected["calib"]),
                rotation=torch.from_numpy(expected["smpl_rot"]),
                centre=torch.from_numpy(expected["center"])[None],
                scale=torch.from_numpy(expected["scale"]),
                rgb=rgb,
                normals=normals,
                global_normals=global_normals,
                volume=volume[:, :, ::2, ::2, ::2],
            )
        )


def close(ours, released, name):
    difference = np.abs(ours.detach().numpy() - released).max()
    print(f"{name}: max difference {difference:.2e} of {np.abs(released).max():.3g}")
    assert difference <= TOLERANCE


def test_image_features(features, expected):
    close(features.coarse["image"][0, :, :8, ::32, ::32], expected["img_feat_probe"], "img_feat_probe")


def test_normal_features(features, expected):
    close(features.fine["image"][0, :, :8, ::128, ::128], expected["nrm_feat_probe"], "nrm_feat_probe")


def test_volume_features(features, expected):
    close(features.coarse["volume"][0, :8, ::8, ::8, ::8], expected["vol_feat_probe"], "vol_feat_probe")


def test_coarse_and_fine_occupancy(network, features, expected):
    with torch.no_grad():
        prediction = network.predict(features, torch.from_numpy(expected["pts"]).transpose(1, 2))
    close(prediction.coarse.sigmoid(), expected["coarse"][:, 0], "coarse")
    close(prediction.fine.sigmoid(), expected["fine"][:, 0], "fine")


def test_predicted_normals(inputs, expected):
    with torch.device("meta"):
        network = NormalNetwork()
    network = network.to_empty(device="cpu").eval()
    load_released_normals(network, seeded_state(released_keys()["netN"], "module."), "seeded")
    with torch.no_grad():
        close(network(inputs[0][:, 0])[0, :, ::64, ::64], expected["normalnet_probe"], "normalnet_probe")
