"""The study through a real Slurm: the same bits as locally, and nothing lost, doubled or orphaned when disturbed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.clusters import CELLS, Cluster, Run, comment, kill, processes, run, until

pytestmark = pytest.mark.slurm
Make = Callable[..., Run]


def started(cluster: Cluster, study: Run, cell: str) -> bool:
    """Whether the cell's job is past its start: the first line of its curve stands."""
    running = any(job.comment == comment(cell) and job.state == "RUNNING" for job in cluster.jobs())
    return running and any((study.folder / "results").glob(f"quarter/logs/{cell}.log"))


def unmeasured(table: Path) -> list[list[str]]:
    """The fields of a table without the columns of measured memory, which no two processes share to the byte, and
    without the footnote that the cluster's GPUs are stand-ins."""
    lines = [line.split("|") for line in table.read_text().splitlines() if "though their jobs had GPUs" not in line]
    heads = next((line for line in lines if len(line) > 1), [])
    measured = {index for index, name in enumerate(heads) if "peak" in name or "measured" in name}
    return [[field for index, field in enumerate(line) if index not in measured] for line in lines]


def job_of(cluster: Cluster, cell: str) -> str:
    return next(job.id for job in cluster.jobs() if job.comment == comment(cell))


def same(study: Run, local: Run) -> None:
    expected = local.bits()
    found = study.bits()
    assert set(found) == set(CELLS)
    assert [name for name in CELLS if found[name] != expected[name]] == []


def test_same_tables_and_the_planned_resources(cluster: Cluster, study: Make, local: Run) -> None:
    quarter = study()
    before = len(cluster.accounted("JobID"))
    quarter.finish(quarter.start())
    same(quarter, local)
    tables = sorted((quarter.folder / "results/quarter/tables").glob("*.md"))
    assert tables
    for table in tables:
        if table.stem == "cost":  # holds times
            continue
        assert unmeasured(table) == unmeasured(local.folder / "results/quarter/tables" / table.name)
    jobs = cluster.accounted("Comment", "AllocTRES", "ReqMem", "Timelimit")[before:]
    assert sorted(job[0] for job in jobs) == sorted(comment(cell) for cell in CELLS)
    for _, resources, memory, limit in jobs:
        assert "gres/gpu=1" in resources
        assert (memory, limit) == ("1500M", "00:10:00")
    record = json.loads((quarter.cell(CELLS[0]) / "record.json").read_text())
    assert record["environment"]["cpu_in_place_of_gpus"]
    use = record["environment"]["slurm"]
    assert (use["requeues"], use["memory_requested_mib"], use["seconds_requested"]) == (0, 1500, 600)
    assert 0 < use["memory_used_mib"] < 1500
    assert 0 < use["seconds_used"] < 600
    assert use["seconds_queued"] >= 0
    assert "gres/gpu=1" in use["resources"]
    assert cluster.jobs() == []


def test_job_that_fails_twice_and_a_canceled_one(cluster: Cluster, study: Make, local: Run) -> None:
    quarter = study()
    done = len(cluster.accounted("JobID"))
    process = quarter.start()
    doomed, canceled = CELLS[0], CELLS[1]
    until(lambda: started(cluster, quarter, canceled), 300, "the second cell runs")
    run("scancel", job_of(cluster, canceled))
    for _ in range(2):
        before = job_of(cluster, doomed) if started(cluster, quarter, doomed) else ""
        until(lambda: kill_training(doomed), 300, "the first cell trains")
        until(lambda b=before: not any(job.id == b for job in cluster.jobs()), 120, "its job ends")
    quarter.finish(process)
    same(quarter, local)
    asked = [job[1:] for job in cluster.accounted("Comment", "ReqMem", "Timelimit")[done:] if job[0] == comment(doomed)]
    assert asked == [["1500M", "00:10:00"], ["3000M", "00:20:00"], ["4500M", "00:30:00"]]


def kill_training(cell: str) -> bool:
    """kill -9 of the processes that train `cell` and hold its lease, as when the memory of a job runs out."""
    task, method, *_ = cell.split("/")
    found = False
    for process in processes():
        of_slurm = any(variable.startswith(b"SLURM_JOB_ID=") for variable in process.environment)
        if of_slurm and "/bench train " in process.command and f"--task {task} --method {method} " in process.command:
            kill(process.pid)
            found = True
    return found


