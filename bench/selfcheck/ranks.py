"""AdaLoRA's choice of ranks beside that of PEFT, on the same model and the same batches."""

from __future__ import annotations

import torch

from bench.config.cell import Cell
from bench.engine.fused_layers import ADAPTER
from bench.evaluation.loss import task_loss
from bench.inputs.collate import Batch
from bench.selfcheck.check import Finding, Place, judged
from bench.selfcheck.specimens import (
    STEPS,
    Attached,
    attached,
    cell_of,
    drop_nothing,
    random_batch,
    shapes_of,
    specimen,
)

# Two ranks of equal importance may be chosen either way: their difference is below float32's rounding.
ALIKE = 0.95
# At the usual epsilon a gradient that is nothing but rounding moves its parameter by the whole learning rate.
EPSILON = 1e-3
PLAIN = {"orthogonality": 0.0, "weight_decay": 0.0, "gradient_clip": None, "adam_epsilon": EPSILON, "warmup_steps": 0}


def ranks_of_peft(place: Place) -> Finding:
    """Train with our core and with PEFT's allocator, and compare which ranks live after each pruning."""
    shape = shapes_of(place)[0]
    cell = cell_of(place, shape.task, "adalora", **PLAIN)
    # Pruned ranks keep their place, as PEFT's do, so that masks can be compared to the end.
    cell = cell.model_copy(update={"method": cell.method.model_copy(update={"compact": False})})
    ours, theirs = specimen(place, cell), PeftTraining(attached(place, cell), cell)
    for model in (ours.model, theirs.model):
        drop_nothing(model)
    same = total = 0
    for step in range(1, STEPS + 1):
        batch = random_batch(cell, shape.batch, ours.device, seed=step)
        report = ours.step(batch)
        theirs.step(batch, report.learning_rate, step)
        if report.masked:
            masks, chosen = ours.core.masks(), theirs.masks()
            same += sum(a == b for name in masks for a, b in zip(masks[name], chosen[name], strict=True))
            total += sum(len(mask) for mask in masks.values())
    live = sum(ours.core.live_ranks().values())
    return judged(
        total > 0 and same >= ALIKE * total,
        f"{same} of {total} choices alike, {live} ranks live after {STEPS} steps",
        alike=same,
        choices=total,
        live=live,
    )


class PeftTraining:
    """The loop that PEFT documents for AdaLoRA, on the schedule of our core."""

    def __init__(self, found: Attached, cell: Cell) -> None:
        self.model, self._kind = found.model, cell.task.kind
        schedule, config = found.schedule, found.model.peft_config[ADAPTER]
        config.tinit, config.tfinal, config.deltaT = schedule.initial_steps, schedule.final_steps, schedule.interval
        config.total_step = schedule.total_steps
        allocator = found.model.base_model.rankallocator
        allocator.beta1, allocator.beta2 = cell.recipe.importance_betas
        allocator.target_bgt = schedule.target_budget  # PEFT has a whole rank per matrix
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(
            trained, lr=0.0, betas=cell.recipe.adam_betas, eps=EPSILON, weight_decay=0.0
        )

    def step(self, batch: Batch, rate: float, number: int) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        loss, _ = task_loss(self.model, batch, self._kind)
        loss.backward()
        self._optimizer.step()
        # PEFT chooses by kthvalue, which has no deterministic form on a GPU: which of equal values it takes is open.
        torch.use_deterministic_algorithms(True, warn_only=True)
        self.model.base_model.update_and_allocate(number)
        torch.use_deterministic_algorithms(True)
        self._optimizer.zero_grad()

    def masks(self) -> dict[str, list[bool]]:
        """By site, which of its initial ranks live."""
        pattern = self.model.peft_config[ADAPTER].rank_pattern
        return {name.split(".lora_E.")[0].removeprefix("model."): mask for name, mask in pattern.items()}
