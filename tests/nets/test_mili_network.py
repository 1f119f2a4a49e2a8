"""The stills network on pictures whose answer is known: boxes, places, memory, what guides what."""

import copy
import math

import pytest
import torch

from nets.mili import camera, priors, regions, together
from nets.mili.assigning import PROPOSALS, assign
from nets.mili.backbone import SpatialGate
from nets.mili.boxes import Geometry
from nets.mili.heads import Restoration, rotations_from
from nets.mili.network import MiliNetwork, ProposalOptions
from nets.mili.options import ABLATIONS, MILI, SMALL, MiliOptions, ablated

MODERN = Geometry("modern")
TINY = MiliOptions("tiny", canvas=(128, 96), low=(64, 48), blocks=(1, 1, 1, 1), width=8, norm="group", pyramid=16,
                   box_hidden=16, body_width=16, body_hidden=16, dropout=0.0, focal=150.0)  # fmt: skip


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return MiliNetwork(TINY).eval()


def test_deltas_take_a_box_to_its_target():
    boxes, targets = torch.tensor([[10.0, 10, 50, 80]]), torch.tensor([[20.0, 5, 70, 60]])
    moved = MODERN.decode(boxes, MODERN.encode(boxes, targets), (128, 96))
    assert torch.allclose(moved, targets, atol=1e-4)


def test_suppression_keeps_the_best_of_boxes_that_overlap():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [40, 40, 50, 50]])
    assert MODERN.keep_best(boxes, torch.tensor([0.5, 0.9, 0.4]), 0.5).tolist() == [1, 2]


def test_regions_read_what_is_in_their_box():
    ramp = torch.arange(64.0)[None].expand(48, 64)  # the value of a cell is its column
    levels = [ramp[None, None] / 2**k for k in range(4)]
    levels = [level[..., : 48 >> k, : 64 >> k] * 2**k for k, level in enumerate(levels)]
    box = torch.tensor([[39.5, 39.5, 79.5, 79.5]])  # pixels 40 to 79: cells 10 to 19 of stride 4
    pooled = regions.pool(levels, [box], 5, MODERN)
    expected = torch.tensor([10.5, 12.5, 14.5, 16.5, 18.5])
    assert torch.allclose(pooled[0, 0], expected.expand(5, 5), atol=1e-3)


def test_true_masks_are_cropped_where_their_box_is():
    masks = torch.zeros(1, 24, 32, dtype=torch.bool)
    masks[0, 6:12, 8:16] = True  # of a canvas of 128 x 96: pixels 32 to 63, 24 to 47
    box = torch.tensor([[31.5, 23.5, 95.5, 47.5]])
    cropped = regions.crop_masks(masks, torch.zeros(1, dtype=torch.int64), box, 28, 0.25)
    assert cropped[0, 3:-3, 3:11].min() > 0.99 and cropped[0, :, 17:].max() < 0.01


def test_translation_and_camera_are_inverse_and_project_to_the_box():
    boxes = torch.tensor([[30.0, 20, 60, 90], [5, 5, 40, 60]])
    of_box, principal = torch.tensor([[1.1, 0.05, -0.1], [0.7, 0.2, 0.1]]), torch.tensor([63.5, 47.5])
    place = camera.translation(of_box, boxes, 150.0, principal)
    assert torch.allclose(camera.camera_of(place, boxes, 150.0, principal), of_box, atol=1e-4)
    pixels = camera.project(place[:, None], 150.0, principal)[:, 0]
    size = torch.tensor([70.0, 55.0])
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert torch.allclose(pixels, centres + of_box[:, 1:] * size[:, None], atol=1e-3)


