"""Losses and self-correction of the published parsing network, against values worked out by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nets.parsing.ce2p import HumanParser, Norm
from nets.parsing.correction import SelfCorrection, reestimate
from nets.parsing.losses import IGNORED, corrected, divergence, edges_of, lovasz_softmax, parsing_losses


def test_edges_are_where_labels_change_and_three_pixels_wide():
    labels = torch.zeros(1, 9, 9, dtype=torch.long)
    labels[:, 5:] = 3
    edges = edges_of(labels)
    assert edges[0, :, 4].tolist() == [0, 0, 0, 1, 1, 1, 1, 0, 0]  # marked on both sides by the diagonals, then grown
    labels[:, 5:] = IGNORED
    assert edges_of(labels).sum() == 0


def test_lovasz_is_one_minus_iou_for_certain_answers():
    labels = torch.tensor([[[0, 0, 1, 1, 1, 0, 0, 0]]])
    answer = torch.tensor([[[0, 1, 1, 1, 0, 0, 0, 0]]])
    chances = F.one_hot(answer, 3).movedim(-1, 1).float()
    iou = [4 / 6, 2 / 4]  # of labels 0 and 1; 2 is not there
    assert lovasz_softmax(chances, labels).item() == pytest.approx(1 - sum(iou) / 2)
    labels[..., 1], labels[..., 4] = IGNORED, IGNORED
    assert lovasz_softmax(chances, labels).item() == pytest.approx(0)


def test_labels_are_corrected_more_with_every_cycle():
    labels = torch.tensor([[[1, 0]]])
    logits = torch.tensor([2.0, -2.0]).reshape(1, 2, 1, 1).expand(1, 2, 1, 2)
    assert corrected(logits, labels, 0)[0, :, 0, 0].tolist() == [0, 1]
    third = corrected(logits, labels, 2)[0, :, 0, 0]
    assert third.tolist() == pytest.approx([2 * 2 / 3, -2 * 2 / 3 + 1 / 3])


def test_divergence_is_nought_for_the_same_answer_and_leaves_out_what_is_ignored():
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(1, 4, 3, 3, generator=g), torch.randn(1, 4, 3, 3, generator=g)
    labels = torch.zeros(1, 3, 3, dtype=torch.long)
    assert divergence(a, a, labels).item() == pytest.approx(0, abs=1e-7)
    p, q = F.softmax(b, 1), F.softmax(a, 1)
    assert divergence(a, b, labels).item() == pytest.approx((p * (p / q).log()).mean().item(), rel=1e-5)
    labels[:, 1:] = IGNORED
    expected = (p * (p / q).log())[:, :, 0].mean().item()
    assert divergence(a, b, labels).item() == pytest.approx(expected, rel=1e-5)


def test_the_network_learns_labels_and_edges_with_them():
    """A thin network of the published shape on one image: all parts of the loss fall, with and without correction."""
    torch.manual_seed(0)
    network = HumanParser(7, (1, 1, 1, 1))
    image, labels = torch.randn(2, 3, 32, 32), torch.zeros(2, 32, 32, dtype=torch.long)
    image[:, :, 8:24, 8:24] += 3
    labels[:, 8:24, 8:24] = 2
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9)
    first = None
    for _ in range(4):
        losses = parsing_losses(network(image), labels)
        first = first or {k: v.item() for k, v in losses.items()}
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
    assert losses["labels"].item() < 0.7 * first["labels"] and losses["edges"].item() < first["edges"]
    soft = parsing_losses(network(image), labels, averaged=tuple(x.detach() for x in network(image)[1:]), cycle=1)
    assert all(torch.isfinite(v) for v in soft.values())
    soft["loss"].backward()


def test_models_are_averaged_with_equal_shares_and_normalised_anew():
    def model(value):
        net = nn.Sequential(nn.Conv2d(1, 1, 1), Norm(1))
        with torch.no_grad():
            for p in net.parameters():
                p.fill_(value)
        return net

    correction = SelfCorrection(model(9.0))
    images = [torch.randn(4, 1, 5, 5) * 3 + 1 for _ in range(3)]
    assert correction.soft_labels(images[0]) is None
    for value in (1.0, 2.0, 6.0):
        correction.close_cycle(model(value), images)
    assert [p.flatten()[0].item() for p in correction.averaged.parameters()] == pytest.approx([3.0] * 4)
    assert correction.cycle == 3 and not correction.averaged.training
    after = correction.averaged[0](torch.cat(images))
    norm = correction.averaged[1]
    assert norm.running_mean.item() == pytest.approx(after.mean().item(), rel=1e-4)
    assert norm.momentum == 0.1


def test_estimates_weigh_batches_by_their_size():
    net = nn.Sequential(Norm(1))
    reestimate(net, [torch.full((1, 1, 2, 2), 4.0), torch.full((3, 1, 2, 2), 8.0)])
    assert net[0].running_mean.item() == pytest.approx(7.0)
