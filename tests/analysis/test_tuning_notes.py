"""What footnotes say of a tuning: how recipes were found, what curves show of pairs, and why it may be no fair one."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.records import write_study
from helpers.tuned import rate, tuned_study, with_point, write_final_cells, write_trials

from bench.analysis.build import make_tables
from bench.analysis.footnotes import cautions, footnotes
from bench.analysis.results import Results, read_results
from bench.analysis.stats.comparison import Comparer
from bench.analysis.tables.comparisons import comparison_table
from bench.analysis.tables.tuning import tuning_table
from bench.analysis.tuning_panels import lead_sentences
from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy, load_study
from bench.config.tuned_file import TunedFile, tuned_text
from bench.errors import BenchError

ONE = ("tasks=[sst2]", "seeds=[0]")
SEVERAL = "tuning.trials=32"


def results_of(study: ResolvedStudy, results: Path) -> Results:
    write_final_cells(study, results)
    return read_results(study, results)


def notes_of(study: ResolvedStudy, results: Path) -> str:
    return "\n".join(tuning_table(results_of(study, results)).footnotes)


def good(cell: Cell) -> float:
    """LoRA is good with every rate, AdaLoRA with none."""
    return (0.9 if cell.method.name == "lora" else 0.5) + rate(cell) / 10


def tuned_file(study: ResolvedStudy, folder: Path, groups: dict[str, int]) -> Path:
    """A tuned.yaml with the last point of each of these groups, chosen from so many trials."""
    choices: dict[str, dict[str, dict[str, object]]] = {}
    for cell in study.cells:
        choice = with_point(study, cell, -1).choice
        assert choice is not None
        trials = {trial.id: "h" for trial in study.trials[cell.group][: groups[cell.method.name]]}
        of_task = choices.setdefault(cell.task.name, {}).setdefault(cell.method.name, {})
        of_task[cell.budget_name] = choice.model_copy(update={"trials": trials})
    file = folder / "tuned.yaml"
    content = {"study": "elsewhere", "tuning": {}, "choices": choices}
    file.write_text(tuned_text(TunedFile.model_validate(content)))
    return file


def taking_over(file: Path) -> ResolvedStudy:
    return load_study("fair-budget", ["methods=[lora, adalora]", *ONE, f"recipe_from={file}"])


def test_every_table_of_scores_says_how_the_recipe_was_tuned(tmp_path: Path) -> None:
    study = tuned_study(*ONE, "tuning.seeds=[100, 101]")
    write_trials(study, tmp_path, lambda _: 0.7)
    results = results_of(study, tmp_path)
    note = (
        "learning_rate tuned per task × method × budget with 12 trials (6 points × 2 seeds) each on 200 held-out "
        "training rows (docs/tuning.md); chosen values: table tuning."
    )
    assert note in footnotes(results)
    assert note in comparison_table(Comparer(results)).footnotes
    assert not cautions(results)


def test_trial_seeds_of_one_task_are_named(tmp_path: Path) -> None:
    study = tuned_study(*ONE, "tuning.task_seeds={sst2: [101, 102]}")
    write_trials(study, tmp_path, lambda _: 0.7)
    assert "with 6 trials (6 points × 1 seed; 2 on SST-2) each on" in " ".join(footnotes(results_of(study, tmp_path)))
    assert "trial seed 100, on SST-2 101, 102, and the 200 held-out rows" in notes_of(study, tmp_path)


def test_the_protocol_is_the_same_for_all_methods_and_named(tmp_path: Path) -> None:
    study = tuned_study(*ONE, "tuning.sampler=random", "tuning.sampler_seed=3")
    write_trials(study, tmp_path, lambda _: 0.7)
    notes = notes_of(study, tmp_path)
    assert "The same for every method of a task: 6 points (drawn by independent random draws with seed 3; " in notes
    assert "learning_rate from 0.0005 to 0.03 on a log scale), trial seed 100, and the 200 held-out rows" in notes
    assert "best score in the task's first metric (accuracy)" in notes


def test_sentences_name_the_method_that_is_ahead_and_the_bands_they_rest_on(tmp_path: Path) -> None:
    study = tuned_study(*ONE, SEVERAL)
    write_trials(study, tmp_path, good)
    results = results_of(study, tmp_path)
    (sentence,) = lead_sentences(results)
    assert sentence.startswith("SST-2, small: From 1 trial on LoRA is ahead of AdaLoRA, as far as 32 trials can tell")
    notes = tuning_table(results).footnotes
    assert sentence in notes
    assert any("Sobol sequence, the bands those of random search" in note for note in notes)


def test_diverged_trials_are_the_worst_scores_of_a_curve(tmp_path: Path) -> None:
    study = tuned_study(*ONE, SEVERAL)
    write_trials(study, tmp_path, lambda cell: "diverged" if cell.method.name == "lora" else 0.3)
    results = results_of(study, tmp_path)
    (sentence,) = lead_sentences(results)
    assert "AdaLoRA is ahead of LoRA" in sentence


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (("tuning.trials=null", "tuning.space.learning_rate=[0.001, 0.002, 0.004]"), "all points of a grid were tried"),
        (("tuning.halving=2",), "successive halving stopped trials early"),
    ],
)
def test_a_grid_and_stopped_trials_have_no_sentence_but_a_reason(
    tmp_path: Path, overrides: tuple[str, ...], reason: str
) -> None:
    study = tuned_study(*ONE, *overrides)
    write_trials(study, tmp_path, good)
    notes = notes_of(study, tmp_path)
    assert reason in notes
    assert "ahead of" not in notes


def test_halving_says_what_it_saved(tmp_path: Path) -> None:
    study = tuned_study(*ONE, "tuning.halving=2")
    rates = sorted(rate(trial) for trial in study.trials["sst2/lora/small"])

    def stopped(cell: Cell) -> int | None:
        """Of six points three stop after a quarter of the steps and one after half of them; two go on to the end."""
        place = rates.index(rate(cell))
        return 1 if place < 3 else 2 if place < 4 else None

    # A trial that was stopped with a high score is not chosen: two others went on.
    write_trials(study, tmp_path, lambda cell: 0.9 if stopped(cell) else rate(cell), stopped=stopped)
    notes = notes_of(study, tmp_path)
    share = round(100 * (3 * 10 + 20 + 2 * 40) / (6 * 40))
    assert f"8 trials stopped early; {share}% of the steps of full trials were trained" in notes
    assert "at 25%, 50% of the steps the best 1 in 2 went on" in notes
    assert f"(learning_rate {rates[-1]:g} is the highest of 6)" in notes


def test_trials_without_a_score_are_named_as_results_not_as_cautions(tmp_path: Path) -> None:
    study = tuned_study(*ONE)
    first = study.trials["sst2/lora/small"][0].id
    write_trials(study, tmp_path, lambda cell: "diverged" if cell.id == first else 0.7)
    results = results_of(study, tmp_path)
    notes = tuning_table(results).footnotes
    assert "Trials without a score, which count as the worst: SST-2, small: LoRA (1 diverged of 6)." in notes
    assert not cautions(results)


def test_unequal_numbers_of_trials_and_missing_ones_are_refused_by_strict(tmp_path: Path) -> None:
    study = tuned_study(*ONE)
    missing = study.trials["sst2/adalora/small"][1].id
    write_trials(study, tmp_path, lambda cell: "missing" if cell.id == missing else 0.7)
    write_final_cells(study, tmp_path)
    unequal, left_out = cautions(read_results(study, tmp_path))
    assert unequal == "Unequal tuning, SST-2, small: numbers of recorded trials differ (LoRA 6, AdaLoRA 5)."
    assert left_out == (
        "Trained with values whose trials are missing now: SST-2, small: AdaLoRA (5 of 6 trials recorded)."
    )
    with pytest.raises(BenchError, match="--strict: Unequal tuning, SST-2, small"):
        make_tables(study, tmp_path, strict=True)


def test_trials_that_failed_for_no_reason_of_theirs_are_a_caution(tmp_path: Path) -> None:
    study = tuned_study(*ONE)
    first = study.trials["sst2/lora/small"][0].id
    write_trials(study, tmp_path, lambda cell: "failed" if cell.id == first else 0.7)
    (caution,) = cautions(results_of(study, tmp_path))
    assert "failed for another reason than memory or divergence" in caution
    assert "SST-2, small: LoRA (1 of 6)" in caution


def test_trials_of_an_older_spec_are_a_caution(tmp_path: Path) -> None:
    study = tuned_study(*ONE)
    write_trials(study, tmp_path, lambda _: 0.7)
    longer = tuned_study(*ONE, "recipe.max_steps=80")
    found = cautions(results_of(longer, tmp_path))
    assert "12 records of trials answer an older spec of the study and are left out." in found


def test_a_table_of_some_methods_has_the_cautions_of_these_alone(tmp_path: Path) -> None:
    study = load_study("tuned", ["methods=[lora, adalora, qlora]", *ONE])
    missing = study.trials["sst2/qlora/small"][0].id
    write_trials(study, tmp_path, lambda cell: "missing" if cell.id == missing else 0.7)
    results = results_of(study, tmp_path)
    assert len(cautions(results)) == 2
    assert not cautions(results.restricted_to(["lora", "adalora"]))


def test_values_that_were_taken_over_are_shown_with_their_source(tmp_path: Path) -> None:
    tuned = tuned_study(*ONE)
    file = tuned_file(tuned, tmp_path, {"lora": 6, "adalora": 6})
    study = taking_over(file)
    write_study(study, tmp_path)
    results = read_results(study, tmp_path)
    table = tuning_table(results)
    values = {row[1].text: (row[3].value, row[5].text, row[7].text) for row in table.rows}
    last = rate(tuned.trials["sst2/lora/small"][-1])
    assert values == {"LoRA": (last, "80.00", "of 6"), "AdaLoRA": (last, "80.00", "of 6")}
    source = next(note for note in footnotes(results) if "taken over" in note)
    assert source.startswith(f"learning_rate taken over per task × method × budget from {file} (SHA-256 ")
    assert "the trials are those of another study" in "\n".join(table.footnotes)
    assert not cautions(results)
    make_tables(study, tmp_path, strict=True)
    assert not (tmp_path / study.name / "tables" / "trials.parquet").exists()


def test_values_taken_over_from_unequal_numbers_of_trials_are_a_caution(tmp_path: Path) -> None:
    study = taking_over(tuned_file(tuned_study(*ONE), tmp_path, {"lora": 6, "adalora": 3}))
    write_study(study, tmp_path)
    (caution,) = cautions(read_results(study, tmp_path))
    assert "(LoRA 6, AdaLoRA 3)" in caution


def test_pairs_without_a_lead_are_one_footnote_and_a_sentence_each(tmp_path: Path) -> None:
    study = load_study("tuned", ["methods=[lora, adalora, qlora]", *ONE])
    write_trials(study, tmp_path, lambda cell: 0.5 + rate(cell))
    results = results_of(study, tmp_path)
    assert len(lead_sentences(results)) == 3
    notes = tuning_table(results).footnotes
    assert "SST-2, small: for every pair neither method is shown to be ahead (the page says of each)." in notes
    assert not any(note.startswith("SST-2, small: Neither") for note in notes)


def test_what_fewer_trials_would_have_shown_is_counted(tmp_path: Path) -> None:
    study = tuned_study(*ONE, "tuning.trials=3")
    rates = sorted(rate(trial) for trial in study.trials["sst2/lora/small"])

    def score(cell: Cell) -> float:  # AdaLoRA is better with the highest rate alone, which is then the best of all
        at_best = rate(cell) == rates[-1]
        return (0.6 if at_best else 0.7) if cell.method.name == "lora" else (0.8 if at_best else 0.5)

    write_trials(study, tmp_path, score)
    results = results_of(study, tmp_path)
    sentences = lead_sentences(results)
    (sentence,) = [s for s in sentences if "LoRA nor AdaLoRA" in s and "QLoRA" not in s]
    counts = "33% (k = 1), 67% (k = 2), 100% (k = 3) of all choices."
    assert sentence.endswith(f"With k of these 3 points AdaLoRA would have been ahead of LoRA in {counts}")