def test_who_is_seen_from_the_same_side_looks_alike_wherever_they_are():
    boxes = torch.tensor([[50.0, 30, 78, 66], [110, 10, 126, 60]])
    principal = torch.tensor([[64.0, 48], [64, 48]])
    seen = rotations_from(torch.randn(2, 132, generator=torch.Generator().manual_seed(0)))
    turned = camera.from_ray(seen, boxes, 150.0, principal)
    assert torch.allclose(turned[0], seen[0], atol=1e-6)  # in the middle of the picture both cameras are one
    ray = torch.nn.functional.normalize(torch.tensor([54.0, -13, 150]), dim=0)
    # What points at the camera that looks at the person points at the picture's.
    assert torch.allclose(turned[1, 0] @ seen[1, 0].T @ torch.tensor([0.0, 0, 1]), ray, atol=1e-5)
    assert torch.allclose(camera.to_ray(turned, boxes, 150.0, principal), seen, atol=1e-5)


def test_assignment_draws_no_more_than_a_quarter_of_people():
    people = torch.tensor([[10.0, 10, 30, 60]])
    boxes = people.repeat(600, 1) + torch.rand(600, 1, generator=torch.Generator().manual_seed(0))
    boxes = torch.cat([boxes, torch.tensor([[80.0, 10, 100, 60]]).repeat(600, 1)])
    found = assign(boxes, people, MODERN, PROPOSALS, torch.Generator().manual_seed(0))
    assert len(found.positive) == 128 and len(found.negative) == 384
    assert (found.positive < 600).all() and (found.negative >= 600).all()


def test_an_image_without_people_teaches_background_alone():
    found = assign(torch.rand(50, 4).cumsum(1), torch.zeros(0, 4), MODERN, PROPOSALS, torch.Generator())
    assert len(found.positive) == 0 and len(found.negative) == 50


def test_detection_gives_an_empty_result_where_nobody_reaches_the_threshold(tiny):
    (found,) = tiny.detect(torch.zeros(1, 3, 96, 128), low=True, threshold=1.0)
    assert len(found.boxes) == len(found.scores) == len(found.bodies.betas) == len(found.masks) == 0


def test_images_of_a_batch_do_not_see_each_other(tiny):
    images = torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(1)) * 4
    options = ProposalOptions(50, 50, 50)
    both = tiny.detect(images, low=False, threshold=0.0, most=5, proposals=options)
    for k in range(2):
        (alone,) = tiny.detect(images[k : k + 1], low=False, threshold=0.0, most=5, proposals=options)
        assert torch.allclose(alone.boxes, both[k].boxes, atol=1e-3)
        assert torch.allclose(alone.bodies.rotations, both[k].bodies.rotations, atol=1e-4)


def test_gate_and_restoration_begin_as_if_they_were_not_there():
    images, feature = torch.rand(1, 3, 20, 30), torch.rand(1, 16, 7, 9)
    assert torch.equal(SpatialGate()(images), images)
    assert torch.equal(Restoration(16)(feature), feature)


