"""A copy of the folder workflow/, and real runs of Snakemake on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TINY = """\
name: tiny
data: {data}
backbones: {{classification: minilm}}
tasks: [cola, sst2]
methods: [lora]
budgets: {{small: {{rank: 2, initial_rank: 4}}}}
seeds: [0]
limits: {{train_rows: 64, evaluation_rows: 32}}
recipe: {{max_steps: 2, batch_size: 8, max_length: 32}}
"""


@dataclass
class Done:
    """What a run of Snakemake left behind."""

    code: int
    out: str
    jobs: dict[str, int] = field(default_factory=dict)

    @property
    def nothing_to_do(self) -> bool:
        return "Nothing to be done" in self.out


@dataclass
class Project:
    """A folder with a copy of workflow/, where Snakemake runs the project's Snakefile."""

    folder: Path
    config: list[str]

    @property
    def workflow(self) -> Path:
        return self.folder / "workflow"

    @property
    def records(self) -> list[Path]:
        return sorted((self.folder / "results").glob("*/cells/**/record.json"))

    def spoil(self, name: str, old: str, new: str) -> None:
        """Replace a piece of a YAML file; the piece must be there."""
        file = self.workflow / name
        text = file.read_text()
        assert old in text, f"{old!r} is not in {file}"
        file.write_text(text.replace(old, new))

    def command(self, *arguments: str, config: tuple[str, ...] = ()) -> list[str]:
        """How Snakemake is started, in the project's folder."""
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]
        return [*command, *arguments, "--config", f"workflow={self.workflow}", *self.config, *config]

    def snakemake(self, *arguments: str, config: tuple[str, ...] = ()) -> Done:
        """Run Snakemake to its end; `jobs` of the result counts the planned jobs per rule."""
        command = self.command(*arguments, config=config)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, timeout=900, env=environment, check=False
        )
        out = done.stdout + done.stderr
        return Done(done.returncode, out, _jobs(out))


def _jobs(out: str) -> dict[str, int]:
    """The counts per rule in the table that Snakemake prints before it starts."""
    counts = {}
    for line in out.partition("\njob ")[2].splitlines()[2:]:
        name, _, count = line.rpartition(" ")
        if not count.isdigit():
            break
        counts[name.strip()] = int(count)
    return counts


def make_project(folder: Path, data: str, prepared: Path | None = None) -> Project:
    """A project with the study `tiny`, whose rows are `data`: embedded or hub.

    prepared: a cache that has what the study needs, see the fixture `prepared_cache`; without it the run prepares.
    """
    shutil.copytree(ROOT / "workflow", folder / "workflow")
    (folder / "workflow" / "studies" / "tiny.yaml").write_text(TINY.format(data=data))
    if prepared:
        shutil.copytree(prepared, folder / "results" / "cache", copy_function=os.link)  # no prepared file is written to
    return Project(folder, ["study=tiny"])


def prepare(project: Project) -> Path:
    """Prepare what the study `tiny` needs; returns the cache."""
    command = [sys.executable, "-m", "bench.cli", "prepare", "tiny", "--workflow", str(project.workflow)]
    subprocess.run(command, cwd=project.folder, check=True, capture_output=True)
    return project.folder / "results" / "cache"
