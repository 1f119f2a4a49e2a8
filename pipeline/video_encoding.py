"""How videos are encoded, so that the same pictures always give the same file."""

from __future__ import annotations

from typing import Any


def use_reproducible_h264(stream: Any, quality: int) -> None:
    """Settings of a libx264 stream (of PyAV) before its first frame; ``quality``: the rate factor, lower is better.

    One thread, and no macroblock tree: x264's AVX-512 code for it reads memory that nobody has written, and of a
    hundred encodings of the same pictures some forty came out a few levels off.
    """
    stream.pix_fmt = "yuv420p"
    stream.thread_count = 1
    stream.options = {"crf": str(quality), "preset": "veryfast", "x264-params": "mbtree=0"}
