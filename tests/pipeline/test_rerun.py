"""What runs again: exactly the cells whose spec, data or record changed, and nothing for a comment."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.projects import Project, make_project


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Both cells of the study, trained once for the tests of this file; each test leaves them as they are."""
    project = make_project(tmp_path_factory.mktemp("project"), "embedded")
    done = project.snakemake()
    assert done.code == 0, done.out
    assert len(project.records) == 2
    return project


@pytest.mark.long
def test_tables_stand_and_a_second_run_does_nothing(trained: Project) -> None:
    assert list((trained.folder / "results/tiny/tables").glob("*.md"))
    assert trained.snakemake().nothing_to_do


@pytest.mark.long
def test_deleted_record_trains_that_cell_alone_to_the_same_bits(trained: Project) -> None:
    record = trained.records[0]
    curve = record.with_name("curve.jsonl").read_bytes()
    predictions = record.with_name("predictions.parquet").read_bytes()
    record.unlink()
    done = trained.snakemake()
    assert done.code == 0, done.out
    assert {rule: n for rule, n in done.jobs.items() if rule.startswith(("train", "prepare"))} == {"train_cola": 1}
    assert record.with_name("curve.jsonl").read_bytes() == curve
    assert record.with_name("predictions.parquet").read_bytes() == predictions


@pytest.mark.long
def test_comments_descriptions_and_resources_train_nothing(trained: Project) -> None:
    file = trained.workflow / "tasks" / "cola.yaml"
    text = file.read_text()
    file.write_text(
        "# a comment\n" + text.replace("description: ", "description: Once more: ").rstrip() + "  # another\n"
    )
    file.write_text(file.read_text().replace("Once more: ", "Once more, ") + "resources: {mem_mb: 9000}\n")
    assert trained.snakemake("-n").nothing_to_do
    file.write_text(text)


@pytest.mark.long
def test_learning_rate_of_a_task_trains_its_cells_only(trained: Project) -> None:
    trained.spoil("tasks/cola.yaml", "learning_rate: 5.0e-4", "learning_rate: 6.0e-4")
    jobs = trained.snakemake("-n").jobs
    trained.spoil("tasks/cola.yaml", "learning_rate: 6.0e-4", "learning_rate: 5.0e-4")
    assert {rule for rule in jobs if rule.startswith(("train", "prepare"))} == {"train_cola"}


@pytest.mark.long
def test_lost_cache_is_prepared_again_without_training(trained: Project) -> None:
    (trained.folder / "results/cache").rename(trained.folder / "lost")
    assert trained.snakemake("-n").nothing_to_do
    times = {record: record.with_name("curve.jsonl").stat().st_mtime_ns for record in trained.records}
    trained.records[0].unlink()
    done = trained.snakemake()
    assert done.code == 0, done.out
    kept = [r for r, stamp in times.items() if r.with_name("curve.jsonl").stat().st_mtime_ns == stamp]
    assert len(kept) == 1


@pytest.mark.long
def test_tables_target_trains_nothing(trained: Project) -> None:
    removed: Path = trained.records[1]
    content = removed.read_bytes()
    removed.unlink()
    done = trained.snakemake("tables")
    removed.write_bytes(content)
    assert done.code == 0, done.out
    assert done.jobs == {"tables": 1, "total": 1}


@pytest.mark.long
def test_a_cell_without_a_score_is_told_at_the_end(trained: Project) -> None:
    """Its record stands, so Snakemake itself sees nothing wrong."""
    done = trained.snakemake(config=("results=elsewhere", "tasks=cola", "set=recipe.learning_rate=1e20"))
    assert done.code == 0, done.out
    assert "cola/lora/small/seed-0: diverged: " in done.out
    assert "1 of 1 cells ended without a score" in done.out
