"""The rows of a cell, and those of its training split that are never trained on.

The loss on these is watched, and a trial is scored on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.config.cell import Cell
from bench.config.task import Task
from bench.config.tuning import HELD_OUT
from bench.distributed import SINGLE_PROCESS, ProcessGroup
from bench.evaluation.loss import loss_weight, task_loss
from bench.inputs.collate import Collator
from bench.inputs.datasets import open_data
from bench.inputs.generated import check_generated
from bench.inputs.reader import load_processor
from bench.inputs.reference_answers import check_reference_answers
from bench.inputs.splits import Split


@dataclass(frozen=True)
class Rows:
    """The prepared rows of a cell and their tokenizer, or of images the image processor.

    `held_out` rows are of the training split, not in `train`. `evaluation` are the splits that the cell is scored on:
    those of its task; of a trial the held-out rows alone.
    """

    train: Split
    held_out: Split
    evaluation: Mapping[str, Split]
    tokenizer: Any

    @classmethod
    def read(cls, data: Path, model: Path, cell: Cell) -> Rows:
        """From the prepared folders of data and model. For a trial no file of an evaluation split is looked at.

        Raises BenchError if a file is not what was prepared, if the model can't write what the task asks for, or
        if there is no answer to be right.
        """
        prepared = open_data(data, evaluation=cell.trial is None)
        train, held_out = hold_out(prepared.train, cell.recipe.holdout_rows)
        tokenizer = load_processor(cell.task, model)
        evaluation = {HELD_OUT: held_out} if cell.trial else prepared.evaluation
        # What is prepared stays when a study changes how texts are generated and compared, so this is asked again.
        check_generated(cell.task, model, tokenizer)
        check_reference_answers(cell.task, {name: split.targets for name, split in evaluation.items()})
        return cls(train, held_out, evaluation, tokenizer)

    def collator(self, split: Split, kind: str, device: torch.device) -> Collator:
        """Makes batches of `split` on `device` for a task of that kind."""
        return Collator(split, kind, self.tokenizer, device)


def hold_out(split: Split, rows: int) -> tuple[Split, Split]:
    """`split` without `rows` of its examples, and these: evenly spread, so the same for every method and seed."""
    trained, held = split.held_out(rows)
    return split.part(trained), split.part(held)


@dataclass(frozen=True)
class HeldOut:
    """The loss of the held-out rows `split`, batch by batch in order of length, shared by the processes."""

    split: Split
    collate: Collator
    task: Task
    batch_size: int
    process_group: ProcessGroup = SINGLE_PROCESS

    def loss(self, model: Any) -> float:
        """The task's mean loss over rows or target tokens. Draws no random number. Synchronizes."""
        order = self.split.longest_first()
        total, weight = 0.0, 0
        was_training = model.training
        model.eval()
        with torch.no_grad():
            for start in self.process_group.shard(range(0, len(order), self.batch_size)):
                rows = order[start : start + self.batch_size]
                loss, _ = task_loss(model, self.collate(rows), self.task.kind)
                share = loss_weight(self.split, rows, self.task.kind)
                total, weight = total + float(loss) * share, weight + share
        model.train(was_training)
        shares = self.process_group.all_gather_object((total, weight))
        return sum(total for total, _ in shares) / sum(weight for _, weight in shares)
