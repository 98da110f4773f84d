"""Metrics of the library `evaluate`: a task names a module on this machine, and its number is recorded."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from helpers.records import make_record, study_of
from helpers.small_cells import Lab, record_of
from helpers.splits import split_of
from pydantic import ValidationError

from bench.analysis.build import make_figures, make_page, make_tables
from bench.cli.app import main
from bench.config.catalog import WORKFLOW
from bench.config.evaluate_metric import EvaluateMetric
from bench.config.task import Task
from bench.errors import BenchError
from bench.evaluation.evaluate import score_rows
from bench.evaluation.evaluate_modules import (
    EXAMPLES,
    ModuleScore,
    locate,
    locate_modules,
    score_with_modules,
    try_modules,
)
from bench.evaluation.metrics import score
from bench.evaluation.predictions_file import write_predictions
from bench.pipeline.snakemake_config import pipeline_from
from bench.records.io import write_record

MODULE = '''\
"""Share of equal rows, and in percent."""
import datasets
import evaluate


class Same(evaluate.Metric):
    def _info(self):
        row = datasets.Value("{type}")
        features = datasets.Features({{"predictions": row, "references": row}})
        return evaluate.MetricInfo(description="", citation="", features=features)

    def _compute(self, predictions, references):
        share = sum(p == r for p, r in zip(predictions, references)) / len(references)
        return {result}
'''
ONE_NUMBER = '{"same": share, "rows": list(predictions)}'
SEVERAL = '{"share": share, "percent": 100 * share}'


def write_module(folder: Path, name: str, type_: str = "int32", result: str = ONE_NUMBER) -> str:
    """A folder with a module, as the hub has them; its name in a task."""
    file = folder / name / f"{name}.py"
    file.parent.mkdir(parents=True)
    file.write_text(MODULE.format(type=type_, result=result))
    return f"evaluate:{file.parent}"


def task(*metrics: str, kind: str = "classification") -> Task:
    return Task.model_validate(
        {
            "name": "t",
            "kind": kind,
            "data": {"hub": "a/b", "columns": {"text": ["t"], "target": "y"}},
            "labels": ["no", "yes"] if kind in ("classification", "text-label") else [],
            "metrics": list(metrics),
            "generation": {} if kind in ("summarization", "text-label") else None,
        }
    )


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the library keeps modules; one for all tests, since a process imports from one alone."""
    folder = tmp_path_factory.mktemp("modules")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_MODULES_CACHE", str(folder))
        yield folder


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("evaluate:chrf", EvaluateMetric("chrf")),
        ("evaluate:chrf:score", EvaluateMetric("chrf", "score")),
        ("evaluate:chrf:score/100", EvaluateMetric("chrf", "score", 100)),
        ("evaluate:./a/my_metric.py:f_half", EvaluateMetric("./a/my_metric.py", "f_half")),
        ("accuracy", None),
    ],
)
def test_what_a_name_means(name: str, parts: EvaluateMetric | None) -> None:
    assert EvaluateMetric.parse(name) == parts


def test_labels_of_tables() -> None:
    names = ("evaluate:chrf", "evaluate:/a/b/my_metric.py:f_half", "evaluate:./my_metric")
    assert [m.label for name in names if (m := EvaluateMetric.parse(name))] == ["chrf", "my_metric f_half", "my_metric"]


@pytest.mark.parametrize("name", ["evaluate:", "evaluate:a:b:c", "evaluate:a:b/0", "evaluate:a:/100", "evaluate:a b"])
def test_a_malformed_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=r"expected evaluate:MODULE"):
        task(name)


def test_a_misspelt_metric_names_the_nearest() -> None:
    with pytest.raises(ValidationError, match=r"evaluate:MODULE, found 'acuracy' \(did you mean 'accuracy'\?\)"):
        task("acuracy")


@pytest.mark.parametrize(
    ("name", "result", "value"),
    [
        ("evaluate:m", {"anything": 0.5, "rows": [1, 2]}, 0.5),
        ("evaluate:m", {"m": 0.5, "score": 0.7}, 0.5),
        ("evaluate:m", {"precision": 0.5, "score": 0.7}, 0.7),
        ("evaluate:m:precision", {"precision": 0.5, "score": 0.7}, 0.5),
        ("evaluate:m:score/100", {"score": 70}, 0.7),
        ("evaluate:m", {"m": float("nan")}, None),
    ],
)
def test_which_number_counts(name: str, result: dict[str, object], value: float | None) -> None:
    metric = EvaluateMetric.parse(name)
    assert metric
    assert metric.value_in(result) == value


