"""Folders whose names hold a blank, a quote, an umlaut: every path reaches every command whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.projects import make_project

from bench.pipeline.run_options import RunOptions

ODD = "Käthe's own $results"


@pytest.mark.slow
def test_a_run_in_oddly_named_folders(tmp_path: Path, mirror: Callable[..., Path]) -> None:
    rows = {"sentence": ["a dog barks", "barks dog a"] * 16, "label": [1, 0] * 16, "idx": list(range(32))}
    for split in ("train", "validation"):
        folder = mirror("nyu-mll/glue", "cola", split, rows)
    odd_mirror = folder.rename(folder.with_name(f"mirror {ODD}"))
    project = make_project(tmp_path / f"project {ODD}", "mirror")
    assert ODD in str(project.workflow)
    config = (f"results={ODD}", f"cache=cache {ODD}", f"mirror={odd_mirror}", "tasks=cola")
    done = project.snakemake(config=config)
    assert done.code == 0, done.out
    assert (project.folder / ODD / "tiny/cells/cola/lora/small/seed-0/record.json").is_file()
    assert list((project.folder / ODD / "tiny/tables").glob("*.md"))
    assert len(list((project.folder / f"cache {ODD}/data").glob("cola-*/manifest.json"))) == 1
    assert not (project.folder / "results").exists()
    assert project.snakemake(config=config).nothing_to_do

    # options that decide nothing of a cell's result do not run it again
    elsewhere = project.workflow.rename(project.folder / f"workflow, moved {ODD}")
    moved = (*config, f"workflow={elsewhere}", "set=tolerance=0.06")
    assert project.snakemake(config=moved).nothing_to_do


def test_another_process_gets_the_same_options(monkeypatch: pytest.MonkeyPatch) -> None:
    import click

    from bench.cli.options import study_options

    options = RunOptions(
        study="demo",
        results=Path(ODD),
        cache=Path(f"cache {ODD}"),
        mirror=Path(f"mirror {ODD}"),
        workflow=Path(f"workflow {ODD}"),
        overrides=("recipe.epochs=1", "tasks=[cola, sst2]"),
    )
    for name, value in options.environment().items():
        monkeypatch.setenv(name, value)

    @click.command()
    @study_options
    def command(options: RunOptions) -> RunOptions:
        return options

    assert command.main(["demo"], standalone_mode=False) == options
    for name, value in RunOptions(study="demo").environment().items():
        monkeypatch.setenv(name, value)
    default = command.main(["demo"], standalone_mode=False)
    assert (default.results, default.mirror, default.overrides) == (Path("results"), None, ())
    named = command.main(["demo", "--set", "threads=2", "--results", "other"], standalone_mode=False)
    assert (named.results, named.overrides) == (Path("other"), ("threads=2",))
