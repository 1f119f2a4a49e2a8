"""What the stills network is taught: one batch of image pairs to its losses (sections 3.1-3.4).

Stage 1 trains on high resolution, with the losses of multi-person reconstruction (CRMH's, ``L_mul``). Stage 2 trains
the low-resolution branch: ``L_mul`` and the mask loss on low resolution, and what a teacher sees at high resolution
guides it by the contrastive, region and restoration losses. The teacher is the network itself without gradients
("shared", as the paper reads literally), its weights of the end of stage 1 ("frozen"), or their moving average
("averaged").
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as nn_functional

from nets.mili import camera, priors, regions, together
from nets.mili.assigning import ANCHORS, PROPOSALS, Assignment, assign
from nets.mili.body import BodyPoints, BodyShape
from nets.mili.heads import MASK_SIDE, Bodies
from nets.mili.network import TOP, Features, MiliNetwork, ProposalOptions


@dataclass(frozen=True)
class People:
    """What is true of the M people of one image. Pixels are of the canvas, bodies in camera axes.

    Attributes:
        boxes: (M, 4). keypoints: (M, K, 3) pixels and confidence.
        joints: (M, K, 4) metres from the mid hip, and confidence.
        rotations: (M, R, 3, 3). betas: (M, 10). has_body: (M,) bool, whether those two are known.
        masks: (M, h, w) bool of what is seen of each, a whole fraction of the canvas; None if not known.
    """

    boxes: Tensor
    keypoints: Tensor
    joints: Tensor
    rotations: Tensor
    betas: Tensor
    has_body: Tensor
    masks: Tensor | None = None


@dataclass(frozen=True)
class Pairs:
    """A batch: the same B scenes at high and, enlarged, at low resolution, (B, 3, H, W) normalised; their people; a
    number for each scene; focal length (B,) and principal point (B, 2), pixels of the canvas."""

    high: Tensor
    low: Tensor
    people: list[People]
    scenes: Tensor
    focal: Tensor
    principal: Tensor


@dataclass(frozen=True)
class Weights:
    """Of the losses. Those of ``L_mul`` are the released ones, but for ``order``, which is a mean over pixels where two
    people meet here and over all pixels there; the paper does not give ``contrastive``, ``mask``, ``restoration``.
    ``six`` and ``root`` are ours: of the numbers that all rotations, and the first, are made of. They can be the mean
    of what may be true, as no rotation can, and the gradient does not vanish for who faces the wrong way."""

    proposal: float = 1.0
    proposal_box: float = 1.0
    box_class: float = 1.0
    box: float = 1.0
    keypoints: float = 4.0
    joints: float = 1.0
    vertices: float = 1.0
    pose: float = 1.0
    six: float = 0.0
    root: float = 0.0
    betas: float = 0.01
    adversary: float = 1 / 60
    penetration: float = 0.01
    order: float = 0.1
    contrastive: float = 0.1
    region: float = 1e-8
    mask: float = 1.0
    restoration: float = 1.0


@dataclass(frozen=True)
class LearningOptions:
    """How it is taught.

    Attributes:
        stage: 1 or 2.
        most_bodies: proposals of a batch that the body head is taught on.
        proposals: kept while training.
        regions: drawn of each image's proposals for the box head, at most a quarter of them people.
        pixels_in_order: pixels a person at which the order in depth is checked.
        average: decay a step of an "averaged" teacher.
    """

    stage: int = 1
    most_bodies: int = 64
    proposals: ProposalOptions = field(default_factory=lambda: ProposalOptions(before=400, after=300, most=300))
    regions: int = 512
    pixels_in_order: int = 24
    average: float = 0.999


class Learner(nn.Module):
    """The network and what it takes to teach it. Batches in, named losses out; "loss" is their weighted sum.

    Args:
        corpus: real poses (P, R, 3, 3) and shapes (P, 10) for the discriminators; None for no adversary.
    """

    def __init__(
        self,
        network: MiliNetwork,
        body: BodyPoints,
        options: LearningOptions,
        weights: Weights = Weights(),
        corpus: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.network, self.body = network, body
        self.options, self.weights = options, weights
        self.generator = torch.Generator().manual_seed(0)
        self.adversary = None
        if corpus is not None:
            self.adversary = priors.Discriminators(network.options.rotations)
            self.register_buffer("real_rotations", corpus[0], persistent=False)
            self.register_buffer("real_betas", corpus[1], persistent=False)
        self.memory = priors.SceneMemory(network.options.pyramid) if network.options.contrastive else None
        self.teacher: MiliNetwork | None = None
        if options.stage == 2 and network.options.teacher != "shared":
            self.teacher = copy.deepcopy(network).requires_grad_(False)

    def forward(self, batch: Pairs) -> dict[str, Tensor]:
        low = self.options.stage == 2
        self.generator.manual_seed(int(torch.randint(2**31, ()).item()))
        seen = self.network.features(batch.low if low else batch.high, low)
        losses = self._people(seen, batch)
        if low:
            losses |= self._guidance(seen, batch)
        total = sum(getattr(self.weights, name) * value for name, value in losses.items())
        return {"loss": total, **losses}

    @torch.no_grad()
    def after_step(self) -> None:
        """Let an averaged teacher follow."""
        if self.teacher is not None and self.network.options.teacher == "averaged":
            for mine, theirs in zip(self.teacher.parameters(), self.network.parameters(), strict=True):
                mine.lerp_(theirs, 1 - self.options.average)

    # --- people -----------------------------------------------------------------------------------------------------

    def _people(self, seen: Features, batch: Pairs) -> dict[str, Tensor]:
        network = self.network
        logits, deltas = network.rpn_head(seen.levels)
        anchors = network.anchors(seen.levels)
        losses = self._proposal_losses(logits, deltas, torch.cat(anchors), batch)
        seen.proposals = network.propose(logits, deltas, anchors, self.options.proposals)
        boxes = [torch.cat([p, q.boxes]) for p, q in zip(seen.proposals, batch.people, strict=True)]
        drawn = replace(PROPOSALS, count=self.options.regions)
        chosen = [
            assign(b, q.boxes, network.geometry, drawn, self.generator)
            for b, q in zip(boxes, batch.people, strict=True)
        ]
        losses |= self._box_losses(seen, boxes, chosen, batch)
        taught = [(b[c.positive], c.person) for b, c in zip(boxes, chosen, strict=True)]
        taught = self._fewer(taught)
        if sum(len(b) for b, _ in taught):
            losses |= self._body_losses(seen, taught, batch)
            if network.mask_head is not None:
                losses |= self._mask_loss(seen, taught, batch)
        return losses

    def _proposal_losses(
        self, logits: list[Tensor], deltas: list[Tensor], anchors: Tensor, batch: Pairs
    ) -> dict[str, Tensor]:
        scores, moves = torch.cat(logits, 1).float(), torch.cat(deltas, 1).float()
        of_class, of_box, count = scores.sum() * 0, scores.sum() * 0, 0
        for b, people in enumerate(batch.people):
            chosen = assign(anchors, people.boxes, self.network.geometry, ANCHORS, self.generator)
            rows = torch.cat([chosen.positive, chosen.negative])
            wanted = torch.zeros(len(rows), device=scores.device)
            wanted[: len(chosen.positive)] = 1
            found = scores[b, rows]
            of_class = of_class + nn_functional.binary_cross_entropy_with_logits(found, wanted, reduction="sum")
            if len(chosen.positive):
                target = self.network.geometry.encode(anchors[chosen.positive], people.boxes[chosen.person])
                moved = moves[b, chosen.positive]
                of_box = of_box + nn_functional.smooth_l1_loss(moved, target, beta=1 / 9, reduction="sum")
            count += len(rows)
        return {"proposal": of_class / max(count, 1), "proposal_box": of_box / max(count, 1)}

    def _box_losses(
        self, seen: Features, boxes: list[Tensor], chosen: list[Assignment], batch: Pairs
    ) -> dict[str, Tensor]:
        picked = [b[torch.cat([c.positive, c.negative])] for b, c in zip(boxes, chosen, strict=True)]
        scores, moves = self.network.box_scores(seen.levels, picked)
        wanted = [_ones_then_zeros(len(c.positive), len(c.negative), scores.device) for c in chosen]
        positive = torch.cat(wanted) == 1
        of_class = nn_functional.cross_entropy(scores.float(), torch.cat(wanted))
        targets = torch.cat([
            self.network.geometry.encode(b[c.positive], q.boxes[c.person], self.network.bbox_head.STDS)
            for b, c, q in zip(boxes, chosen, batch.people, strict=True)
        ])  # fmt: skip
        of_box = nn_functional.smooth_l1_loss(moves[positive, 4:].float(), targets, reduction="sum")
        return {"box_class": of_class, "box": of_box / max(len(scores), 1)}

    def _fewer(self, taught: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
        """At most ``most_bodies`` of a batch, an equal share of each image."""
        share = max(1, self.options.most_bodies // len(taught))
        out = []
        for boxes, people in taught:
            rows = torch.randperm(len(boxes), generator=self.generator)[:share].to(boxes.device)
            out.append((boxes[rows], people[rows]))
        return out

    # --- bodies -----------------------------------------------------------------------------------------------------

    def _body_losses(
        self, seen: Features, taught: list[tuple[Tensor, Tensor]], batch: Pairs
    ) -> dict[str, Tensor]:
        boxes = torch.cat([b for b, _ in taught])
        true = _gathered(batch.people, [rows for _, rows in taught])
        image = _image_of([len(b) for b, _ in taught], boxes.device)
        bodies = self.network.bodies(seen.levels, [b for b, _ in taught])
        focal, principal = batch.focal[image], batch.principal[image]
        upright = true.rotations
        if self.network.options.ray_frame:
            bodies = bodies._replace(rotations=camera.from_ray(bodies.rotations, boxes, focal, principal))
            upright = camera.to_ray(upright, boxes, focal, principal)
        shape = self.body(bodies.rotations, bodies.betas)
        with torch.no_grad():
            wanted = self.body(true.rotations, true.betas)
        transl = camera.translation(bodies.camera, boxes, focal, principal)
        losses = pose_losses(bodies, shape, wanted, true, upright)
        pixels = camera.project(shape.keypoints + transl[:, None], focal, principal)
        losses["keypoints"] = keypoint_loss(pixels, true.keypoints, boxes)
        losses |= self._together_losses(shape, transl, boxes, image, taught, batch)
        if self.adversary is not None:
            losses["adversary"] = self._adversary_loss(bodies)
        return losses

    def _together_losses(
        self, shape, transl: Tensor, boxes: Tensor, image: Tensor, taught: list[tuple[Tensor, Tensor]], batch: Pairs
    ) -> dict[str, Tensor]:
        """One proposal a person, of whose several the first is taken: they were drawn at random."""
        person = torch.cat([rows for _, rows in taught])
        keys = (image * 10_000 + person).tolist()
        rows = torch.tensor([k for k, key in enumerate(keys) if keys.index(key) == k], device=boxes.device)
        if len(rows) < 2:
            return {}
        vertices = shape.vertices[rows] + transl[rows, None]
        groups = image[rows]
        losses = {"penetration": together.interpenetration(vertices, shape.normals[rows], groups) / len(batch.people)}
        spots = [self._spots(batch, int(image[r]), int(person[r])) for r in rows.tolist()]
        if any(len(s) for s in spots):
            pixels = camera.project(vertices, batch.focal[groups], batch.principal[groups])
            owners = _image_of([len(s) for s in spots], boxes.device)
            size = (boxes[rows, 2:] - boxes[rows, :2]).amax(-1).mean()
            order = together.depth_order(pixels, vertices[..., 2], torch.cat(spots), owners, groups, float(size) / 20)
            losses["order"] = order
        return losses

    def _spots(self, batch: Pairs, image: int, person: int) -> Tensor:
        """(P, 2) random pixels of the canvas on a person's mask."""
        masks = batch.people[image].masks
        if masks is None:
            return batch.high.new_zeros(0, 2)
        at = torch.nonzero(masks[person])
        at = at[torch.randperm(len(at), generator=self.generator)[: self.options.pixels_in_order].to(at.device)]
        scale = batch.high.shape[-1] / masks.shape[-1]
        return (at.flip(-1).float() + 0.5) * scale - 0.5

    def _adversary_loss(self, bodies: Bodies) -> Tensor:
        """Both sides in one sum: each one's gradient stays off the other's weights."""
        rows = torch.randint(len(self.real_rotations), (len(bodies.betas),), generator=self.generator)
        rows = rows.to(bodies.betas.device)
        real = self.adversary(self.real_rotations[rows], self.real_betas[rows])
        fake = self.adversary(bodies.rotations.detach(), bodies.betas.detach())
        still = {k: v.detach() for k, v in self.adversary.named_parameters()}
        fooled = functional_call(self.adversary, still, (bodies.rotations, bodies.betas))
        return priors.fooling_loss(fooled) + priors.telling_loss(real, fake)

    def _mask_loss(self, seen: Features, taught: list[tuple[Tensor, Tensor]], batch: Pairs) -> dict[str, Tensor]:
        """Equation 5: squared error to the mask of what is seen of the person."""
        known = [(b, rows, q) for (b, rows), q in zip(taught, batch.people, strict=True)]
        if any(q.masks is None for _, _, q in known):
            return {}
        predicted = self.network.masks(seen.levels, [b for b, _ in taught])
        canvas = self.network.options.canvas[0]
        wanted = [
            regions.crop_masks(q.masks, rows, b, MASK_SIDE, q.masks.shape[-1] / canvas)
            for b, rows, q in known
            if len(b)
        ]
        return {"mask": nn_functional.mse_loss(predicted.float(), torch.cat(wanted))}

    # --- guidance by high resolution --------------------------------------------------------------------------------

    def _guidance(self, seen: Features, batch: Pairs) -> dict[str, Tensor]:
        options = self.network.options
        teacher = self.teacher if self.teacher is not None else self.network
        with torch.no_grad():
            high = teacher.features(batch.high, low=False)
        losses: dict[str, Tensor] = {}
        if self.memory is not None:
            level = TOP if options.contrastive_level == "P5" else TOP + 1
            mine = seen.top if level == TOP else seen.top[..., ::2, ::2]
            losses["contrastive"] = self.memory(high.levels[level], mine, batch.scenes)
        if options.roi_constraint:
            losses["region"] = self._region_loss(teacher, seen, high)
        if seen.restored is not None:
            losses["restoration"] = nn_functional.mse_loss(seen.restored.float(), high.top.float())
        return losses

    def _region_loss(self, teacher: MiliNetwork, seen: Features, high: Features) -> Tensor:
        """Equation 4 on boxes, in pixels: at the anchors the teacher is surest of, both decode the same box."""
        with torch.no_grad():
            sure, there = teacher.rpn_head(high.levels)
        _, here = self.network.rpn_head(seen.levels)
        anchors = torch.cat(self.network.anchors(seen.levels))
        sure, there, here = (torch.cat(x, 1).float() for x in (sure, there, here))
        total = here.sum() * 0
        for b in range(len(sure)):
            rows = sure[b].topk(min(1000, sure.shape[1])).indices
            boxes = [self.network.geometry.decode(anchors[rows], x[b, rows], self.network.options.canvas)
                     for x in (there, here)]  # fmt: skip
            total = total + ((boxes[0] - boxes[1]) ** 2).sum()
        return total / len(sure)


