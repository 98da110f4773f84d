"""Whole cells of the harness compared with a user's own script (peer.py): the same rows, steps and precision.

    python benchmarks/against_trainer.py --mirror DIR [--task sst2 --rows 2000 --turns 3 --json]

Both sides take turns, each in its own process. Per method it prints how many times as long the peer takes for training,
evaluation and the whole cell from its command to its record, as the median over the turns with the smallest and largest
ratio. It also prints where the seconds go: Python and libraries, data, model, training, evaluation, and writing with
the end of the process. Utilization is the rate of floating-point operations relative to the machine's own matmul, with
the same count for both sides. At the end it compares eight short cells in one job with eight jobs, and prints what
imports cost per package (`python -X importtime`).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import pyarrow
import pyarrow.parquet

from bench.config.cell import Cell
from bench.config.resolve import load_study
from bench.inputs.backbones import prepare_backbone
from bench.inputs.datasets import prepare_task
from bench.inputs.sources import read_source
from bench.records.io import read_record

HERE = Path(__file__).parent
METHODS = ("lora", "adalora", "qlora", "qlora_adalora")
PHASES = ("libraries", "data", "model", "training", "evaluation", "writing")
OUR_IMPORTS = "import bench.training.run"
GROUP = 8
LOGGED = 25


@dataclass(frozen=True)
class Run:
    """One cell: seconds as a whole and per phase, score, mean loss of the last steps.

    flops_per_step and matmul_rate (operations per second) are known of our side only.
    """

    seconds: dict[str, float]
    score: float
    loss: float
    flops_per_step: float = 0.0
    matmul_rate: float = 0.0


class Bench:
    """The cells with everything prepared, so that both sides only read."""

    def __init__(self, mirror: Path, folder: Path, task: str, overrides: Sequence[str]) -> None:
        self.mirror, self.folder, self.task, self.overrides = mirror, folder, task, overrides
        self.cells = {method: load_study("mirror", overrides).find(task, method, "small", 0) for method in METHODS}
        cell = self.cells["lora"]
        self.backbone = prepare_backbone(cell.backbone, mirror=mirror, cache=folder / "cache")
        prepare_task(cell.task, cell.backbone, cell.data, mirror=mirror, cache=folder / "cache")
        self.rows = self._rows(cell)

    def ours(self, method: str) -> Run:
        out = Path(tempfile.mkdtemp(dir=self.folder))
        words = ["train", "--task", self.task, "--method", method, "--budget", "small", "--seed", "0", "--out", out]
        whole = self._bench(words, self.overrides)
        record = read_record(out / "record.json")
        assert record.training
        assert record.reported
        assert record.reported.value is not None
        use, spent = record.training.utilization, record.training.seconds
        assert spent.parts_of_startup
        parts = {**spent.parts_of_startup.model_dump(), "training": spent.training, "evaluation": spent.evaluation}
        return Run(
            {**parts, "writing": whole - sum(parts.values()), "whole": whole},
            record.reported.value,
            _last_losses(out),
            use.flops_per_step if use else 0.0,
            use.matmul_flops_per_second if use else 0.0,
        )

    def peer(self, method: str) -> Run:
        out = Path(tempfile.mkdtemp(dir=self.folder))
        cell = out / "cell.json"
        cell.write_text(self.cells[method].model_dump_json())
        words = ["--cell", cell, "--rows", self.rows, "--backbone", self.backbone, "--out", out]
        whole, output = _timed([str(HERE / "peer.py"), *map(str, words)], self.folder)
        report = json.loads(output.splitlines()[-1])
        metric = self.cells[method].task.metric
        parts = {**report["seconds"], "writing": whole - sum(report["seconds"].values()), "whole": whole}
        return Run(parts, report["metrics"][f"eval_{metric}"], report["final_loss"] or math.nan)

    def overhead(self) -> tuple[float, float]:
        """Seconds that GROUP short cells spend outside training and evaluation: in GROUP jobs, and in one."""
        short = [*self.overrides, "recipe.max_steps=5", f"seeds=[{', '.join(map(str, range(GROUP)))}]"]
        alone = 0.0
        for seed in range(GROUP):
            out = Path(tempfile.mkdtemp(dir=self.folder))
            words = ["--task", self.task, "--method", "lora", "--budget", "small", "--seed", str(seed)]
            alone += self._bench(["train", *words, "--out", out], short) - _learning(out)
        results = Path(tempfile.mkdtemp(dir=self.folder))
        places = [f"lora/small/{seed}" for seed in range(GROUP)]
        together = self._bench(["group", "--task", self.task, "--cells", *places, "--results", results], short)
        together -= sum(_learning(file.parent) for file in results.glob("*/cells/**/record.json"))
        return alone, together

    def _bench(self, words: Sequence[str | Path], overrides: Sequence[str]) -> float:
        places = ["--study", "mirror", "--mirror", self.mirror, "--cache", self.folder / "cache", "--offline"]
        sets = [word for override in overrides for word in ("--set", override)]
        seconds, _ = _timed(["-m", "bench.cli", *map(str, [*words, *places, *sets])], self.folder)
        return seconds

    def _rows(self, cell: Cell) -> Path:
        """Write the rows of the cell for the peer: train.parquet and validation.parquet."""
        folder = self.folder / "rows"
        folder.mkdir()
        source, columns = read_source(cell.task, cell.data, self.mirror), cell.task.data.columns
        for name, split in (("train", "train"), (cell.task.primary_split, "validation")):
            blocks = list(source.splits[name].blocks())
            texts = {column: [row[i] for b in blocks for row in b.texts] for i, column in enumerate(columns.text)}
            targets = [target for block in blocks for target in block.targets]
            pyarrow.parquet.write_table(pyarrow.table({**texts, columns.target: targets}), folder / f"{split}.parquet")
        return folder


def _timed(words: Sequence[str], folder: Path) -> tuple[float, str]:
    """Wall seconds of a Python process from its start to its end, and its output."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return time.perf_counter() - began, done.stdout


