"""The block `tuning` of a study: what it resolves to, and how each fault in it is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.config.catalog import load_catalog
from bench.config.resolve import ResolvedStudy, load_study
from bench.errors import SpecError

Spoil = Callable[[str, str, str], Path]
SEEDS = "seeds: [0, 1]\n"
SPACE = "{learning_rate: {from: 1e-4, to: 1e-2, scale: log}}"


def tuning(space: str = SPACE, more: str = "trials: 4") -> str:
    """The lines of a study from its seeds (line 9) on: `tuning` is line 10, `space` 11, further keys from 12 on."""
    rest = "".join(f"  {line}\n" for line in more.split("; ") if line)
    return f"{SEEDS}tuning:\n  space: {space}\n{rest}"


@pytest.fixture
def study(spoil: Spoil) -> Callable[..., ResolvedStudy]:
    """The study `s` with a block of tuning; the first argument is its lines, the others are overrides."""

    def resolved(lines: str, *overrides: str) -> ResolvedStudy:
        return load_study("s", overrides, spoil("studies/s.yaml", SEEDS, lines))

    return resolved


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            tuning("{learning_rat: [1e-3, 2e-3]}", ""),
            r"s\.yaml:11:3: tuning\.space: unknown recipe key 'learning_rat' \(did you mean 'learning_rate'\?\)",
        ),
        (tuning("{max_length: [16, 32]}", ""), r"s\.yaml:11:3: .*max_length cannot be tuned: it decides the prepared"),
        (tuning("{holdout_rows: [16, 32]}", ""), r"holdout_rows cannot be tuned: the trials hold out tuning\.holdout"),
        (tuning("{decay: {from: 1, to: 2}}"), r"s\.yaml:11:3: .*decay takes no range: give a list of values"),
        (
            tuning("{learning_rate: {from: 1e-2, to: 1e-3}}"),
            r"s\.yaml:11:11: tuning\.space\.learning_rate: from 0\.01 is not below to 0\.001",
        ),
        (
            tuning("{weight_decay: {from: 0, to: 1e-3, scale: log}}"),
            r"s\.yaml:11:11: tuning\.space\.weight_decay: a range on a log scale lies above 0, found from 0",
        ),
        (
            tuning("{learning_rate: {from: 1e-3, to: 1e-2, values: [1e-3]}}"),
            r"s\.yaml:11:11: .*give values alone, or a range with from, to and scale",
        ),
        (tuning("{learning_rate: {from: 1e-3}}"), r"s\.yaml:11:11: .*expected a list of values, or a range \{from"),
        (
            tuning("{learning_rate: 1e-3}"),
            r"s\.yaml:11:11: tuning\.space\.learning_rate: expected a mapping.*1e-3|0\.00",
        ),
        (tuning("{learning_rate: [1e-3, 0.001]}", ""), r"s\.yaml:11:11: .*a value stands twice in the list"),
        (
            tuning("{learning_rate: {from: 1e-3, to: 1e-2, scal: log}}"),
            r"s\.yaml:11:\d+: unknown key 'tuning\.space\.learning_rate\.scal' \(did you mean 'scale'\?\)",
        ),
        (
            tuning("{learning_rate: {from: 1e-3, to: 1e-2, scale: lgo}}"),
            r"s\.yaml:11:\d+: .*scale: .*found 'lgo' \(did you mean 'log'\?\)",
        ),
        (tuning("{learning_rate: {from: .nan, to: 1e-2}}"), r"s\.yaml:11:\d+: .*finite number"),
        (tuning("{learning_rate: ['1e-3', 2e-3]}", ""), r"the point learning_rate 1e-3 makes no recipe: .*number"),
        (tuning(more=""), r"s\.yaml:10:1: tuning: trials is missing: how many points"),
        (tuning(more="trials: 1"), r"s\.yaml:12:3: tuning\.trials: .*greater than or equal to 2, found 1"),
        (
            tuning(more="trials: 4; trails: 4"),
            r"s\.yaml:13:3: unknown key 'tuning\.trails' .*'trials'",
        ),
        (
            tuning("{learning_rate: [1e-3, 2e-3], epochs: [1, 2]}", "trials: 3"),
            r"s\.yaml:10:1: .*a grid of 4 points, found trials: 3",
        ),
        (tuning("{learning_rate: [1e-3]}", ""), r"a space of one point leaves nothing to choose"),
        (
            tuning("{epochs: [%s], batch_size: [%s]}" % ((", ".join(map(str, range(1, 102))),) * 2), ""),
            r"a grid of 10,201 points; a group has at most 10,000",
        ),
        (
            tuning("{batch_size: {from: 2, to: 4}}", "trials: 8"),
            r"s\.yaml:11:3: tuning\.space: the space has 3 different points, fewer than the 8 trials",
        ),
        (tuning("{batch_size: {from: 1.5, to: 4}}"), r"s\.yaml:11:3: .*batch_size takes whole numbers"),
        (
            tuning("{alpha: [8, 16], scale: [1, 2]}", ""),
            r"s\.yaml:11:11: tuning\.space: a scale replaces alpha, .* tune one of alpha, scale",
        ),
        (
            tuning("{adapter_dropout: [0.1, 1.5]}", ""),
            r"s\.yaml:11:11: the point adapter_dropout 1\.5 makes no recipe: adapter_dropout: .*less than 1",
        ),
        (tuning("{learning_rate: {from: -1, to: 1}}"), r"s\.yaml:11:11: the point learning_rate -\S+ makes no recipe"),
        (tuning(more="trials: 4; seeds: [1, 7]"), r"s\.yaml:13:3: tuning\.seeds: 1 is a seed of the study"),
        (tuning(more="trials: 4; seeds: [7, 7]"), r"s\.yaml:13:3: tuning\.seeds: a seed stands twice"),
        (
            tuning(more="trials: 4; seeds: [7]") + "grids: [{seeds: [5]}, {tasks: [cola], seeds: [7]}]\n",
            r"s\.yaml:13:3: tuning\.seeds: 7 is a seed of the study",
        ),
        (
            tuning(more="trials: 4; holdout_rows: 8551"),
            r"s\.yaml:13:3: cola/\w+/\w+/\w+/seed-100: 8551 rows held out of 8551 leave none to train on",
        ),
        (
            tuning(more="trials: 4; holdout_rows: 64") + "limits: {train_rows: 64}\ngrids: [{tasks: [sst2]}]\n",
            r"s\.yaml:13:3: sst2/\w+/\w+/\w+/seed-100: 64 rows held out of 64 leave none",  # sst2 declares no rows
        ),
        (
            tuning(more="trials: 4; halving: 4; halving_from: 0.5"),
            r"s\.yaml:10:1: .*halving: 4 compares trials at 1/4 of their steps, before halving_from: 0\.5",
        ),
        (tuning(more="trials: 4; halving: 1"), r"s\.yaml:13:3: tuning\.halving: .*greater than or equal to 2"),
        (tuning(more="trials: 4; choose_by: los"), r"s\.yaml:13:3: .*choose_by.*\(did you mean 'loss'\?\)"),
        (
            tuning(more="trials: 4; choose: one_standard_error"),
            r"s\.yaml:10:1: .*takes the first of a list: give",
        ),
        (
            tuning("{learning_rate: [1e-3, 2e-3]}", "choose: one_standard_error"),
            r"s\.yaml:10:1: .*one_standard_error needs two trial seeds or more",
        ),
        (tuning(more="trials: 4; task_seeds: {cola: [0]}"), r"s\.yaml:13:16: tuning\.task_seeds\.cola: 0 is a seed of"),
        (tuning(more="trials: 4; task_seeds: {cola: [7, 7]}"), r"s\.yaml:13:3: .*cola: a seed stands twice"),
        (tuning(more="trials: 4; task_seeds: {colla: [7]}"), r"s\.yaml:13:16: unknown task 'colla' \(did you mean 'co"),
        (tuning() + "recipe_from: results/x/tuned.yaml\n", r"s\.yaml:13:1: recipe_from: no file results/x/tuned\.yaml"),
    ],
    ids=[
        "unknown-key",
        "rows",
        "held-out-rows",
        "range-of-words",
        "upside-down",
        "log-of-zero",
        "list-and-range",
        "half-a-range",
        "one-value",
        "value-twice",
        "unknown-key-of-a-range",
        "unknown-scale",
        "not-a-number",
        "no-number",
        "no-trials",
        "one-trial",
        "unknown-key-of-the-block",
        "other-than-the-grid",
        "one-point",
        "large-grid",
        "small-space",
        "half-a-row",
        "alpha-and-scale",
        "no-recipe",
        "negative-rate",
        "seed-of-the-study",
        "seed-twice",
        "seed-of-a-grid",
        "no-rows-left",
        "no-rows-within-the-limit",
        "no-rung",
        "best-of-one",
        "unknown-choice",
        "one-standard-error-of-a-range",
        "one-standard-error-of-one-seed",
        "seed-of-the-study-for-a-task",
        "seed-of-a-task-twice",
        "seeds-of-no-task",
        "no-file",
    ],
)
def test_a_fault_is_named_with_its_place(study: Callable[..., ResolvedStudy], lines: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        study(lines)


@pytest.mark.parametrize(
    ("override", "key", "tuned"),
    [
        ("recipe.learning_rate=1e-3", "learning_rate", "learning_rate"),
        ("overrides.cola.recipe.learning_rate=1e-3", "learning_rate", "learning_rate"),
        ("recipe.scale=2", "scale", "alpha"),
    ],
)
def test_the_command_line_cannot_set_what_is_tuned(
    study: Callable[..., ResolvedStudy], override: str, key: str, tuned: str
) -> None:
    lines = tuning("{learning_rate: [1e-3, 2e-3], alpha: [8, 16]}", "")
    message = rf"command line: recipe\.{key} has no effect, since the study tunes {tuned}: set tuning\.space\.{tuned}"
    with pytest.raises(SpecError, match=message):
        study(lines, override)


def test_every_group_has_every_point_with_every_trial_seed(study: Callable[..., ResolvedStudy]) -> None:
    resolved = study(tuning(more="trials: 4; seeds: [7, 8]; holdout_rows: 100; choose_by: loss"))
    assert set(resolved.trials) == {cell.group for cell in resolved.cells}
    for group, trials in resolved.trials.items():
        assert len({trial.id for trial in trials}) == 8
        assert [trial.seed for trial in trials] == [7, 8] * 4
        task, method, budget = group.split("/")
        for trial in trials:
            assert trial.trial is not None
            assert (trial.task.name, trial.method.name, trial.budget_name) == (task, method, budget)
            assert trial.recipe.learning_rate == trial.trial.values["learning_rate"]
            assert trial.recipe.holdout_rows == 100
            assert trial.trial.choose_by == "loss"
            assert resolved.find_trial(task, method, budget, trial.trial.point, trial.seed) is trial
    assert all(resolved.awaits_choice(cell) and not cell.recipe.holdout_rows for cell in resolved.cells)


def test_a_task_can_have_trial_seeds_of_its_own(study: Callable[..., ResolvedStudy]) -> None:
    resolved = study(tuning(more="trials: 4; seeds: [7]; task_seeds: {cola: [7, 8, 9]}"))
    seeds = {group.partition("/")[0]: [trial.seed for trial in trials] for group, trials in resolved.trials.items()}
    assert seeds == {task: ([7, 8, 9] if task == "cola" else [7]) * 4 for task in seeds}
    assert len(seeds) > 1


def test_points_are_the_same_for_every_method_and_budget_of_a_task(study: Callable[..., ResolvedStudy]) -> None:
    points = {
        group: [trial.trial.point for trial in trials if trial.trial is not None]
        for group, trials in study(tuning()).trials.items()
    }
    of_task = {
        task: {tuple(p) for group, p in points.items() if group.startswith(f"{task}/")} for task in ("cola", "sst2")
    }
    assert all(len(different) == 1 for different in of_task.values())
    assert of_task["cola"] != of_task["sst2"]


def test_the_trials_of_each_budget_have_its_alpha(spoil: Spoil) -> None:
    # Each budget makes a recipe of its own, and trials of equal recipes share theirs.
    spoil("studies/s.yaml", "initial_rank: 4}", "initial_rank: 4, alpha: 5}")
    spoil("studies/s.yaml", "initial_rank: 12}", "initial_rank: 12, alpha: 7}")
    folder = spoil("studies/s.yaml", SEEDS, tuning())
    for group, trials in load_study("s", (), folder).trials.items():
        assert {trial.recipe.alpha for trial in trials} == {5 if group.endswith("/small") else 7}


def test_a_trial_has_another_hash_than_a_cell_and_the_seed_of_a_study_changes_no_trial(
    study: Callable[..., ResolvedStudy], workflow: Path
) -> None:
    resolved = study(tuning())
    plain = load_study("s", ("tuning=null",), workflow)
    trials = resolved.trials["cola/lora/small"]
    cells = {cell.spec_hash for cell in (*resolved.cells, *plain.cells)}
    assert not cells & {trial.spec_hash for trial in trials}
    # Not even if recipe and seed are the same: a trial is scored on other rows.
    like = trials[0].model_copy(update={"trial": None})
    assert like.spec_hash != trials[0].spec_hash
    more = load_study("s", ("seeds=[0, 1, 2]",), workflow)
    assert [t.spec_hash for t in more.trials["cola/lora/small"]] == [t.spec_hash for t in trials]


def test_more_trials_keep_the_trials_that_are_there_unless_halving_compares_them(
    study: Callable[..., ResolvedStudy], workflow: Path
) -> None:
    group = "cola/lora/small"
    hashes = {trial.id: trial.spec_hash for trial in study(tuning()).trials[group]}
    more = {t.id: t.spec_hash for t in load_study("s", ("tuning.trials=8",), workflow).trials[group]}
    assert len(more) == 8
    assert hashes.items() <= more.items()
    halved, more_halved = (
        {t.id: t.spec_hash for t in load_study("s", ("tuning.halving=2", f"tuning.trials={n}"), workflow).trials[group]}
        for n in (4, 8)
    )
    assert halved.keys() <= more_halved.keys()
    assert not set(halved.values()) & set(more_halved.values())  # with other rivals, others may go on
    assert not set(halved.values()) & set(hashes.values())


def test_studies_without_tuning_have_the_hashes_of_before() -> None:
    from bench.config.cell import Cell, spec_hash_of
    from bench.records.io import read_record

    example = Path(__file__).resolve().parents[2] / "results" / "demo" / "example" / "cells"
    records = [read_record(file) for file in sorted(example.rglob("record.json"))]
    assert records
    for record in records:
        assert Cell.model_validate_json(json.dumps(record.spec)).spec_hash == record.cell.spec_hash
        if record.spec["method"]["storage"] != "fp32":  # their hash says, too, what was corrected since
            continue
        assert spec_hash_of(record.spec) == record.cell.spec_hash
        # as a spec is written today, with keys that the record may not have
        assert spec_hash_of({**record.spec, "trial": None, "choice": None}) == record.cell.spec_hash


def test_the_studies_that_ship_resolve() -> None:
    assert load_catalog().study_names()
    tuned = load_study("tuned")
    assert {len(trials) for trials in tuned.trials.values()} == {6}
