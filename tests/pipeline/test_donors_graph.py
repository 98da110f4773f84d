"""A study in which cells take over ranks: what they wait for, and which record says when they are done."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.projects import Project
from helpers.records import make_record

from bench.analysis.results import read_results
from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy, load_study
from bench.errors import BenchError
from bench.paths import StudyPaths
from bench.pipeline.groups import groups_of
from bench.pipeline.run_options import RunOptions
from bench.pipeline.status import cell_states
from bench.pipeline.study import Pipeline
from bench.progress.follower import Follower
from bench.records.io import read_record, write_record
from bench.tuning.donors import with_known_ranks, with_ranks

SOURCE = "adalora_parameters"
STUDY = f"""\
name: tiny
data: embedded
backbones: {{classification: minilm}}
tasks: [cola, sst2]
methods: [replayed, {SOURCE}, transplanted]
budgets: {{small: {{rank: 2, initial_rank: 4}}}}
seeds: [0]
limits: {{train_rows: 64, evaluation_rows: 32}}
recipe: {{max_steps: 4, batch_size: 8, max_length: 32, rank_schedule: {{initial_steps: 1, final_steps: 1}}}}
"""


def study(*more: str) -> ResolvedStudy:
    return load_study(
        "demo",
        [
            "tasks=[cola, sst2]",
            f"methods=[replayed, {SOURCE}, transplanted]",
            "budgets={small: {rank: 2, initial_rank: 4}}",
            "seeds=[0, 1]",
            "recipe_from=null",
            *more,
        ],
    )


def record(results: Path, cell: Cell, status: str = "ok", ranks: int = 2) -> str:
    """Write a record of `cell` in whose end every matrix has so many `ranks`; return its hash."""
    folder = StudyPaths(results, "demo").cell(cell.id).folder
    folder.mkdir(parents=True, exist_ok=True)
    scores = {split: dict.fromkeys(cell.task.metrics, 0.5) for split in cell.task.data.evaluation}
    made = make_record(cell, scores, status)
    sites = {name: site.model_copy(update={"end": ranks}) for name, site in made.ranks.items()}
    write_record(made.model_copy(update={"ranks": sites}), folder)
    return made.cell.hash


def test_a_cell_has_the_ranks_of_its_donor_once_that_is_recorded(tmp_path: Path) -> None:
    found = study()
    cell, donor = found.find("cola", "replayed", "small", 1), found.find("cola", SOURCE, "small", 1)
    with pytest.raises(BenchError, match=f"its ranks are those of {donor.id}, which has no record of its spec"):
        with_ranks(found, cell, tmp_path)
    name = record(tmp_path, donor, ranks=3)
    known = with_ranks(found, cell, tmp_path).given
    assert known is not None
    assert (known.cell, known.hash, set(known.ranks.values())) == (donor.id, name, {3})
    takers = {cell.id, found.find("sst2", "transplanted", "small", 1).id}
    assert {c.id for c in with_known_ranks(found, tmp_path).cells if c.given} == takers
    record(tmp_path, donor.model_copy(update={"seed": 7, "budget_name": "small"}))  # of another cell: no donor
    other = donor.model_copy(update={"recipe": donor.recipe.model_copy(update={"learning_rate": 0.5})})
    record(tmp_path, other)
    with pytest.raises(BenchError, match="no record of its spec"):
        with_ranks(found, cell, tmp_path)


def test_a_donor_that_diverged_has_no_ranks_to_give(tmp_path: Path) -> None:
    found = study()
    record(tmp_path, found.find("cola", SOURCE, "small", 1), status="diverged")
    known = with_ranks(found, found.find("cola", "replayed", "small", 1), tmp_path).given
    assert known is not None
    assert known.ranks == {}


@pytest.mark.parametrize("together", [1, 3])
def test_a_job_waits_for_the_records_of_the_donors(tmp_path: Path, together: int) -> None:
    found = study(f"cells_per_job={together}")
    pipeline = Pipeline(found, found.cells, RunOptions(study="demo", results=tmp_path))
    for group in groups_of(found, found.cells):
        donors = [donor for cell in group.cells if (donor := found.donor(cell)) is not None]
        assert len(donors) in (0, len(group.cells))
        waits = pipeline.group_waits(group)
        assert set(waits.get("ranks", [])) == set(pipeline.records_of(donors))
        assert not {donor.id for donor in donors} & {cell.id for cell in group.cells}
    specs = {cell.id: pipeline.spec_of(cell) for cell in found.cells}
    assert len(set(specs.values())) == len(specs)
    changed = study(f"cells_per_job={together}", "overrides={cola: {recipe: {importance_betas: [0.5, 0.5]}}}")
    again = Pipeline(changed, changed.cells, RunOptions(study="demo", results=tmp_path))
    # What a donor learns may change, so what takes its ranks over is another cell: on sst2 the one from cola.
    same = {cell.id for cell in changed.cells if again.spec_of(cell) == specs[cell.id]}
    assert same == {cell.id for cell in found.cells if cell.task.name == "sst2" and cell.method.name != "transplanted"}


def test_status_table_and_progress_wait_for_the_donor(tmp_path: Path) -> None:
    found = study()
    cell, donor = found.find("cola", "replayed", "small", 1), found.find("cola", SOURCE, "small", 1)
    record(tmp_path, donor, ranks=3)
    trained = with_ranks(found, cell, tmp_path)
    record(tmp_path, trained)

    def state() -> tuple[str, str]:
        (one,) = [state for state in cell_states(found, tmp_path) if state.cell.id == cell.id]
        return one.name, one.detail

    def done() -> bool:
        pipeline = Pipeline(found, found.cells, RunOptions(study="demo", results=tmp_path))
        return "done" in {one.stage for one in Follower(pipeline).poll().cells if one.id == cell.id}

    assert state()[0] == "ok"
    assert done()
    assert cell.id in read_results(found, tmp_path).records
    StudyPaths(tmp_path, "demo").cell(donor.id).record.unlink()
    assert state() == (
        "waiting",
        f"for the ranks of {donor.id}; it has a record, and is trained again only if the ranks change",
    )
    assert not done()
    assert cell.id in read_results(found, tmp_path).records  # published without the donor, it is a result all the same
    record(tmp_path, donor, ranks=1)
    assert state()[0] == "outdated"
    assert cell.id not in read_results(found, tmp_path).records


def test_a_narrowed_run_trains_the_donors_too(project: Project) -> None:
    (project.workflow / "studies" / "tiny.yaml").write_text(STUDY)
    done = project.snakemake("-n", config=("methods=transplanted", "tasks=cola"))
    assert done.code == 0, done.out
    assert {rule: n for rule, n in done.jobs.items() if rule.startswith("train")} == {"train_cola": 1, "train_sst2": 1}


@pytest.mark.long
def test_a_run_trains_donors_first_and_hands_their_ranks_on(project: Project) -> None:
    (project.workflow / "studies" / "tiny.yaml").write_text(f"{STUDY}cells_per_job: 2\n")
    done = project.snakemake("records")
    assert done.code == 0, done.out
    records = {r.cell.method + r.cell.task: r for r in map(read_record, project.records)}
    assert len(records) == 6
    for taker, donor in (("replayedcola", f"{SOURCE}cola"), ("transplantedcola", f"{SOURCE}sst2")):
        given = records[taker].spec["given"]
        assert given["hash"] == records[donor].cell.hash
        learned = {name: site.end for name, site in records[donor].ranks.items()}
        assert len(set(learned.values())) > 1
        assert learned == given["ranks"]
        assert learned == {name: site.start for name, site in records[taker].ranks.items()}
        assert learned == {name: site.end for name, site in records[taker].ranks.items()}
    assert project.snakemake("records").nothing_to_do
