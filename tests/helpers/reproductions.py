"""Recorded cells to be trained again by `bench reproduce`, as a run of the pipeline leaves them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench.cli.app import main
from bench.config.cell import Cell
from bench.config.task import Task
from bench.evaluation.metrics import score
from bench.files import digest
from bench.paths import MANIFEST, RECORD, StudyPaths
from bench.publishing.bundles.archive import write_archive
from bench.publishing.bundles.citation import Credits, citation
from bench.publishing.bundles.crate import crate
from bench.publishing.bundles.manifest import CITATION, CRATE, LOCKED, README, Manifest, Member
from bench.records.io import write_record
from bench.records.schema import Record
from helpers.small_cells import Lab, record_of


@dataclass(frozen=True)
class Archive:
    """A folder of results with the cells of `lab`, and the folder that repetitions go to."""

    lab: Lab
    results: Path

    @property
    def out(self) -> Path:
        return self.results.parent / "again"

    @property
    def study(self) -> Path:
        return self.results / "test"

    def folder(self, cell: Cell) -> Path:
        return StudyPaths(self.results, "test").cell(cell.id).folder

    def record(self, cell: Cell) -> Path:
        """Train the cell; returns its folder."""
        self.lab.prepare(cell)
        assert self.lab.train(cell, self.folder(cell), every=None) == 0
        return self.folder(cell)

    def reproduce(self, path: Path, *words: str) -> int:
        """The exit code of the command."""
        given = ["--results", str(self.out), "--cache", str(self.lab.cache), *words]
        return main(["reproduce", str(path), *given])

    def reproduced(self, path: Path, *words: str) -> tuple[int, dict[str, Any]]:
        """The exit code and what the command wrote with --json."""
        file = self.results.parent / "found.json"
        code = self.reproduce(path, *words, "--json", str(file))
        return code, json.loads(file.read_text())


def contents(folder: Path) -> dict[str, str]:
    """The hashes of all files below a folder."""
    return {path.relative_to(folder).as_posix(): digest(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def rewrite(folder: Path, change: Callable[[Record], Record] = lambda record: record) -> None:
    """Write the record in `folder` anew, as `change` makes it, with the hashes of its files as they are now."""
    record = record_of(folder)
    files = {name: digest(folder / name) for name in record.files}
    write_record(change(record).model_copy(update={"files": files}), folder)


def answer_otherwise(folder: Path, rows: int | Sequence[int]) -> float:
    """Turn predictions of two classes around, the first so many or those in these lines, with the scores in the record.

    Returns the new score.
    """
    file, record = folder / "predictions.parquet", record_of(folder)
    frame = pd.read_parquet(file)
    lines = list(range(rows)) if isinstance(rows, int) else list(rows)
    frame.loc[lines, "prediction"] = 1 - frame.loc[lines, "prediction"]
    frame.to_parquet(file, index=False)
    task = Task.model_validate(record.spec["task"])
    scores = score(task, frame["prediction"].tolist(), frame["reference"].tolist())
    rewrite(folder, lambda record: with_scores(record, scores))
    assert record.reported is not None
    return float(scores[record.reported.metric] or 0.0)


def right_answers(folder: Path, first: int, count: int) -> list[int]:
    """The lines of `count` right predictions, without the `first` ones."""
    frame = pd.read_parquet(folder / "predictions.parquet")
    return frame.index[frame["prediction"] == frame["reference"]][first : first + count].tolist()


def with_scores(record: Record, scores: Mapping[str, float | None]) -> Record:
    """`record` with these scores on the split that it reports."""
    assert record.reported is not None
    reported = record.reported.model_copy(update={"value": scores[record.reported.metric]})
    metrics = {**record.metrics, record.reported.split: {record.selection: dict(scores)}}
    return record.model_copy(update={"metrics": metrics, "reported": reported})


def of_seed(record: Record, seed: int) -> Record:
    """The record as one of that seed."""
    key = record.cell.model_copy(update={"seed": seed, "id": record.cell.id.replace("seed-0", f"seed-{seed}")})
    return record.model_copy(update={"cell": key, "spec": {**record.spec, "seed": seed}})


def add_seed(folder: Path, seed: int, value: float) -> None:
    """The record of another seed beside the one in `folder`, with this score; its files are not there."""
    record = record_of(folder)
    assert record.reported is not None
    write_record(of_seed(with_scores(record, {record.reported.metric: value}), seed), folder.parent / f"seed-{seed}")


def bundle_of(results: Path, file: Path, change: bytes = b"") -> Path:
    """A bundle of a folder of results with one study, which needs no YAML file.

    `change` stands before the content of its curves, whose hashes in the manifest are those without it.
    """
    credits = Credits("Records", [{"name": "Tests"}], "tests", "2026-01-31")
    contents_of = {f"results/{name}": (results / name).read_bytes() for name in contents(results)}
    contents_of |= {README: b"A bundle.", CITATION: citation(credits, "0.2.0"), LOCKED: b"torch==2.15.0\n"}
    sizes = {name: len(content) for name, content in contents_of.items()}
    contents_of[CRATE] = crate(credits, "Records of tests.", sizes, "0.2.0")
    manifest = Manifest(
        rankbench="0.2.0",
        study=next(folder.name for folder in results.iterdir() if folder.is_dir()),
        date=credits.date,
        versions={"0.2.0": 1},
        cells=len(list(results.rglob(RECORD))),
        trials=0,
        replaced={},
        rules={},
        files={n: Member(sha256=digest(content), bytes=len(content)) for n, content in contents_of.items()},
    )
    changed = {n: change + content if n.endswith("curve.jsonl") else content for n, content in contents_of.items()}
    write_archive(file, {**changed, MANIFEST: manifest.to_bytes()}, first=MANIFEST)
    return file