def loss(learner: nn.Module, batch: Pairs) -> Mapping[str, Tensor]:
    """For ``nets.training``."""
    return learner(batch)


def pose_losses(
    bodies: Bodies, shape: BodyShape, wanted: BodyShape, true: People, upright: Tensor
) -> dict[str, Tensor]:
    """Of N bodies in camera axes and their shapes; ``upright`` (N, R, 3, 3): true rotations in the axes in which
    ``bodies.six`` is."""
    known = true.has_body.float()
    count = known.sum().clamp_min(1)
    at_hip, true_hip = shape.keypoints[:, :1], wanted.keypoints[:, :1]
    joints = shape.keypoints - at_hip
    sure = true.joints[..., 3:]
    of_joints = (sure * (joints - true.joints[..., :3]) ** 2).sum() / (3 * sure.sum()).clamp_min(1)
    vertices = ((shape.vertices - at_hip) - (wanted.vertices - true_hip)).abs().mean((1, 2))
    pose = ((bodies.rotations - true.rotations) ** 2).mean((1, 2, 3))
    numbers = (bodies.six - upright[..., :2].flatten(1)) ** 2
    six, root = numbers.mean(1), numbers[:, :6].mean(1)
    betas = ((bodies.betas - true.betas) ** 2).mean(1)
    of_bodies = {"vertices": vertices, "pose": pose, "six": six, "root": root, "betas": betas}
    return {"joints": of_joints} | {name: (known * value).sum() / count for name, value in of_bodies.items()}


def keypoint_loss(pixels: Tensor, true: Tensor, boxes: Tensor) -> Tensor:
    """Mean squared error of keypoints in sizes of their box, by confidence."""
    size = (boxes[:, 2:] - boxes[:, :2]).clamp_min(1)[:, None]
    sure = true[..., 2:]
    error = ((pixels - true[..., :2]) / size).clamp(-4, 4)
    return (sure * error**2).sum() / (2 * sure.sum()).clamp_min(1)


def _gathered(people: list[People], rows: list[Tensor]) -> People:
    """The people of all images that ``rows`` name, one after the other, without masks."""
    names = [f.name for f in fields(People) if f.name != "masks"]
    return People(**{n: torch.cat([getattr(p, n)[r] for p, r in zip(people, rows, strict=True)]) for n in names})


def _image_of(counts: list[int], device: torch.device) -> Tensor:
    return torch.repeat_interleave(torch.arange(len(counts), device=device), torch.tensor(counts, device=device))


def _ones_then_zeros(ones: int, zeros: int, device: torch.device) -> Tensor:
    return torch.cat([torch.ones(ones, dtype=torch.int64), torch.zeros(zeros, dtype=torch.int64)]).to(device)
