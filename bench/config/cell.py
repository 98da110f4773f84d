"""Cell: task x backbone x method x budget x seed, fully resolved. One cell is one training run, a trial as well."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from bench.config.backbone import Backbone
from bench.config.budget import Budget
from bench.config.method import Method
from bench.config.recipe import Recipe
from bench.config.task import Task
from bench.config.types import Frozen, Plain
from bench.files import digest_json
from bench.paths import cell_id, trial_id

# Parts, and fields of parts, that describe or schedule a cell without any effect on its result: no part of its hash.
# The values of a trial's point and of a choice are in the recipe.
_PARTS_NOT_IDENTITY = {"study", "budget_name", "choice"}
_FIELDS_NOT_IDENTITY = {
    # The cell has the resolved recipe as a part of its own.
    "task": {"description", "label", "license", "resources", "recipe", "smaller_is_better"},
    "backbone": {"description", "license", "same_as"},
    "method": {"description", "label", "recipe"},
    "trial": {"point", "values", "choose_by", "choose"},
    "given": {"cell", "hash"},
}

# Keys that were added after the first records. At these values (the behavior before the key existed) they are left out
# of the hash, so that the cells of old records keep their hashes.
_ADDED_LATER: dict[str, dict[str, Any]] = {
    "method": dict.fromkeys(
        ("regularizer", "peft", "matrices", "depth", "growth", "pattern", "sparsity", "moving", "salience", "gates")
    ),
    "method.pattern": {"gradients": None},
    "recipe": {
        "holdout_rows": 0,
        "validations": 10,
        "score_epochs": False,
        "scale": None,
        "processes": 1,
        "optimizer": "adamw",
    },
    "task": {
        "rouge_tokenizer": "rouge-score",
        "bleu_tokenizer": "13a",
        "prompt": None,
        "extract": None,
        "languages": None,
        "answers": None,
    },
    "task.generation": {"repetition_penalty": 1.0, "early_stopping": None, "stop": []},
    "task.data": {
        "files": None,
        "class_names": None,
        "drop_unlabelled": False,
        "encoding": None,
        "quotes": None,
        "field": None,
        "evaluation_from": None,
        "installed": None,
    },
    "task.data.columns": {"options": None, "option_names": None, "image": None},
    "backbone.package": {"gguf": None, "install": None},
}

# The kinds of task that a backbone serves, by its file. The first ones are in the hashes of old records; one that was
# added later changes no cell of another kind.
_FIRST_KINDS = ("classification", "regression", "summarization", "text-label")
_HEADS_OF_QUESTIONS = ("qa_outputs",)  # heads that mean nothing to a cell of another kind

# Which step's scores are reported: the last one, or the one with the lowest loss on held-out rows.
Selection = Literal["last", "best"]


class DataChoice(Frozen):
    """Which rows are used: their source, and the largest number of them (None: all)."""

    source: Literal["hub", "embedded"]
    train_rows: int | None = None
    evaluation_rows: int | None = None


class Halving(Frozen):
    """The course of a trial under successive halving, which depends on its rivals.

    rungs: the fractions of the steps at which trials are compared, ascending. factor: the best 1 of so many go on.
    rivals: hash of the points and seeds that the trial is compared with.
    """

    rungs: list[float]
    factor: int
    rivals: str

    def last_step(self, rung: int, total: int) -> int:
        """The step at which a training of `total` steps is at that rung, the first of which is 1."""
        return max(1, round(self.rungs[rung - 1] * total))


class Trial(Frozen):
    """A training that tunes the recipe: it holds out rows of the training split and is scored on them alone.

    choose_by: what the points of its group are compared by, the task's first metric or the loss.
    choose: which of them is taken, the best or the first that is not told apart from it (`Tuning.choose`).
    """

    point: str
    values: dict[str, Plain]
    choose_by: Literal["metric", "loss"] = "metric"
    choose: Literal["best", "one_standard_error"] = "best"
    halving: Halving | None = None


class Choice(Frozen):
    """The point with which a cell is trained, and where it comes from.

    score: of the point on the held-out rows, the mean over trial seeds; `by` names the metric, or "loss".
    trials: the hash (`Cell.identity`) of every trial that it was chosen from, by the trial's id.
    source, sha256: the file that the values were taken over from, and its hash, where they were.
    """

    values: dict[str, Plain]
    by: str
    score: float | None
    trials: dict[str, str]
    source: str | None = None
    sha256: str | None = None


class GivenRanks(Frozen):
    """The ranks that another cell has learned, for a method that holds them from the start.

    cell, hash: the id of that cell and the hash of its record (`Cell.identity`). ranks: by the name of the matrix's
    module; empty if that cell ended without ranks.
    """

    cell: str
    hash: str
    ranks: dict[str, int]


class Cell(Frozen):
    """Everything that decides one training run, and the study that it belongs to."""

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
    trial: Trial | None = None  # set: the cell tunes the recipe, and is no result
    choice: Choice | None = None  # set: the recipe has tuned values
    given: GivenRanks | None = None  # set: the method holds another cell's ranks, and they are known

    @property
    def id(self) -> str:
        """The cell's folder below results/<study>/cells/ (of a trial: trials/), such as 'cola/lora/small/seed-0'."""
        names = (self.task.name, self.method.name, self.budget_name)
        return trial_id(*names, self.trial.point, self.seed) if self.trial else cell_id(*names, self.seed)

    @property
    def group(self) -> str:
        """Task, method and budget: 'cola/lora/small'. Cells of a group differ in seed and, if trials, in point."""
        return f"{self.task.name}/{self.method.name}/{self.budget_name}"

    @property
    def tuned_group(self) -> str:
        """The group whose trials choose its values: its own, or that of the method whose ranks it takes over."""
        pattern = self.method.pattern
        method = self.method.name if pattern is None or pattern.source is None else pattern.source
        return f"{self.task.name}/{method}/{self.budget_name}"

    @property
    def spec_hash(self) -> str:
        """SHA-256 (hex) of every key that decides the result."""
        spec = self.model_dump(mode="json")
        return spec_hash_of({**spec, "corrections": self.corrections} if self.corrections else spec)

    @property
    def corrections(self) -> list[str]:
        """What was corrected after the first records and gives this cell other results since, in words."""
        return [name for name, changes_result in _CORRECTIONS.items() if changes_result(self)]

    def identity(self, data_fingerprint: str) -> str:
        """SHA-256 (hex) of the spec and the prepared data.

        It names the cell's checkpoints, and a cell whose record has another identity is trained again.
        """
        return identity_of(self.spec_hash, data_fingerprint)

    @property
    def declared_train_rows(self) -> int | None:
        """Number of training rows that the task's file declares, within the limit; None if it declares none."""
        rows = self.task.data.rows.get(self.task.data.train)
        limit = self.data.train_rows
        if rows is None:
            return None
        return min(rows, limit) if limit else rows