@pytest.mark.parametrize(
    ("name", "message"),
    [("evaluate:m", r"no entry that is clearly the score.*\(a, b\)"), ("evaluate:m:c", r"no number 'c'.*\(a, b\)")],
)
def test_a_result_that_leaves_the_choice_open_is_refused(name: str, message: str) -> None:
    metric = EvaluateMetric.parse(name)
    assert metric
    with pytest.raises(BenchError, match=message):
        metric.value_in({"a": 1.0, "b": 2.0, "c": [3.0]})


def test_a_local_module_is_computed(tmp_path: Path) -> None:
    name = write_module(tmp_path, "same")
    percent = write_module(tmp_path, "shares", result=SEVERAL) + ":percent/100"
    about = task("accuracy", name, percent)
    try_modules(about)
    both = {name: ModuleScore(0.75), percent: ModuleScore(0.75)}
    assert score_with_modules(about, [0, 1, 1, 0], [0, 1, 0, 0]) == both
    assert score(about, [0, 1, 1, 0], [0, 1, 0, 0]) == {"accuracy": 0.75}


@pytest.mark.parametrize(
    ("kind", "type_"), [("regression", "float32"), ("summarization", "string"), ("text-label", "int32")]
)
def test_every_kind_of_task_gives_a_module_what_it_predicts(tmp_path: Path, kind: str, type_: str) -> None:
    about = task(write_module(tmp_path, "same", type_), kind=kind)
    rows = {"regression": [0.5, 1.0], "summarization": ["a b", "c"], "text-label": [1, -1]}[kind]
    assert list(score_with_modules(about, rows, rows).values()) == [ModuleScore(1.0)]
    assert all(scored.value is not None for scored in score_with_modules(about, *EXAMPLES[about.facts.target]).values())


@pytest.mark.parametrize(
    ("result", "key", "rows"),
    [
        # As the modules perplexity and comet: the values beside their mean.
        ('{"mean_score": share, "scores": [p == r for p, r in zip(predictions, references)]}', "", [1, 1, 0, 1]),
        ('{"quality": 100 * share, "qualities": [100 * (p == r) for p, r in zip(predictions, references)]}',
         ":quality/100", [1, 1, 0, 1]),
        ('{"scores": [p == r for p, r in zip(predictions, references)]}', ":scores", [1, 1, 0, 1]),  # as bleurt
        # Lists that are something else: other values with another mean, other names with the same one, too few.
        ('{"score": share, "scores": list(predictions)}', "", None),
        ('{"score": share, "rows": [share] * len(references)}', "", None),
        ('{"score": share, "scores": [share]}', "", None),
        ('{"score": share, "scores": [float("nan")] * len(references)}', "", None),
    ],
)  # fmt: skip
def test_a_module_that_gives_values_per_row_has_them_saved(
    tmp_path: Path, result: str, key: str, rows: list[int] | None
) -> None:
    name = write_module(tmp_path, "judge", result=result) + key
    values, by_row = score_rows(task("accuracy", name), [0, 1, 1, 0], [0, 1, 0, 0])
    assert values == {"accuracy": 0.75, name: 0.75}
    assert by_row == ({} if rows is None else {name: rows})


def test_row_scores_are_saved_for_all_splits_or_none(tmp_path: Path) -> None:
    """A module may give them for one split alone, where those of another hold a NaN."""
    ids = [np.array([1], dtype=np.int32)] * 2
    splits = {name: split_of(ids, [0, 1], [np.array([], dtype=np.int32)] * 2) for name in ("v", "w")}
    scores = {"v": {"a": [0.5, 1.0], "b": [1.0, 1.0]}, "w": {"a": [0.0, 0.25]}}
    write_predictions(tmp_path / "p.parquet", splits, {"v": [0, 1], "w": [0, 0]}, scores)
    table = pyarrow.parquet.read_table(tmp_path / "p.parquet")
    assert table.column_names == ["split", "row", "reference", "prediction", "score_a"]
    assert table.column("score_a").to_pylist() == [0.5, 1.0, 0.0, 0.25]


def test_an_aggregate_that_a_module_draws_at_random_gives_way_to_the_mean_of_its_rows(tmp_path: Path) -> None:
    """The module rouge reports the median of resamples, unless it is told not to aggregate."""
    name = write_module(tmp_path, "drawn", result='{"drawn": 0.7}')
    file = tmp_path / "drawn/drawn.py"
    file.write_text(
        file.read_text()
        .replace("references):", "references, use_aggregator=True):")
        .replace(
            "        share", '        if not use_aggregator:\n            return {"drawn": predictions}\n        share'
        )
    )
    assert score_rows(task(name), [0, 1, 1, 0], [0, 1, 0, 0]) == ({name: 0.5}, {name: [0, 1, 1, 0]})


