"""People to train and test on: from a split and a number to a dressed, posed body with its one true surface.

people = People()
who = people.person("train", 17)                # always the same; nobody of another split
body = people.posed(who, people.pose(who, np.random.default_rng(3)))
body.surface(0.006).signed_distance(points)     # the clothed truth; body.vertices is the SMPL-X body beneath
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data.synthetic import acts, wardrobe
from data.synthetic.acts import Build
from data.synthetic.adults import Adults
from data.synthetic.bodies import Dressed, Person, dress
from data.synthetic.makehuman_clothes import Piece
from data.synthetic.solids import Solid

HAND_POSES = ("left_hand_pose", "right_hand_pose")


@dataclass(frozen=True)
class Wearer:
    """Somebody with all they wear: ``person`` says who and what, ``dressed`` holds layers and textures."""

    person: Person
    dressed: Dressed

    @property
    def build(self) -> Build:
        return Build(self.dressed.rest_joints, self.dressed.soles)


@dataclass(frozen=True)
class Posed:
    """A dressed person at one moment. Metres, world z up.

    Attributes:
        wearer: who.
        parameters: SMPL-X parameters by name, each (1, N): betas, global_orient, body_pose, transl, left_hand_pose,
            right_hand_pose.
        vertices: (B, 3) of the body beneath.
        joints: (55, 3); rotations (55, 3, 3) world_from_joint.
        layers: vertices (V, 3) of each of ``wearer.dressed.layers``.
    """

    wearer: Wearer
    parameters: dict[str, np.ndarray]
    vertices: np.ndarray
    joints: np.ndarray
    rotations: np.ndarray
    layers: list[np.ndarray]

    @property
    def body_faces(self) -> np.ndarray:
        """(T, 3) of the body beneath."""
        return self.wearer.dressed.body_faces

    def surface(self, step: float = 0.003) -> Solid:
        """The one watertight true surface: body, clothes, shoes and hair, details down to ``step`` metres."""
        return self.wearer.dressed.surface(self.vertices, self.layers, step)


class People:
    """Makes people of the open body model, or of the model whose ``arrays`` are given."""

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray] | None = None,
        texture_size: int = 512,
        fineness: int = 2,
        remember: int = 0,
        clothes: Sequence[Piece] = (),
        adults: Adults | None = None,
    ) -> None:
        """``fineness``: 2 for wrinkles of a centimetre, 1 is twice as fast. The last ``remember`` wearers are kept.
        ``clothes``: made elsewhere, which a part of the people wear. ``adults``: see ``wardrobe.person``."""
        import torch

        from data.body_models import load_body_arrays, open_body_model
        from nets.body import BodyModel

        self.arrays = dict(load_body_arrays(open_body_model()) if arrays is None else arrays)
        self.model = BodyModel(self.arrays, torch.float32)
        self.texture_size, self.fineness, self._remember = texture_size, fineness, remember
        self._clothes, self._adults = tuple(clothes), adults
        self._known: OrderedDict[tuple, Wearer] = OrderedDict()

    def person(self, split: str, number: int, kinds: tuple[str, ...] | None = None) -> Wearer:
        """Person ``number`` of a split ("train", "validation", "test"), dressed; see ``wardrobe.person``."""
        key = (split, number, kinds)
        wearer = self._known.get(key) or self.dressed(self.who(split, number, kinds))
        self._known[key] = wearer
        self._known.move_to_end(key)
        while len(self._known) > self._remember:
            self._known.popitem(last=False)
        return wearer

    def who(self, split: str, number: int, kinds: tuple[str, ...] | None = None) -> Person:
        """The same person before they dress."""
        person = wardrobe.person(split, number, kinds, self._adults)
        return wardrobe.with_made(person, split, number, self._clothes)

    def dressed(self, person: Person) -> Wearer:
        return Wearer(person, dress(person, self.arrays, self.texture_size, self.fineness))

    def pose(self, wearer: Wearer, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """A random pose of somebody alone, feet on the floor: parameters for ``posed``."""
        return acts.pose(generator, wearer.build)

    def posed(self, wearer: Wearer, parameters: Mapping[str, np.ndarray], frame: int = 0) -> Posed:
        """A wearer in frame ``frame`` of parameters (F, N); hands hang relaxed where none are given."""
        one = self.complete(wearer, parameters, frame)
        vertices, tree = self._posed(one)
        rotations = tree.rotations[0].numpy().astype(np.float64)
        joints = tree.positions[0].numpy().astype(np.float64)
        return Posed(wearer, one, vertices, joints, rotations, wearer.dressed.posed(vertices, rotations))

    def body(self, wearer: Wearer, parameters: Mapping[str, np.ndarray], frame: int = 0) -> np.ndarray:
        """(B, 3) vertices of the body alone."""
        return self._posed(self.complete(wearer, parameters, frame))[0]

    def complete(self, wearer: Wearer, parameters: Mapping[str, np.ndarray], frame: int = 0) -> dict[str, np.ndarray]:
        """One frame's parameters, each (1, N) float32, with the shape and with hands."""
        relaxed = self.model.relaxed_hands.numpy()
        one = {k: np.asarray(v[frame : frame + 1], np.float32) for k, v in parameters.items()}
        one |= {k: h[None] for k, h in zip(HAND_POSES, (relaxed[:45], relaxed[45:]), strict=True) if k not in one}
        return one | {"betas": wearer.person.betas[None].astype(np.float32)}

    def _posed(self, parameters: Mapping[str, np.ndarray]):
        import torch

        tensors = {k: torch.as_tensor(v) for k, v in parameters.items()}
        with torch.no_grad():
            return self.model(**tensors).vertices[0].numpy().astype(np.float64), self.model.pose(**tensors)
