"""``synthesize CONFIG``: captures or stills of synthetic people, with everything about them known."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from pipeline.config import Number, Section, read_section
from pipeline.errors import InputError

if TYPE_CHECKING:
    from data.synthetic.recording import RecordingSpec

OK = 0
Category = Literal["single", "occluded", "two_natural", "two_close", "three"]
EXAMPLE = "configs/synthesize.example.yaml"


class CamerasConfig(Section):
    """The cameras of each capture, from the least to the most of each."""

    counts: list[Literal[1, 2, 3, 4, 5, 6, 7, 8, 10, 12]] = Field(
        [4, 6, 8], min_length=1, description="How many stand in the ring; each capture takes one of these."
    )
    size: tuple[int, int] | list[int] = Field([960, 720], description="Width and height, pixels, even.")
    fov_deg: list[Number] = Field([30.0, 55.0], description="Vertical angle of view.")
    height_m: list[Number] = Field([0.9, 2.4], description="Over the floor.")
    roll_deg: Number = Field(4.0, ge=0, le=45, description="Most, to either side.")
    distorted: bool = Field(True, description="Whether lenses bend straight lines.")
    exposure_spread: Number = Field(
        1.0, ge=0, le=4, description="How much exposure and white balance differ from camera to camera; 1: as in a lab."
    )

    @model_validator(mode="after")
    def _ranges(self) -> CamerasConfig:
        if len(self.size) != 2 or any(s < 64 or s > 8192 or s % 2 for s in self.size):
            raise ValueError("size must be two even numbers from 64 to 8192")
        for name, low, high in (("fov_deg", 10, 100), ("height_m", 0.1, 3.0)):
            pair = getattr(self, name)
            if len(pair) != 2 or not low <= pair[0] <= pair[1] <= high:
                raise ValueError(f"{name} must be the least and the most, between {low} and {high}")
        return self


class TruthConfig(Section):
    """What of the truth is written besides parameters, joints, keypoints, labels and cameras."""

    meshes: bool = Field(True, description="The true surface of everybody in each frame.")
    mesh_detail_m: Number = Field(0.003, ge=0.001, le=0.02, description="Details of it down to this.")
    depth: bool = Field(True, description="Depth images.")
    normals: bool = Field(True, description="Normal images.")


class PeopleConfig(Section):
    """Who is seen. The truth holds the gender and the age of each."""

    genders: list[Literal["female", "male"]] = Field(["female", "male"], min_length=1, description="Drawn from these.")
    ages: list[Number] = Field([25.0, 70.0], description="Youngest and oldest, years; 25 to 70.")

    @model_validator(mode="after")
    def _range(self) -> PeopleConfig:
        if len(self.ages) != 2 or not 25 <= self.ages[0] <= self.ages[1] <= 70:
            raise ValueError("ages must be the youngest and the oldest, between 25 and 70")
        return self


class CapturesConfig(Section):
    """Captures of people in a room."""

    count: int = Field(1, ge=1, le=100_000, description="How many.")
    categories: list[Category] = Field(
        ["single", "occluded", "two_natural", "two_close", "three"], min_length=1, description="Taken in turn."
    )
    frames: int = Field(50, ge=1, le=100_000, description="Of each capture.")
    fps: int = Field(25, ge=1, le=240, description="Frames a second.")
    people: PeopleConfig | None = Field(
        PeopleConfig(), description="See PeopleConfig; null: any figure of the open body model, of no stated gender."
    )
    cameras: CamerasConfig = Field(CamerasConfig(), description="See CamerasConfig.")
    truth: TruthConfig = Field(TruthConfig(), description="See TruthConfig.")
    motions: str | None = Field(None, description="Folder of BVH files that people alone perform too; null: none.")
    clothes: str | None = Field(
        None, description="Folder of MakeHuman clothes (*.mhclo with their *.obj) that some wear; null: our own alone."
    )


class StillsConfig(Section):
    """Pictures of many small people, as the stills network is trained on; read with data.still_samples.StillFiles."""

    count: int = Field(100, ge=1, le=1_000_000, description="Pictures.")
    size: list[int] = Field([416, 256], min_length=2, max_length=2, description="Width and height, pixels.")
    people: list[int] = Field([5, 40], min_length=2, max_length=2, description="Fewest and most in a picture.")
    wearers: int = Field(40, ge=1, le=100_000, description="Different people that there are.")
    poses: int = Field(3, ge=1, le=100, description="Poses of each.")


class SynthesizeConfig(Section):
    """See configs/synthesize.example.yaml."""

    output: str = Field(description="Folder; relative to this file. What is whole in it is not made again.")
    split: Literal["train", "validation", "test"] = Field("train", description="Whose people and clothes.")
    seed: int = Field(0, ge=0, description="The same seed gives the same.")
    workers: int = Field(2, ge=1, le=64, description="Threads that draw.")
    captures: CapturesConfig | None = Field(None, description="See CapturesConfig.")
    stills: StillsConfig | None = Field(None, description="See StillsConfig.")

    @model_validator(mode="after")
    def _something(self) -> SynthesizeConfig:
        if self.captures is None and self.stills is None:
            raise ValueError("there is neither captures nor stills to make")
        return self


def command(options: Namespace) -> int:
    """Make what the configuration asks for and is not there yet; the exit code."""
    path = Path(options.config).expanduser().resolve()
    config = read_section(path, SynthesizeConfig, "configuration of synthetic data", EXAMPLE)
    output = _resolved(path, config.output)
    if output.exists() and not output.is_dir():
        raise InputError(f"{path}: output", f"{output} is no folder", "Choose another")
    if config.captures is not None:
        _captures(path, output, config, config.captures)
    if config.stills is not None:
        _stills(output / "stills", config, config.stills)
    return OK


def _resolved(path: Path, text: str) -> Path:
    return (path.parent / Path(text).expanduser()).resolve()


def _captures(path: Path, output: Path, config: SynthesizeConfig, captures: CapturesConfig) -> None:
    from tqdm import tqdm

    from data.synthetic.makehuman_clothes import read_clothes
    from data.synthetic.people import People
    from data.synthetic.recording import is_whole, record
    from data.synthetic.retarget import read_motions, recorded

    motions = read_motions(_resolved(path, captures.motions)) if captures.motions else []
    clothes = read_clothes(_resolved(path, captures.clothes)) if captures.clothes else ()
    spec = _spec(config, captures, tuple(name for name, _ in motions), tuple(c.name for c in clothes))
    folders = [output / f"capture_{k:04d}" for k in range(captures.count)]
    acts = recorded(motions)
    missing = [k for k, folder in enumerate(folders) if not is_whole(folder, spec, k)]
    maker = None
    with tqdm(total=100 * captures.count, unit="%", disable=None, desc="captures") as bar:
        bar.update(100 * (captures.count - len(missing)))
        for done, number in enumerate(missing):
            maker = maker or People(
                texture_size=spec.texture_size, fineness=spec.fineness, clothes=clothes, adults=spec.adults
            )
            start = 100 * (captures.count - len(missing) + done)
            record(folders[number], spec, number, maker, lambda f, s=start: bar.update(s + int(100 * f) - bar.n), acts)
    print(f"{captures.count} captures in {output}, {len(missing)} made now")


def _spec(
    config: SynthesizeConfig, captures: CapturesConfig, motions: tuple[str, ...], clothes: tuple[str, ...]
) -> RecordingSpec:
    """What the configuration asks for, with the names of motions and clothes that it found."""
    from data.synthetic.adults import Adults
    from data.synthetic.cameras import LabCameras
    from data.synthetic.recording import RecordingSpec

    cameras, truth, people = captures.cameras, captures.truth, captures.people
    return RecordingSpec(
        split=config.split,
        seed=config.seed,
        categories=tuple(captures.categories),
        frames=captures.frames,
        fps=captures.fps,
        cameras=tuple(cameras.counts),
        lab=LabCameras(
            tuple(cameras.size), tuple(cameras.fov_deg), tuple(cameras.height_m), cameras.roll_deg, cameras.distorted
        ),
        exposure_spread=cameras.exposure_spread,
        meshes=truth.meshes,
        mesh_detail_m=truth.mesh_detail_m,
        depth=truth.depth,
        normals=truth.normals,
        motions=motions,
        clothes=clothes,
        adults=None if people is None else Adults(tuple(people.genders), tuple(people.ages)),
        workers=config.workers,
    )


def _stills(output: Path, config: SynthesizeConfig, stills: StillsConfig) -> None:
    from data.still_samples import StillData, make_data
    from data.synthetic.still_scenes import StillOptions

    options = StillOptions(size=tuple(stills.size), people=tuple(stills.people))
    data = StillData(config.split, stills.wearers, stills.poses, stills.count, config.seed)
    files = make_data(output, data, options, lambda line: print(line, flush=True))
    print(f"{stills.count} pictures in {len(files)} files in {output}")
