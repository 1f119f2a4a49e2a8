"""USD scenes: everybody skinned and animated (UsdSkel), +y up, metres. ``usdc`` for editors, ``usdz`` for viewers.

A person is hidden in frames in which he or she is absent. As in GLB files, pose-dependent shapes are left out. A usdz
holds textures (UsdPreviewSurface); usdc is one file without room for images, so that it has the texture's colours at
the vertices.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.export.moving import Motion
from pipeline.meshes.colours import linear
from pipeline.meshes.glb import Skin, SkinnedPerson
from pipeline.texture.atlas import decoded, looked_up

_INFLUENCES = 4


def usd_bytes(kind: str, people: Sequence[Motion], frames: tuple[int, int], rate: float) -> bytes:
    """The scene as a file of ``kind``, "usdc" or "usdz".

    Args:
        people: of one session.
        frames: first and last frame number; time codes are frame numbers.
        rate: frame numbers a second.
    """
    from pxr import UsdUtils

    with tempfile.TemporaryDirectory() as folder:
        crate, package = Path(folder) / "session.usdc", Path(folder) / "session.usdz"
        _write_crate(crate, people, frames, rate, textured=kind == "usdz")
        if kind == "usdc":
            return crate.read_bytes()
        if not UsdUtils.CreateNewUsdzPackage(str(crate), str(package)):
            raise OSError(f"{package} cannot be packed")
        return package.read_bytes()


def _write_crate(
    path: Path, people: Sequence[Motion], frames: tuple[int, int], rate: float, textured: bool
) -> None:
    """The scene, with its textures beside it."""
    from pxr import Usd, UsdGeom

    stage = Usd.Stage.CreateNew(str(path))
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    stage.SetTimeCodesPerSecond(rate)
    stage.SetFramesPerSecond(rate)
    stage.SetStartTimeCode(frames[0])
    stage.SetEndTimeCode(frames[1])
    root = UsdGeom.Xform.Define(stage, "/session")
    stage.SetDefaultPrim(root.GetPrim())
    for motion in people:
        mesh = _add_person(stage, motion)
        skin = motion.person.skin
        if skin is not None and textured:
            image = path.with_name(f"{motion.person.name}.jpg")
            image.write_bytes(skin.image)
            _paint(stage, mesh, skin, f"./{image.name}")
    stage.GetRootLayer().Save()


def _add_person(stage, motion: Motion):
    """The person's mesh."""
    from pxr import Gf, Sdf, UsdGeom, UsdSkel, Vt

    person = motion.person
    path = f"/session/{person.name}"
    root = UsdSkel.Root.Define(stage, path)
    _show(UsdGeom.Imageable(root), motion)
    names = _paths(person.joint_names, person.parents)
    skeleton = UsdSkel.Skeleton.Define(stage, f"{path}/skeleton")
    skeleton.CreateJointsAttr(names)
    skeleton.CreateBindTransformsAttr([_matrix(Gf, np.eye(3), p) for p in person.joints])
    parents = np.asarray(person.parents)
    offsets = person.joints - np.where(parents[:, None] >= 0, person.joints[parents], 0)
    skeleton.CreateRestTransformsAttr([_matrix(Gf, np.eye(3), p) for p in offsets])
    animation = UsdSkel.Animation.Define(stage, f"{path}/motion")
    animation.CreateJointsAttr(names)
    animation.CreateScalesAttr(Vt.Vec3hArray.FromNumpy(np.ones((len(names), 3), np.float16)))
    _animate(animation, person, offsets)
    binding = UsdSkel.BindingAPI.Apply(skeleton.GetPrim())
    binding.CreateAnimationSourceRel().SetTargets([Sdf.Path(f"{path}/motion")])
    mesh = UsdGeom.Mesh.Define(stage, f"{path}/body")
    mesh.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(person.vertices, np.float32)))
    mesh.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(np.full(len(person.faces), 3, np.int32)))
    mesh.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(np.ascontiguousarray(person.faces, np.int32).ravel()))
    mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    _colour(mesh, person)
    _bind(mesh, person, f"{path}/skeleton")
    return mesh


def _colour(mesh, person: SkinnedPerson) -> None:
    """One colour, or the texture's at the vertices."""
    from pxr import UsdGeom, Vt

    colours, skin = np.array([person.colour], np.float64), person.skin
    if skin is not None:
        colours = np.zeros(np.shape(person.vertices))
        colours[skin.vertices] = looked_up(decoded(skin.image), skin.uv)
    where = UsdGeom.Tokens.constant if skin is None else UsdGeom.Tokens.vertex
    mesh.CreateDisplayColorPrimvar(where).Set(Vt.Vec3fArray.FromNumpy(linear(colours).astype(np.float32)))


