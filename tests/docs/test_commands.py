"""Every command in the documentation is a real one: the program exists and takes the options."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
# The programs of this environment come first, as `uv run` has them.
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "slurm").glob("*.md")])


def commands() -> list[str]:
    """Each command that starts with `uv run`, from code blocks and backticks, without its comment."""
    lines: list[str] = []
    for page in PAGES:
        for block in MarkdownIt("commonmark").enable("table").parse(page.read_text()):
            if block.type in ("code_block", "fence"):
                lines += block.content.replace("\\\n", "").splitlines()
            lines += [token.content for token in block.children or [] if token.type == "code_inline"]
    found = {" ".join(line.partition(" #")[0].split()) for line in lines}
    return sorted(command for command in found if command.startswith("uv run "))


@cache
def help_of(*program: str) -> str:
    done = subprocess.run([*program, "--help"], env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_documentation_has_commands() -> None:
    assert len(commands()) > 20


@pytest.mark.parametrize("command", commands())
def test_a_command_is_real(command: str) -> None:
    words = shlex.split(command)[2:]
    program, arguments = words[0], words[1:]
    if program == "bench":
        text = help_of("bench", arguments[0])
    elif program == "python" and arguments:
        assert (ROOT / arguments[0]).is_file(), command
        if arguments[0].startswith(".ci/"):
            return
        text = help_of("python", str(ROOT / arguments[0]))
    elif program == "pytest":
        for argument in arguments:
            if argument.startswith(("tests/", "--ignore=")):
                assert (ROOT / argument.removeprefix("--ignore=")).exists(), command
        return
    elif program in ("ruff", "mypy", "snakefmt", "lint-imports"):
        text = help_of(program, *arguments[:1]) if program == "ruff" else help_of(program)
    else:
        assert program == "snakemake", command
        text = help_of(program)
    for option in re.findall(r"(?<=\s)--?[\w-]+", " " + " ".join(arguments)):
        assert re.search(rf"(?<![\w-]){re.escape(option)}\b", text), f"{command}: {option} is not an option"


@pytest.mark.parametrize(
    ("arguments", "mentions"),
    [
        (["--cores", "1"], "group_cola_1"),
        (["--profile", "slurm", "--executor", "local", "--config", "study=paper"], "train_mnli"),
        (["--cores", "1", "tables"], "tables"),
    ],
    ids=["demo", "paper", "tables"],
)
def test_the_commands_of_the_readme_run_dry(arguments: list[str], mentions: str, tmp_path: Path) -> None:
    """With -n nothing is trained, but the study is resolved and every rule is evaluated."""
    for name in ("Snakefile", "workflow", "slurm"):  # not in the checkout, which may hold results and a lock
        (tmp_path / name).symlink_to(ROOT / name)
    done = subprocess.run(
        ["snakemake", "-n", *arguments], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert mentions in done.stdout + done.stderr
