"""`bench tuned`, the file that it writes, and studies that take values over from it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.trials import tuned_study, write_trial

from bench.cli.app import main
from bench.config.catalog import WORKFLOW
from bench.config.cell import Choice
from bench.config.resolve import ResolvedStudy, load_study
from bench.config.tuned_file import TunedFile, read_tuned, tuned_text
from bench.config.tuning import Values
from bench.errors import SpecError
from bench.paths import StudyPaths
from bench.tuning.choose import with_choices
from bench.tuning.edges import edges

OVERRIDES = (
    "tasks=[cola, sst2]",
    "methods=[lora, adalora]",
    "budgets.small.alpha=4",
    "grids=[{budgets: [small]}]",
    "seeds=[0, 1]",
    "recipe_from=null",
)
TUNING = "tuning={space: {learning_rate: [0.001, 0.002, 0.004], alpha: [8, 32]}, holdout_rows: 40}"
BEST = {"cola/lora/small": 0.002, "cola/adalora/small": 0.004, "sst2/lora/small": 0.001, "sst2/adalora/small": 0.002}


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ResolvedStudy:
    """A study with a record of every trial below results/ in the working folder, which is a new one."""
    monkeypatch.chdir(tmp_path)
    study = load_study("demo", (*OVERRIDES, TUNING))
    for group, trials in study.trials.items():
        for trial in trials:
            near = 1 - 100 * abs(trial.recipe.learning_rate - BEST[group]) - trial.recipe.alpha / 1000
            write_trial(StudyPaths(Path("results"), "demo"), trial, near)
    return study


def bench(*words: str, results: str = "results") -> int:
    sets = [word for override in (*OVERRIDES, TUNING) for word in ("--set", override)]
    return main(["tuned", "demo", "--results", results, *sets, *words])


def test_a_line_for_each_group_and_a_file(study: ResolvedStudy, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "cola/lora/small: learning_rate 0.002, alpha 8 (at the edge: the lowest that was tried); mcc 99.20 on held-out "
        "rows; 6 of 6 trials have a score",
        "cola/adalora/small: learning_rate 0.004 (at the edge: the highest that was tried), alpha 8 (at the edge: the "
        "lowest that was tried); mcc 99.20 on held-out rows; 6 of 6 trials have a score",
        "sst2/lora/small: learning_rate 0.001 (at the edge: the lowest that was tried), alpha 8 (at the edge: the "
        "lowest that was tried); accuracy 99.20 on held-out rows; 6 of 6 trials have a score",
        "sst2/adalora/small: learning_rate 0.002, alpha 8 (at the edge: the lowest that was tried); accuracy 99.20 on "
        "held-out rows; 6 of 6 trials have a score",
        "results/demo/tuned.yaml",
    ]
    content = read_tuned(Path("results/demo/tuned.yaml"))
    assert content.groups == list(BEST)
    for cell in with_choices(study, Path("results")).cells:
        assert content.choice(cell) == cell.choice
        assert cell.choice is not None
        assert cell.choice.values == {"learning_rate": BEST[cell.group], "alpha": 8}
    assert tuned_text(content) == Path("results/demo/tuned.yaml").read_text()


def test_the_file_is_written_only_if_it_changes(study: ResolvedStudy) -> None:
    assert bench() == 0
    file = Path("results/demo/tuned.yaml")
    before, text = file.stat().st_mtime_ns, file.read_text()
    assert bench() == 0
    assert file.stat().st_mtime_ns == before
    trial = study.trials["cola/lora/small"][-1]
    write_trial(StudyPaths(Path("results"), "demo"), trial, 0.995)
    assert bench() == 0
    assert file.read_text() != text


def test_groups_without_a_choice_are_named_and_left_out(
    study: ResolvedStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = StudyPaths(Path("results"), "demo")
    paths.cell(study.trials["cola/lora/small"][2].id).record.unlink()
    for trial in study.trials["sst2/lora/small"]:
        write_trial(paths, trial, None, status="diverged")
    write_trial(paths, study.trials["sst2/adalora/small"][0], None, status="oom")
    assert bench() == 0
    lines = capsys.readouterr().out.splitlines()
    missing = study.trials["cola/lora/small"][2].id
    assert lines[0] == f"cola/lora/small: no choice: 1 of 6 trials have no record of their spec: {missing}"
    assert lines[2] == "sst2/lora/small: no choice: none of its 6 trials has a score"
    assert lines[3].endswith("5 of 6 trials have a score")
    assert read_tuned(paths.tuned).groups == ["cola/adalora/small", "sst2/adalora/small"]


def test_no_choice_at_all_and_no_tuning_are_errors(study: ResolvedStudy, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(results="elsewhere") == 2
    assert "no group has a choice; cola/lora/small: 6 of 6 trials have no record" in capsys.readouterr().err
    assert not Path("elsewhere/demo/tuned.yaml").exists()
    assert main(["tuned", "demo", "--set", "tuning=null"]) == 2
    assert "study 'demo' tunes nothing" in capsys.readouterr().err
    StudyPaths(Path("results"), "demo").cell(study.trials["cola/lora/small"][0].id).record.write_text("{")
    assert bench() == 2
    assert "record.json: no readable record" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("learning_rate: 0.002\n", "learning_rate: 0.003\n", r"sha256: the file was changed after it was written"),
        ("study: demo\n", "study: demo\nstudi: demo\n", r"tuned\.yaml:4:1: unknown key 'studi' .*'study'"),
        ("study: demo\n", "", r"tuned\.yaml:\d+:1: key 'study' is missing"),
        ("by: mcc\n", "by: [mcc]\n", r"tuned\.yaml:\d+:\d+: choices\.cola\.lora\.small\.by: .*string, found \['mcc'\]"),
    ],
    ids=["value", "unknown-key", "missing-key", "type"],
)
@pytest.mark.usefixtures("study")
def test_a_file_that_was_changed_by_hand_is_refused(old: str, new: str, message: str) -> None:
    assert bench() == 0
    file = Path("results/demo/tuned.yaml")
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(SpecError, match=message):
        read_tuned(file)


def test_another_study_takes_the_values_over(study: ResolvedStudy) -> None:
    assert bench() == 0
    content = read_tuned(Path("results/demo/tuned.yaml"))
    taken = load_study("demo", (*OVERRIDES, "recipe_from=results/demo/tuned.yaml"))
    assert not taken.trials
    for cell in taken.cells:
        assert not taken.awaits_choice(cell)
        assert cell.choice is not None
        assert (cell.choice.source, cell.choice.sha256) == ("results/demo/tuned.yaml", content.sha256)
        values = {"learning_rate": BEST[cell.group], "alpha": 8}
        assert {key: getattr(cell.recipe, key) for key in values} == values  # before the budget's alpha of 4
    by_hand = load_study("demo", (*OVERRIDES, "recipe.learning_rate=0.004", "recipe.alpha=8"))
    names = ("cola", "adalora", "small", 1)
    assert by_hand.find(*names).spec_hash == taken.find(*names).spec_hash
    assert {cell.spec_hash for cell in taken.cells} == {c.spec_hash for c in with_choices(study, Path("results")).cells}


@pytest.mark.parametrize(("override", "alpha", "scale"), [("recipe.alpha=2", 2, None), ("recipe.scale=3", 4, 3)])
@pytest.mark.usefixtures("study")
def test_the_command_line_outranks_what_is_taken_over(override: str, alpha: float, scale: float | None) -> None:
    assert bench() == 0
    for cell in load_study("demo", (*OVERRIDES, "recipe_from=results/demo/tuned.yaml", override)).cells:
        assert (cell.recipe.alpha, cell.recipe.scale) == (alpha, scale)
        assert cell.recipe.learning_rate == BEST[cell.group]
        assert cell.choice is not None
        assert cell.choice.values == {"learning_rate": BEST[cell.group]}  # what was really taken over


@pytest.mark.usefixtures("study")
def test_groups_that_the_file_lacks_are_one_error() -> None:
    assert bench() == 0
    wider = (
        *OVERRIDES,
        "recipe_from=results/demo/tuned.yaml",
        "budgets.smal.rank=2",
        "grids=[{budgets: [smal, small]}]",
    )
    with pytest.raises(SpecError) as raised:
        load_study("demo", wider)
    assert [problem.message for problem in raised.value.problems] == [
        "recipe_from: results/demo/tuned.yaml has no values for cola/lora/smal, nor for 3 more groups (did you mean "
        "'cola/lora/small'?); with recipe_from=null the study's own recipe counts for all"
    ]


@pytest.mark.usefixtures("study")
def test_a_file_that_is_missing_and_values_that_are_tuned_as_well_are_errors() -> None:
    with pytest.raises(SpecError, match=r"recipe_from: no file results/demo/tuned\.yaml, here or beside the workflow"):
        load_study("demo", (*OVERRIDES, "recipe_from=results/demo/tuned.yaml"))
    assert bench() == 0
    with pytest.raises(SpecError, match=r"recipe_from: the values would be taken over, and tuned as well"):
        load_study("demo", (*OVERRIDES, TUNING, "recipe_from=results/demo/tuned.yaml"))


@pytest.mark.usefixtures("study")
def test_the_path_leads_from_the_working_folder_or_else_from_beside_the_workflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bench() == 0
    project = tmp_path / "project"
    shutil.copytree(WORKFLOW, project / "workflow")
    file = Path("results/demo/tuned.yaml")
    beside = project / "results" / "demo" / "tuned.yaml"
    beside.parent.mkdir(parents=True)
    content = read_tuned(file)
    beside.write_text(tuned_text(content.model_copy(update={"study": "beside"})))

    def taken() -> str | None:
        overrides = (*OVERRIDES, f"recipe_from={file}")
        choice = load_study("demo", overrides, project / "workflow").cells[0].choice
        assert choice is not None
        return choice.sha256

    assert taken() == content.sha256
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert taken() == read_tuned(beside).sha256 != content.sha256


def test_a_hash_that_looks_like_a_number_is_read_as_it_was_written(tmp_path: Path) -> None:
    trials = {"a": f"{7:063}7", "b": "12e4", "c": "1_0", "d": "0x1f", "e": "0o7", "f": "1:30", "g": "null"}
    choice = Choice(values={"learning_rate": 1e-5, "warmup_steps": None}, by="mcc", score=1e-20, trials=trials)
    file = tmp_path / "tuned.yaml"
    content = TunedFile(study="x", tuning={}, choices={"cola": {"lora": {"small": choice}}})
    file.write_text(tuned_text(content))
    assert read_tuned(file).choices == content.choices


def points_of(study: ResolvedStudy) -> list[Values]:
    return [trial.trial.values for trial in study.trials["cola/lora/small"] if trial.trial is not None]


@pytest.mark.parametrize(
    ("space", "values", "at_edge"),
    [
        ("learning_rate: [0.004, 0.001, 0.002]", {"learning_rate": 0.002}, {}),
        ("learning_rate: [0.004, 0.001, 0.002]", {"learning_rate": 0.001}, {"learning_rate": "lowest"}),
        ("learning_rate: [0.001, 0.002]", {"learning_rate": 0.002}, {"learning_rate": "highest"}),
        ("decay: [linear, constant], epochs: [1]", {"decay": "linear", "epochs": 1}, {}),  # words, and a single value
        ("warmup_steps: [null, 10, 20]", {"warmup_steps": 20}, {}),
    ],
)
def test_edges(space: str, values: dict[str, object], at_edge: dict[str, str]) -> None:
    assert edges(points_of(tuned_study(space)), values) == at_edge


def test_an_edge_of_a_range_is_that_of_the_points_that_were_drawn() -> None:
    points = points_of(tuned_study("learning_rate: {from: 0.0005, to: 0.01, scale: log}", tuning="trials: 8"))
    found = [edges(points, values) for values in sorted(points, key=lambda values: values["learning_rate"])]
    assert found == [{"learning_rate": "lowest"}, *[{}] * 6, {"learning_rate": "highest"}]
