"""What runs again: exactly the cells whose spec, data or record changed, and nothing for a comment."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.projects import Done, Project, make_project

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, prepared_cache: Path) -> Project:
    """Both cells of the study, trained once for the tests of this file; each test leaves them as they are."""
    project = make_project(tmp_path_factory.mktemp("project"), "embedded", prepared_cache)
    done = project.snakemake()
    assert done.code == 0, done.out
    assert len(project.records) == 2
    return project


def started(done: Done) -> dict[str, int]:
    """The jobs that prepare or train, by rule."""
    return {rule: n for rule, n in done.jobs.items() if rule.startswith(("train", "prepare"))}


def test_tables_stand_and_a_second_run_does_nothing(trained: Project) -> None:
    assert list((trained.folder / "results/tiny/tables").glob("*.md"))
    assert all((record.parent / "adapter" / "README.md").is_file() for record in trained.records)
    assert trained.snakemake().nothing_to_do


def test_deleted_record_trains_that_cell_alone_to_the_same_bits(trained: Project, tmp_path: Path) -> None:
    """Of all tasks and of its own alone. Where the cache is lost, it is prepared again for that cell."""
    project = replace(trained, folder=tmp_path / "copy")
    shutil.copytree(trained.folder, project.folder)
    record, other = project.records
    files = [record.with_name(name) for name in ("curve.jsonl", "predictions.parquet")]
    before, others = [file.read_bytes() for file in files], other.with_name("curve.jsonl")
    stamp = others.stat().st_mtime_ns
    record.rename(tmp_path / "record.json")
    for config in ((), ("tasks=cola",)):
        assert started(project.snakemake("-n", "records", config=config)) == {"train_cola": 1}
    shutil.rmtree(project.folder / "results/cache")
    (tmp_path / "record.json").rename(record)
    assert project.snakemake("-n", "records").nothing_to_do
    record.unlink()
    done = project.snakemake("records")
    assert done.code == 0, done.out
    prepared = {"prepare_model": 1, "prepare_data": 2, "prepared": 1}
    assert started(done) == {**prepared, "train_cola": 1, "train_sst2": 1}  # the second finds its record, and ends
    assert [file.read_bytes() for file in files] == before
    assert others.stat().st_mtime_ns == stamp


def test_comments_descriptions_and_resources_train_nothing(trained: Project) -> None:
    file = trained.workflow / "tasks" / "cola.yaml"
    text = file.read_text()
    file.write_text(
        "# a comment\n" + text.replace("description: ", "description: Once more: ").rstrip() + "  # another\n"
    )
    file.write_text(file.read_text().replace("Once more: ", "Once more, ") + "resources: {mem_mb: 9000}\n")
    assert trained.snakemake("-n").nothing_to_do
    file.write_text(text)


def test_learning_rate_of_a_task_trains_its_cells_only(trained: Project) -> None:
    trained.spoil("tasks/cola.yaml", "learning_rate: 5.0e-4", "learning_rate: 6.0e-4")
    planned = trained.snakemake("-n")
    trained.spoil("tasks/cola.yaml", "learning_rate: 6.0e-4", "learning_rate: 5.0e-4")
    assert started(planned) == {"train_cola": 1}


def test_records_of_another_spec_run_again_without_snakemakes_notes(trained: Project, tmp_path: Path) -> None:
    """Copied results, cells trained by hand. A dry run leaves what is done, and the tables need no training."""
    project = replace(trained, folder=tmp_path / "copy")
    shutil.copytree(trained.folder, project.folder)
    shutil.rmtree(project.folder / ".snakemake")
    assert started(project.snakemake("-n")) == {}
    times = [record.stat().st_mtime_ns for record in project.records]
    change = ("set=overrides.cola.recipe.max_steps=3",)
    assert started(project.snakemake("-n", config=change)) == {"train_cola": 1}
    assert started(project.snakemake("-n", "tables", config=change)) == {}
    assert started(project.snakemake("-n")) == {}
    assert [record.stat().st_mtime_ns for record in project.records] == times
    done = project.snakemake("records", config=change)
    assert done.code == 0, done.out
    assert started(done) == {"train_cola": 1}
    assert started(project.snakemake("-n", "records", config=change)) == {}


def test_tables_target_trains_nothing(trained: Project) -> None:
    removed: Path = trained.records[1]
    removed.rename(removed.with_suffix(".aside"))
    done = trained.snakemake("tables")
    removed.with_suffix(".aside").rename(removed)
    assert done.code == 0, done.out
    assert done.jobs == {"tables": 1, "total": 1}


def test_a_cell_without_a_score_is_told_at_the_end(trained: Project) -> None:
    """Its record stands, so Snakemake itself sees nothing wrong."""
    places = ("results=elsewhere", "cache=results/cache")
    done = trained.snakemake("records", config=(*places, "tasks=cola", "set=recipe.learning_rate=1e20"))
    assert done.code == 0, done.out
    assert "cola/lora/small/seed-0: diverged: " in done.out
    assert "1 of 1 cells ended without a score" in done.out
