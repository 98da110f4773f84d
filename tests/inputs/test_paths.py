"""bench/paths.py owns the name of every file in results/ and cache/: no other module spells one out."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.paths import CachePaths, CellPaths, StudyPaths, cell_id, default_cache
from bench.records.found import all_records

ROOT = Path(__file__).parents[2]
FILES = (
    "record.json",
    "curve.jsonl",
    "predictions.parquet",
    "tidy.parquet",
    "report.html",
    "manifest.json",
    "holder.json",
    "adapter_model.safetensors",
    "adapter_config.json",
)
FOLDERS = ("cells", "logs", "tables", "figures", "tracker", "evaluations", "checkpoints", "prepared", "views", "cache")
OWNER = ROOT / "bench/paths.py"
MODULES = [path for path in sorted((ROOT / "bench").rglob("*.py")) if path != OWNER]
RULES = [ROOT / "Snakefile", *sorted((ROOT / "workflow/rules").glob("*.smk"))]


def spelled_out(tree: ast.AST) -> Iterator[str]:
    """Each literal in the code that names such a file, or is a part of a path with such a folder in it."""
    for node in ast.walk(tree):
        match node:
            case ast.BinOp(op=ast.Div(), right=ast.Constant(value=name)) if name in FOLDERS:
                yield f"line {node.lineno}: {name}"
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" not in node.value:
            is_file = any(re.search(rf"(^|/){re.escape(name)}$", node.value) for name in FILES)
            is_folder = any(re.search(rf"/{name}(/|$)", node.value) for name in FOLDERS) and " " not in node.value
            if is_file or is_folder:
                yield f"line {node.lineno}: {node.value}"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_module_spells_out_a_place(module: Path) -> None:
    assert list(spelled_out(ast.parse(module.read_text()))) == []


@pytest.mark.parametrize("rules", RULES, ids=lambda path: path.name)
def test_no_rule_spells_out_a_place(rules: Path) -> None:
    code = [line for line in rules.read_text().splitlines() if not line.strip().startswith("#")]
    names = "|".join(map(re.escape, FILES))
    assert [line for line in code if re.search(rf"{names}|/({'|'.join(FOLDERS)})[/\"']", line)] == []


def test_the_check_sees_what_it_forbids() -> None:
    source = 'a = folder / "cells"\nb = f"{results}/logs/{cell}.log"\nc = "record.json"\n"""record.json is prose."""\n'
    assert list(spelled_out(ast.parse(source))) == ["line 1: cells", "line 3: record.json", "line 2: /logs/"]


def test_names() -> None:
    paths = StudyPaths(Path("results"), "demo")
    name = cell_id("cola", "lora", "small", 0)
    assert paths.cell(name).record == Path("results/demo/cells/cola/lora/small/seed-0/record.json")
    assert paths.log(name) == Path("results/demo/logs/cola/lora/small/seed-0.log")
    assert paths.group_log("cola", "group_cola_1") == Path("results/demo/logs/cola/group_cola_1.log")
    assert paths.prepare_log("cola-1") == Path("results/demo/logs/prepare/cola-1.log")
    assert CachePaths(default_cache(Path("results"))).data("cola-1") == Path("results/cache/data/cola-1")


def test_checkpoints_of_one_cell_in_two_studies_are_kept_apart() -> None:
    cache = CachePaths(Path("cache"))
    assert cache.checkpoints("abc", Path("a")) != cache.checkpoints("abc", Path("b"))
    assert cache.checkpoints("abc", Path("a")) == cache.checkpoints("abc", Path("a").resolve())


def test_all_records_are_those_of_cells(tmp_path: Path) -> None:
    record = StudyPaths(tmp_path, "demo").cell(cell_id("cola", "lora", "small", 0)).record
    for file in (record, record.with_name("record.oom-1.json"), tmp_path / "evaluations/cola/x/record.json"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert all_records(tmp_path) == [record]


def test_a_record_set_aside_takes_the_first_free_number(tmp_path: Path) -> None:
    cell = CellPaths(tmp_path)
    assert cell.free_set_aside("oom").name == "record.oom-1.json"
    cell.free_set_aside("oom").touch()
    assert cell.free_set_aside("oom").name == "record.oom-2.json"
