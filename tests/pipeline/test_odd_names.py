"""Names that people really give: no folder's name breaks a command, and no task's name meets that of a rule."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.projects import Project, make_project

from bench.cli.app import main
from bench.config.resolve import load_study
from bench.errors import BenchError
from bench.pipeline.folders import check_writable, refuse_for_cluster
from bench.pipeline.run_options import RunOptions
from bench.pipeline.snakemake_config import VARIABLE, config_of_run, pipeline_from, words_for_jobs
from bench.pipeline.study import Pipeline

ODD = '-- Käthe\'s "own" $HOME `ls` 100%d;& results'
IN_BRACES = f"{ODD} {{method}} <results>"  # where Snakemake makes no pattern of it


@pytest.mark.long
def test_a_run_in_oddly_named_folders(tmp_path: Path, mirror: Callable[..., Path]) -> None:
    rows = {"sentence": ["a dog barks", "barks dog a"] * 16, "label": [1, 0] * 16, "idx": list(range(32))}
    for split in ("train", "validation"):
        folder = mirror("nyu-mll/glue", "cola", split, rows)
    odd_mirror = folder.rename(folder.with_name(f"mirror {IN_BRACES}"))
    project = make_project(tmp_path / f"project {IN_BRACES}", "mirror")
    config = (f"results={ODD}", f"cache=cache {ODD}", f"mirror={odd_mirror}", "tasks=cola")
    done = project.snakemake(config=config)
    assert done.code == 0, done.out
    assert (project.folder / ODD / "tiny/cells/cola/lora/small/seed-0/record.json").is_file()
    assert list((project.folder / ODD / "tiny/tables").glob("*.md"))
    assert len(list((project.folder / f"cache {ODD}/data").glob("cola-*/manifest.json"))) == 1
    left = {file.name for file in project.folder.iterdir()}
    assert left == {ODD, f"cache {ODD}", "workflow", ".snakemake"}

    # options that decide nothing of a cell's result do not run it again
    elsewhere = project.workflow.rename(project.folder / f"workflow, moved {ODD}")
    moved = (*config, f"workflow={elsewhere}", "set=tolerance=0.06")
    assert project.snakemake(config=moved).nothing_to_do


def test_a_task_that_is_called_like_the_group_of_another(project: Project) -> None:
    sst2 = (project.workflow / "tasks/sst2.yaml").read_text()
    names = ("sst2_1", "sst2_2", "group_sst2_1", "all", "class", "prepared", "true")
    for name in names:
        named_so = sst2.replace("name: sst2", f'name: "{name}"').replace("label: SST-2", f'label: "{name}"')
        (project.workflow / f"tasks/{name}.yaml").write_text(named_so)
    named = ",".join(("sst2", *names))
    config = (f"tasks={named}", "seeds=0", "set=cells_per_job=2; seeds=[0, 1]; methods=[lora, adalora]")
    done = project.snakemake("-n", config=config)
    assert done.code == 0, done.out
    assert {rule: n for rule, n in done.jobs.items() if rule.startswith("group")} == {
        f"group_{name}_1": 1 for name in ("sst2", *names)
    }


def test_no_two_rules_have_one_name() -> None:
    study = load_study("demo", ["cells_per_job=2"])
    pipeline = Pipeline(study, study.cells, RunOptions(study="demo"))
    rules = [group.name for group in pipeline.groups] + [f"train_{task}" for task in pipeline.tasks]
    assert len(set(rules)) == len(rules)
    assert not any(group.name.startswith("train_") for group in pipeline.groups)


@pytest.mark.parametrize("key", ["results", "cache", "mirror", "workflow"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\nb", "line break"),
        ("a\u2028b", "line break"),
        ("a\x07b", "control character"),
        (os.fsdecode(b"K\xe4the"), "no UTF-8"),
        ("  ", "is blank"),
        ("https://example.org/x", "is an address"),
    ],
)
def test_names_that_are_refused(key: str, text: str, message: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(BenchError, match=message):
        pipeline_from({key: text})
    assert main(["plan", "demo", f"--{key}", text]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("key", ["results", "cache"])
@pytest.mark.parametrize("text", ["{seed}", "a{", "<results>"])
def test_what_snakemake_would_replace_is_refused(key: str, text: str) -> None:
    with pytest.raises(BenchError, match=f"{key}={text}: holds braces or <...>, which Snakemake replaces"):
        pipeline_from({key: text})


def test_the_words_of_the_command_line_count_as_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, "")
    words = {"results": "010", "cache": "a: b", "mirror": "1e3", "workflow": "{x}", "study": "2024", "set": "threads=2"}
    parsed = {"results": 10, "cache": {"a": "b"}, "mirror": 1000.0, "workflow": {"x": ""}, "study": 2024, "set": "?"}
    given = [f"{key}={text}" for key, text in words.items()]
    assert config_of_run(parsed, given, is_main_process=True) == words
    # the Snakemake in a job of the cluster hears what the main one heard, whatever a shell made of its words
    assert config_of_run({"results": "mangled"}, ["results=mangled"], is_main_process=False) == words
    assert config_of_run({}, ["results='a b'", "tasks=[a, b]"], is_main_process=True)["results"] == "a b"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert pipeline_from({"results": "~/here", "cache": "//tmp"}).options.results == tmp_path / "here"


def test_what_a_shell_would_change_is_not_handed_to_jobs_as_a_word() -> None:
    plain = ["study=tiny", "results=/scratch/Käthe's".replace("'", ""), "set=recipe.epochs=1; threads=2", "cache=a b"]
    odd = ["results=it's", 'cache=say "hi"', "mirror=$HOME", "workflow=`ls`", "set=a\\b"]
    assert words_for_jobs([*plain, *odd]) == plain
    assert words_for_jobs(None) == []
    refuse_for_cluster([Path("a b"), Path("Käthe-100%;&/{x}")])
    for name in ("it's", 'say "hi"', "$HOME", "`ls`", "a\\b"):
        with pytest.raises(BenchError, match="which shells read on the way to a job of a cluster"):
            refuse_for_cluster([Path("results"), Path(name)])


@pytest.mark.parametrize("value", [True, 1.5, ["a"], {"a": None}])
def test_a_folder_that_yaml_reads_as_something_else(value: object) -> None:
    with pytest.raises(BenchError, match="results: expected the name of a folder, found"):
        pipeline_from({"results": value})


@pytest.mark.parametrize("key", ["results", "cache"])
def test_a_folder_that_cannot_be_made(key: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in ("/proc/x", str(tmp_path / "file/x/y"), str(tmp_path / ("x" * 300)), str(tmp_path / "file")):
        with pytest.raises(BenchError, match=rf"^{key}={place}: (cannot be written: |is a file)"):
            pipeline_from({key: place})
    check_writable(key, tmp_path / "not/there/yet")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BenchError, match=rf"^{key}={tmp_path}/link/x: {tmp_path}/link is a link to nothing"):
        pipeline_from({key: str(tmp_path / "link/x")})


def test_a_file_where_the_folder_of_the_study_belongs(tmp_path: Path) -> None:
    (tmp_path / "demo").touch()
    with pytest.raises(BenchError, match="demo: is a file, not a folder"):
        pipeline_from({"results": str(tmp_path)})


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
