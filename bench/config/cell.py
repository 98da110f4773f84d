"""Cell: task x backbone x method x budget x seed, fully resolved: one training run, one job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from bench.config.backbone import Backbone
from bench.config.budget import Budget
from bench.config.method import Method
from bench.config.recipe import Recipe
from bench.config.task import Task
from bench.config.types import Frozen
from bench.files import digest_json
from bench.paths import cell_id

# What describes or schedules a cell without deciding a bit of its result: whole parts, and fields of parts.
_PARTS_NOT_IDENTITY = {"study", "budget_name"}
_FIELDS_NOT_IDENTITY = {
    "task": {"description", "resources", "recipe"},
    "backbone": {"description"},
    "method": {"description", "label", "recipe"},
}

# Keys that came after the first records: at these values they are left out, so that old cells keep their hashes.
_LATER: dict[str, dict[str, Any]] = {
    "method": {"regularizer": None, "peft": None, "matrices": None, "depth": None, "growth": None},
    "recipe": {"holdout_rows": 0, "validations": 10, "score_epochs": False, "scale": None, "processes": 1},
}


Selection = Literal["last", "best"]


class DataChoice(Frozen):
    """Which rows: where they come from and how many at the most (None: all)."""

    source: Literal["hub", "embedded"]
    train_rows: int | None = None
    evaluation_rows: int | None = None


class Cell(Frozen):
    study: str
    task: Task
    backbone: Backbone
    method: Method
    budget_name: str
    budget: Budget
    seed: int
    recipe: Recipe
    data: DataChoice
    threads: int = 1
    selection: Selection = "last"

    @property
    def id(self) -> str:
        """Where the cell's record stands below results/<study>/cells/: 'cola/lora/small/seed-0'."""
        return cell_id(self.task.name, self.method.name, self.budget_name, self.seed)

    @property
    def spec_hash(self) -> str:
        """SHA-256 (hex) of everything in the spec that decides the result."""
        return spec_hash_of(self.model_dump(mode="json"))

    def identity(self, data_fingerprint: str) -> str:
        """SHA-256 (hex) of spec and prepared data: the name of a cell's checkpoints and the key of reruns."""
        return identity_of(self.spec_hash, data_fingerprint)

    @property
    def declared_train_rows(self) -> int | None:
        """Training rows as the task's file declares them, within the limit; None where the file is silent."""
        rows = self.task.data.rows.get(self.task.data.train)
        limit = self.data.train_rows
        if rows is None:
            return None
        return min(rows, limit) if limit else rows


def spec_hash_of(spec: Mapping[str, Any]) -> str:
    """`Cell.spec_hash` of a cell as JSON data (`Cell.model_dump(mode="json")`), as a record stores it."""
    deciding = {part: fields for part, fields in spec.items() if part not in _PARTS_NOT_IDENTITY}
    for part, names in _FIELDS_NOT_IDENTITY.items():
        deciding[part] = {name: value for name, value in deciding[part].items() if name not in names}
    for part, defaults in _LATER.items():
        fields = deciding[part]
        deciding[part] = {name: v for name, v in fields.items() if name not in defaults or v != defaults[name]}
    return digest_json(deciding)


def identity_of(spec_hash: str, data_fingerprint: str) -> str:
    """`Cell.identity` of a cell with that spec hash."""
    return digest_json({"spec": spec_hash, "data": data_fingerprint})
