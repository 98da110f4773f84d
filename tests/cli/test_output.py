"""Commands print on every terminal, and end with a sentence where they cannot write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli.app import main
from bench.cli.output import HANDLER, print_any_letter


def bench(words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """The command in a shell of its own, with these variables."""
    command = f'"{sys.executable}" -m bench.cli {words}'
    variables = {**os.environ, **environment}
    return subprocess.run(["sh", "-c", command], cwd=folder, env=variables, capture_output=True, check=False)


def test_a_letter_that_the_terminal_lacks_ends_nothing(tmp_path: Path) -> None:
    done = bench("schema --out 'K\xe4the − ε'", tmp_path, PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.splitlines()[0] == b"K\xe4the - \\u03b5/task.schema.json"


def test_letters_that_an_encoding_lacks() -> None:
    print_any_letter()
    assert "−7.67 ± 1 × n".encode("ascii", HANDLER) == b"-7.67 +- 1 x n"
    assert os.fsdecode(b"a\xff.zip").encode("utf-8", HANDLER) == b"a\xff.zip"


def test_without_a_place_to_print_it_runs(tmp_path: Path) -> None:
    done = bench("schema --out schemas >&-", tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "schemas" / "task.schema.json").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("checklist", "demo", "--out", "/proc/a/b.md"), "--out=/proc/a: cannot be written"),
        (("compare", "a", "b", "--fail-over", "nan"), "--fail-over nan: expected a number of points"),
        (("bundle", "demo", "--out", "a.zip", "--title", "a\nb"), "--title 'a\\nb': expected one line of text"),
        (("bundle", "demo", "--out", "a.zip", "--title", " "), "--title ' ': expected one line of text"),
    ],
)
def test_a_wrong_option_is_told_before_anything_is_read(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert said in capsys.readouterr().err