def test_rotations_are_rotations():
    R = rotations_from(torch.randn(5, 132, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(R @ R.transpose(-1, -2), torch.eye(3).expand_as(R), atol=1e-5)
    assert torch.allclose(torch.linalg.det(R), torch.ones(5, 22), atol=1e-5)


@pytest.mark.parametrize("row", ABLATIONS)
def test_every_part_can_be_switched_off(row):
    network = MiliNetwork(ablated(TINY, row))
    own, full = set(network.state_dict()), set(MiliNetwork(TINY).state_dict())
    gone = {"without_mask": "mask_head.", "without_restoration": "restoration.", "without_attention": "attention."}
    if row in gone:
        assert full - own == {k for k in full if k.startswith(gone[row])}
    with torch.no_grad():
        assert len(network.eval().features(torch.zeros(1, 3, 96, 128), low=True).levels) == 5


def test_the_low_branch_alone_is_restored(tiny):
    network = copy.deepcopy(tiny)
    torch.nn.init.ones_(network.restoration.out.bias)
    images = torch.rand(1, 3, 96, 128)
    high, low = network.features(images, low=False), network.features(images, low=True)
    assert high.restored is None and torch.allclose(low.levels[3] - high.levels[3], torch.ones(1), atol=1e-5)


def test_the_paper_has_the_papers_sizes():
    assert MILI.canvas == (832, 512) and MILI.low == (208, 128) and MILI.blocks == (3, 4, 6, 3)
    assert SMALL.canvas[0] / SMALL.low[0] == 2


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match="attention is 'both'"):
        MiliOptions("x", attention="both")
    with pytest.raises(ValueError, match="multiple of 32"):
        MiliOptions("x", canvas=(100, 96))


# --- losses ---------------------------------------------------------------------------------------------------------


def test_contrast_is_small_for_the_same_scene_and_finite_at_the_papers_temperature():
    memory = priors.SceneMemory(8, length=16)
    g = torch.Generator().manual_seed(0)
    features = torch.randn(4, 8, 3, 3, generator=g)
    for k in range(6):
        other = torch.randn(4, 8, 3, 3, generator=g)
        memory(other, other, torch.arange(4) + 100 + 4 * k)
    same = memory(features, features, torch.arange(4))
    opposite = memory(features, -features, torch.arange(4) + 50)
    assert same < 0.5 < opposite and torch.isfinite(opposite)


def test_the_same_scene_seen_before_is_no_counterexample():
    memory = priors.SceneMemory(4, length=8)
    x = torch.randn(1, 4, 2, 2)
    scene = torch.tensor([7])
    memory(x, x, scene)
    assert memory(x, x, scene) == pytest.approx(0.0, abs=1e-5)


def _ball(centre, radius=0.5, count=600):
    k = torch.arange(count) + 0.5
    polar, turn = torch.acos(1 - 2 * k / count), math.pi * (1 + 5**0.5) * k
    normals = torch.stack([turn.cos() * polar.sin(), turn.sin() * polar.sin(), polar.cos()], -1)
    return torch.tensor(centre) + radius * normals, normals


def test_depth_inside_a_ball_is_what_it_is():
    vertices, normals = _ball([0.0, 0.0, 0.0])
    points = torch.tensor([[0.3, 0, 0], [0, 0.45, 0], [0.7, 0, 0]])
    assert torch.allclose(together.inside_depth(points, vertices, normals), torch.tensor([0.2, 0.05, 0]), atol=0.02)


def test_only_people_who_touch_are_pushed_apart():
    balls = [_ball([0.0, 0, 5]), _ball([0.6, 0, 5]), _ball([3.0, 0, 5])]
    vertices, normals = (torch.stack([b[k] for b in balls]).requires_grad_(k == 0) for k in (0, 1))
    loss = together.interpenetration(vertices, normals, torch.zeros(3, dtype=torch.int64))
    loss.backward()
    assert loss > 0 and vertices.grad[2].abs().max() == 0
    assert vertices.grad[0, :, 0].sum() > 0 > vertices.grad[1, :, 0].sum()  # descending moves them apart
    apart = together.interpenetration(vertices, normals, torch.arange(3))
    assert apart == 0  # in three images


def test_whoever_owns_a_pixel_is_pulled_in_front():
    spots = torch.tensor([[10.0, 10.0]])
    pixels = torch.tensor([[[10.0, 10.0]], [[11.0, 10.0]]])
    depths = torch.tensor([[6.0], [5.0]], requires_grad=True)
    groups, owner = torch.zeros(2, dtype=torch.int64), torch.tensor([0])
    loss = together.depth_order(pixels, depths, spots, owner, groups, radius=3.0)
    loss.backward()
    assert depths.grad[0] > 0 > depths.grad[1]
    far = together.depth_order(pixels, depths, spots, owner, groups, radius=0.5)
    assert far == 0  # the other does not cover the pixel


def test_discriminators_tell_a_corpus_from_noise():
    torch.manual_seed(0)
    judge = priors.Discriminators(hidden=32)
    real = torch.eye(3).repeat(64, 22, 1, 1)
    fake = rotations_from(torch.randn(64, 132))
    betas = torch.zeros(64, 10)
    optimizer = torch.optim.Adam(judge.parameters(), 5e-3)
    for _ in range(60):
        loss = priors.telling_loss(judge(real, betas), judge(fake, betas + 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert priors.fooling_loss(judge(real, betas)) < 0.2 * priors.fooling_loss(judge(fake, betas + 1))
