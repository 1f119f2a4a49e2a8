"""The stage on two people whose bodies are known: its own masks, masks that are given, and what it refuses."""

import re
from contextlib import ExitStack
from unittest.mock import patch

import cv2
import numpy as np
import pytest

import run_pipeline
from pipeline.artifacts import Artifact, ArtifactWriter
from pipeline.association.tracks import Tracks
from pipeline.config import load_session
from pipeline.errors import InputError
from pipeline.segmentation.masks import Masks
from tasks import segmentation
from tasks.execution import Context
from tasks.parts import Part
from tasks.stages import STAGES
from tests.tasks.surface_session import CHUNK, FRAMES, SIZE, StubGraph, posed, rig, write_session

PART = Part("segmentation", chunk=CHUNK)


class Graph(StubGraph):
    def input_parts(self, part, look=None):
        people = [Part(stage, person=p) for stage in ("identities", "bodies") for p in (0, 1)]
        return [Part("calibration"), Part("timeline"), *(Part("frames", camera=c.name) for c in rig().cameras), *people]

    def current(self, part, look=None):
        return self.path(part).exists() or None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Artifacts of the stages before, and exact masks at ``exact``."""
    folder = tmp_path_factory.mktemp("segmentation")
    with patch("tests.tasks.surface_session.write_weights"):  # nothing here has a surface
        graph = write_session(folder)
    for person in (0, 1):
        joints = np.stack([_joints(graph.session, person, n) for n in FRAMES])[:, None]
        shape = (len(FRAMES), 1, len(rig()), 19)
        tracks = Tracks(
            FRAMES, np.array([person], np.int32), joints, np.ones((len(FRAMES), 1, 19), np.float32),
            np.full((*shape, 2), np.nan, np.float32), np.zeros(shape, np.float32), np.full(shape, np.nan, np.float32),
            np.full(shape[:3], -1, np.int32),
        )  # fmt: skip
        part = Part("identities", person=person)
        with ArtifactWriter(graph.path(part), stage="identities", schema="tracks", key="ab" * 32) as writer:
            writer.put_all(tracks.to_arrays())
    return folder


def _joints(session, person, frame):
    vertices, _ = posed(session, person, frame)
    if not np.isfinite(vertices).all():
        return np.full((19, 3), np.nan, np.float32)
    return vertices[np.linspace(0, len(vertices) - 1, 19).astype(int)].astype(np.float32)


def configured(folder, block):
    text = (folder / "session.yaml").read_text()
    path = folder / "with_masks.yaml"
    path.write_text(re.sub(r"segmentation:.*\n", "", text) + f"segmentation: {block}\n")
    return Graph(load_session(path))


def made(graph, path):
    with ExitStack() as stack:
        writer = stack.enter_context(ArtifactWriter(path, stage="segmentation", schema="masks", key="cd" * 32))
        STAGES["segmentation"].module.compute(Context(graph.session, PART, graph, writer, lambda f: None, stack))
    return path


def exact(folder):
    return Masks(Artifact(folder / "out" / "cache" / "segmentation" / f"{PART.name}.h5", "masks"))


def test_bodies_alone_tell_two_people_apart(folder, tmp_path):
    path = made(configured(folder, "{network: none}"), tmp_path / "m.h5")
    with Artifact(path, "masks") as artifact:
        found, true = Masks(artifact), exact(folder)
        assert found.people == (0, 1) and found.cameras == true.cameras
        overlap = []
        for camera in found.cameras:
            for n in FRAMES[:2]:
                mine, theirs = found.labels(camera, n), true.labels(camera, n)
                for label in (1, 2):
                    if (theirs == label).sum() > 100:
                        both = ((mine == label) & (theirs == label)).sum()
                        overlap.append(both / ((mine == label) | (theirs == label)).sum())
        assert np.mean(overlap) > 0.93 and min(overlap) > 0.8


def test_given_masks_enter_as_they_are(folder, tmp_path):
    true, masks = exact(folder), folder / "given"
    for camera in true.cameras:
        (masks / camera).mkdir(parents=True, exist_ok=True)
        for n in FRAMES[:2]:
            cv2.imwrite(str(masks / camera / f"{n:06d}.png"), true.labels(camera, n))  # label k + 1 is person k here
    graph = configured(folder, "{method: masks, masks: 'given/{camera}/{frame:06d}.png'}")
    segmentation.check(graph.session, rig())
    with Artifact(made(graph, tmp_path / "m.h5"), "masks") as artifact:
        found = Masks(artifact)
        for camera in found.cameras:
            for n in FRAMES[:2]:
                assert np.array_equal(found.labels(camera, n), true.labels(camera, n))
            assert found.mask(camera, FRAMES[2], 0) is None  # no file for it


def test_where_a_body_is_behind_somebody_elses_mask_it_is_hidden(folder, tmp_path):
    true, n = exact(folder), int(FRAMES[0])
    labels = true.labels("cam0", n)
    rows, columns = np.nonzero(labels == 1)
    row, column = int(np.median(rows)), int(np.median(columns))
    patch = np.zeros(labels.shape, bool)
    patch[row - 4 : row + 5, column - 3 : column + 4] = True
    patch &= labels == 1
    labels[patch] = 2
    (folder / "patched" / "cam0").mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / "patched" / "cam0" / f"{n}.png"), labels)
    graph = configured(folder, "{method: masks, masks: 'patched/{camera}/{frame}.png'}")
    with Artifact(made(graph, tmp_path / "m.h5"), "masks") as artifact:
        found = Masks(artifact)
        hidden = found.hidden("cam0", n, 0)
        assert patch.sum() > 30 and hidden[patch].all() and not (hidden & found.mask("cam0", n, 0)).any()


def test_labels_of_unknown_people_stop_the_part_with_the_files_name(folder, tmp_path):
    (folder / "stranger" / "cam0").mkdir(parents=True, exist_ok=True)
    image = np.zeros(SIZE[::-1], np.uint8)
    image[20:60, 20:60] = 9
    cv2.imwrite(str(folder / "stranger" / "cam0" / f"{FRAMES[0]}.png"), image)
    graph = configured(folder, "{method: masks, masks: 'stranger/{camera}/{frame}.png'}")
    with pytest.raises(InputError, match=r"cam0/4\.png: has the labels \[9\], which are nobody's: the people are 0, 1"):
        made(graph, tmp_path / "m.h5")
    assert not (tmp_path / "m.h5").exists()


def test_masks_of_the_wrong_size_are_seen_before_anything_is_made(folder):
    (folder / "small" / "cam1").mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / "small" / "cam1" / "4.png"), np.zeros((80, 100), np.uint8))
    graph = configured(folder, "{method: masks, masks: 'small/{camera}/{frame}.png'}")
    with pytest.raises(InputError, match=r"4\.png: is 100x80, but camera cam1's images are 200x160"):
        segmentation.check(graph.session, rig())


def test_a_checkpoint_that_is_none_is_refused_before_the_night(folder):
    (folder / "model.pth").write_bytes(b"no weights")
    graph = configured(folder, "{network: model.pth}")
    with pytest.raises(InputError, match=r"model\.pth: not a plain file of tensors"):
        segmentation.check(graph.session, rig())
    graph = configured(folder, "{network: nowhere.pth}")
    with pytest.raises(InputError, match=r"nowhere\.pth: there is no such file"):
        segmentation.check(graph.session, rig())


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ("{method: masks}", "masks goes with method: masks"),
        ("{masks: 'm/{camera}/{frame}.png'}", "masks goes with method: masks"),
        ("{method: masks, masks: 'm/{frame}.png'}", "must hold {camera}"),
    ],
)
def test_a_configuration_that_does_not_fit_says_so(folder, block, words, capsys):
    path = folder / "bad.yaml"
    path.write_text((folder / "session.yaml").read_text() + f"segmentation: {block}\n")
    assert run_pipeline.main(["check", str(path)]) == 2
    assert words in capsys.readouterr().err
