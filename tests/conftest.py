"""The tests run like the parts of a session, one thread a numerical library, and leave nothing behind."""

import sys

import pytest

from tasks.threads import limit_threads

limit_threads()


@pytest.fixture(autouse=True)
def smplx_keypoints_as_they_came():
    """`smplx` keeps its keypoint vertices in a module's global, which models of other sizes change."""
    yield
    if "smplx.vertex_ids" in sys.modules:
        import importlib

        fresh = importlib.util.module_from_spec(importlib.util.find_spec("smplx.vertex_ids"))
        fresh.__loader__.exec_module(fresh)
        sys.modules["smplx.vertex_ids"].vertex_ids["smplx"].update(fresh.vertex_ids["smplx"])
