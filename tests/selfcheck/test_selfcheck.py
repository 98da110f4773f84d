"""`bench selfcheck`: checks that crash or hang do not take the others with them, and the report says all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.cli.app import main
from bench.errors import EXIT_BAD_INPUT
from bench.paths import SELFCHECK, SELFCHECK_LOG, SLURM_PROFILE
from bench.selfcheck import checks
from bench.selfcheck.check import Check, Finding, Place
from bench.selfcheck.runner import run_checks


def fine(place: Place) -> Finding:  # noqa: ARG001
    print("printed by a check")
    return Finding(
        "pass", f"process {os.getpid()}", {"process": os.getpid(), "seen": os.environ["CUDA_VISIBLE_DEVICES"]}
    )


def raising(place: Place) -> Finding:  # noqa: ARG001
    raise RuntimeError("CUDA error: an illegal memory access\nand more")


def crashing(place: Place) -> Finding:  # noqa: ARG001
    os._exit(9)


def hanging(place: Place) -> Finding:  # noqa: ARG001
    time.sleep(600)
    return Finding("pass", "")


def hanging_in_another(place: Place) -> Finding:
    """What it starts says its id and hangs, as a cell of a check could."""
    code = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
    subprocess.run([sys.executable, "-c", code, str(place.folder / "started")], check=False)
    return Finding("pass", "")


def failing(place: Place) -> Finding:  # noqa: ARG001
    return Finding("fail", "no GPU")


def check(run: object, *, limit: float = 60, alone: bool = False, needed: bool = False) -> Check:
    name = run.__name__  # type: ignore[attr-defined]
    return Check(name, "it holds", "call for help", run, alone=alone, needed=needed, limit=limit)  # type: ignore[arg-type]


def test_where_a_needed_check_fails_the_others_are_skipped(tmp_path: Path) -> None:
    for wrong in (failing, raising, crashing):
        chosen = [check(fine, needed=True), check(wrong, needed=True), check(fine), check(fine, alone=True)]
        outcomes = run_checks(chosen, Place(tmp_path, "cpu"), tmp_path / "log")
        assert [outcome.finding.result for outcome in outcomes] == ["pass", "fail", "skipped", "skipped"]
        assert outcomes[-1].finding.found == f"{wrong.__name__} failed"


def test_every_check_has_its_answer(tmp_path: Path) -> None:
    chosen = [
        check(fine),
        check(fine),
        check(raising),
        check(crashing),
        check(hanging, limit=2),
        check(fine, alone=True),
    ]
    told: list[str] = []
    outcomes = run_checks(chosen, Place(tmp_path, "cpu"), tmp_path / "log", lambda outcome: told.append(outcome.name))
    assert told == ["fine", "fine", "raising", "crashing", "hanging", "fine"]
    assert [outcome.finding.result for outcome in outcomes] == ["pass", "pass", "fail", "fail", "fail", "pass"]
    said = [outcome.finding.found for outcome in outcomes]
    assert said[0] == said[1] != said[5]  # one process for those that go well
    assert said[2] == "RuntimeError: CUDA error: an illegal memory access"
    assert said[3] == "its process ended without an answer"
    assert said[4] == "no answer in 2 seconds"
    assert outcomes[0].finding.numbers["seen"] == ""  # the CPU is checked: no GPU is visible
    assert "illegal memory access" in (tmp_path / "log").read_text()


def test_a_check_that_hangs_leaves_nothing_behind(tmp_path: Path) -> None:
    """Not the cells that it has started either, which would hold a GPU."""
    chosen = [check(hanging_in_another, limit=5, alone=True)]
    (outcome,) = run_checks(chosen, Place(tmp_path, "cpu"), tmp_path / "log")
    assert outcome.finding.found == "no answer in 5 seconds"
    assert_ends((tmp_path / "started").read_text())


def test_a_self_check_that_is_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import test_selfcheck as here\n"
        "chosen = [here.check(here.hanging_in_another, alone=True)]\n"
        "here.run_checks(chosen, here.Place(Path(sys.argv[2]), 'cpu'), Path(sys.argv[2], 'log'))"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path)]
    with subprocess.Popen(command) as parent:
        started, deadline = tmp_path / "started", time.monotonic() + 60
        while not (started.exists() and started.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        parent.kill()
    assert_ends(started.read_text())


def assert_ends(process: str) -> None:
    """Soon there is no process of that id that runs; a zombie waits for whoever adopted it."""
    stat, deadline = Path("/proc", process, "stat"), time.monotonic() + 10
    while stat.exists() and stat.read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_report_and_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checks, "CHECKS", (check(fine), check(raising)))
    words = ["selfcheck", "--device", "cpu", "--results", str(tmp_path)]
    assert main(words) == 1
    printed = capsys.readouterr().out
    assert "pass    fine         it holds" in printed
    assert "What to do: call for help" in printed
    assert "2 checks: 1 passed, 1 failed" in printed
    report = json.loads((tmp_path / SELFCHECK).read_text())
    assert (report["passed"], report["device"]) == (False, "cpu")
    assert [found["finding"]["result"] for found in report["checks"]] == ["pass", "fail"]
    assert "traceback" in report["checks"][1]["finding"]["numbers"]
    assert report["environment"]["packages"]["torch"]
    assert any("printed by a check" in line for line in report["log"])
    assert (tmp_path / SELFCHECK_LOG).is_file()
    assert main([*words, "--only", "fine"]) == 0
    assert main([*words, "--only", "fin"]) == EXIT_BAD_INPUT
    assert "--only fin: no such check (did you mean 'fine'?)" in capsys.readouterr().err


@pytest.mark.long
def test_the_quick_form_on_this_machine(tmp_path: Path) -> None:
    """What CI runs of it: the checks that take seconds. All of them: `bench selfcheck --device cpu`."""
    chosen = [word for name in ("device", "bytes", "float32", "texts", "waits") for word in ("--only", name)]
    assert main(["selfcheck", "--device", "cpu", "--results", str(tmp_path), *chosen]) == 0


SRUN = """\
#!/bin/sh
echo "$@" > "$TMPDIR/words"
exit 7
"""


def test_as_a_slurm_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """srun is a stand-in that notes what it was asked for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert main(["selfcheck", "--slurm", "--results", "out"]) == EXIT_BAD_INPUT
    assert "srun is not found" in capsys.readouterr().err
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/srun").write_text(SRUN)
    (tmp_path / "bin/srun").chmod(0o755)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert main(["selfcheck", "--slurm", "--deep", "--only", "bits", "--results", "out"]) == 7
    words = (tmp_path / "words").read_text()
    assert "--gpus=1 " in words
    assert "--time=90" in words
    assert words.endswith("-m bench.cli selfcheck --deep --only bits --device cuda --results out\n")
    SLURM_PROFILE.parent.mkdir()
    SLURM_PROFILE.write_text("default-resources:\n  slurm_account: us\n  slurm_partition: gpus\n  gpu_model: a100\n")
    assert main(["selfcheck", "--slurm"]) == 7
    words = (tmp_path / "words").read_text()
    assert "--time=30 --gpus=a100:1 --account=us --partition=gpus " in words
