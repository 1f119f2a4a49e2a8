"""A mesh as one Draco buffer, for KHR_draco_mesh_compression: the smallest files, in another order of vertices.

Draco (Google, Apache-2.0) predicts each vertex from its neighbours along the triangles and stores what is left over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

POSITION_BITS, NORMAL_BITS, TEXTURE_BITS = 14, 8, 12
"""Steps along a mesh's longest side (0.1 mm of a person), of the sphere, and of a texture's side."""
LEVEL = 7
"""Of ten: what is gained beyond is a hundredth."""
_COLOUR_ID = 7
_KINDS = {0: "POSITION", 1: "NORMAL", 3: "TEXCOORD_0", 4: "COLOR_0"}
"""Draco's kinds of attributes; the fourth are generic, which may have 16 bits."""


@dataclass(frozen=True)
class Packed:
    """A compressed mesh.

    Attributes:
        data: Draco's buffer. ids: glTF's name of an attribute -> Draco's number of it.
        values: the attributes as they come out of it. triangles: how many there are.
    """

    data: bytes
    ids: dict[str, int]
    values: dict[str, np.ndarray]
    triangles: int


def packed(faces: np.ndarray, attributes: dict[str, np.ndarray]) -> Packed:
    """Triangles (F, 3) and attributes by glTF's names: POSITION and NORMAL (V, 3), perhaps TEXCOORD_0 (V, 2) and
    COLOR_0 (V, 4) uint16.

    Raises:
        ValueError: a mesh that Draco cannot hold.
    """
    import DracoPy

    colours = attributes.get("COLOR_0")
    coordinates = attributes.get("TEXCOORD_0")
    try:
        data = DracoPy.encode(
            np.asarray(attributes["POSITION"], np.float32),
            np.asarray(faces, np.uint32),
            quantization_bits=POSITION_BITS,
            compression_level=LEVEL,
            normals=np.asarray(attributes["NORMAL"], np.float64),
            normal_quantization_bits=NORMAL_BITS,
            tex_coord=None if coordinates is None else np.asarray(coordinates, np.float64),
            tex_coord_quantization_bits=None if coordinates is None else TEXTURE_BITS,
            generic_attributes=None if colours is None else {_COLOUR_ID: np.ascontiguousarray(colours, np.uint16)},
        )
        # Draco may drop triangles without area and join or split vertices: what the file says is read back from it.
        back = DracoPy.decode(data)
    except (DracoPy.EncodingFailedException, DracoPy.FileTypeException) as error:
        raise ValueError(f"Draco cannot hold the mesh: {error}") from error
    found = {_KINDS[int(a["attribute_type"])]: a for a in back.attributes}
    values = {k: a["data"] for k, a in found.items()}
    if "COLOR_0" in values:
        values["COLOR_0"] = values["COLOR_0"].astype(np.uint16)  # stored as such, handed out wider
    return Packed(data, {k: int(a["unique_id"]) for k, a in found.items()}, values, len(back.faces))
