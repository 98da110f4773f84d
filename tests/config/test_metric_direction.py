"""Which end of a metric is better: known of the harness's own, of modules that count errors, and said of all others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cli.app import main
from bench.config.kinds import KINDS
from bench.config.metric_facts import metric_facts
from bench.config.resolve import load_study
from bench.errors import SpecError

METRICS = "metrics: [mcc, accuracy]"
TUNING = "\ntuning:\n  space: {learning_rate: [0.001, 0.002, 0.004, 0.008]}\n  halving: 2\n"


def test_every_metric_of_every_kind_has_its_facts() -> None:
    named = {metric for facts in KINDS.values() for metric in facts.metrics}
    less = {metric for metric in named if metric_facts(metric).lower_is_better}
    assert less == {"no_label", "perplexity"}
    assert {metric for metric in named if not metric_facts(metric).in_points} == {"perplexity"}


@pytest.mark.parametrize(
    ("metric", "less"),
    [
        ("evaluate:wer", True),
        ("evaluate:./mine/ter:score/100", True),
        ("evaluate:./my_scores:mse", True),
        ("evaluate:chrf:score/100", False),
        ("evaluate:./my_scores", False),
    ],
)
def test_a_module_that_counts_errors_is_better_with_fewer_and_a_task_may_say_otherwise(metric: str, less: bool) -> None:
    assert metric_facts(metric).lower_is_better is less
    assert metric_facts(metric, {metric: not less}).lower_is_better is not less
    assert metric_facts(metric).label.endswith("↓") is less


def test_what_a_task_says_of_its_metrics_changes_no_cell(spoil: Callable[[str, str, str], Path]) -> None:
    workflow = spoil("tasks/cola.yaml", METRICS, 'metrics: [mcc, "evaluate:./mine"]')
    before = [cell.spec_hash for cell in load_study("s", (), workflow).cells]
    spoil("tasks/cola.yaml", "recipe:", 'smaller_is_better: {"evaluate:./mine": true}\nrecipe:')
    cells = load_study("s", (), workflow).cells
    assert [cell.spec_hash for cell in cells] == before
    assert cells[0].task.metric_facts("evaluate:./mine").lower_is_better


def test_trials_that_were_halved_by_the_wrong_end_run_again(spoil: Callable[[str, str, str], Path]) -> None:
    spoil("tasks/cola.yaml", METRICS, 'metrics: ["evaluate:./mine"]')
    workflow = spoil("studies/s.yaml", "seeds: [0, 1]\n", f"seeds: [0, 1]{TUNING}")

    def hashes(*words: str) -> list[str]:
        return [trial.spec_hash for trial in load_study("s", words, workflow).trials["cola/lora/small"]]

    before, by_loss = hashes(), hashes("tuning.choose_by=loss")
    spoil("tasks/cola.yaml", "recipe:", 'smaller_is_better: {"evaluate:./mine": true}\nrecipe:')
    assert not set(before) & set(hashes())
    assert hashes("tuning.choose_by=loss") == by_loss


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ('"evaluate:./mine": true', r"'evaluate:./mine' is none of the metrics \(did you mean 'evaluate:./my_own'\?\)"),
        ("mcc: true", "of 'mcc' it is known that less is not better; leave it out"),
        ('"evaluate:./my_own": 1', r"smaller_is_better\.evaluate:\./my_own"),
    ],
)
def test_a_direction_of_no_such_metric_is_refused(
    spoil: Callable[[str, str, str], Path], said: str, message: str
) -> None:
    text = f'metrics: [mcc, "evaluate:./my_own"]\nsmaller_is_better: {{{said}}}'
    with pytest.raises(SpecError, match=message):
        load_study("s", (), spoil("tasks/cola.yaml", METRICS, text))


def test_a_kind_without_target_texts_has_no_perplexity(
    spoil: Callable[[str, str, str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    workflow = spoil("tasks/cola.yaml", METRICS, "metrics: [perplexity]")
    assert main(["check", "--workflow", str(workflow)]) == 2
    said = capsys.readouterr().err
    assert "cola.yaml:" in said
    assert "'perplexity' is no metric of classification: perplexity is that of the tokens of target texts" in said