def _head_dropout_moved(cell: Cell) -> bool:
    moved = {"albert", "deberta", "deberta-v2", "distilbert", "xlnet"}
    is_set = cell.recipe.head_dropout is not None and cell.task.facts.has_head
    return is_set and cell.backbone.config.get("model_type") in moved


def _draws_for_empty_matrices(cell: Cell) -> bool:
    return cell.recipe.adapter_dropout > 0 and cell.method.compact and cell.method.allocator == "adalora"


def _averages_over_labels(cell: Cell) -> bool:
    return cell.task.kind == "text-label" and len(cell.task.labels) > 2 and "f1" in cell.task.metrics


def _starts_as_in_float32(cell: Cell) -> bool:
    return cell.method.storage != "fp32"


# What was corrected after the first records, and which cells have other results since: they get another hash, so that
# they run again and no table mixes the two.
_CORRECTIONS: dict[str, Callable[[Cell], bool]] = {
    "head_dropout is the dropout before the classifier": _head_dropout_moved,
    "a matrix without ranks draws its dropout": _draws_for_empty_matrices,
    "macro-F1 averages over the labels of the task": _averages_over_labels,
    "first values are those of a base in float32": _starts_as_in_float32,
}


def spec_hash_of(spec: Mapping[str, Any]) -> str:
    """`Cell.spec_hash` of a cell as JSON data (`Cell.model_dump(mode="json")`), as a record stores it."""
    return digest_json(deciding_spec(spec))


def deciding_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What of a cell as JSON data decides its result: no descriptions, and no later keys at their defaults."""
    deciding = {part: fields for part, fields in spec.items() if part not in _PARTS_NOT_IDENTITY}
    for part in ("trial", "given"):
        if deciding.get(part) is None:
            deciding.pop(part, None)
    for part, names in _FIELDS_NOT_IDENTITY.items():
        if part in deciding:
            deciding[part] = {name: value for name, value in deciding[part].items() if name not in names}
    backbone = dict(deciding["backbone"])
    backbone["kinds"] = [kind for kind in backbone["kinds"] if kind in _FIRST_KINDS]
    if deciding["task"]["kind"] != "question-answering":
        backbone["head"] = [head for head in backbone["head"] if head not in _HEADS_OF_QUESTIONS]
    deciding["backbone"] = backbone
    for path, defaults in _ADDED_LATER.items():
        deciding = _without_defaults(deciding, path.split("."), defaults)
    return deciding


def _without_defaults(fields: Mapping[str, Any], path: Sequence[str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """`fields` without those of the block at `path` that have the value in `defaults`."""
    if not path:
        return {name: value for name, value in fields.items() if name not in defaults or value != defaults[name]}
    block = fields.get(path[0])
    return dict(fields) if block is None else {**fields, path[0]: _without_defaults(block, path[1:], defaults)}


def identity_of(spec_hash: str, data_fingerprint: str) -> str:
    """`Cell.identity` of a cell with that spec hash."""
    return digest_json({"spec": spec_hash, "data": data_fingerprint})
