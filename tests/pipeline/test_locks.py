"""What is said where another Snakemake holds the folder, whatever its note holds, and how the lock is removed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bench.paths import SnakemakePaths
from bench.pipeline.locks import announce_holder, note_holder, unlock_command

UNREADABLE = [b"", b"{", b"[1]", b"null", b"3", bytes(range(128, 256)), b"[" * 5000, b'{"host": 1}']


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SnakemakePaths:
    """Snakemake's folder, locked."""
    monkeypatch.chdir(tmp_path)
    places = SnakemakePaths()
    places.locks.mkdir(parents=True)
    (places.locks / "0.input.lock").touch()
    return places


def test_the_holder_is_named(places: SnakemakePaths, capsys: pytest.CaptureFixture) -> None:
    note_holder("tiny")
    announce_holder()
    assert f"(study tiny, process {os.getpid()} on {socket.gethostname()}, since " in capsys.readouterr().err
    ended = subprocess.Popen(["true"])
    ended.wait()
    places.holder.write_text(places.holder.read_text().replace(str(os.getpid()), str(ended.pid)))
    announce_holder()
    assert "; it has ended: " in capsys.readouterr().err


@pytest.mark.parametrize("content", UNREADABLE)
def test_a_note_that_cannot_be_read(places: SnakemakePaths, capsys: pytest.CaptureFixture, content: bytes) -> None:
    places.holder.write_bytes(content)
    announce_holder()
    assert "a pipeline holds this folder (unknown); if it has ended: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("started", "by_uv", "expected"),
    [
        (["/x/.venv/bin/snakemake", "--cores", "all"], True, "uv run snakemake --unlock --cores 1"),
        (["/usr/bin/snakemake", "--cores", "all", "tables"], False, "snakemake --unlock --cores 1"),
        (["/x/snakemake", "-s", "my files/Snakefile"], False, "snakemake -s 'my files/Snakefile' --unlock --cores 1"),
        (["/x/snakemake", "--directory=d", "-n"], False, "snakemake --directory=d --unlock --cores 1"),
        (["/x/snakemake/__main__.py"], False, f"{sys.executable} -m snakemake --unlock --cores 1"),
    ],
)
def test_the_lock_is_removed_by_the_program_that_took_it(
    monkeypatch: pytest.MonkeyPatch, started: list[str], by_uv: bool, expected: str
) -> None:
    monkeypatch.setattr(sys, "argv", started)
    monkeypatch.delenv("UV_RUN_RECURSION_DEPTH", raising=False)
    if by_uv:
        monkeypatch.setenv("UV_RUN_RECURSION_DEPTH", "1")
    assert unlock_command() == expected
