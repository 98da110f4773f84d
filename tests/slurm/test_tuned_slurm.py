"""A study that tunes, through a real Slurm: the same choices and records as locally, with and without halving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.clusters import Cluster, Run

from bench.config.tuned_file import read_tuned
from bench.records.io import read_record
from bench.records.schema import result_of

pytestmark = pytest.mark.slurm
TUNED = """\
name: tuned-quarter
data: embedded
backbones: {classification: minilm}
tasks: [cola]
methods: [lora, adalora]
budgets: {small: {rank: 2, initial_rank: 4}}
seeds: [0]
limits: {train_rows: 160, evaluation_rows: 64}
recipe: {max_steps: 8, batch_size: 8, max_length: 32}
resources: {mem_mb: 1500, runtime: 10, gpus: 1}
tuning:
  space: {learning_rate: {from: 1.0e-4, to: 1.0e-2, scale: log}}
  trials: 2
  seeds: [100]
  holdout_rows: 64
"""
GROUPS = ("cola/adalora/small", "cola/lora/small")


@pytest.mark.parametrize("config", [(), ("set=tuning.halving=2",)], ids=["all to the end", "halving"])
def test_the_same_choices_and_records_as_locally(
    cluster: Cluster, shared: Path, tmp_path: Path, config: tuple[str, ...]
) -> None:
    (shared / "workflow" / "studies" / "tuned-quarter.yaml").write_text(TUNED)
    local, through_slurm = (
        Run(tmp_path / name, shared / "cache", config, study="tuned-quarter") for name in ("local", "slurm")
    )
    local.finish(local.start("records", profile=False))
    before = len(cluster.accounted("JobID"))
    through_slurm.finish(through_slurm.start("records"))
    assert outcome(through_slurm) == outcome(local)
    tuned = read_tuned(through_slurm.results / "tuned.yaml")
    assert sorted(tuned.groups) == sorted(GROUPS)
    assert len(list(through_slurm.results.glob("trials/**/record.json"))) == 2 * len(GROUPS)
    # Without halving each trial and each final cell is a job of its own; each rung is one more for each trial in it.
    jobs = [comment for (comment,) in cluster.accounted("Comment")[before:]]
    assert len([job for job in jobs if job.startswith("rule_train_cola")]) == len(GROUPS)
    assert len([job for job in jobs if job.startswith("rule_trial_cola")]) == 2 * len(GROUPS)
    assert len([job for job in jobs if job.startswith("rule_rung_cola")]) == (2 * len(GROUPS) if config else 0)


def outcome(run: Run) -> dict[str, Any]:
    """What must not depend on where the jobs ran."""
    records = {
        file.relative_to(run.results).as_posix(): result_of(read_record(file))
        for file in run.results.rglob("record.json")
    }
    curves = {file.relative_to(run.results).as_posix(): file.read_bytes() for file in run.results.rglob("curve.jsonl")}
    return {**records, **curves, "tuned.yaml": (run.results / "tuned.yaml").read_text()}