def test_a_module_that_the_library_has_cached_is_found_and_no_other_is_fetched(own_cache: Path) -> None:
    chrf = EvaluateMetric("chrf")
    with pytest.raises(BenchError, match=r"no module 'chrf' on this machine, and none is fetched from the hub"):
        locate(chrf)
    write_module(own_cache / "evaluate_modules/metrics/evaluate-metric--chrf/0123", "x")
    file = own_cache / "evaluate_modules/metrics/evaluate-metric--chrf/0123/chrf.py"
    (file.parent / "x/x.py").rename(file)
    assert locate(chrf) == file
    assert score_with_modules(task("evaluate:chrf"), [1], [1]) == {"evaluate:chrf": ModuleScore(1.0)}


def test_a_missing_module_is_told_before_anything_starts() -> None:
    with pytest.raises(BenchError, match=r"task 't': metric 'evaluate:\./nowhere': no such module: expected the file"):
        locate_modules([task("accuracy", "evaluate:./nowhere")])
    with pytest.raises(BenchError, match=r"download its folder and name that"):
        locate_modules([task("evaluate:someone/metric")])


def test_bench_check_and_the_start_of_a_study_name_a_missing_module(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workflow = shutil.copytree(WORKFLOW, tmp_path / "workflow")
    file = workflow / "tasks/cola.yaml"
    text = file.read_text()
    assert "metrics: [mcc" in text
    file.write_text(text.replace("metrics: [mcc", 'metrics: ["evaluate:./nowhere", mcc'))
    assert main(["check", "--workflow", str(workflow)]) == 2
    assert re.search(r"tasks/cola\.yaml:\d+:1: .*metric 'evaluate:\./nowhere': no such module", capsys.readouterr().err)
    with pytest.raises(BenchError, match=r"metric 'evaluate:\./nowhere': no such module"):
        pipeline_from({"study": "demo", "workflow": workflow, "tasks": "cola"})


def test_a_module_that_fails_or_would_fetch_code_is_refused(tmp_path: Path) -> None:
    broken = write_module(tmp_path, "broken", result="undefined")
    with pytest.raises(BenchError, match=r"metric 'evaluate:.*broken' failed on classification: NameError"):
        try_modules(task(broken))
    remote = write_module(tmp_path, "remote")
    file = tmp_path / "remote/remote.py"
    file.write_text("import .helper  # From: https://example.org/helper.py\n" + file.read_text())
    with pytest.raises(BenchError, match=r"imports code from the network \(https://example\.org/helper\.py\)"):
        try_modules(task(remote))


def test_a_cell_records_the_value_of_a_module(shared_lab: Lab, tmp_path: Path) -> None:
    name = write_module(tmp_path, "same")
    lab = replace(shared_lab, cache=tmp_path / "cache")
    cell = lab.cell("lora")
    with_module = cell.task.model_copy(update={"metrics": [*cell.task.metrics, name]})
    cell = lab.prepare(cell.model_copy(update={"task": with_module}))
    lab.train(cell, tmp_path / "out")
    scores = record_of(tmp_path / "out").metrics[cell.task.primary_split]["last"]
    assert scores[name] == scores["accuracy"]


def test_views_show_the_value_of_a_module_on_a_machine_without_it(tmp_path: Path) -> None:
    study = study_of(2, "tasks=[cola]", "methods=[lora, adalora]")
    task = study.cells[0].task.model_copy(update={"metrics": ["evaluate:./elsewhere/my_metric:half", "mcc"]})
    study = replace(study, cells=tuple(cell.model_copy(update={"task": task}) for cell in study.cells))
    for cell in study.cells:
        values = dict.fromkeys(task.metrics, 0.5 + 0.1 * cell.seed)
        record = make_record(cell, {task.primary_split: values})
        (tmp_path / study.name / "cells" / cell.id).mkdir(parents=True)
        write_record(record, tmp_path / study.name / "cells" / cell.id)
    for make in (make_tables, make_figures, make_page):
        make(study, tmp_path)
    table = (tmp_path / study.name / "tables/methods.md").read_text()
    assert "my_metric half" in table
    assert "55.00 ± 7.07" in table