def import_seconds(code: str) -> dict[str, float]:
    """Seconds that the imports of `code` take per top-level package, the slowest first."""
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    command = [sys.executable, "-X", "importtime", "-c", code]
    log = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stderr
    seconds: dict[str, float] = {}
    for own_us, name in re.findall(r"^import time: +(\d+) \| +\d+ \| +(\S+)$", log, re.MULTILINE):
        package = name.partition(".")[0]
        seconds[package] = seconds.get(package, 0.0) + int(own_us) / 1e6
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))


def _last_losses(out: Path) -> float:
    """Mean loss of the last LOGGED steps, as the peer logs it."""
    lines = (out / "curve.jsonl").read_text().splitlines()[-LOGGED:]
    return mean(json.loads(line)["loss"] for line in lines)


def _learning(out: Path) -> float:
    training = read_record(out / "record.json").training
    assert training
    return training.seconds.training + training.seconds.evaluation


def ratios(ours: Sequence[Run], peers: Sequence[Run], read: Callable[[Run], float]) -> tuple[float, float, float]:
    """How many times as long the peer takes: median, smallest and largest ratio over the turns."""
    values = [read(peer) / read(our) for our, peer in zip(ours, peers, strict=True)]
    return median(values), min(values), max(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mirror", type=Path, required=True)
    parser.add_argument("--task", default="sst2")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    overrides = ["recipe.epochs=1", f"limits.train_rows={args.rows}", "recipe.max_length=64"]
    report: dict[str, Any] = {"task": args.task, "rows": args.rows, "turns": args.turns, "methods": {}}
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(args.mirror, Path(name), args.task, overrides)
        bench.peer("lora")  # so that its tokenized rows are in its cache, as ours are
        for method in args.methods.split(","):
            turns = [(bench.ours(method), bench.peer(method)) for _ in range(args.turns)]
            ours, peers = [turn[0] for turn in turns], [turn[1] for turn in turns]
            steps = bench.cells[method].recipe.total_steps(args.rows)
            rate = median(run.matmul_rate for run in ours)
            report["methods"][method] = {
                "training": ratios(ours, peers, lambda run: run.seconds["training"]),
                "evaluation": ratios(ours, peers, lambda run: run.seconds["evaluation"]),
                "whole": ratios(ours, peers, lambda run: run.seconds["whole"]),
                **{
                    side: {
                        "seconds": {p: median(r.seconds[p] for r in runs) for p in (*PHASES, "whole")},
                        "rows_per_second": args.rows / median(r.seconds["training"] for r in runs),
                        "score": median(r.score for r in runs),
                        "final_loss": median(r.loss for r in runs),
                        "utilization": ours[0].flops_per_step
                        * steps
                        / median(r.seconds["training"] for r in runs)
                        / rate,
                    }
                    for side, runs in (("ours", ours), ("peer", peers))
                },
            }
            if not args.json:
                show(method, report["methods"][method])
        report["group"] = dict(zip(("alone", "together"), bench.overhead(), strict=True))
    report["imports"] = {"ours": import_seconds(OUR_IMPORTS), "peer": import_seconds("import peer")}
    if args.json:
        print(json.dumps(report, indent=1))
    else:
        alone, together = report["group"].values()
        print(
            f"overhead of {GROUP} cells: {alone:.1f} s in as many jobs, {together:.1f} s in one: {together / alone:.2f}"
        )
        for side, by_package in report["imports"].items():
            most = ", ".join(f"{name} {seconds:.2f}" for name, seconds in list(by_package.items())[:8])
            print(f"imports, {side}: {sum(by_package.values()):.2f} s under -X importtime: {most}")


def show(method: str, report: dict[str, Any]) -> None:
    print(method)
    for key in ("training", "evaluation", "whole"):
        middle, least, most = report[key]
        print(f"  {key}: the peer takes {middle:.2f} times as long ({least:.2f} to {most:.2f})")
    for side in ("ours", "peer"):
        it = report[side]
        parts = ", ".join(f"{name} {value:.1f}" for name, value in it["seconds"].items())
        print(
            f"  {side}: {parts} s; {it['rows_per_second']:.0f} rows/s; utilization {it['utilization']:.0%}; "
            f"score {it['score']:.4f}; last loss {it['final_loss']:.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
