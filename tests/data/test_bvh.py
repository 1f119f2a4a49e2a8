"""BVH motions: places by forward kinematics, and bones of our bodies that point where the recorded ones do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data.body_models import load_body_arrays, open_body_model
from data.bvh import read_bvh
from data.synthetic.acts import Build
from data.synthetic.retarget import read_motions, recorded, retargeted
from nets.body import BodyModel
from pipeline.errors import InputError
from pipeline.skeletons import SMPLX55

_TREE = {
    "Hips": (None, (0, 0, 0)), "Spine": ("Hips", (0, 10, 0)), "Neck": ("Spine", (0, 40, 0)),
    "Head": ("Neck", (0, 10, 0)),
    "LeftArm": ("Spine", (18, 38, 0)), "LeftForeArm": ("LeftArm", (28, 0, 0)), "LeftHand": ("LeftForeArm", (25, 0, 0)),
    "RightArm": ("Spine", (-18, 38, 0)), "RightForeArm": ("RightArm", (-28, 0, 0)),
    "RightHand": ("RightForeArm", (-25, 0, 0)), "LeftUpLeg": ("Hips", (9, -4, 0)),
    "LeftLeg": ("LeftUpLeg", (0, -42, 0)),
    "LeftFoot": ("LeftLeg", (0, -41, 0)), "LeftToeBase": ("LeftFoot", (0, -7, 13)), "RightUpLeg": ("Hips", (-9, -4, 0)),
    "RightLeg": ("RightUpLeg", (0, -42, 0)), "RightFoot": ("RightLeg", (0, -41, 0)),
    "RightToeBase": ("RightFoot", (0, -7, 13)),
}  # fmt: skip


def bvh_text(frames: int = 5, tree=_TREE) -> str:
    lines = ["HIERARCHY"]
    order: list[str] = []

    def write(name: str, indent: int) -> None:
        order.append(name)
        pad, root = "\t" * indent, tree[name][0] is None
        place = "Xposition Yposition Zposition " if root else ""
        lines.extend([f"{pad}{'ROOT' if root else 'JOINT'} {name}", pad + "{",
                      f"{pad}\tOFFSET {' '.join(map(str, tree[name][1]))}",
                      f"{pad}\tCHANNELS {6 if root else 3} {place}Zrotation Xrotation Yrotation"])  # fmt: skip
        children = [n for n, (parent, _) in tree.items() if parent == name]
        for child in children:
            write(child, indent + 1)
        if not children:
            lines.extend([f"{pad}\tEnd Site", pad + "\t{", f"{pad}\t\tOFFSET 0 5 0", pad + "\t}"])
        lines.append(pad + "}")

    write("Hips", 0)
    lines += ["MOTION", f"Frames: {frames}", "Frame Time: 0.04"]
    generator = np.random.default_rng(0)
    for k in range(frames):
        values = [0.0, 95.0, 2.0 * k, *generator.uniform(-20, 20, 3 * len(order))]
        lines.append(" ".join(f"{v:.4f}" for v in values))
    return "\n".join(lines) + "\n"


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "walk.bvh"
    file.write_text(bvh_text())
    return file


def test_joints_are_where_the_rotations_put_them(tmp_path):
    chain = {"Hips": (None, (0, 0, 0)), "A": ("Hips", (0, 2, 0))}
    text = bvh_text(1, chain)
    file = tmp_path / "chain.bvh"
    file.write_text(text[: text.index("0.04") + 4] + "\n1 2 3 90 0 0 0 0 90\n")
    motion = read_bvh(file)
    assert motion.names == ("Hips", "A", "A.end") and motion.frame_s == 0.04
    # The root is turned by 90 degrees about z: its child lies to the -x; the child's own turn moves the end alone.
    np.testing.assert_allclose(motion.positions[0], [[1, 2, 3], [-1, 2, 3], [-6, 2, 3]], atol=1e-9)


def test_our_bones_point_where_the_recorded_ones_do(path):
    arrays = load_body_arrays(open_body_model())
    model = BodyModel(arrays)
    rest = model.rest_joints(torch.zeros(1, 10))[0].numpy().astype(float)
    build = Build(rest, np.full(2, float(arrays["v_template"][:, 1].min()) - 0.02))
    motion = read_bvh(path)
    times = np.arange(5) * motion.frame_s
    moved = retargeted(motion, build, times)
    joints = model.joints_only(**{k: torch.as_tensor(np.asarray(v, np.float32)) for k, v in moved.items()}).numpy()
    places = motion.positions[..., [2, 0, 1]]  # y is up in the file, z in our world
    for ours, theirs in ((("left_shoulder", "left_elbow"), ("LeftArm", "LeftForeArm")),
                         (("right_elbow", "right_wrist"), ("RightForeArm", "RightHand")),
                         (("left_hip", "left_knee"), ("LeftUpLeg", "LeftLeg")),
                         (("right_knee", "right_ankle"), ("RightLeg", "RightFoot")),
                         (("left_hip", "right_hip"), ("LeftUpLeg", "RightUpLeg"))):  # fmt: skip
        a, b = (joints[:, SMPLX55.index(n)] for n in ours)
        c, d = (places[:, motion.names.index(n)] for n in theirs)
        cosine = ((b - a) * (d - c)).sum(1) / np.linalg.norm(b - a, axis=1) / np.linalg.norm(d - c, axis=1)
        assert cosine.min() > np.cos(np.radians(2.0)), ours
    act = recorded(read_motions(path.parent))[0](np.zeros(1), np.random.default_rng(0), [build])
    assert act.name == "walk" and act.people[0]["body_pose"].shape == (1, 63)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text[: len(text) // 2], "damaged or no BVH"),
        (lambda text: text.replace("HIERARCHY", "SOLID"), "does not begin with HIERARCHY"),
        (lambda text: text.replace("Frames: 5", "Frames: 50"), "damaged or no BVH"),
        (lambda text: text.replace("95.0000", "nan"), "damaged or no BVH"),
        (lambda text: text.replace("LeftForeArm", "Tentacle"), "no joint like LeftForeArm"),
    ],
    ids=["cut off", "not BVH", "frames missing", "not a number", "joints missing"],
)
def test_damaged_motions_are_named(path, change, said):
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=said):
        read_motions(path.parent)


def test_a_folder_without_motions_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no \*\.bvh"):
        read_motions(tmp_path)
