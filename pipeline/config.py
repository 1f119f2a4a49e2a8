"""The configuration of a session: every field documented beside it, unknown keys refused.

Paths in a configuration are relative to its file. ``load_session`` is the only way in; it raises ``InputError`` with
the field's name for anything that does not fit.
"""

from __future__ import annotations

import difflib
import re
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from pipeline.errors import InputError

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""What a session or a camera may be called: names become paths."""

MAX_CONFIG_BYTES = 1 << 20

CALIBRATION_FORMATS = ("opencv", "easymocap", "panoptic", "qualisys", "pose2sim", "association4d", "colmap")

CalibrationFormat = Literal["opencv", "easymocap", "panoptic", "qualisys", "pose2sim", "association4d", "colmap"]


class Section(BaseModel):
    """A block of the file. Unknown keys are errors; values are never coerced from strings."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())


def _as_number(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


Number = Annotated[float, BeforeValidator(_as_number)]
PositiveNumber = Annotated[float, BeforeValidator(_as_number), Field(gt=0)]


def _as_device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", value):
        raise ValueError(f"{value!r} is no device; give auto, cpu, cuda or cuda:0")
    return value


Device = Annotated[str, AfterValidator(_as_device)]


class SyncConfig(Section):
    """How the cameras' clocks are brought together."""

    method: Literal["none", "offsets", "motion", "audio"] = Field(
        "none", description="none: frame n is the same instant in every video; offsets: given below; "
        "motion, audio: estimated from the videos."
    )
    offsets: dict[str, Number] = Field(
        {}, description="Frames by which each camera's video is late, fractions allowed: an event at frame 10 of the "
        "session is at frame 10 + offset of that video. Cameras not named are at 0. Only with method: offsets."
    )
    max_offset_s: Number = Field(10.0, gt=0, description="Largest offset that motion and audio look for, seconds.")
    min_confidence: Number = Field(
        0.3, ge=0, le=1, description="Estimated offsets less certain than this (0 to 1) stop the run."
    )

    @model_validator(mode="after")
    def _offsets_need_the_method(self) -> SyncConfig:
        if self.offsets and self.method != "offsets":
            raise ValueError("offsets are given, so method must be 'offsets'")
        return self


class FramesConfig(Section):
    """Which frames of the session are processed, in frame numbers of the session's clock."""

    start: int = Field(0, ge=0, description="First frame.")
    stop: int | None = Field(None, ge=0, description="One past the last frame; null: to the end of the videos.")
    step: int = Field(1, ge=1, description="Every step-th frame.")

    @model_validator(mode="after")
    def _not_empty(self) -> FramesConfig:
        if self.stop is not None and self.stop <= self.start:
            raise ValueError(f"stop {self.stop} is not after start {self.start}: no frame is left")
        return self


class CaptureConfig(Section):
    """The recordings and their calibration."""

    calibration: str = Field(description="Calibration file or folder.")
    calibration_format: CalibrationFormat | None = Field(None, description="null: recognised from the content.")
    units: Literal["m", "cm", "mm", "in", "ft"] | PositiveNumber | None = Field(
        None, description="Length unit of the file, or metres per unit as a number; null: the format's own."
    )
    up: Literal["x", "y", "z", "-x", "-y", "-z", "cameras"] | None = Field(
        None, description="World axis that points up; cameras: the mean of the images' own up; null: the format's own."
    )
    apply_viewrotation: bool = Field(
        False, description="Qualisys only: the videos were turned upright as the program shows them."
    )
    videos: str | None = Field(None, description="Pattern with {camera}, for example videos/{camera}.mp4.")
    images: str | None = Field(
        None, description="Instead of videos: pattern with {camera} and {frame}, for example "
        "images/{camera}/{frame:06d}.jpg."
    )
    cameras: list[str] | None = Field(None, description="Use only these cameras; null: all of the calibration.")
    fps: Number | None = Field(
        None, gt=0, description="Frames a second of the session's clock; null: that of the videos. Needed for images."
    )
    sync: SyncConfig = Field(SyncConfig(), description="See SyncConfig.")
    frames: FramesConfig = Field(FramesConfig(), description="See FramesConfig.")
    undistort: bool = Field(True, description="Remove lens distortion; false: the images are already without it.")
    storage: Literal["jpeg", "png"] = Field("jpeg", description="Cached frames: jpeg (quality 95) or png (lossless).")

    @model_validator(mode="after")
    def _one_source(self) -> CaptureConfig:
        if self.videos is not None and self.images is not None:
            raise ValueError("give videos or images, not both")
        for field, pattern in (("videos", self.videos), ("images", self.images)):
            if pattern is not None and "{camera" not in pattern:
                raise ValueError(f"{field} must hold {{camera}}, got {pattern!r}")
        if self.images is not None and "{frame" not in self.images:
            raise ValueError(f"images must hold {{frame}}, got {self.images!r}")
        return self


class KeypointsConfig(Section):
    """2D people in every view."""

    detector: Literal["mediapipe", "onnx", "openpose_json", "coco_json", "association4d_text"] = Field(
        "mediapipe", description="mediapipe: BlazePose from the MediaPipe package, several people; onnx: your network "
        "(model); the others read detections made elsewhere (detections)."
    )
    detections: str | None = Field(
        None, description="Folder (or pattern with {camera}) of detections made elsewhere; for the reading detectors."
    )
    model: str | None = Field(None, description="ONNX pose network; for detector: onnx.")
    max_people: int = Field(6, ge=1, le=40, description="Most people looked for in one view.")
    masks: bool = Field(True, description="Keep the detector's person masks for segmentation.")
    untangle: bool = Field(
        True, description="Look at people who touch again, each alone with the others painted over; for detectors of "
        "ours."
    )

    @property
    def reads_files(self) -> bool:
        return self.detector.endswith(("_json", "_text"))

    @model_validator(mode="after")
    def _needs(self) -> KeypointsConfig:
        if self.reads_files and self.detections is None:
            raise ValueError(f"detector {self.detector} reads files: give detections")
        if not self.reads_files and self.detections is not None:
            raise ValueError(f"detector {self.detector} reads no files: remove detections or choose a reading detector")
        if (self.detector == "onnx") != (self.model is not None):
            raise ValueError("model goes with detector: onnx, and only with it")
        return self


class CalibrationConfig(Section):
    """What is done about a calibration that does not fit the recordings. The file itself is never touched."""

    refine: bool | Literal["auto"] = Field(
        "auto", description="Bundle-adjust the cameras from the people seen. auto: only if the cameras disagree and "
        "frames that took no part agree clearly better afterwards; the report says so."
    )


class AssociationConfig(Section):
    """People over views and time."""

    max_people: int | None = Field(None, ge=1, description="Most people in the capture; null: as many as there are.")
    min_track_frames: int = Field(5, ge=1, description="People seen in fewer frames are left out.")
    max_ray_distance_m: Number = Field(
        0.15, gt=0, description="Rays of one joint from two cameras that pass each other farther apart do not match."
    )
    volume: list[list[Number]] | None = Field(
        None, description="Box [[x0, y0, z0], [x1, y1, z1]] in world metres; people outside are left out."
    )

    @model_validator(mode="after")
    def _box(self) -> AssociationConfig:
        v = self.volume
        if v is not None and not (
            len(v) == 2 and all(len(c) == 3 for c in v) and all(a < b for a, b in zip(*v, strict=True))
        ):
            raise ValueError("volume must be two corners [[x0, y0, z0], [x1, y1, z1]] with each first below the second")
        return self


class BodyConfig(Section):
    """The body model and its fit."""

    model: str = Field("open", description="open, or the path of a SMPLX_*.npz file.")
    gender: Literal["neutral", "male", "female"] = Field("neutral", description="Variant of the open model.")
    max_residual_m: Number = Field(
        0.10, gt=0, description="A frame whose median joint distance is larger is marked invalid."
    )
    max_gap_s: Number = Field(
        0.5, ge=0, description="Invalid frames take what lies between their neighbours in gaps up to this long (s); "
        "in longer ones, or everywhere with 0, they are left out. They stay marked."
    )
    parameters: str | None = Field(
        None, description="Bodies fitted elsewhere instead of our own: SMPL-X parameters as npz or EasyMocap's JSON, "
        "in the calibration's world; see data/body_parameters.py. People are those of the file; they are not tracked."
    )
    floor: Literal["auto", "none"] | Number = Field(
        "auto", description="Height of the floor along up, metres in the calibration's world; auto: found from feet "
        "that rest on it, where they agree; none: there is no floor (climbing, swimming)."
    )
    hands_and_face: bool = Field(
        True, description="Hands, wrists and faces from the detector's landmarks where it gives them (OpenPose with "
        "--hand --face); false: relaxed hands, faces at rest."
    )
    silhouettes: bool = Field(
        False, description="The shape from the detector's person masks too, which show girth. For tight clothes: loose "
        "ones lie too far from the skin to gain anything."
    )
    contact: bool = Field(
        True, description="Refine people who touch together, so that nobody goes through others or themselves."
    )


class SegmentationConfig(Section):
    """Each person's own pixels in every view."""

    method: Literal["auto", "masks"] = Field(
        "auto", description="auto: the detector's person masks and our parsing network, told apart by the projected "
        "bodies; masks: made elsewhere (masks)."
    )
    network: str = Field(
        "open", description="open: our own weights; none: bodies and the detector's masks alone; or the path of a "
        "checkpoint of Self-Correction Human Parsing, which then takes the place of the detector's masks."
    )
    masks: str | None = Field(
        None, description="Pattern with {camera} and {frame} of label images (PNG, 0 nobody, else person id + 1), or "
        "with {person} too for one black and white image a person; for method: masks."
    )

    @model_validator(mode="after")
    def _needs(self) -> SegmentationConfig:
        if (self.method == "masks") != (self.masks is not None):
            raise ValueError("masks goes with method: masks, and only with it")
        for field in ("{camera", "{frame"):
            if self.masks is not None and field not in self.masks:
                raise ValueError(f"masks must hold {field}}}, got {self.masks!r}")
        return self


class SurfaceConfig(Section):
    """Surfaces of clothed people, by a network that sees images, masks and bodies."""

    network: str = Field(
        "open", description="open: our own weights; none: no surfaces; or the path of a DeepMultiCap checkpoint or of "
        "weights trained with run_pipeline.py train."
    )
    resolution: int = Field(512, ge=32, le=1024, description="Voxels along the longest side of a person's box.")
    device: Device = Field("auto", description="auto: a GPU if there is one; cpu; cuda; cuda:0 ...")
    frames: FramesConfig = Field(
        FramesConfig(), description="For which of the session's frames surfaces are made, in frame numbers; see "
        "FramesConfig."
    )


class FusionConfig(Section):
    """Surfaces of neighbouring frames, carried to one pose by their bodies and averaged."""

    window: int = Field(5, ge=1, description="Frames fused into one, odd; 1: no fusion. The paper has 3.")
    method: Literal["weighted", "paper"] = Field(
        "weighted", description="weighted: by visibility, agreement and how sure the skinning is, each mesh brought "
        "onto the frame's own part by part of the body first, the result steadied by two frames before and after; "
        "paper: plain mean."
    )

    @model_validator(mode="after")
    def _odd(self) -> FusionConfig:
        if self.window % 2 == 0:
            raise ValueError(f"window {self.window} is not odd")
        return self


class ExportConfig(Section):
    """What is written under OUTPUT/export."""

    formats: list[Literal["ply", "obj", "glb"]] = Field(
        ["glb"], description="Mesh files of each person and frame; the animated session.glb is always written."
    )
    scene_meshes: bool = Field(False, description="Beside them a file a frame with everybody in it.")
    simplify_mm: Number = Field(
        5.0, ge=0, description="Meshes a frame, and those of session_surface.glb, lose triangles as long as 99.9 % of "
        "their surface stays this close to what it was; 0: they are left as they are."
    )
    compression: Literal["none", "quantised", "draco"] = Field(
        "quantised", description="GLB meshes a frame. quantised: 16-bit positions (KHR_mesh_quantization), read by "
        "Blender, three.js, trimesh and others; draco: smaller still (KHR_draco_mesh_compression), read by Blender, "
        "three.js, Unity and others; session_surface.glb stays quantised then; none: 32-bit floats, for other readers."
    )
    surface_glb_mb: Number = Field(
        0.0, ge=0, description="session_surface.glb: the meshes of all frames as one animation, at most 15 a second "
        "and at most this large, with fewer frames if need be; 0: not written."
    )
    motion: list[Literal["bvh", "trc", "c3d", "usdc", "usdz", "smplx"]] = Field(
        ["bvh", "trc", "c3d", "smplx"], description="Motion for other tools, +y up: bvh: skeletons of the bodies; trc, "
        "c3d: joints as markers; usdc, usdz: everybody skinned; smplx: parameters a person (world of the calibration)."
    )
    texture: bool = Field(
        True, description="Colours from the views: a textured, registered body in session.glb, textures and colours on "
        "the vertices of the meshes a frame."
    )
    texture_size: int = Field(1024, ge=64, le=8192, description="Texels a side of the texture in session.glb.")
    frame_texture: int = Field(
        256, ge=0, le=4096, description="Texels a side of a texture image in the GLB of every surface a frame; 0: none,"
        " colours on its vertices. 512 shows all that a camera at 3 mm a pixel does, in twice the bytes."
    )
    blur_faces: bool = Field(
        False, description="Blur faces in overlays, report, inspected pictures, stills' pictures, textures and vertex "
        "colours, as far as somebody is found there. Recordings and cache keep them: give away OUTPUT/export alone."
    )
    overlays: bool = Field(True, description="A video a camera with skeletons and bodies drawn over it.")
    overlay_height: int = Field(720, ge=90, le=4320, description="Height of the overlay videos, pixels.")


class ComputeConfig(Section):
    """How the work is spread. Nothing here enters a cache key."""

    workers: int | Literal["auto"] = Field("auto", description="Processes; auto: by cores and memory.")
    chunk_frames: int | Literal["auto"] = Field("auto", description="Frames a chunk; auto: by the session's length.")
    timeout_s: int = Field(0, ge=0, description="Longest time for one part, seconds; 0: no limit.")
    time_limits: dict[str, Number] = Field(
        {}, description="The same by stage, for example {surface: 3600}; goes before timeout_s; 0: no limit."
    )
    disk_floor_gb: Number = Field(
        1.0, ge=0, description="No part begins while less than this is free where the output is."
    )
    disk_budget_gb: Number | None = Field(
        None, gt=0, description="Most that the output folder may hold. Intermediates that nothing needs any more are "
        "released for it, oldest first; null: everything is kept."
    )

    def time_limit_s(self, stage: str) -> float:
        """Longest time for a part of a stage, seconds; 0: no limit."""
        return self.time_limits.get(stage, self.timeout_s)

    @model_validator(mode="after")
    def _positive(self) -> ComputeConfig:
        if any(limit < 0 for limit in self.time_limits.values()):
            raise ValueError("time_limits must not be negative")
        for field in ("workers", "chunk_frames"):
            value = getattr(self, field)
            if isinstance(value, int) and value < 1:
                raise ValueError(f"{field} must be at least 1")
        return self


class StillsConfig(Section):
    """Low-resolution stills of many people: a branch beside a capture, or alone."""

    images: list[str] = Field(
        min_length=1, description="Folders or patterns such as photos/*.jpg; files that are no images are passed over."
    )
    network: str = Field(
        "landmarks", description="landmarks: the captures' open detector in tiles, and a body fitted to each person's "
        "landmarks; open: our own MILI weights; or the path of weights trained with run_pipeline.py train, or of a "
        "CRMH checkpoint."
    )
    threshold: Number = Field(0.5, ge=0, le=1, description="People scored lower are left out.")
    resolution: Literal["auto", "low", "high"] = Field(
        "auto", description="Branch of a MILI network; auto: low where an image has to be enlarged."
    )
    focal_px: Number | None = Field(
        None, gt=0, description="Focal length of the images in pixels; null: what an image's EXIF data say, else 1.2 "
        "times its longer side, as of a usual lens. Distances scale with it."
    )
    smallest_person_px: Number = Field(
        24.0, ge=4, description="People this tall, in image pixels, are looked for: large images are taken apart into "
        "overlapping tiles until such people are large enough."
    )
    images_per_batch: int = Field(16, ge=1, description="Images an artifact.")
    device: Device = Field("auto", description="auto: a GPU if there is one; cpu; cuda; cuda:0 ...")
    formats: list[Literal["ply", "obj", "glb"]] = Field(["glb"], description="Mesh files of each image.")


class ReportConfig(Section):
    """When a session counts as good."""

    max_invalid_share: Number = Field(
        0.2, ge=0, le=1, description="A run whose share of invalid person-frames is larger exits with 1."
    )


class SessionConfig(Section):
    """One capture session."""

    session: str = Field(description="Name of the session: letters, digits, _ . and -.")
    output: str = Field(description="Folder for everything that is made.")
    capture: CaptureConfig | None = Field(None, description="See CaptureConfig. Left out for stills alone.")
    keypoints: KeypointsConfig = KeypointsConfig()
    calibration: CalibrationConfig = CalibrationConfig()
    association: AssociationConfig = AssociationConfig()
    body: BodyConfig = BodyConfig()
    segmentation: SegmentationConfig = SegmentationConfig()
    surface: SurfaceConfig = SurfaceConfig()
    fusion: FusionConfig = FusionConfig()
    export: ExportConfig = ExportConfig()
    stills: StillsConfig | None = Field(None, description="See StillsConfig; null: none.")
    compute: ComputeConfig = ComputeConfig()
    report: ReportConfig = ReportConfig()
    notify: list[str] = Field(
        [], description="Program and arguments to run when a run of this session ends, without a shell; the path of "
        "summary.json is added as the last argument."
    )

    @model_validator(mode="after")
    def _has_input(self) -> SessionConfig:
        if self.capture is None:
            if self.stills is None:
                raise ValueError("capture: is missing; a session has a capture, or stills, or both")
            return self
        if self.capture.videos is None and self.capture.images is None and not self.keypoints.reads_files:
            raise ValueError("capture.videos: there is no input; give videos or images, or keypoints.detections")
        if self.capture.videos is None and self.capture.fps is None:
            raise ValueError("capture.fps: is missing; images and detections have no clock of their own")
        return self


@dataclass(frozen=True)
class Session:
    """A configuration with the place it came from. ``path`` is absolute."""

    config: SessionConfig
    path: Path

    @property
    def name(self) -> str:
        return self.config.session

    @property
    def output(self) -> Path:
        return self.resolve(self.config.output)

    @property
    def has_capture(self) -> bool:
        return self.config.capture is not None

    @property
    def has_images(self) -> bool:
        capture = self.config.capture
        return capture is not None and (capture.videos is not None or capture.images is not None)

    @property
    def has_surfaces(self) -> bool:
        return self.has_images and self.config.surface.network != "none"

    @property
    def looks_again(self) -> bool:
        """A detector of ours works on images, so it can look again where people were missed."""
        return self.has_images and not self.config.keypoints.reads_files and not self.has_given_bodies

    @property
    def has_given_bodies(self) -> bool:
        """Bodies come from files, so that nobody needs to be tracked."""
        return self.config.body.parameters is not None

    def resolve(self, text: str) -> Path:
        """A path of the configuration, relative to its file."""
        return (self.path.parent / Path(text).expanduser()).resolve()


class _UniqueKeyLoader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice (plain YAML keeps the last in silence)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key) if isinstance(key, str) else None
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Parse a YAML file safely. Raises ``InputError`` for anything that cannot be read."""
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise InputError(path, "larger than 1 MiB", "Give a configuration file")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(path, "no such file", "Check the path") from None
    except IsADirectoryError:
        raise InputError(path, "is a folder", "Name the YAML file in it") from None
    except UnicodeDecodeError:
        raise InputError(path, "is not text", "Give a YAML file in UTF-8") from None
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "Check its permissions") from None
    try:
        return yaml.load(text, _UniqueKeyLoader)
    except (ValueError, RecursionError, OverflowError):  # 2001-99-99, a number of ten thousand digits, [[[[[...
        raise InputError(path, "not valid YAML: a value that cannot be", "Correct it, or quote it") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "bad syntax"
        raise InputError(path, f"not valid YAML{line}: {problem}", "Correct that line") from None


Model = TypeVar("Model", bound=Section)


def read_section(path: Path, model: type[Model], kind: str, example: str) -> Model:
    """A whole YAML file as the block ``model``. ``kind`` is what such a file is called, ``example`` one to look at.

    Raises:
        InputError: unreadable file, unknown or misspelt key, wrong type, or value out of range.
    """
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise InputError(path, f"is not a {kind}", f"See {example}")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _explain(path, error, model, example) from None


def load_session(path: str | Path) -> Session:
    """Read, check and type a session's configuration.

    Raises:
        InputError: unreadable file, unknown or misspelt key, wrong type, value out of range, or a name that is
            not a plain name.
    """
    path = Path(path).expanduser().resolve()
    config = read_section(path, SessionConfig, "session configuration", "configs/capture.example.yaml")
    if not NAME.fullmatch(config.session):
        raise InputError(
            f"{path}: session", f"{config.session!r} is not a plain name", "Use letters, digits, _ . and - only"
        )
    return Session(config, path)


def _explain(path: Path, error: ValidationError, root: type[BaseModel], example: str) -> InputError:
    errors = error.errors(include_url=False, include_context=False)
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])  # a misspelt key is also missing
    where = ".".join(str(p) for p in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _fields_beside(root, first["loc"])
        close = difflib.get_close_matches(str(first["loc"][-1]), known, 1)
        remedy = f"Did you mean {close[0]}?" if close else f"Known keys here: {', '.join(known)}"
        return InputError(f"{path}: {where}", "unknown key", remedy)
    if first["type"] == "missing":
        return InputError(f"{path}: {where}", "is missing", f"Add it; see {example}")
    message = first["msg"].removeprefix("Value error, ")
    got = "" if isinstance(first.get("input"), dict) else f" (got {reprlib.repr(first.get('input'))})"
    return InputError(f"{path}: {where}" if where else str(path), f"{message}{got}", "Correct this field")


def _fields_beside(root: type[BaseModel], location: tuple) -> list[str]:
    model = root
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        kinds = () if field is None else (field.annotation, *get_args(field.annotation))  # a section, or one or none
        sections = [k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)]
        if not sections:
            return []
        model = sections[0]
    return list(model.model_fields)
