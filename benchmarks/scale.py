"""The pipeline with thousands of cells: the dry run of its graph, the status, and the records read into one frame.

    python benchmarks/scale.py [--seeds 250 --json]
    python benchmarks/scale.py --tuned [--seeds 250]

The study is the demo with that many seeds (250 give 10,000 cells, with one job each). Its records are those of the
committed example with other seeds. It prints seconds and peak resident memory of each command, which runs in its own
process. With --tuned it compares two dry runs, in seconds of processor time: of these cells, and of the demo that tunes
with as many trials (10,000) and has five seeds (200 final cells).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.config.resolve import ResolvedStudy, load_study
from bench.records.io import read_record, write_record
from bench.records.schema import CellKey

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "results" / "demo" / "example" / "cells"
READ = """
from pathlib import Path
import sys
from bench.analysis.results import read_results, tidy
from bench.config.resolve import load_study
frame = tidy(read_results(load_study("demo", [sys.argv[1]]), Path(sys.argv[2])))
print(len(frame))
"""


def write_records(study: ResolvedStudy, results: Path) -> None:
    """Write a record for each cell: that of seed 0 in the example, under the cell's own name."""
    for cell in study.cells:
        example = read_record(EXAMPLE / cell.model_copy(update={"seed": 0}).id / "record.json")
        key = CellKey(
            **{
                **example.cell.model_dump(),
                "seed": cell.seed,
                "id": cell.id,
                "spec_hash": cell.spec_hash,
            }
        )
        spec = {**example.spec, "seed": cell.seed}
        write_record(example.model_copy(update={"cell": key, "spec": spec}), results / study.name / "cells" / cell.id)


def measured(words: list[str], folder: Path, *, processor: bool = False) -> tuple[float, float]:
    """Seconds (wall, or of the processor) and peak resident MiB of a command.

    Raises SystemExit with its output if it fails.
    """
    began = time.perf_counter()
    with (folder / "out.txt").open("w+") as out:
        process = subprocess.Popen(
            words, cwd=folder, stdout=out, stderr=out, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            out.seek(0)
            raise SystemExit(out.read()[-3000:])
    seconds = usage.ru_utime + usage.ru_stime if processor else time.perf_counter() - began
    return seconds, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=250)
    parser.add_argument("--tuned", action="store_true", help="compare dry runs of as many trials and of cells")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    seeds = f"seeds=[{', '.join(map(str, range(args.seeds)))}]"
    study = load_study("demo", [seeds])
    snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "all"]
    workflow = str(ROOT / "workflow")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = ["--config", f"workflow={workflow}", f"set={seeds};cells_per_job=1"]
        dry_run = [*snakemake, "--dry-run", "--quiet", "all"]
        if args.tuned:
            space = "{learning_rate: {from: 1.0e-5, to: 1.0e-2, scale: log}}"
            tuning = f"seeds=[0, 1, 2, 3, 4];cells_per_job=1;tuning={{space: {space}, trials: {args.seeds}}}"
            tuned = [*dry_run, "--config", f"workflow={workflow}", f"set={tuning}"]
            plain = measured([*dry_run, *config], folder, processor=True)
            trials = measured(tuned, folder, processor=True)
            print(f"cells without tuning: {plain[0]:.1f} s, {plain[1]:,.0f} MiB")
            print(f"as many trials, and 200 final cells: {trials[0]:.1f} s, {trials[1]:,.0f} MiB")
            print(f"{trials[0] / plain[0]:.2f} times")
            return
        report = {"dry run": measured([*dry_run, *config], folder)}
        write_records(study, folder / "results")
        bench = [sys.executable, "-m", "bench.cli"]
        report["status"] = measured([*bench, "status", "demo", "--workflow", workflow, "--set", seeds], folder)
        report["records to a frame"] = measured([sys.executable, "-c", READ, seeds, "results"], folder)
    if args.json:
        print(json.dumps({"cells": len(study.cells), **report}, indent=1))
        return
    print(f"{len(study.cells):,} cells")
    for step, (seconds, memory) in report.items():
        print(f"{step}: {seconds:.1f} s, {memory:,.0f} MiB")


if __name__ == "__main__":
    main()