def test_submission_refused(cluster: Cluster, study: Make, local: Run) -> None:
    """Fault 13: the cell that runs goes on to its record; the others wait for the next run, which trains them alone."""
    quarter = study()
    process = quarter.start("--jobs", "1")
    until(lambda: bool(cluster.jobs()), 300, "the first cell is submitted")
    run("scontrol", "update", "PartitionName=gpu", "State=DRAIN")
    try:
        assert process.wait(300) == 1
        finished = set(quarter.bits())
        assert len(finished) == 1
        assert cluster.jobs() == []
    finally:
        run("scontrol", "update", "PartitionName=gpu", "State=UP")
    before = len(cluster.accounted("JobID"))
    quarter.finish(quarter.start())
    same(quarter, local)
    again = [job[0] for job in cluster.accounted("Comment")[before:]]
    assert sorted(again) == sorted(comment(cell) for cell in CELLS if cell not in finished)


def test_controller_restarted_and_a_node_lost(cluster: Cluster, study: Make, local: Run) -> None:
    quarter = study()
    process = quarter.start()
    until(lambda: started(cluster, quarter, CELLS[0]), 300, "the first cell runs")
    node = next(job.node for job in cluster.jobs() if job.comment == comment(CELLS[0]))
    cluster.lose_node(node)
    cluster.restart_controller(pause=5)
    quarter.finish(process)
    same(quarter, local)


def test_main_process_killed_and_started_again_while_jobs_run(cluster: Cluster, study: Make, local: Run) -> None:
    quarter = study()
    process = quarter.start()
    until(lambda: started(cluster, quarter, CELLS[0]), 300, "the first cell runs")
    process.send_signal(signal.SIGKILL)
    process.wait()
    refused = quarter.start()
    assert refused.wait(200) == 1
    assert "snakemake --unlock" in quarter.log.read_text(errors="replace")
    quarter.finish(quarter.start("--unlock", profile=False))
    quarter.finish(quarter.start())
    same(quarter, local)
    until(lambda: cluster.jobs() == [], 120, "no job is left")


def test_preempted_and_out_of_time(cluster: Cluster, study: Make, local: Run) -> None:
    quarter = study()
    process = quarter.start("--default-resources", "slurm_partition=spot", "nodes=1")
    until(lambda: started(cluster, quarter, CELLS[0]), 300, "the first cell runs")
    first, second = job_of(cluster, CELLS[0]), job_of(cluster, CELLS[1])
    hog = run("sbatch", "--parsable", "-p", "gpu", "--nodes=4", "--exclusive", "--wrap=sleep 5").stdout.strip()
    assert hog
    until(lambda: int(requeues(first)) > 0, 120, "preempted and requeued")
    run("scontrol", "update", f"JobId={second}", "TimeLimit=1")
    quarter.finish(process)
    same(quarter, local)


def requeues(job: str) -> str:
    out = run("scontrol", "show", "job", job).stdout
    return out.partition("Restarts=")[2].split(" ", 1)[0] or "0"


def test_ctrl_c_cancels_the_jobs(cluster: Cluster, study: Make) -> None:
    quarter = study()
    process = quarter.start()
    until(lambda: started(cluster, quarter, CELLS[0]), 300, "the first cell runs")
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(300) != 0
    until(lambda: cluster.jobs() == [], 120, "no job is left")


def test_short_cells_in_one_job(cluster: Cluster, study: Make, local: Run) -> None:
    quarter = study()
    before = len(cluster.accounted("JobID"))
    groups = ["--groups", "train_cola=cells", "train_sst2=cells", "--group-components", f"cells={len(CELLS)}"]
    quarter.finish(quarter.start(*groups, "--resources", "nodes=1", "--set-resource-scopes", "nodes=local"))
    same(quarter, local)
    jobs = cluster.accounted("AllocTRES", "ReqMem", "Timelimit")[before:]
    # One cell after the other: the GPU, node and memory of one, the time of all.
    assert [job[1:] for job in jobs] == [["1500M", "00:40:00"]]
    assert {"gres/gpu=1", "node=1"} <= set(jobs[0][0].split(","))


def test_a_cell_on_two_gpus_of_one_node(cluster: Cluster, study: Make) -> None:
    both = study("set=recipe.processes=2; tasks=[cola]; methods=[adalora]")
    before = len(cluster.accounted("JobID"))
    both.finish(both.start())
    (cell,) = both.bits()
    (job,) = cluster.accounted("Comment", "AllocTRES", "AllocCPUS")[before:]
    assert job[0] == comment(cell)
    assert {"gres/gpu=2", "node=1"} <= set(job[1].split(","))
    assert job[2] == "2"
    through_slurm = both.bits()
    record = both.cell(cell) / "record.json"
    record.unlink()
    both.finish(both.start(profile=False))  # the same two processes without Slurm
    assert both.bits() == through_slurm
