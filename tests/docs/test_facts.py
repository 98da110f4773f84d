"""What the documentation says of keys, defaults, targets, commands and folders is what the code has."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from bench.cli.app import app
from bench.config import cell
from bench.config.generation import Generation
from bench.config.kinds import KINDS
from bench.config.metric_facts import OWN_FACTS
from bench.config.resolve import load_study
from bench.config.tuning import Tuning
from bench.engine import options
from bench.estimate.hardware import Hardware
from bench.estimate.run_time import run_time

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()
NO_DEFAULT = {"none": (None, [], {}), "`null`": (None,), "every trial is trained to its end": (None,)}


def section(page: str, title: str) -> str:
    """The text below a heading of `page`, up to the next one."""
    return re.split(r"^## ", page.partition(f"\n## {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of each row of the tables in `text`, heads left out."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in cells if row[0].startswith("`")]


def told_defaults(text: str, column: int) -> dict[str, str]:
    """Key by key what a table says of defaults; a row may be about several keys."""
    told = {}
    for row in rows(text):
        keys = re.findall(r"`(\w+)`", row[0])
        words = row[column].split(", ") if len(keys) > 1 else [row[column]]
        told |= dict(zip(keys, words, strict=True))
    return told


@pytest.mark.parametrize(
    ("title", "column", "model"),
    [("How texts are generated", 1, Generation), ("Tuning the recipe", 2, Tuning)],
    ids=["generation", "tuning"],
)
def test_a_table_of_keys_is_whole_and_has_the_defaults(title: str, column: int, model: type[BaseModel]) -> None:
    told = told_defaults(section(CONFIGURATION, title), column)
    assert told.keys() == model.model_fields.keys()
    for key, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if told[key].startswith("required"):
            assert field.is_required() or default is None, key
        elif told[key] in NO_DEFAULT:
            assert default in NO_DEFAULT[told[key]], key
        else:
            assert told[key].strip("`") == (f"{default:g}" if isinstance(default, float) else str(default)), key


def test_every_target_that_a_user_may_name_is_in_the_table() -> None:
    rules = "\n".join(file.read_text() for file in (ROOT / "workflow" / "rules").glob("*.smk"))
    named = set(re.findall(r"^rule (\w+):", rules, re.MULTILINE))
    inner = {"prepare_model", "prepare_data", "views"}  # one per model and data set, and what the first rule asks for
    told = {name for row in rows(section(CONFIGURATION, "Targets")) for name in re.findall(r"`(\w+)`", row[0])}
    assert told == named - inner


def test_the_commands_on_a_study_are_those_that_take_its_options() -> None:
    sentence = CONFIGURATION.partition("The commands `bench plan`")[2].partition(" take ")[0]
    told = {"plan", *re.findall(r"`(\w+)`", sentence)}
    shared = {"results", "cache", "mirror", "workflow", "overrides"}
    assert told == {name for name, command in app.commands.items() if shared <= {p.name for p in command.params}}


def test_the_metrics_of_the_harness_are_named() -> None:
    sentence = section(CONFIGURATION, "Metrics of the library `evaluate`").partition(") a task can")[0]
    told = set(re.findall(r"`(\w+)`", sentence.partition("(")[2]))
    own = set().union(*(facts.metrics for facts in KINDS.values()))
    assert own <= OWN_FACTS.keys()
    assert told == {metric for metric in own if not metric.startswith("rouge")}


def test_every_study_is_in_the_table_of_studies() -> None:
    told = set(re.findall(r"`([\w-]+)`", "\n".join(re.findall(r"^\|.*", (ROOT / "docs/studies.md").read_text(), re.M))))
    assert {file.stem for file in (ROOT / "workflow" / "studies").glob("*.yaml")} <= told


def test_every_folder_of_the_code_is_in_the_readme() -> None:
    told = set(re.findall(r"`bench/(\w+)/`", (ROOT / "README.md").read_text()))
    assert told == {file.name for file in (ROOT / "bench").glob("[!_]*") if file.is_dir()}


def test_the_table_of_layers_has_the_order_that_is_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = {contract["id"]: contract for contract in project["tool"]["importlinter"]["contracts"]}
    layers = [set(layer.split(" : ")) for layer in contracts["layers"]["layers"]]
    page = section((ROOT / "docs" / "architecture.md").read_text(), "Layers")
    told = re.findall(r"(?<=[`\[])(\w+)(?:\.py`|\]\()", "\n".join(re.findall(r"^\| [\[`].*? \|", page, re.MULTILINE)))
    places = [next(place for place, layer in enumerate(layers) if name in layer) for name in told]
    assert places == sorted(places)
    assert set(told) == set().union(*layers)


def test_folders_of_tests_that_follow_none_of_the_code_are_explained() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    code = {folder.name for folder in (ROOT / "bench").iterdir()}
    others = {file.name for file in (ROOT / "tests").iterdir() if file.is_dir() and any(file.glob("*.py"))} - code
    assert others <= set(re.findall(r"`tests/(\w+)`", page))


def test_the_options_of_the_engine_are_in_its_table() -> None:
    (row,) = [row for row in rows((ROOT / "docs/library.md").read_text()) if row[0] == "`bench.engine.options`"]
    assert set(re.findall(r"`(\w+)`", row[1])) == {name for name in vars(options) if name.endswith("Options")}


def test_examples_of_method_files_name_no_user_and_their_schema() -> None:
    """Who follows them in a checkout has a file that the tests of what ships take."""
    for page in ("CONTRIBUTING.md", "docs/allocators.md"):
        for name in ("rslora", "at_random"):
            for lines in re.findall(rf"^( +)(.*)\n\1name: {name}$", (ROOT / page).read_text(), re.MULTILINE):
                assert lines[1] == "# yaml-language-server: $schema=../schemas/method.schema.json", page
    assert "name: my_" not in (ROOT / "CONTRIBUTING.md").read_text()


def test_who_adds_a_key_is_told_where_the_hashes_of_records_are_kept() -> None:
    """Without a line there, a new key with a default changes the hash of every cell."""
    text = section((ROOT / "CONTRIBUTING.md").read_text(), "Add a key of a YAML file")
    told = {name for name in re.findall(r"`(_[A-Z_]+)`", text) if hasattr(cell, name)}
    assert told == {"_ADDED_LATER", "_FIELDS_NOT_IDENTITY"}


def test_modules_that_docstrings_name_are_there() -> None:
    for file in (ROOT / "bench").rglob("*.py"):
        for name in re.findall(r"`(bench(?:\.[a-z]\w*)+)", file.read_text()):
            parts = name.split(".")
            here = [ROOT.joinpath(*parts[:end]) for end in (len(parts), len(parts) - 1)]  # a module, or what is in it
            assert any(p.is_dir() or p.with_suffix(".py").is_file() for p in here[: 1 + (len(parts) > 2)]), (file, name)


def test_the_hours_of_a_large_cell_are_those_of_the_page() -> None:
    page = (ROOT / "docs" / "accounting.md").read_text()
    (told,) = re.findall(r"that is (\d+) hours on a T4, (\d+) on an A100, (\d+) on an H100", page)
    first = load_study("paper").find("mnli", "lora", "small", 0)
    hours = [run_time(first, Hardware(gpu=True, model=model)).seconds / 3600 for model in ("t4", "a100", "h100")]
    assert [f"{number:.0f}" for number in hours] == list(told)
