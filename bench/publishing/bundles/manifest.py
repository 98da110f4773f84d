"""manifest.json of a bundle: what is in it, what was replaced or left out, and the SHA-256 of every other file."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Literal

from bench.config.types import Name, Stored
from bench.errors import BenchError
from bench.files import canonical_json
from bench.paths import MANIFEST, RESULTS

# Names inside a bundle. Below `RESULTS` stands what a folder of results holds.
README, CITATION, CRATE, LOCKED = "README.md", "CITATION.cff", "ro-crate-metadata.json", "requirements.lock"
SPECS = "workflow"
FORMAT = 1


class Member(Stored):
    """One file of a bundle. `original_sha256`: of the file that it was made from, where something was left out."""

    sha256: str
    bytes: int
    original_sha256: str | None = None


class Manifest(Stored):
    """What a bundle says of itself.

    Attributes:
        rankbench: the version that made the bundle; `versions` are those that made its records, with their numbers.
        study: its name, which is a part of paths: nothing that leads out of the bundle.
        overrides: what was laid over the study, as `--set` takes it.
        date: of the newest record, as 2026-01-31.
        cells, trials: how many the study has. missing_cells, missing_trials: the ids of those without a record here.
        adapters: whether what was trained is inside.
        replaced: by field of records, the rules by which something in it was replaced.
        rules: what each of these rules does.
    """

    format: Literal[1] = 1
    rankbench: str
    study: Name
    overrides: tuple[str, ...] = ()
    date: str
    versions: dict[str, int]
    cells: int
    trials: int
    missing_cells: tuple[str, ...] = ()
    missing_trials: tuple[str, ...] = ()
    adapters: bool = False
    replaced: dict[str, tuple[str, ...]]
    rules: dict[str, str]
    files: dict[str, Member]

    @property
    def missing(self) -> tuple[str, ...]:
        return (*self.missing_cells, *self.missing_trials)

    @property
    def records(self) -> int:
        """How many records of cells and trials the bundle has."""
        return self.cells + self.trials - len(self.missing)

    @property
    def results(self) -> PurePosixPath:
        """The folder of the study inside the bundle."""
        return PurePosixPath(RESULTS.as_posix()) / self.study

    @property
    def told(self) -> str:
        """'study demo, 40 of 40 cells, 214 files of 5,212,345 bytes, made by rankbench 0.2.0'."""
        parts = [f"{self.cells - len(self.missing_cells)} of {self.cells} cells"]
        if self.trials:
            parts.append(f"{self.trials - len(self.missing_trials)} of {self.trials} trials")
        size = sum(member.bytes for member in self.files.values())
        files = f"{len(self.files) + 1} files of {size:,} bytes"
        return f"study {self.study}, {', '.join(parts)}, {files}, made by rankbench {self.rankbench}"

    def to_bytes(self) -> bytes:
        """The content of the file."""
        return canonical_json(self.model_dump(mode="json"))


def parse_manifest(content: bytes, file: Path) -> Manifest:
    """The manifest of the bundle `file`, which has this content. Raises BenchError at another, or a newer format."""
    try:
        data = json.loads(content)
        found = data.get("format") if isinstance(data, dict) else None
        if isinstance(found, int) and found > FORMAT:
            raise BenchError(f"{file}: {MANIFEST}: format {found} is newer than this harness reads: update it")
        return Manifest.model_validate(data)
    except (ValueError, RecursionError) as error:  # pydantic's is a ValueError, too
        what = str(error).splitlines()[0]
        raise BenchError(f"{file}: {MANIFEST}: is no manifest of a bundle: {what}") from error
