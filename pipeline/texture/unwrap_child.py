"""The program that finds texture coordinates: xatlas apart from the process that waits for them.

Run as ``python -P pipeline/texture/unwrap_child.py`` by ``pipeline.texture.unwrap``, which sends ``vertices``,
``faces``, ``size`` and ``padding`` as an npz file through standard input and reads another with ``uv`` and
``uv_faces`` from standard output.

xatlas 0.0.11 ends its threads with a wake-up that can come before they sleep; then whoever frees an atlas waits for
ever, holding the interpreter's lock. This process ends without freeing it.
"""

from __future__ import annotations

import io
import os
import sys

import numpy as np


def main() -> None:
    """Answer one request; leaves by ``os._exit``, so that no destructor runs."""
    import xatlas

    with np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False) as asked:
        vertices, faces, size, padding = (asked[name] for name in ("vertices", "faces", "size", "padding"))
    atlas = xatlas.Atlas()
    atlas.add_mesh(vertices, faces)
    packing = xatlas.PackOptions()
    packing.resolution, packing.padding, packing.bilinear = int(size), int(padding), True
    atlas.generate(pack_options=packing)
    _, uv_faces, uv = atlas[0]
    answer = io.BytesIO()
    np.savez(answer, uv=uv, uv_faces=uv_faces)
    sys.stdout.buffer.write(answer.getbuffer())
    sys.stdout.buffer.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
