"""The verb: its table, its JSON, and what it says to those who ask for what is not there."""

import json

import pytest

import run_pipeline
from pipeline.config import read_section
from tasks.benchmarks.tables import json_text, text_table
from tasks.evaluate import BENCHMARKS, CONFIGS, load

SMALL = "categories: [clean, noisy]\ndetections: [bottom_up]\nseeds: [1]\nframes: 40\n"


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


def test_a_benchmark_prints_a_table_and_writes_its_rows(config, capsys):
    target = config.parent / "rows.json"
    assert run_pipeline.main(["evaluate", "association", str(config), "--json", str(target)]) == 0
    header, line, clean, noisy = capsys.readouterr().out.splitlines()[:4]
    assert header.split()[:4] == ["method", "category", "detections", "pcp"] and set(line) == {"-"}
    assert clean.split()[:3] == ["pipeline", "clean", "bottom_up"] and noisy.split()[1] == "noisy"
    content = json.loads(target.read_text())
    assert content["benchmark"] == "association" and "numpy" in content["software"]
    rows = content["rows"]
    assert [r["category"] for r in rows] == ["clean", "noisy"]
    assert rows[0]["pcp"] > 98 and rows[0]["mpjpe_mm"] < rows[1]["mpjpe_mm"] < 60
    assert set(rows[0]) == {
        "method", "category", "detections", "pcp", "mpjpe_mm", "identity_switches", "coverage", "ghosts"
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_every_benchmark_has_a_configuration_that_fits(name):
    benchmark = load(name)
    path = CONFIGS / f"{name}.yaml"
    config = read_section(path, benchmark.config, "", "")
    text = path.read_text()
    missing = [field for field in type(config).model_fields if f"{field}:" not in text]
    assert not missing, f"{path.name} does not show {missing}"
    assert all(f.description for f in type(config).model_fields.values())


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_configuration_that_is_shipped_fits(path):
    read_section(path, load(path.stem.split("_")[0]).config, "", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["asociation"], ["'asociation'", "association"]),
        (["association", "nowhere.yaml"], ["nowhere.yaml", "no such file"]),
        (["association", "{config}", "--json", "{folder}"], ["--json", "is a folder"]),
        (["association", "{config}", "--json", "{folder}/not/there.json"], ["--json", "no folder"]),
        (["association", "{config}", "--external", "other={folder}"], ["--external", "association"]),
    ],
)
def test_wrong_usage_starts_nothing(arguments, words, config, capsys):
    filled = [a.format(config=config, folder=config.parent) for a in arguments]
    assert run_pipeline.main(["evaluate", *filled]) == 2
    message = capsys.readouterr().err
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("frames: 40", "frmaes: 40", ["frmaes", "Did you mean frames"]),
        ("frames: 40", "frames: 1", ["frames", "40"]),
        ("clean, noisy", "clean, misty", ["categories", "'misty'"]),
        ("[clean, noisy]", "[]", ["categories"]),
        (SMALL, "- a list\n", ["is not a benchmark", "configs/benchmarks/association.yaml"]),
    ],
)
def test_a_wrong_configuration_is_named(before, after, words, config, capsys):
    config.write_text(SMALL.replace(before, after))
    assert run_pipeline.main(["evaluate", "association", str(config)]) == 2
    message = capsys.readouterr().err
    assert all(word in message for word in words), message


def test_an_external_folder_has_a_name():
    with pytest.raises(SystemExit):
        run_pipeline.parser().parse_args(["evaluate", "table1", "--external", "folder/alone"])
    options = run_pipeline.parser().parse_args(["evaluate", "table1", "--external", "a=x", "--external", "b=y"])
    assert options.external == [("a", "x"), ("b", "y")]


def test_what_is_not_known_is_a_dash_and_null():
    rows = [
        {"method": "a", "category": "x", "views": 6, "figure_cm": 1.234},
        {"method": "b", "category": "x", "figure_cm": float("nan"), "other": 2.0},
    ]
    lines = text_table(rows, {"figure_cm": 2, "other": 0}).splitlines()
    assert [line.split() for line in lines if set(line) != {"-"}] == [
        ["method", "category", "views", "figure_cm", "other"], ["a", "x", "6", "1.23", "-"], ["b", "x", "-", "-", "2"]
    ]  # fmt: skip
    assert json.loads(json_text("t", {}, rows))["rows"][1]["figure_cm"] is None
