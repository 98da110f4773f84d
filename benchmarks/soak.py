"""Kill the cells of a study at random, again and again, while Snakemake runs it.

At the end its results must be those of an undisturbed run, and no temporary file may be left over.

    python benchmarks/soak.py --study demo --kills 100 --folder /tmp/soak [--config tasks=cola] [--whole 0.3]

Half of the kills are SIGKILL, half SIGTERM; with `--whole` that share of all kills is a SIGKILL of the whole run,
Snakemake with all its jobs. Snakemake is started again until no cell is missing. Of a study that tunes, trials and
`tuned.yaml` are compared as well.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from bench.records.io import read_record
from bench.records.rung import read_rung
from bench.records.schema import Record, result_of

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", default="demo")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pause", type=float, default=4.0, help="mean seconds between two kills")
    parser.add_argument(
        "--calm", type=Path, metavar="DIR", help="results of an undisturbed run; by default it is run first"
    )
    parser.add_argument("--whole", type=float, default=0.0, help="share of kills that end the whole run")
    parser.add_argument("--config", action="append", default=[])
    args = parser.parse_args()
    calm, disturbed = args.calm or args.folder / "calm", args.folder / "disturbed"
    random_ = random.Random(args.seed)
    if args.calm is None:
        _run(args, calm).wait()
    expected = _outcome(calm / args.study)
    kills = wholes = rounds = 0
    while True:
        rounds += 1
        process = _run(args, disturbed)
        while process.poll() is None:
            time.sleep(random_.expovariate(1 / args.pause))
            cells = _cells(process.pid)
            if not cells or kills == args.kills:
                continue
            kills += 1
            if random_.random() < args.whole:
                wholes += 1
                _kill_all(process)
            else:
                random_.choice(cells).send_signal(random_.choice([signal.SIGKILL, signal.SIGTERM]))
        if process.returncode == 0:
            break
        _unlock(args, disturbed)
    actual = _outcome(disturbed / args.study)
    left = sorted(p.name for p in (disturbed / "cache" / "checkpoints").iterdir())
    left += [str(p) for p in disturbed.rglob("*.tmp")]
    wrong = sorted(name for name in expected if actual.get(name) != expected[name])
    print(
        f"{len(expected)} files of {args.study}; {kills} kills, {wholes} of them of the whole run, in {rounds} runs; "
        f"{len(wrong)} differ; left over: {left}"
    )
    print("\n".join(wrong))
    return 1 if wrong or left or set(actual) != set(expected) else 0


def _command(args: argparse.Namespace, folder: Path) -> list[str]:
    config = [f"study={args.study}", f"results={folder.resolve()}", *args.config]
    snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "all"]
    return [*snakemake, "--keep-going", "records", "--config", *config]


def _run(args: argparse.Namespace, folder: Path) -> subprocess.Popen[bytes]:
    place = folder.with_name(f"{folder.name}-work")
    place.mkdir(parents=True, exist_ok=True)
    with (place / "log.txt").open("ab") as log:
        return subprocess.Popen(_command(args, folder), cwd=place, stdout=log, stderr=log, env={**os.environ})


def _unlock(args: argparse.Namespace, folder: Path) -> None:
    place = folder.with_name(f"{folder.name}-work")
    subprocess.run([*_command(args, folder), "--unlock"], cwd=place, capture_output=True, check=False)


def _kill_all(run: subprocess.Popen[bytes]) -> None:
    """SIGKILL for a run and its descendants, those in sessions of their own as well."""
    descendants = psutil.Process(run.pid).children(recursive=True)
    run.kill()
    for process in descendants:
        with contextlib.suppress(psutil.Error):
            process.kill()
    run.wait()
    psutil.wait_procs(descendants)


def _cells(pid: int) -> list[psutil.Process]:
    """The trainings among the descendants of a process: jobs of one or several cells, and the cells of the latter."""
    trainings = []
    for process in psutil.Process(pid).children(recursive=True):
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        is_bench = any(Path(word).name in ("bench", "bench.cli") for word in words[:3])
        if is_bench and {"train", "group"} & set(words) and "snakemake" not in words:
            trainings.append(process)
    return trainings


def _outcome(folder: Path) -> dict[str, object]:
    """Every file of every cell and trial by path: records and rungs without times, other files as hashes."""
    files: dict[str, object] = {}
    of_cells = [path for part in ("cells", "trials") for path in sorted((folder / part).rglob("*"))]
    for path in (*of_cells, folder / "tuned.yaml"):
        if path.name == "record.json":
            files[path.relative_to(folder).as_posix()] = result_of(read_record(path))
        elif path.match("rung-*.json"):  # of successive halving, with the record of a trial that ends there
            rung = read_rung(path)
            assert rung is not None
            record = Record.model_validate(rung.record) if rung.record else None
            without = rung.model_dump(exclude={"record"})
            files[path.relative_to(folder).as_posix()] = {**without, "record": record and result_of(record)}
        elif path.is_file():
            files[path.relative_to(folder).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return files


if __name__ == "__main__":
    sys.exit(main())
