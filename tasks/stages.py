"""The one table of stages: what there is, what each reads, and which settings its result depends on.

Everything else reads it: the engine builds from it, keys are made from it, ``status`` and ``why`` print it. The module
``tasks.<name>`` of a stage holds ``compute(context)`` and, where the table does not say it all,

    input_files(session, part)   logical name -> file or folder whose bytes it depends on
    digests(session, files)      logical name -> digest of something else that it depends on
    parameters(session, part)    more values for the key
    inputs(session)              the input stages of this session, where they depend on its configuration
    wants(session, chunk)        whether a chunk has a part of it at all; every one if it is not there
    reach(session)               how many frame numbers beyond its chunk a part looks, where ``borders`` names stages
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType

from pipeline.errors import InputError
from tasks.parts import Part

SESSION, CAMERA, CHUNK, PERSON = "session", "camera", "chunk", "person"
SPAN, PERSON_CHUNK, BATCH = "span", "person_chunk", "batch"


@dataclass(frozen=True)
class Stage:
    """A row of the table.

    Attributes:
        name: of the stage, its folder in the cache, its module in ``tasks``.
        revision: raised by hand when the same inputs give another result; enters the key.
        scope: what one part covers: SESSION, CAMERA, CHUNK (camera and chunk), PERSON, SPAN (a chunk of all
            cameras), PERSON_CHUNK (person and chunk) or BATCH (a run of still images, which is its chunk).
        inputs: stages whose artifacts it reads.
        settings: configuration fields that its result depends on; they enter the key unless at their default.
        schema: of its artifacts.
        purpose: one line for people.
        tolerant: made from whatever of its inputs there is, once the rest has been tried.
        lenient: made without the chunks and people whose parts failed; made again once these are there.
        borders: of its inputs, those of which it also reads frames of neighbouring chunks, as far as they are there;
            ``reach(session)`` of its module says how many frame numbers beyond its chunk.
        everybody: of a stage of PERSON scope, the inputs that it reads of all people, not of its own alone.
        refines: the stage whose artifacts this one improves: whoever reads that stage is given these too.
        modules: files whose code decides its result; guarded by tests/revisions.lock.
    """

    name: str
    revision: int
    scope: str
    inputs: tuple[str, ...]
    settings: tuple[str, ...]
    schema: str
    purpose: str
    tolerant: bool = False
    lenient: bool = False
    borders: tuple[str, ...] = ()
    everybody: tuple[str, ...] = ()
    refines: str | None = None
    modules: tuple[str, ...] = ()

    def does_without(self, source: Part) -> bool:
        """Whether a part of it is made although this input cannot be."""
        return self.tolerant or (self.lenient and (source.person is not None or source.chunk is not None))

    @property
    def module(self) -> ModuleType:
        return importlib.import_module(f"tasks.{self.name}")


STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage(
            "calibration",
            1,
            SESSION,
            (),
            (
                "capture.calibration_format",
                "capture.units",
                "capture.up",
                "capture.apply_viewrotation",
                "capture.cameras",
                "capture.undistort",
            ),
            "rig",
            "cameras read, checked and brought into one convention",
            modules=("tasks/calibration.py", "pipeline/cameras.py"),
        ),
        Stage(
            "timeline",
            1,
            SESSION,
            ("calibration",),
            ("capture.fps", "capture.frames", "capture.sync", "keypoints.detector"),
            "timeline",
            "one clock for all cameras: which source frame is which session frame",
            modules=("tasks/timeline.py", "pipeline/synchronisation.py"),
        ),
        Stage(
            "frames",
            1,
            CAMERA,
            ("calibration", "timeline"),
            ("capture.storage",),
            "frames",
            "images extracted, undistorted and stored",
            modules=("tasks/frames.py", "pipeline/frames.py", "pipeline/images.py", "pipeline/cameras.py"),
        ),
        Stage(
            "keypoints",
            2,
            CHUNK,
            ("calibration", "timeline", "frames"),
            ("keypoints.detector", "keypoints.max_people", "keypoints.masks"),
            "detections",
            "2D people in every view",
            modules=("tasks/keypoints.py", "pipeline/keypoints/*.py"),
        ),
        Stage(
            "draft",
            2,
            SESSION,
            ("calibration", "timeline", "keypoints"),
            ("association",),
            "tracks",
            "a first association, which tells every camera whom it missed",
            lenient=True,
            modules=(
                "tasks/draft.py",
                "tasks/association.py",
                "pipeline/association/*.py",
                "pipeline/keypoints/timing.py",
                "pipeline/cameras.py",
            ),
        ),
        Stage(
            "refinement",
            1,
            SESSION,
            ("calibration", "timeline", "keypoints", "draft"),
            ("calibration.refine",),
            "rig",
            "the cameras, bundle-adjusted from the people where that helps",
            lenient=True,
            modules=("tasks/refinement.py", "pipeline/association/refine.py", "pipeline/association/evidence.py"),
        ),
        Stage(
            "redetection",
            1,
            CHUNK,
            ("calibration", "refinement", "frames", "keypoints", "draft"),
            ("keypoints.detector",),
            "detections",
            "a second look where the other cameras see somebody",
            modules=("tasks/redetection.py", "pipeline/keypoints/*.py"),
        ),
        Stage(
            "association",
            2,
            SESSION,
            ("calibration", "refinement", "timeline", "keypoints", "redetection"),
            ("association",),
            "tracks",
            "the same person found again over views and time, in 3D",
            lenient=True,
            modules=(
                "tasks/association.py",
                "pipeline/association/*.py",
                "pipeline/keypoints/timing.py",
                "pipeline/cameras.py",
            ),
        ),
        Stage(
            "identities",
            1,
            PERSON,
            ("association",),
            (),
            "tracks",
            "one person, after the rules of identities.yaml",
            modules=("tasks/identities.py", "pipeline/association/identities.py"),
        ),
        Stage(
            "untangling",
            5,
            SPAN,
            ("calibration", "refinement", "timeline", "frames", "keypoints", "redetection", "identities"),
            ("keypoints.detector", "body.max_gap_s", "body.floor"),
            "tracks",
            "people who touch looked at again, each with the others painted over",
            lenient=True,
            refines="identities",
            modules=(
                "tasks/untangling.py",
                "pipeline/untangling/*.py",
                "pipeline/keypoints/crops.py",
                "pipeline/keypoints/blazepose.py",
                "pipeline/keypoints/onnx_pose.py",
                "pipeline/keypoints/masks.py",
                "pipeline/keypoints/pose_landmarks.py",
                "pipeline/body/*.py",
                "pipeline/segmentation/*.py",
                "pipeline/association/tracks.py",
                "pipeline/association/triangulation.py",
                "pipeline/raster*.py",
                "nets/body.py",
                "nets/geometry.py",
            ),
        ),
        Stage(
            "bodies",
            5,
            PERSON,
            ("calibration", "refinement", "timeline", "identities", "keypoints", "redetection"),
            ("body.max_residual_m", "body.max_gap_s", "body.floor", "body.hands_and_face", "body.silhouettes"),
            "body",
            "an SMPL-X body fitted to the whole track",
            lenient=True,
            modules=(
                "tasks/bodies.py",
                "pipeline/body/*.py",
                "pipeline/association/tracks.py",
                "pipeline/association/triangulation.py",
                "nets/body.py",
                "nets/geometry.py",
            ),
        ),
        Stage(
            "contact",
            2,
            PERSON,
            ("calibration", "refinement", "timeline", "identities", "bodies"),
            ("body.max_residual_m", "body.max_gap_s", "body.floor"),
            "body",
            "the body again, refined with the others' where they touch",
            lenient=True,
            everybody=("identities", "bodies"),
            refines="bodies",
            modules=("tasks/contact.py", "pipeline/body/*.py", "nets/body.py", "nets/geometry.py"),
        ),
        Stage(
            "segmentation",
            11,
            SPAN,
            ("calibration", "refinement", "timeline", "frames", "keypoints", "redetection", "identities", "bodies"),
            ("segmentation.method",),
            "masks",
            "each person's own pixels in every view",
            lenient=True,
            modules=(
                "tasks/segmentation.py",
                "pipeline/segmentation/*.py",
                "nets/parsing/inputs.py",
                "nets/parsing/small.py",
                "nets/parsing/ce2p.py",
                "nets/parsing/labels.py",
                "data/given_masks.py",
                "pipeline/raster*.py",
                "pipeline/export/bodies.py",
            ),
        ),
        Stage(
            "surface_inputs",
            1,
            PERSON_CHUNK,
            ("calibration", "refinement", "timeline", "frames", "bodies", "segmentation"),
            (),
            "surface_inputs",
            "crops, masks, body maps and predicted normals, as the surface network reads them",
            modules=(
                "tasks/surface_inputs.py",
                "tasks/surfaces.py",
                "pipeline/surface/prepare.py",
                "pipeline/surface/stored.py",
                "nets/deepmulticap/inputs.py",
                "nets/deepmulticap/compat.py",
                "nets/deepmulticap/volumes.py",
                "nets/meshes.py",
                "nets/normals.py",
                "pipeline/raster*.py",
            ),
        ),
        Stage(
            "surface",
            5,
            PERSON_CHUNK,
            ("calibration", "refinement", "bodies", "surface_inputs"),
            ("surface.resolution",),
            "surface",
            "the surface of a clothed person in every frame, by the surface network",
            modules=(
                "tasks/surface.py",
                "tasks/surfaces.py",
                "pipeline/surface/*.py",
                "pipeline/meshes/sequence.py",
                "nets/deepmulticap/*.py",
                "nets/layers.py",
                "nets/normals.py",
            ),
        ),
        Stage(
            "fusion",
            6,
            PERSON_CHUNK,
            ("timeline", "bodies", "surface"),
            ("fusion", "surface.resolution"),
            "surface",
            "surfaces of neighbouring frames, carried to one pose by their bodies and averaged",
            borders=("surface",),
            modules=(
                "tasks/fusion.py",
                "tasks/surfaces.py",
                "pipeline/fusion/*.py",
                "nets/meshes.py",
                "pipeline/surface/blocks.py",
                "pipeline/surface/octree.py",
                "pipeline/surface/triangles.py",
                "pipeline/meshes/sequence.py",
            ),
        ),
        Stage(
            "registration",
            5,
            PERSON,
            ("calibration", "refinement", "timeline", "frames", "bodies", "segmentation", "surface", "fusion"),
            ("export.texture_size", "export.blur_faces"),
            "registered",
            "the body model moved out to the surfaces and textured from all views",
            lenient=True,
            modules=(
                "tasks/registration.py",
                "tasks/faces.py",
                "pipeline/quality/faces.py",
                "pipeline/registration/*.py",
                "pipeline/texture/*.py",
                "pipeline/raster*.py",
                "pipeline/export/bodies.py",
            ),
        ),
        Stage(
            "texture",
            6,
            PERSON_CHUNK,
            (
                "calibration", "refinement", "timeline", "frames", "bodies", "segmentation", "surface", "fusion",
                "registration",
            ),
            ("export.texture", "export.simplify_mm", "export.frame_texture", "export.blur_faces"),
            "surface",
            "the surfaces of every frame, made light and coloured from the views",
            lenient=True,
            modules=(
                "tasks/texture.py",
                "tasks/faces.py",
                "pipeline/quality/faces.py",
                "tasks/surfaces.py",
                "pipeline/texture/*.py",
                "pipeline/meshes/simplify.py",
                "pipeline/meshes/sequence.py",
                "pipeline/registration/dressed.py",
                "pipeline/registration/outwards.py",
                "pipeline/raster*.py",
                "pipeline/export/bodies.py",
            ),
        ),
        Stage(
            "overlays",
            1,
            CAMERA,
            ("calibration", "refinement", "timeline", "frames", "keypoints", "redetection", "identities", "bodies"),
            ("export.overlays", "export.overlay_height", "export.blur_faces"),
            "manifest",
            "a video a camera with skeletons and bodies drawn over it",
            tolerant=True,
            modules=(
                "tasks/overlays.py",
                "tasks/faces.py",
                "pipeline/quality/faces.py",
                "pipeline/quality/overlay.py",
                "pipeline/quality/drawing.py",
                "pipeline/meshes/colours.py",
                "pipeline/raster*.py",
            ),
        ),
        Stage(
            "export",
            5,
            SESSION,
            (
                "calibration", "refinement", "timeline", "identities", "bodies", "surface", "fusion", "registration",
                "texture",
            ),
            (
                "export.formats", "export.motion", "export.scene_meshes", "export.simplify_mm", "export.compression",
                "export.surface_glb_mb",
            ),
            "manifest",
            "skeletons, bodies, meshes and the animated scene as files",
            tolerant=True,
            modules=(
                "tasks/export.py",
                "tasks/delivered.py",
                "pipeline/export/*.py",
                "pipeline/meshes/*.py",
                "pipeline/registration/outwards.py",
                "pipeline/quality/viewer_page.py",
            ),
        ),
        Stage(
            "stills",
            5,
            BATCH,
            (),
            ("stills.threshold", "stills.resolution", "stills.focal_px", "stills.smallest_person_px"),
            "stills",
            "everybody in low-resolution stills",
            modules=(
                "tasks/stills.py",
                "data/stills.py",
                "pipeline/stills/*.py",
                "pipeline/keypoints/*.py",
                "pipeline/body/*.py",
                "nets/mili/*.py",
                "nets/body.py",
            ),
        ),
        Stage(
            "stills_export",
            2,
            BATCH,
            ("stills",),
            ("stills.formats", "export.blur_faces"),
            "manifest",
            "pictures, meshes and parameters of stills as files",
            modules=("tasks/stills_export.py", "pipeline/stills/*.py", "pipeline/meshes/*.py"),
        ),
    )
}


def stage_named(name: str) -> Stage:
    """Raises InputError for a stage that is not in the table."""
    if name not in STAGES:
        raise InputError(f"stage {name!r}", "there is no such stage", f"Stages: {', '.join(STAGES)}")
    return STAGES[name]
