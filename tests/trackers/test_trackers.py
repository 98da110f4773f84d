"""A tracker shows what the curve holds; slow, stuck, dead or absent, it changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from helpers.projects import Project, make_project

from bench.records.io import read_record
from bench.records.schema import result_of
from bench.trackers.feed import WAITING, Feed
from bench.trackers.sink import SINKS

CELL = "cola/adalora/small/seed-0"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, prepared_cache: Path) -> Project:
    return make_project(tmp_path_factory.mktemp("project"), "embedded", prepared_cache)


def train(project: Project, name: str, *more: str) -> tuple[Path, str]:
    """The folder of the cell's record, and what was said."""
    out = project.folder / name
    command = [
        sys.executable,
        "-m",
        "bench.cli",
        "train",
        "--study",
        "tiny",
        "--task",
        "cola",
        "--method",
        "adalora",
        "--budget",
        "small",
        "--seed",
        "0",
        "--out",
        str(out),
        "--workflow",
        str(project.workflow),
        "--set",
        "methods=[adalora]",
        *more,
    ]
    done = subprocess.run(command, cwd=project.folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return out, done.stdout + done.stderr


@pytest.fixture(scope="module")
def untracked(project: Project) -> Path:
    return train(project, "untracked")[0]


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]


def same(one: Path, other: Path) -> bool:
    results = [result_of(read_record(folder / "record.json")) for folder in (one, other)]
    curves = [(folder / "curve.jsonl").read_bytes() for folder in (one, other)]
    return results[0] == results[1] and curves[0] == curves[1]


@pytest.mark.long
def test_tensorboard_shows_the_curve_and_changes_nothing(project: Project, untracked: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out, _ = train(project, "tracked", "--set", "tracker=tensorboard")
    assert same(out, untracked)
    shown = EventAccumulator(str(project.folder / "results/tiny/tracker/tensorboard" / CELL))
    shown.Reload()
    curve = lines(out)
    for key in ("loss", "learning_rate", "gradient_norm", "regularizer", "budget"):
        expected = [(line["step"], pytest.approx(line[key])) for line in curve]
        assert [(event.step, event.value) for event in shown.Scalars(key)] == expected
    ranks = {line["step"]: line["live_ranks"] for line in curve if "live_ranks" in line}
    assert {event.step: event.value for event in shown.Scalars("live_ranks")} == {s: sum(r) for s, r in ranks.items()}
    record = read_record(out / "record.json")
    for name, site in record.ranks.items():
        assert shown.Scalars(f"live_ranks/{name}")[-1].value == site.end
    accuracy = record.metrics["validation"]["last"]["mcc"]
    assert shown.Scalars("metrics/validation/mcc")[-1].value == pytest.approx(accuracy)


@pytest.mark.long
def test_a_dead_tracker_changes_nothing(project: Project, untracked: Path) -> None:
    place = project.folder / "nowhere" / "tiny" / "tracker" / "tensorboard"
    place.parent.mkdir(parents=True)
    place.write_text("a file where its folder should be: the tracker ends at once")
    arguments = ("--set", "tracker=tensorboard", "--results", "nowhere", "--cache", "results/cache")
    out, said = train(project, "dead", *arguments)
    assert same(out, untracked)
    assert "the tracker is lost" in said


def test_a_stuck_tracker_holds_nothing_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    feed = Feed([sys.executable, "-c", "import time; time.sleep(600)"], tmp_path / "log", patience=0.5)
    clock = time.monotonic()
    for step in range(20):
        feed({"step": step, "text": "x" * (WAITING // 10)})
    feed.close()
    assert time.monotonic() - clock < 5
    assert caplog.text.count("the tracker is lost") == 1


def test_a_slow_tracker_gets_everything(tmp_path: Path) -> None:
    got = tmp_path / "got"
    slow = f"import sys, time; time.sleep(1); open({str(got)!r}, 'w').write(sys.stdin.read())"
    feed = Feed([sys.executable, "-c", slow], tmp_path / "log")
    for step in range(5000):
        feed({"step": step, "loss": 0.5, "live_ranks": list(range(72))})
    feed.close()
    assert [json.loads(line)["step"] for line in got.read_text().splitlines()] == list(range(5000))


@pytest.mark.parametrize("tracker", ["wandb", "trackio"])
def test_other_trackers_take_the_same(tracker: str, tmp_path: Path) -> None:
    pytest.importorskip(tracker, reason=f"{tracker} is no dependency of the project")
    told = [
        {"config": {"seed": 0}, "sites": ["a", "b"]},
        *({"step": step, "loss": 1 / step, "live_ranks": [2, 1]} for step in range(1, 6)),
        {"metrics": {"validation": {"mcc": 0.5}}},
    ]
    command = [sys.executable, "-m", "bench.trackers.sink", tracker, str(tmp_path), "tiny", CELL]
    text = "".join(json.dumps(line) + "\n" for line in told)
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    kinds = {"wandb": "wandb/offline-run-*/run-*.wandb", "trackio": "*.db"}
    assert list(tmp_path.rglob(kinds[tracker]))


def test_a_tracker_that_is_not_installed_is_refused_before_any_job(project: Project) -> None:
    missing = next((name for name in SINKS if find_spec(name) is None), None)
    if missing is None:
        pytest.skip("every tracker is installed here")
    done = project.snakemake(config=(f"set=tracker={missing}",))
    assert done.code == 2
    assert f"tracker: {missing} is not installed" in done.out
    assert not project.records


def test_a_tracker_nobody_knows_is_refused(project: Project) -> None:
    done = project.snakemake(config=("set=tracker=tensorbord",))
    assert done.code == 2
    assert "'tensorboard'" in done.out
