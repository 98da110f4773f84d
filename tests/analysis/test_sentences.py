"""The answer of a study in sentences, from real statistics of records with planted effects."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from helpers.records import study_of, write_cell, write_study
from helpers.results import StudyInMemory

from bench.analysis.results import read_results
from bench.analysis.sentences import NOTHING, answer_sentences
from bench.analysis.stats.comparison import Comparer
from bench.analysis.verdicts import Outcome, against_baseline, verdicts
from bench.config.cell import Cell
from bench.config.resolve import load_study
from bench.records.io import write_record

PAIR = "methods=[lora, adalora]"


def comparer_of(better: dict[str, float], *, seeds: int = 5, rows: int = 1000) -> Comparer:
    """SST-2, QNLI and RTE at one budget; on these tasks AdaLoRA gets so much more of its rows right than LoRA."""
    overrides = [PAIR, "tasks=[sst2, qnli, rte]", f"seeds={list(range(seeds))}", "grids=[{budgets: [small]}]"]
    study = StudyInMemory(load_study("glue", overrides))
    difficulty = np.random.default_rng(1).random(rows)

    def answers(cell: Cell) -> np.ndarray:
        gain = better.get(cell.task.name, 0.0) if cell.method.name == "adalora" else 0.0
        flips = np.random.default_rng([cell.seed, len(cell.method.name)]).random(rows) < 0.02
        return np.asarray((difficulty < 0.7 + gain) ^ flips)

    return study.comparer(answers)


def sentences(comparer: Comparer) -> list[str]:
    return answer_sentences(comparer.results, against_baseline(comparer.results, verdicts(comparer)))


def test_a_sentence_counts_tasks_names_clear_differences_and_says_what_could_be_found() -> None:
    comparer = comparer_of({"sst2": 0.1, "qnli": -0.1})
    (sentence,) = sentences(comparer)
    pattern = (
        r"AdaLoRA against LoRA, small budget: better on 1 of 3 tasks \(SST-2 \+(\d+\.\d\d)\), worse on 1 "
        r"\(QNLI −(\d+\.\d\d)\), not told apart on 1; smallest difference this study could find: "
        r"(\d\.\d) points \(([\w-]+)\) to (\d\.\d) \(([\w-]+)\)\."
    )
    match = re.fullmatch(pattern, sentence)
    assert match, sentence
    found = {verdict.contrast.task: verdict for verdict in verdicts(comparer)}
    assert float(match[1]) == pytest.approx(100 * found["sst2"].comparison.difference, abs=0.005)
    assert -float(match[2]) == pytest.approx(100 * found["qnli"].comparison.difference, abs=0.005)
    sizes = {v.contrast.task: 100 * v.comparison.detectable for v in found.values()}
    assert (float(match[3]), float(match[5])) == pytest.approx((min(sizes.values()), max(sizes.values())), rel=0.05)
    labels = comparer.results.task_labels
    assert (match[4], match[6]) == (labels[min(sizes, key=sizes.get)], labels[max(sizes, key=sizes.get)])


def test_equal_methods_are_told_apart_nowhere() -> None:
    (sentence,) = sentences(comparer_of({}))
    assert sentence.startswith("AdaLoRA against LoRA, small budget: not told apart on 3 of 3 tasks; smallest")


def test_too_few_seeds_give_no_verdict_but_what_was_seen() -> None:
    (sentence,) = sentences(comparer_of({"sst2": 0.1, "qnli": -0.1}, seeds=2))
    assert "not judged on 3 of 3 tasks (fewer than 3 seeds)" in sentence
    assert re.search(r"; what was seen: −\d+\.\d\d points \(QNLI\) to \+\d+\.\d\d \(SST-2\)\.$", sentence)
    assert "better" not in sentence
    assert "could find" not in sentence


def test_a_failed_seed_takes_the_verdict_of_its_task_alone(tmp_path: Path) -> None:
    study = study_of(3, PAIR, "tasks=[sst2, qnli]", "grids=[{budgets: [small]}]")
    write_study(study, tmp_path, lambda cell: 0.9 if cell.method.name == "lora" else 0.5, rows=400)
    write_cell(tmp_path / study.name, study.find("qnli", "adalora", "small", 1), 0.5, status="diverged")
    comparer = Comparer(read_results(study, tmp_path))
    assert [verdict.outcome for verdict in verdicts(comparer)] == [Outcome.WORSE, Outcome.UNJUDGED]
    (sentence,) = sentences(comparer)
    assert re.search(r": worse on 1 of 2 tasks \(SST-2 −\d\d\.\d\d\), not judged on 1 \(a seed is missing", sentence)


def test_where_lower_is_better_less_is_better() -> None:
    words = ("tasks=[sst2_words]", "backbones={text-label: tiny-bart}", "overrides.sst2_words.metrics=[no_label]")
    study = load_study("demo", ["recipe_from=null", PAIR, "seeds=[0, 1, 2]", "grids=[{budgets: [small]}]", *words])
    comparer = StudyInMemory(study).comparer_of(
        {
            cell.id: {
                "row": np.arange(400),
                "reference": np.arange(400) % 2,
                "prediction": np.where(np.arange(400) < (40 if cell.method.name == "adalora" else 160), -1, 0),
            }
            for cell in study.cells
        }
    )
    (verdict,) = verdicts(comparer)
    assert verdict.comparison is not None
    assert verdict.comparison.difference < 0
    assert verdict.outcome is Outcome.BETTER


def test_a_sentence_per_pair_with_lora_and_budget_in_the_order_of_the_study(tmp_path: Path) -> None:
    study = study_of(3, "tasks=[sst2]", "methods=[adalora, lora, qlora, qlora_adalora]")
    write_study(study, tmp_path)
    comparer = Comparer(read_results(study, tmp_path))
    heads = [sentence.partition(":")[0] for sentence in sentences(comparer)]
    assert heads == [
        "AdaLoRA against LoRA, small budget",
        "AdaLoRA against LoRA, large budget",
        "QLoRA against LoRA, small budget",
        "QLoRA against LoRA, large budget",
    ]


def test_a_study_of_one_method_compares_nothing(tmp_path: Path) -> None:
    study = study_of(1, "tasks=[sst2]", "methods=[lora]")
    write_study(study, tmp_path)
    assert sentences(Comparer(read_results(study, tmp_path))) == [NOTHING]


def test_a_task_without_a_score_of_some_seed_is_not_said_to_lack_the_seed(tmp_path: Path) -> None:
    """A correlation of constant predictions is undefined: the run is there, and did not fail."""
    study = study_of(3, PAIR, "tasks=[sst2]", "grids=[{budgets: [small]}]")
    for cell in study.cells:
        record = write_cell(tmp_path / study.name, cell, 0.8)
        if (cell.method.name, cell.seed) == ("adalora", 1):
            none = {split: {"last": dict.fromkeys(values["last"])} for split, values in record.metrics.items()}
            assert record.reported is not None
            reported = record.reported.model_copy(update={"value": None})
            undefined = record.model_copy(update={"metrics": none, "reported": reported})
            write_record(undefined, tmp_path / study.name / "cells" / cell.id)
    comparer = Comparer(read_results(study, tmp_path))
    (sentence,) = sentences(comparer)
    assert "not judged on 1 of 1 task (a seed is missing, failed or without a score)" in sentence
