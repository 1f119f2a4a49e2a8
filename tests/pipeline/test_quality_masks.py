"""What the report says of masks: how they overlap with bodies and surfaces, and where they do not."""

from types import SimpleNamespace

import numpy as np
import pytest

from data.synthetic.cameras import ring
from pipeline.quality.mask_figures import MaskAgreement, surface_agreement, surface_flags
from pipeline.quality.overview import worst_masks, worst_surfaces
from pipeline.raster_open3d import Open3DRaster
from pipeline.segmentation.masks import HIDDEN, SEEN

FRAMES = np.arange(100, 140)


def chunk(frames, iou, state=None):
    state = np.full(iou.shape, SEEN) if state is None else state
    return SimpleNamespace(cameras=("a", "b"), people=(0, 2), frames=frames, agreement=iou, state=state)


def test_frames_that_disagree_are_flagged_with_where_to_look():
    iou = np.full((2, 40, 2), 0.88, np.float32)
    iou[1, 10:15, 1] = [0.5, 0.45, 0.3, 0.5, 0.5]
    iou[0, 20, 0] = 0.2  # one frame in forty is no flag
    iou[0, :, 1] = np.nan
    agreement = MaskAgreement([chunk(FRAMES[:25], iou[:, :25]), chunk(FRAMES[25:], iou[:, 25:])], FRAMES)
    (flag,) = agreement.flags()
    assert flag.subject == "camera b" and (flag.first_frame, flag.last_frame) == (110, 114)
    assert "Person 2" in flag.text and "5 of 40" in flag.text and "30%" in flag.text
    assert "--camera b --frame 112" in flag.remedy
    assert agreement.of_camera("a") == pytest.approx(0.88) and agreement.of_camera("c") is None
    first, second = agreement.tracks()
    assert first.values[20] == pytest.approx(80) and second.values[12] == pytest.approx(70, abs=1e-3)
    assert second.limit == pytest.approx(45)


def test_the_worst_masks_and_surfaces_come_with_the_way_to_make_them_anew():
    iou = np.full((2, 40, 2), 0.9, np.float32)
    iou[1, 12, 1], iou[0, 30, 0], iou[0, 12, 1], iou[1, 5] = 0.3, 0.6, 0.5, np.nan
    looks = worst_masks(MaskAgreement([chunk(FRAMES, iou)], FRAMES), 2)
    assert [(k.camera, k.frame, k.person) for k in looks] == [("b", 112, 2), ("a", 130, 0)]  # each frame at its worst
    assert looks[0].caption == "mask and body overlap by 30%; 90% is usual in this camera"
    assert looks[0].command("s.yaml") == "run_pipeline.py rerun s.yaml segmentation --frames 112:113"
    assert worst_masks(MaskAgreement([], FRAMES)) == []
    (look,) = worst_surfaces({"a": (0.95, []), "b": (0.9, [(104, 2, 0.7), (103, 2, 0.6)])}, 1)
    assert look.command("s.yaml") == "run_pipeline.py rerun s.yaml surface --frames 103:104 --person 2"
    assert look.camera == "b" and "60%" in look.caption and worst_surfaces({}) == []


def test_people_hidden_altogether_do_not_count():
    iou = np.full((2, 40, 2), 0.9, np.float32)
    iou[0, :20, 0] = 0.0
    state = np.full(iou.shape, SEEN)
    state[0, :20, 0] = HIDDEN
    agreement = MaskAgreement([chunk(FRAMES, iou, state)], FRAMES)
    assert agreement.flags() == () and agreement.of_camera("a") == pytest.approx(0.9)
    assert MaskAgreement([], FRAMES).tracks() == ()


def test_masks_are_held_against_projected_surfaces():
    import open3d as o3d

    rig = ring(2, np.random.default_rng(0), size=(160, 120), distorted=False)
    ball = o3d.geometry.TriangleMesh.create_sphere(0.5, 20).translate((0, 0, 0.9))
    vertices, faces = np.asarray(ball.vertices), np.asarray(ball.triangles)
    true = {c.name: Open3DRaster(1).render(vertices, faces, c).hit for c in rig.cameras}
    shifted = np.roll(true["cam2"], 12, 1)

    class Stored:
        people = (5,)

        def mask(self, camera, frame, person):
            return true[camera] if (camera, frame) != ("cam2", 3) else shifted

        def hidden(self, camera, frame, person):
            return np.zeros_like(true[camera])

    surfaces = {5: (np.array([1, 2, 3]), lambda frame: (vertices, faces))}
    found = surface_agreement(rig, lambda frame: Stored() if frame < 9 else None, surfaces, Open3DRaster(1))
    assert found["cam1"][0] > 0.97 and found["cam1"][1] == []
    (frame, person, value), = found["cam2"][1]
    assert (frame, person) == (3, 5) and value < 0.8
    (flag,) = surface_flags(found)
    assert flag.subject == "camera cam2" and flag.first_frame == 3