def _paint(stage, mesh, skin: Skin, image: str) -> None:
    """A material with the texture, and coordinates at the corners of triangles."""
    from pxr import Sdf, UsdGeom, UsdShade, Vt

    corners = np.ascontiguousarray(skin.uv[skin.faces].reshape(-1, 2), np.float32)
    kinds = Sdf.ValueTypeNames
    primvars = UsdGeom.PrimvarsAPI(mesh)
    primvars.CreatePrimvar("st", kinds.TexCoord2fArray, UsdGeom.Tokens.faceVarying).Set(
        Vt.Vec2fArray.FromNumpy(corners)
    )
    path = f"{mesh.GetPath().GetParentPath()}/look"
    material = UsdShade.Material.Define(stage, path)
    shaders = {n: UsdShade.Shader.Define(stage, f"{path}/{n}") for n in ("surface", "texture", "coordinates")}
    for shader, kind in zip(shaders.values(), ("PreviewSurface", "UVTexture", "PrimvarReader_float2"), strict=True):
        shader.CreateIdAttr(f"Usd{kind}")
    surface, texture, coordinates = shaders.values()
    coordinates.CreateInput("varname", kinds.String).Set("st")
    texture.CreateInput("file", kinds.Asset).Set(image)
    texture.CreateInput("sourceColorSpace", kinds.Token).Set("sRGB")
    texture.CreateInput("st", kinds.Float2).ConnectToSource(coordinates.ConnectableAPI(), "result")
    surface.CreateInput("roughness", kinds.Float).Set(0.9)
    surface.CreateInput("diffuseColor", kinds.Color3f).ConnectToSource(texture.ConnectableAPI(), "rgb")
    material.CreateSurfaceOutput().ConnectToSource(surface.ConnectableAPI(), "surface")
    UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim()).Bind(material)


def _bind(mesh, person, skeleton: str) -> None:
    from pxr import Sdf, UsdSkel, Vt

    which = np.argsort(-person.weights, 1, kind="stable")[:, :_INFLUENCES]
    share = np.take_along_axis(np.asarray(person.weights, np.float64), which, 1)
    share /= share.sum(1, keepdims=True)
    binding = UsdSkel.BindingAPI.Apply(mesh.GetPrim())
    binding.CreateSkeletonRel().SetTargets([Sdf.Path(skeleton)])
    indices = binding.CreateJointIndicesPrimvar(False, _INFLUENCES)
    indices.Set(Vt.IntArray.FromNumpy(which.astype(np.int32).ravel()))
    weights = binding.CreateJointWeightsPrimvar(False, _INFLUENCES)
    weights.Set(Vt.FloatArray.FromNumpy(share.astype(np.float32).ravel()))


def _animate(animation, person, offsets: np.ndarray) -> None:
    from pxr import Vt
    from scipy.spatial.transform import Rotation

    count, joints = person.rotations.shape[:2]
    quaternions = Rotation.from_rotvec(person.rotations.reshape(-1, 3)).as_quat().reshape(count, joints, 4)
    rotations, translations = animation.CreateRotationsAttr(), animation.CreateTranslationsAttr()
    for row, frame in enumerate(person.frames.tolist()):
        places = np.array(offsets, np.float32)
        places[0] = person.root_positions[row]
        rotations.Set(Vt.QuatfArray.FromNumpy(np.ascontiguousarray(quaternions[row], np.float32)), float(frame))
        translations.Set(Vt.Vec3fArray.FromNumpy(places), float(frame))


def _show(imageable, motion: Motion) -> None:
    from pxr import UsdGeom

    visibility = imageable.CreateVisibilityAttr()
    frames, present = motion.frames, motion.present
    step = int(frames[1] - frames[0]) if len(frames) > 1 else 1
    visibility.Set(UsdGeom.Tokens.invisible, float(frames[0] - step))
    shown = None
    for frame, here in zip(frames.tolist(), present.tolist(), strict=True):
        if here != shown:
            visibility.Set(UsdGeom.Tokens.inherited if here else UsdGeom.Tokens.invisible, float(frame))
            shown = here
    visibility.Set(UsdGeom.Tokens.invisible, float(frames[-1] + step))


def _paths(names: Sequence[str], parents: Sequence[int]) -> list[str]:
    """Joints as paths from the root, as UsdSkel names them."""
    out: list[str] = []
    for name, parent in zip(names, parents, strict=True):
        out.append(name if parent < 0 else f"{out[parent]}/{name}")
    return out


def _matrix(Gf, rotation: np.ndarray, position: np.ndarray):
    """USD multiplies rows from the left."""
    whole = np.eye(4)
    whole[:3, :3], whole[3, :3] = np.asarray(rotation).T, position
    return Gf.Matrix4d(*whole.ravel().tolist())
