"""Real runs of Snakemake, on a terminal and through a pipe, and `bench status --watch` beside them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.projects import Project, make_project
from helpers.terminals import Terminal

COLA, SST2 = "cola/lora/small/seed-0", "sst2/lora/small/seed-0"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two cells of two steps; whatever one test trains or prepares, the next one finds."""
    return make_project(tmp_path_factory.mktemp("project"), "embedded")


def watch(project: Project) -> list[str]:
    return [sys.executable, "-m", "bench.cli", "status", "tiny", "--workflow", str(project.workflow), "--watch"]


@pytest.mark.long
def test_through_a_pipe_each_event_is_a_line(project: Project) -> None:
    lease = project.folder / "results/tiny/cells" / SST2 / ".lease"
    lease.mkdir(parents=True)  # a real failure: the job can't take its lease
    done = project.snakemake("records", "--keep-going")
    lease.rmdir()
    assert done.code == 1, done.out
    assert "\x1b" not in done.out
    assert "\r" not in done.out
    log = "results/tiny/logs/" + SST2
    for line in (
        "tiny: 0 of 2 cells done",
        "preparing cola-.*",
        rf"started {COLA}",
        rf"done {COLA}: mcc \S+ in \d+ s.*",
        rf"failed {SST2}: .*is a folder, where the lease of the cell belongs; remove it \(whole log: {log}\.log\).*",
    ):
        assert re.search(rf"^\d\d:\d\d:\d\d {line}$", done.out, re.MULTILINE), done.out
    assert "1 of 2 cells failed; run the same command again" in done.out
    assert "CalledProcessError" not in done.out


@pytest.mark.long
def test_on_a_terminal_the_cells_are_drawn(project: Project) -> None:
    project.snakemake("records", config=("tasks=cola",))  # done already, unless this test comes first
    terminal = Terminal(project.command("records"), project.folder)
    terminal.until("1 of 2 done, 1 starting")
    assert terminal.code() == 0, terminal.plain
    assert "\x1b[?25l" in terminal.shown  # the cursor is hidden,
    assert terminal.shown.rindex("\x1b[?25h") > terminal.shown.rindex("\x1b[?25l")  # and back at the end
    assert terminal.plain.rstrip().endswith("2 of 2 done")
    log = max((project.folder / ".snakemake" / "log").iterdir()).read_text()
    for line in ("localrule train_sst2", "Select jobs", "jobid:", "Job stats", "steps (100%) done"):
        assert line in log
        assert line not in terminal.plain


@pytest.mark.long
def test_ctrl_c_and_again_ends_without_a_traceback(project: Project) -> None:
    config = ("set=recipe.max_steps=4000;recipe.epochs=4000",)
    terminal = Terminal(project.command("records", config=config), project.folder)
    terminal.until("/4000")
    terminal.press_ctrl_c()
    terminal.until("Terminating processes on user request")
    terminal.press_ctrl_c()
    terminal.until("stopping: running cells save a checkpoint")
    assert terminal.code() == 1
    assert re.search(rf"failed ({COLA}|{SST2}): stopped ", " ".join(terminal.plain.split()))
    assert "Traceback" not in terminal.plain


def test_a_second_terminal_watches_until_ctrl_c(project: Project) -> None:
    terminal = Terminal(watch(project), project.folder)
    terminal.until("of 2 done", 20)
    terminal.press_ctrl_c()
    assert terminal.code(20) == 0
    assert "Traceback" not in terminal.plain
    assert terminal.shown.rindex("\x1b[?25h") > terminal.shown.rindex("\x1b[?25l")


def test_what_is_watched_through_a_pipe_is_lines(tmp_path: Path) -> None:
    from helpers.records import make_record

    from bench.config.resolve import load_study
    from bench.records.io import write_record

    project = make_project(tmp_path, "embedded")
    for cell in load_study("tiny", folder=project.workflow).cells:
        record = make_record(cell, {"validation": {cell.task.metric: 0.5}})
        write_record(record, tmp_path / "results/tiny/cells" / cell.id)
    done = subprocess.run(watch(project), cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\d\d:\d\d:\d\d tiny: 2 of 2 cells done\n", done.stdout)


@pytest.mark.long
@pytest.mark.parametrize("words", [("--dry-run",), ("--unlock",)])
def test_other_modes_say_what_snakemake_says(project: Project, words: tuple[str, ...]) -> None:
    ours = project.snakemake(*words)
    theirs = project.snakemake(*words, "--workflow-profile", "none", "--rerun-incomplete")  # as the profile has it
    using = [line for line in ours.out.splitlines(keepends=True) if line.startswith("Using workflow specific profile")]
    assert ours.code == theirs.code
    assert _words(ours.out.replace("".join(using), "")) == _words(theirs.out)


def test_a_job_imports_nothing_that_draws() -> None:
    code = (
        "import sys, snakemake_logger_plugin_rankbench, bench.progress.log_handler\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'rich', 'torch', 'pandas', 'numpy'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def _words(text: str) -> list[str]:
    """The words of an output but for times and names of the run; the order of jobs is Snakemake's choice."""
    return sorted(re.sub(r"(Date|Workflow ID|Command): .*|\[\w{3} \w{3} .*\]|,", "", text).split())
