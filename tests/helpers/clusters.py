"""A real Slurm for the tests, a small study on it, and what its jobs did."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.nvml import CPU_IN_PLACE_OF_GPUS

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("cluster.sh")
CELLS = ("cola/lora/small/seed-0", "cola/adalora/small/seed-0", "sst2/lora/small/seed-0", "sst2/adalora/small/seed-0")
STUDY = """\
name: quarter
data: embedded
backbones: {classification: minilm}
tasks: [cola, sst2]
methods: [lora, adalora]
budgets: {small: {rank: 2, initial_rank: 4}}
seeds: [0]
limits: {train_rows: 640, evaluation_rows: 64}
recipe: {max_steps: 40, batch_size: 16, max_length: 32}
resources: {mem_mb: 1500, runtime: 10, gpus: 1}
"""


def why_no_cluster() -> str:
    """Why no cluster can be started on this machine; empty if one can."""
    if os.getuid() != 0:
        return "a test cluster needs root: sudo uv run pytest -m slurm"
    if not Path("/usr/bin/apt-get").exists():
        return "a test cluster needs Debian's packages, installed with apt-get"
    configured = Path("/etc/slurm/slurm.conf")
    if configured.exists() and not configured.is_symlink():
        return "this machine has a Slurm of its own"
    return ""


@dataclass
class Job:
    """A line of squeue. The comment says which cell it is: see `comment`."""

    id: str
    comment: str
    state: str
    node: str


@dataclass
class Cluster:
    """A cluster on this machine with its files in the folder `state`."""

    state: Path

    def start(self) -> None:
        done = subprocess.run(["bash", SCRIPT, "start", self.state], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def stop(self) -> None:
        subprocess.run(["bash", SCRIPT, "stop", self.state], check=True)

    def pid(self, daemon: str) -> int:
        return int((self.state / "run" / f"{daemon}.pid").read_text())

    def jobs(self) -> list[Job]:
        """The jobs that wait or run."""
        out = run("squeue", "--noheader", "--format=%i|%k|%T|%N").stdout
        return [Job(*line.split("|")) for line in out.splitlines() if line.count("|") == 3]

    def accounted(self, *fields: str) -> list[list[str]]:
        """These fields of sacct for every job so far."""
        out = run("sacct", "--allocations", "--noheader", "--parsable2", "--duplicates", f"--format={','.join(fields)}")
        return [line.split("|") for line in out.stdout.splitlines()]

    def restart_controller(self, pause: float) -> None:
        """Kill slurmctld and start it again `pause` seconds later."""
        pid = self.pid("slurmctld")
        os.kill(pid, signal.SIGKILL)
        until(lambda: not Path(f"/proc/{pid}").exists(), 20, "slurmctld ends")
        time.sleep(pause)
        self.start()

    def lose_node(self, node: str) -> None:
        """Kill the node's slurmd and everything it runs at once, as if the node had lost power."""
        os.kill(self.pid(f"slurmd-{node}"), signal.SIGKILL)
        for process in processes():
            if f"SLURMD_NODENAME={node}".encode() in process.environment:
                kill(process.pid)


@dataclass
class Process:
    """A process of this machine, from /proc."""

    pid: int
    environment: list[bytes]
    command: str


def processes() -> Iterator[Process]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        yield Process(int(folder.name), environment, command)


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@dataclass
class Run:
    """A run of a study, `quarter` by default, in its own folder; prepared data are shared between runs."""

    folder: Path
    cache: Path
    config: tuple[str, ...] = ()
    study: str = "quarter"
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        self.log = self.folder / "snakemake.log"

    def start(self, *arguments: str, profile: bool = True) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
        # The cells take half a minute, so their status is asked for sooner than the profile does.
        often = ["--slurm-init-seconds-before-status-checks", "3"]
        command += ["--profile", str(ROOT / "slurm"), *often] if profile else ["--cores", "2"]
        config = [
            f"study={self.study}",
            f"workflow={self.cache.parent / 'workflow'}",
            f"cache={self.cache}",
            *self.config,
        ]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
        environment[CPU_IN_PLACE_OF_GPUS] = "1"  # the cluster's GPUs are stand-ins
        return subprocess.Popen(
            [*command, *arguments, "--config", *config],
            cwd=self.folder,
            env=environment,
            stdout=self.log.open("ab"),
            stderr=subprocess.STDOUT,
            # A shell's background jobs ignore Ctrl-C, and their children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def finish(self, process: subprocess.Popen[bytes], timeout: float = 900) -> None:
        code = process.wait(timeout)
        assert code == 0, self.log.read_text(errors="replace")[-6000:]

    @property
    def results(self) -> Path:
        return self.folder / "results" / self.study

    def cell(self, name: str) -> Path:
        return self.results / "cells" / name

    def bits(self) -> dict[str, tuple[bytes, bytes]]:
        """Curve and predictions of every recorded cell: what must not differ between two runs."""
        return {
            name: tuple((self.cell(name) / file).read_bytes() for file in ("curve.jsonl", "predictions.parquet"))
            for name in CELLS
            if (self.cell(name) / "record.json").is_file()
        }  # type: ignore[return-value]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for the condition. Fails with `what` after that many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds:g} s"
        time.sleep(0.3)


def comment(cell: str) -> str:
    """The comment that Snakemake gives the Slurm job of a cell."""
    task, method, budget, seed = cell.split("/")
    return f"rule_train_{task}_wildcards_{method}_{budget}_{seed.removeprefix('seed-')}"
