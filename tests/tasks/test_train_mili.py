"""Training data of the stills network, and what a few steps of each of its trainings learn."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data.model_files import open_weights
from data.single_samples import SinglePeople, write_singles
from data.still_samples import StillFiles, as_pairs, flipped, left_out, write_stills
from data.synthetic.cutouts import BODY_EVERY, Cutout
from data.synthetic.single_stills import draw_single
from data.synthetic.still_scenes import StillOptions, degraded, sample_still
from nets.metrics_boxes import ImageBoxes
from nets.mili.camera import project
from nets.mili.learning import Learner, LearningOptions, Weights
from nets.mili.network import MiliNetwork
from nets.mili.options import SMALL
from nets.mili.pretraining import PARTS, SingleLearner, taught_by_pretraining
from nets.mili.scoring import Scores
from nets.mili.weights import load_network
from tasks.train import read_config
from tasks.train_mili import body_points, job, score, singles_figures

OPTIONS = StillOptions(size=(416, 256), people=(5, 8), heights=(40, 150))


@pytest.fixture(scope="module")
def points():
    return body_points()


@pytest.fixture(scope="module")
def cutouts(points):
    """Naked bodies, which are made faster than dressed people and are as true."""
    g = np.random.default_rng(0)
    model = points.model
    cutouts = []
    for k in range(3):
        rotations = torch.eye(3).repeat(1, 22, 1, 1)
        rotations[0, 0] = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # y up to z up
        betas = torch.as_tensor(g.normal(0, 0.7, (1, 10)), dtype=torch.float32)
        shape = points(rotations, betas)
        vertices = model.skin_landmarks(model.pose_turned(rotations, betas), torch.arange(model.vertex_count))[0]
        middle = torch.tensor([*shape.keypoints[0, 0, :2], vertices[:, 2].min()])
        cutouts.append(
            Cutout(
                (vertices - middle).numpy(),
                model.faces.numpy().astype(np.int32),
                np.full((len(vertices), 3), 60 * k + 40, np.uint8),
                rotations[0].numpy(),
                betas[0].numpy(),
                (shape.keypoints[0] - middle).numpy(),
                (vertices[::BODY_EVERY] - middle).numpy(),
            )
        )
    return cutouts


@pytest.fixture(scope="module")
def stills(cutouts):
    return [sample_still(cutouts, np.random.default_rng(k), OPTIONS) for k in range(4)]


@pytest.fixture(scope="module")
def singles(cutouts, points, tmp_path_factory):
    """The same bodies one by one; colours say where on the body one is."""
    template = points.model.template.numpy()
    low, high = template.min(0), template.max(0)
    where = (255 * (template - low) / (high - low)).astype(np.uint8)
    coloured = [replace(c, colours=where // (k + 1)) for k, c in enumerate(cutouts)]
    made = [draw_single(coloured[k % 3], template, np.random.default_rng(k)) for k in range(32)]
    path = tmp_path_factory.mktemp("singles") / "a.npz"
    write_singles(path, made)
    return SinglePeople([path])


def test_the_truth_of_a_picture_is_one(stills, points):
    for still in stills:
        assert len(still.boxes) > 0
        for row in range(len(still.boxes)):
            owned = np.argwhere(still.labels == row + 1)[:, ::-1]
            low, high = still.boxes[row, :2] - 1.5, still.boxes[row, 2:] + 1.5
            assert ((owned >= low) & (owned <= high)).all()
        body = points(torch.from_numpy(still.rotations), torch.from_numpy(still.betas)).keypoints.numpy()
        away = (body - body[:, :1]) - (still.joints - still.joints[:, :1])
        assert np.abs(away).max() < 2e-3  # rotations and joints say the same
        pixels = project(torch.from_numpy(still.joints), still.focal, torch.as_tensor(still.principal)).numpy()
        assert np.abs(pixels - still.keypoints).max() < 0.05


def test_a_mirrored_picture_has_a_mirrored_truth(stills, points):
    still = flipped(stills[0])
    body = points(torch.from_numpy(still.rotations), torch.from_numpy(still.betas)).keypoints.numpy()
    away = (body - body[:, :1]) - (still.joints - still.joints[:, :1])
    assert np.linalg.norm(away, axis=-1).max() < 0.02  # a body is not quite its mirror image
    again = flipped(still)
    assert np.allclose(again.keypoints, stills[0].keypoints, atol=1e-3)
    assert np.array_equal(again.image, stills[0].image)


def test_pictures_come_back_from_their_file(stills, tmp_path):
    write_stills(tmp_path / "a.npz", stills)
    files = StillFiles([tmp_path / "a.npz"])
    assert len(files) == len(stills)
    for k, still in enumerate(stills):
        assert np.array_equal(files[k].image, still.image) and np.array_equal(files[k].labels, still.labels)
        assert np.allclose(files[k].rotations, still.rotations) and files[k].focal == pytest.approx(still.focal)


def test_a_poor_camera_gives_few_pixels(stills):
    assert degraded(stills[0].image, (208, 128), np.random.default_rng(0)).shape == (128, 208, 3)


def test_single_people_keep_their_truth_however_they_are_varied(singles, points):
    batch = singles.batch(np.arange(32), np.random.default_rng(0))
    people = batch.people
    body = points(people.rotations, people.betas).keypoints
    away = (body - body[:, :1]) - people.joints[..., :3]
    assert away.norm(dim=-1).max() < 0.02  # a body is not quite its mirror image
    # Some depth along the ray that the hip is on explains every keypoint: joints and pixels say the same.
    hip = people.keypoints[:, :1, :2]
    ray = torch.cat([(hip - batch.principal[:, None]) / batch.focal[:, None, None], torch.ones(32, 1, 1)], -1)
    errors = []
    for depth in np.exp(np.linspace(np.log(1.5), np.log(40), 400)):
        pixels = project(people.joints[..., :3] + ray * float(depth), batch.focal, batch.principal)
        errors.append((pixels - people.keypoints[..., :2]).norm(dim=-1).amax(1))
    assert torch.stack(errors).amin(0).max() < 0.5
    # Covered pixels lie in the box, and the head is where the place on the body is high.
    for k in range(32):
        ys, xs = torch.nonzero(batch.places[k, 0] > 0.5, as_tuple=True)
        low, high = people.boxes[k, :2] - 8, people.boxes[k, 2:] + 8
        at = torch.stack([xs, ys], -1)
        assert len(at) and ((at >= low) & (at <= high)).all()


def test_a_pretraining_learns_which_way_people_face(singles, points):
    torch.manual_seed(0)
    options = replace(SMALL, norm="batch")
    learner = SingleLearner(MiliNetwork(options), points, Weights(keypoints=10, joints=20, vertices=3, six=8))
    optimizer = torch.optim.AdamW(learner.parameters(), 1e-3)
    batch = singles.batch(np.arange(8), np.random.default_rng(0))
    for _ in range(60):
        optimizer.zero_grad()
        learner(batch)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 10.0)
        optimizer.step()
    with torch.no_grad():
        figures = singles_figures(learner, batch)
    assert figures["constant_mm"] > 150 and figures["mpjpe_mm"] < 60 and figures["heading_deg"] < 20
    # Whole pictures begin with it: the same weights in a network whose norms are frozen.
    frozen = MiliNetwork(replace(options, norm="frozen"))
    kept = taught_by_pretraining(learner.state_dict())
    missing, unexpected = frozen.load_state_dict(kept, strict=False)
    assert not unexpected and not any(k.startswith(PARTS) for k in missing)


@pytest.mark.parametrize("stage", [1, 2])
def test_losses_fall_where_one_batch_is_shown_again_and_again(stills, points, stage):
    torch.manual_seed(0)
    pairs = as_pairs(stills[:2], SMALL.low, np.random.default_rng(0), [0, 1])
    corpus = (pairs.people[0].rotations, pairs.people[0].betas)
    options = LearningOptions(stage=stage, regions=32, most_bodies=12)
    learner = Learner(MiliNetwork(SMALL), points, options, Weights(order=0.01, contrastive=0.01), corpus)
    optimizer = torch.optim.AdamW([p for p in learner.parameters() if p.requires_grad], 1e-3)
    course = []
    for _ in range(12):
        losses = learner(pairs)
        optimizer.zero_grad()
        losses["loss"].backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 5.0)
        optimizer.step()
        course.append({k: float(v.detach()) for k, v in losses.items()})
    wanted = {"proposal", "box_class", "joints", "vertices", "pose", "keypoints", "mask", "adversary"}
    wanted |= {"contrastive", "region", "restoration"} if stage == 2 else set()
    assert wanted <= set(course[0])
    learnt = [c["proposal"] + c["mask"] + c["joints"] for c in course]
    assert np.mean(learnt[-2:]) < 0.85 * learnt[0]
    if stage == 2:
        assert learner.teacher is not None and all(p.grad is None for p in learner.teacher.parameters())


def test_scores_of_known_finds():
    joints = np.zeros((2, 19, 3))
    true = np.array([[0, 0, 40, 100], [100, 0, 140, 100]], float)
    moved = joints.copy()
    moved[0, 1:] += [0.1, 0, 0]
    scores = Scores()
    found = np.array([[0, 0, 40, 98], [200, 0, 240, 100]], float)
    scores.add(ImageBoxes(true, found, np.array([0.9, 0.8])), moved, joints, np.ones(2))
    figures = scores.figures()
    assert figures["mpjpe_mm"] == pytest.approx(100 * 18 / 19)
    assert figures["mpjpe_strict_mm"] == pytest.approx((100 * 18 / 19 + 500) / 2)
    assert (figures["recall"], figures["false_people"], figures["box_ap"]) == (0.5, 1.0, pytest.approx(100 * 51 / 101))
    assert figures["pck150"] == 50 and figures["pck150_matched"] == 100


def test_people_whom_the_truth_leaves_out_are_neither_right_nor_wrong(stills):
    still = replace(stills[0], labels=np.where(stills[0].labels == 1, 255, 0).astype(np.uint8))
    crowds = left_out(still)
    ys, xs = np.nonzero(still.labels)
    assert crowds[:, 0].min() == xs.min() - 0.5 and crowds[:, 3].max() == ys.max() + 0.5
    scores = Scores()
    image = ImageBoxes(crowds, crowds[:1], np.array([0.9]), np.ones(len(crowds), bool))
    scores.add(image, np.zeros((1, 19, 3)), np.zeros((0, 19, 3)), np.zeros(0))
    assert scores.figures()["false_people"] == 0


def test_the_weights_that_ship_find_people_in_pictures_and_have_their_card(stills, tmp_path):
    weights = open_weights("stills")
    card = json.loads(weights.with_suffix(".json").read_text())
    network = load_network(weights)
    assert network.options.name == card["name"] == "mili_small" and weights.stat().st_size < 32e6
    assert sum(p.numel() for p in network.parameters()) == card["parameters"]
    write_stills(tmp_path / "a.npz", stills)
    for low in (True, False):
        figures = score(network, StillFiles([tmp_path / "a.npz"]), low)
        assert figures["recall"] > 0.3 and figures["box_ap"] > 30  # bare bodies, as it has never seen any


STILLS = Path(__file__).parents[2] / "configs" / "nets" / "stills"
ROWS = sorted(p for p in STILLS.glob("*.yaml") if p.stem != "full")


@pytest.mark.parametrize("path", ROWS, ids=lambda p: p.stem)
def test_rows_of_the_ablation_differ_from_the_full_one_in_one_part(path):
    full, config = read_config(STILLS / "full.yaml"), read_config(path)
    theirs, ours = job(full, STILLS / "full.yaml").phases, job(config, path).phases
    assert [p.options for p in ours] == [p.options for p in theirs]
    # They all begin where the full one begins its second stage.
    assert [p.folder for p in ours[:2]] == [p.folder for p in theirs[:2]] and ours[2].folder != theirs[2].folder
    assert config["network"].pop("ablation") == path.stem and full["network"].pop("ablation") == "full"
    for text in ("output", "weights"):
        assert path.stem in config.pop(text) and "full" in full.pop(text)
    assert all(config[k] == full[k] for k in ("data", "network", "losses", "stage2"))


def test_the_ablation_begins_with_the_pretraining_of_the_shipped_recipe():
    shipped, full = STILLS.parent / "mili_small.yaml", STILLS / "full.yaml"
    theirs, ours = job(read_config(shipped), shipped).phases, job(read_config(full), full).phases
    assert ours[0].folder == theirs[0].folder and {p.folder for p in ours[1:]}.isdisjoint(p.folder for p in theirs)
