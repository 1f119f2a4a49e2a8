"""The stills branch as a user runs it, with a network that has learnt nothing: every kind of image, and no images."""

import json
import shutil

import cv2
import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

import run_pipeline
from nets.mili.network import MiliNetwork
from nets.mili.options import MiliOptions
from nets.mili.weights import save
from pipeline.artifacts import Artifact
from pipeline.skeletons import SKEL19
from pipeline.stills.people import StillPeople

# Anchors as large as the canvas: few are left once those that overlap are gone.
TINY = MiliOptions("tiny", canvas=(64, 64), low=(32, 32), blocks=(1, 1, 1, 1), width=8, norm="group", pyramid=8,
                   anchor_scale=16.0, box_hidden=8, body_width=8, body_hidden=8, body_cells=2, dropout=0.0,
                   focal=80.0)  # fmt: skip
GOOD = {"colour": (60, 90), "grey": (60, 90), "alpha": (60, 90), "sixteen": (60, 90), "turned": (90, 60),
        "one_pixel": (1, 1)}  # fmt: skip
BAD = {"cut": "cut short", "no_image": "not an image"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run over images of all kinds, at a threshold that everything reaches."""
    folder = tmp_path_factory.mktemp("stills")
    torch.manual_seed(0)
    network = MiliNetwork(TINY)
    torch.nn.init.constant_(network.bbox_head.fc_cls.bias[1:], 2.0)
    save(folder / "tiny.safetensors", network, {})
    photos = folder / "photos"
    photos.mkdir()
    colours = np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)
    image = Image.fromarray(colours)
    image.save(photos / "colour.png")
    image.convert("L").save(photos / "grey.png")
    image.convert("RGBA").save(photos / "alpha.png")
    cv2.imwrite(str(photos / "sixteen.png"), colours[..., ::-1].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(photos / "turned.jpg", exif=exif)
    Image.fromarray(colours[:1, :1]).save(photos / "one_pixel.png")
    whole = (photos / "turned.jpg").read_bytes()
    (photos / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "no_image.jpg").write_text("words")
    (photos / "notes.txt").write_text("not to be looked at")
    (folder / "stills.yaml").write_text(
        "session: photos\noutput: out\nstills: {images: [photos], network: tiny.safetensors, threshold: 0.5, "
        "images_per_batch: 3, device: cpu, formats: [ply, obj, glb]}\n"
    )
    assert stills(folder) == 0
    return folder


def stills(folder, name="stills.yaml"):
    return run_pipeline.main(["stills", str(folder / name), "--workers", "1"])


def found(folder, output="out"):
    """Name -> people, or why the image could not be used."""
    out = {}
    for path in sorted((folder / output / "cache" / "stills").glob("*.h5")):
        with Artifact(path, "stills") as artifact:
            words = artifact.attribute("words")
            for row, (name, reason) in enumerate(zip(artifact["names"], artifact["reason"], strict=True)):
                arrays = None if words[reason] else artifact.arrays(f"image_{row:06d}")
                out[name.decode()] = words[reason] or StillPeople.from_arrays(arrays)
    return out


def test_every_kind_of_image_is_looked_at_and_bad_ones_stop_nothing(run):
    people = found(run)
    assert set(people) == set(GOOD) | set(BAD)
    for name, size in GOOD.items():
        assert people[name].size == size[::-1] and (name == "one_pixel" or 1 <= len(people[name]) <= 40)
        assert people[name].masks.shape == (len(people[name]), 28, 28)
    for name, reason in BAD.items():
        assert reason in people[name]
    assert np.array_equal(people["colour"].boxes, people["alpha"].boxes)
    assert np.array_equal(people["colour"].boxes, people["sixteen"].boxes)


def test_everybody_is_exported_in_every_format_and_on_pictures(run):
    people = found(run)["colour"]
    folder = run / "out" / "export" / "stills" / "colour"
    with np.load(folder / "people.npz", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["transl"], people.transl) and arrays["body_pose"].shape == (len(people), 63)
    bodies = list(trimesh.load(folder / "people.glb", process=False).geometry.values())
    assert len(bodies) == len(people)
    every = sum(len(b.vertices) for b in bodies)
    for kind in ("obj", "ply"):
        mesh = trimesh.load(folder / f"people.{kind}", process=False, force="mesh")
        assert len(mesh.vertices) == every and len(mesh.faces) == sum(len(b.faces) for b in bodies)
    drawn, image = (cv2.imread(str(p)) for p in (folder / "overlay.jpg", run / "photos" / "colour.png"))
    assert drawn.shape == (480, 720, 3)  # enlarged eight times, so that there is something to see
    plain = cv2.resize(image, (720, 480), interpolation=cv2.INTER_CUBIC)
    assert np.abs(drawn.astype(int) - plain).mean() > 2
    assert len(np.unique(cv2.imread(str(folder / "above.png")).reshape(-1, 3), axis=0)) > 3
    assert not (run / "out" / "export" / "stills" / "cut").exists()


def test_the_report_has_a_section_of_stills(run):
    summary = json.loads((run / "out" / "export" / "summary.json").read_text())
    assert {s["image"]: bool(s["reason"]) for s in summary["stills"]} == {n: n in BAD for n in GOOD | BAD}
    assert summary["counts"]["stills"] == 8 and summary["counts"]["stills_unusable"] == 2
    assert any("2 of 8 stills could not be used: cut" in f["text"] for f in summary["flags"])
    page = (run / "out" / "export" / "report.html").read_text()
    assert "<h2>Stills</h2>" in page and 'alt="colour"' in page and "cut short" in page


@pytest.fixture(scope="module")
def by_landmarks(run):
    """The same images and a photograph, small and with EXIF data, by the open detector, as the default has it."""
    from skimage.data import astronaut

    folder = run / "landmarks"
    shutil.copytree(run / "photos", folder / "photos")
    for name in ("colour", "alpha"):
        (folder / "photos" / f"{name}.png").unlink()
    image = np.full((150, 200, 3), 90, np.uint8)
    image[10:150, 40:127] = cv2.resize(astronaut()[:, 60:380], (87, 140), interpolation=cv2.INTER_AREA)
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 50  # focal length, as on 35 mm film
    Image.fromarray(image).save(folder / "photos" / "astronaut.jpg", quality=95, exif=exif)
    cv2.imwrite(str(folder / "photos" / "deep.png"), image[..., ::-1].astype(np.uint16) * 257)
    (folder / "stills.yaml").write_text("session: p\noutput: out\nstills: {images: [photos], device: cpu}\n")
    assert stills(folder) == 0
    return folder


def test_the_open_detector_takes_every_kind_of_image(by_landmarks):
    people = found(by_landmarks)
    nobody = {"grey", "sixteen", "turned", "one_pixel"}
    assert set(people) == nobody | set(BAD) | {"astronaut", "deep"}
    assert {n: len(people[n]) for n in nobody} == dict.fromkeys(nobody, 0)
    for name, reason in BAD.items():
        assert reason in people[name]
    assert len(people["astronaut"]) == len(people["deep"]) == 1


def test_a_person_by_landmarks_is_a_body_where_the_picture_shows_it(by_landmarks):
    person, unknown = (found(by_landmarks)[n] for n in ("astronaut", "deep"))
    assert person.camera.known and person.camera.focal == pytest.approx(50 * np.hypot(200, 150) / 43.27)
    assert not unknown.camera.known and unknown.camera.focal == pytest.approx(1000 / 832 * 200)
    assert person.joints[0, 0, 2] / unknown.joints[0, 0, 2] == pytest.approx(
        person.camera.focal / unknown.camera.focal, rel=0.1
    )
    for found_person in (person, unknown):
        nose = found_person.keypoints[0, SKEL19.index("nose")]
        assert np.linalg.norm(nose - [85.9, 41.4]) < 10
        shoulders = found_person.joints[0, [SKEL19.index(f"{s}_shoulder") for s in ("left", "right")]]
        assert shoulders[0, 0] > shoulders[1, 0]  # she faces the camera
        assert found_person.masks.shape == (1, 28, 28) and found_person.masks.max() > 200
    folder = by_landmarks / "out" / "export" / "stills" / "astronaut"
    assert {p.name for p in folder.iterdir()} == {"people.npz", "people.glb", "overlay.jpg", "above.png"}
    page = (by_landmarks / "out" / "export" / "report.html").read_text()
    assert "one view each" in page and 'alt="astronaut"' in page and "mean pose" not in page


def test_the_report_says_what_our_own_weights_are_worth():
    from pipeline.quality.summary import StillFigures
    from tasks.report_stills import flags, method

    seen = [StillFigures("a", 2, "", 60, 40, 0.9, 20.0)]
    assert ["mean pose" in f.text for f in flags(seen, "open")] == [True]
    assert flags(seen, "mine.safetensors") == () and flags(seen, "landmarks") == () and flags([], "open") == ()
    assert "average height" in method("landmarks") and "mean pose" in method("open") and not method("mine.safetensors")


def test_a_second_run_makes_only_what_is_new(run, tmp_path):
    folder = tmp_path / "again"
    shutil.copytree(run, folder)
    cache = folder / "out" / "cache" / "stills"
    before = {p.name: p.stat().st_mtime_ns for p in cache.glob("*.h5")}
    shutil.copy(folder / "photos" / "colour.png", folder / "photos" / "zebra.png")
    assert stills(folder) == 0
    after = {p.name: p.stat().st_mtime_ns for p in cache.glob("*.h5")}
    same = {name for name, made in before.items() if after.get(name) == made}
    assert len(before) == 3 and len(same) == 2 and len(found(folder)) == 9  # the last batch of three has one more


def test_images_with_nobody_are_an_empty_result(run, tmp_path):
    text = (run / "stills.yaml").read_text().replace("output: out", f"output: {tmp_path / 'out'}")
    (run / "nobody.yaml").write_text(text.replace("threshold: 0.5", "threshold: 1.0").replace("photos]", "photos/c*]"))
    assert stills(run, "nobody.yaml") == 0
    people = found(tmp_path)
    assert set(people) == {"colour", "cut"} and len(people["colour"]) == 0
    assert people["colour"].to_arrays()["joints"].shape == (0, 19, 3)
    folder = tmp_path / "out" / "export" / "stills" / "colour"
    assert {p.name for p in folder.iterdir()} == {"people.npz", "overlay.jpg", "above.png"}


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("tiny.safetensors", "gone.safetensors", "stills.network: gone.safetensors: there are no such weights"),
        ("[photos]", "[nothing]", "stills.images: nothing: no image is there"),
    ],
)
def test_what_is_missing_is_said_before_any_work(run, capsys, before, after, words):
    (run / "bad.yaml").write_text((run / "stills.yaml").read_text().replace(before, after).replace(": out", ": bad"))
    assert stills(run, "bad.yaml") == 2
    assert words in capsys.readouterr().err and not (run / "bad").exists()
