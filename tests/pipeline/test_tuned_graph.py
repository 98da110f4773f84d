"""The graph of a study that tunes: which jobs there are, what they wait for and ask for. Nothing is trained."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.projects import Project
from helpers.trials import tuned_study, write_trial

from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy
from bench.errors import BenchError
from bench.paths import StudyPaths
from bench.pipeline.groups import groups_of
from bench.pipeline.run_options import RunOptions
from bench.pipeline.snakemake_config import pipeline_from
from bench.pipeline.study import Pipeline
from bench.pipeline.unfinished import announce_unfinished

TUNED = """\
name: tiny
data: embedded
backbones: {classification: minilm}
tasks: [cola, sst2]
methods: [lora, adalora]
budgets: {small: {rank: 2, initial_rank: 4}}
seeds: [0, 1]
limits: {train_rows: 64, evaluation_rows: 32}
recipe: {max_steps: 4, batch_size: 8, max_length: 32}
tuning:
  space: {learning_rate: {from: 1.0e-4, to: 1.0e-2, scale: log}}
  trials: 4
  holdout_rows: 16
"""


@pytest.fixture
def tuned(project: Project) -> Project:
    (project.workflow / "studies" / "tiny.yaml").write_text(TUNED)
    return project


def pipeline_of(study: ResolvedStudy, results: Path) -> Pipeline:
    return Pipeline(study, study.cells, RunOptions(study=study.name, results=results))


def wildcards(cell: Cell, **more: object) -> SimpleNamespace:
    point = {"point": cell.trial.point} if cell.trial else {}
    return SimpleNamespace(method=cell.method.name, budget=cell.budget_name, seed=str(cell.seed), **point, **more)


def trained(jobs: dict[str, int]) -> dict[str, int]:
    return {rule: n for rule, n in jobs.items() if rule.startswith(("tri", "tra", "group", "rung", "tuned"))}


@pytest.mark.parametrize(
    ("config", "jobs", "cells"),
    [
        (
            ("methods=lora", "seeds=1"),
            {"trial_cola": 4, "trial_sst2": 4, "train_cola": 1, "train_sst2": 1, "tuned": 1},
            2,
        ),
        (
            ("tasks=cola", "set=cells_per_job=3; tuning.halving=2"),
            {
                **{f"rungs_cola_{number}": 2 for number in (1, 2, 3, 4)},
                **{f"trials_cola_{number}": 1 for number in (1, 2, 3, 4)},
                **{f"group_cola_{number}": 1 for number in (1, 2)},
                "tuned": 1,
            },
            4,
        ),
    ],
    ids=["narrowed", "grouped"],
)
def test_jobs(tuned: Project, config: tuple[str, ...], jobs: dict[str, int], cells: int) -> None:
    done = tuned.snakemake("-n", config=config)
    assert done.code == 0, done.out
    assert trained(done.jobs) == jobs
    assert done.out.count(f"tiny: 8 of 8 trials and {cells} of {cells} final cells have no record yet\n") == 1


def test_a_final_cell_waits_for_the_trials_of_its_own_group(tmp_path: Path) -> None:
    study = tuned_study()
    pipeline = pipeline_of(study, tmp_path)
    for cell in study.cells:
        (marker,) = pipeline.waits(cell.task.name)["trials"](wildcards(cell))
        assert marker == (tmp_path / "demo/trials" / cell.group / "recorded").as_posix()
        assert pipeline.gathered(cell.task.name, wildcards(cell)) == pipeline.records_of(study.trials[cell.group])
    for group in groups_of(replace(study, study=study.study.model_copy(update={"cells_per_job": 3})), study.cells):
        assert len({cell.group for cell in group.cells}) == 1
        assert pipeline.group_waits(group) == pipeline.group_waits(replace(group, cells=group.cells[:1]))


def test_a_study_without_tuning_has_no_input_and_no_rule_more(tmp_path: Path) -> None:
    pipeline = Pipeline.of(RunOptions(study="demo", results=tmp_path))
    cell = pipeline.cells[0]
    assert (pipeline.waits("cola"), pipeline.group_waits(pipeline.groups[0])) == ({}, {})
    assert (pipeline.trials, pipeline.tuned, pipeline.trial_groups, pipeline.rungs) == ((), [], [], 0)
    assert pipeline.spec(cell.task.name, wildcards(cell)) == cell.spec_hash
    assert pipeline.groups[0].name == f"group_{cell.task.name}_1"
    assert len({cell.group for cell in pipeline.groups[0].cells}) > 1  # as before: of one task


def test_rivals_are_compared_at_each_rung(tmp_path: Path) -> None:
    study = tuned_study(tuning="halving: 2")
    pipeline = pipeline_of(study, tmp_path)
    rivals = study.trials["cola/lora/small"]
    assert pipeline.rungs == 2
    assert pipeline.rivals("cola", wildcards(rivals[1], rung="1")) == []
    folder = tmp_path / "demo/trials/cola/lora/small"
    assert pipeline.rivals("cola", wildcards(rivals[1], rung="2")) == [(folder / "reached-1").as_posix()]
    assert pipeline.rivals("cola", wildcards(rivals[1])) == [(folder / "reached-2").as_posix()]
    assert pipeline.gathered("cola", wildcards(rivals[1], rung="2")) == pipeline.rungs_of(rivals, 2)
    plain = pipeline_of(tuned_study(), tmp_path)
    assert plain.rivals("cola", wildcards(plain.trials[0])) == []


def test_the_spec_of_a_final_cell_covers_what_it_is_chosen_from(tmp_path: Path) -> None:
    study = tuned_study()
    specs = [
        pipeline_of(other, tmp_path).spec_of(other.cells[0])
        for other in (
            study,
            tuned_study("learning_rate: [0.001, 0.002, 0.004]"),
            tuned_study(tuning="choose_by: loss"),
            tuned_study(tuning="seeds: [101]"),
        )
    ]
    assert len(set(specs)) == 4
    for trial in study.trials["cola/lora/small"]:
        write_trial(StudyPaths(tmp_path, study.name), trial, 0.5)
    assert pipeline_of(study, tmp_path).spec_of(study.cells[0]) == specs[0]  # no record is asked


def test_a_final_cell_asks_for_what_its_largest_point_needs(tmp_path: Path) -> None:
    resources = "resources={gpus: 0, mem_mb: null, runtime: null}"
    study = tuned_study("batch_size: [8, 64], epochs: [1, 90000]", "recipe.max_steps=null", resources)
    pipeline = pipeline_of(study, tmp_path)
    cell = study.cells[0]
    of_trials = [
        (pipeline.memory_mb("cola", wildcards(trial), 1), pipeline.minutes("cola", wildcards(trial), 1))
        for trial in study.trials[cell.group]
    ]
    assert len(set(of_trials)) == 4
    asked = pipeline.memory_mb("cola", wildcards(cell), 1), pipeline.minutes("cola", wildcards(cell), 1)
    assert asked[0] == max(memory for memory, _ in of_trials)
    assert asked[1] >= max(minutes for _, minutes in of_trials)


def test_words_beside_the_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = tuned_study()
    pipeline = pipeline_of(study, tmp_path)
    files = [Path(file) for file in (*pipeline.records, *pipeline.trial_records)]
    for file in files:
        file.parent.mkdir(parents=True)
        file.touch()  # what a record holds is not read
    announce_unfinished(pipeline)
    assert capsys.readouterr().err == ""
    Path(pipeline.records_of(study.trials["cola/lora/small"])[2]).unlink()
    announce_unfinished(pipeline)
    assert capsys.readouterr().err == (
        "demo: 1 of 32 trials and 0 of 8 final cells have no record yet\n"
        "demo: the recorded final cells of cola/lora/small are trained again only if the choice changes\n"
    )
    Path(pipeline.records[0]).unlink()
    announce_unfinished(pipeline)
    told = capsys.readouterr().err
    assert "1 of 32 trials and 1 of 8 final cells" in told
    assert "only if" not in told


def test_only_the_trials_of_what_is_wanted(tuned: Project) -> None:
    config = {"study": "tiny", "workflow": str(tuned.workflow), "results": str(tuned.folder / "results")}
    narrowed = pipeline_from({**config, "methods": "lora", "seeds": "1"})
    assert {trial.group for trial in narrowed.trials} == {"cola/lora/small", "sst2/lora/small"}
    assert len(narrowed.trials) == 8
    with pytest.raises(BenchError, match="has no '100'"):  # that of the trials is no seed of the study
        pipeline_from({**config, "seeds": "100"})


def test_jobs_are_given_the_points_that_the_main_process_drew(tuned: Project) -> None:
    """Without importing the library that draws them."""
    program = """
import json, sys
from pathlib import Path
from bench.pipeline.run_options import RunOptions
study = RunOptions(study="tiny", workflow=Path(sys.argv[1]), results=Path(sys.argv[2])).load_study()
print(json.dumps([[t.trial.values for t in study.trials["cola/lora/small"]], "scipy" in sys.modules]))
"""
    command = [sys.executable, "-c", program, str(tuned.workflow), str(tuned.folder / "results")]
    first, second = [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(2)]
    assert (first[1], second[1]) == (True, False)
    assert first[0] == second[0]
