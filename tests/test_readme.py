"""What the README says is there."""

import re

import pytest

from run_pipeline import parser
from tests import readme

TEXT = readme.README.read_text()


def test_its_figures_are_those_of_the_file():
    assert readme.SECTION.search(TEXT).group() == readme.table()


NAMED = re.findall(r"`((?:configs|pipeline|tasks|tests|data|nets|docs)/[\w./-]+)`", TEXT)


@pytest.mark.parametrize("path", sorted(set(NAMED)))
def test_a_file_it_names_exists(path):
    assert (readme.ROOT / path).exists()


def test_its_pictures_exist():
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", TEXT):
        assert (readme.ROOT / path).stat().st_size > 1000


def test_it_names_every_verb():
    verbs = next(a for a in parser()._actions if a.dest == "verb").choices
    assert [v for v in verbs if not re.search(rf"`(run_pipeline\.py )?{v}\b|run_pipeline\.py {v}", TEXT)] == []


@pytest.mark.parametrize("target", ["demo", "test", "real", "bench", "lint", "setup"])
def test_the_makefile_has_the_targets(target):
    assert re.search(rf"^{target}:", (readme.ROOT / "Makefile").read_text(), re.MULTILINE)
