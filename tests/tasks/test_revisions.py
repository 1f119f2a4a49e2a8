"""A stage whose code changed has its revision raised, or its results were shown to be equal and that was accepted."""

import pytest

from tasks import revisions
from tasks.stages import STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_the_lock_fits_the_code(stage):
    assert revisions.locked().get(stage) == revisions.current()[stage], (
        f"the code of stage {stage} changed: raise its revision in tasks/stages.py if results change, "
        "then run python -m tasks.revisions --accept"
    )


@pytest.mark.parametrize("stage", STAGES)
def test_every_listed_module_is_there(stage):
    assert STAGES[stage].modules
    for pattern in STAGES[stage].modules:
        assert list(revisions.ROOT.glob(pattern)), pattern


def test_layout_and_remarks_do_not_count_but_code_does(tmp_path, monkeypatch):
    from dataclasses import replace

    def digest(text):
        (tmp_path / "a.py").write_text(text)
        return revisions.code_digest(replace(STAGES["frames"], modules=("a.py",)))

    monkeypatch.setattr(revisions, "ROOT", tmp_path)
    plain = digest("def f(x):\n    return x + 1\n")
    assert plain == digest('"""Docs."""\n# remark\ndef f(x):\n    """More."""\n    return (x + 1)\n')
    assert plain != digest("def f(x):\n    return x + 2\n")
