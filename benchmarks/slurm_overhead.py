"""What a job on a cluster costs besides its training: 100 cells of two steps, one or ten per job, or in groups of ten.

    python benchmarks/slurm_overhead.py [--seeds 50 --modes single,cells_per_job,groups --json]

Runs `snakemake --profile slurm` on the Slurm that this machine submits to; without one, as root on Debian,
`bash tests/helpers/cluster.sh start DIR` starts one here (`stop DIR` ends it), whose GPUs are stand-ins: set
`BENCH_CPU_IN_PLACE_OF_GPUS=1`. Data and model are prepared before the clock starts. It measures the seconds of each
whole command, with the pipeline's own time and waiting in the queue.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STUDY = """\
name: short
data: embedded
backbones: {{classification: minilm}}
tasks: [cola]
methods: [lora, adalora]
budgets: {{small: {{rank: 2, initial_rank: 4}}}}
seeds: [{seeds}]
limits: {{train_rows: 64, evaluation_rows: 32}}
recipe: {{max_steps: 2, batch_size: 8, max_length: 32}}
resources: {{mem_mb: 1500, runtime: 10, gpus: {gpus}}}
"""
SIZE = 10
MODES: dict[str, tuple[list[str], str]] = {
    "single": ([], ""),
    "cells_per_job": ([], f"cells_per_job={SIZE}"),
    "groups": (
        [
            "--groups",
            "train_cola=cells",
            "--group-components",
            f"cells={SIZE}",
            "--resources",
            "nodes=1",
            "--set-resource-scopes",
            "nodes=local",
        ],
        "",
    ),
}


def run(folder: Path, shared: Path, arguments: list[str], settings: str) -> float:
    """Seconds of one Snakemake command. Raises SystemExit with the end of its output if it fails."""
    config = ["study=short", f"workflow={shared / 'workflow'}", f"cache={shared / 'cache'}"]
    config += [f"set={settings}"] if settings else []
    words = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), *arguments, "--config", *config]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    folder.mkdir(exist_ok=True)
    began = time.perf_counter()
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit((done.stdout + done.stderr)[-3000:])
    return time.perf_counter() - began


def measure(folder: Path, mode: str, shared: Path, cells: int) -> float:
    """Seconds of all cells through Slurm. Raises SystemExit if a record is missing."""
    arguments, settings = MODES[mode]
    seconds = run(folder, shared, ["records", "--profile", str(ROOT / "slurm"), *arguments], settings)
    if (records := len(list((folder / "results" / "short" / "cells").rglob("record.json")))) != cells:
        raise SystemExit(f"{mode}: {records} records of {cells}")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50, help="two cells each")
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--gpus", type=int, default=1, help="0 on a cluster without GPUs")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    modes = args.modes.split(",")
    if unknown := [mode for mode in modes if mode not in MODES]:
        parser.error(f"unknown mode {unknown[0]!r}; there are {', '.join(MODES)}")
    if not shutil.which("sbatch"):
        parser.error("no sbatch here: run it on a login node, or start the test cluster (see above)")
    cells = 2 * args.seeds
    # Compute nodes must see it, too, so it is beside the project and not in one machine's /tmp.
    with tempfile.TemporaryDirectory(dir=ROOT.parent) as name:
        shared = Path(name)
        shutil.copytree(ROOT / "workflow", shared / "workflow")
        text = STUDY.format(seeds=", ".join(map(str, range(args.seeds))), gpus=args.gpus)
        (shared / "workflow" / "studies" / "short.yaml").write_text(text)
        run(shared / "prepared", shared, ["prepared", "--cores", "1"], "")
        report = {}
        for mode in modes:
            report[mode] = measure(shared / mode, mode, shared, cells) / cells
            if not args.json:
                print(f"{mode}: {cells} cells, {report[mode]:.2f} s per cell", flush=True)
    if args.json:
        print(json.dumps({"cells": cells, "seconds_per_cell": report}, indent=1))


if __name__ == "__main__":
    main()
