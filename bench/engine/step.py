"""The training core: the one object that owns what happens between the loss and the next batch, and in which order.

    core.accumulate(loss)       for each micro-batch: the task's loss alone
    report = core.step()        regularizer -> guard -> clip -> AdamW -> allocator -> compaction -> zero

Nothing else touches gradients, moments or ranks, so the calls cannot be made in a wrong order. An ordinary step has no
host synchronization: what it reports stays on the device until somebody reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from bench.distributed import SINGLE_PROCESS, ProcessGroup
from bench.engine.allocators.base import StepFacts
from bench.engine.allocators.registry import build_allocator
from bench.engine.autocast import aside
from bench.engine.flat import FlatParameters
from bench.engine.fused_layers import ADAPTER
from bench.engine.layout import Site
from bench.engine.optimizers import build_optimizer
from bench.engine.options import AllocatorOptions, StepOptions
from bench.engine.regularizer import Regularizer
from bench.engine.report import StepReport
from bench.engine.schedule import RankSchedule
from bench.errors import BenchError

ALLOCATOR_PREFIX = "allocator."  # of its tensors in a checkpoint


class Core:
    """Trains the adapters of `model` at `sites`, and whatever else of it is trainable, along `schedule`.

    The model is on its device and its adapters are attached, under PEFT's name `adapter`. Every process of
    `process_group` holds the same model; gradients are summed once per step, so that all take the same decisions.

    Raises BenchError if the model cannot be trained so (see `FlatParameters`) or the allocator is unknown.

    Example:
        >>> core = Core(model, find_sites(model), StepOptions(learning_rate=1e-3, orthogonality=0.1), schedule,
        ...             AllocatorOptions(name="adalora"))
        >>> for batch in batches:
        ...     core.accumulate(model(**batch).loss)
        ...     report = core.step()
    """

    def __init__(
        self,
        model: Any,
        sites: Sequence[Site],
        options: StepOptions,
        schedule: RankSchedule,
        allocator: AllocatorOptions | None = None,
        *,
        process_group: ProcessGroup = SINGLE_PROCESS,
        adapter: str = ADAPTER,
    ) -> None:
        self.options, self.schedule, self.process_group = options, schedule, process_group
        self.flat = FlatParameters(model, sites, adapter)
        if process_group.world_size > 1:
            process_group.broadcast(self.flat.data)  # adapters and heads may be drawn apart in each process
            self.flat.fold()
        self.initial_ranks = self.flat.layout.ranks
        self.optimizer = build_optimizer(self.flat, options)
        self._allocator_options = allocator or AllocatorOptions()
        self.allocator = build_allocator(self.flat, schedule, self._allocator_options)
        self._regularizer = Regularizer(self.flat, options.orthogonality) if options.orthogonality > 0 else None
        self._zero = torch.zeros((), device=self.flat.device)
        self._skipped = torch.zeros((), device=self.flat.device)
        self._loss: Tensor | None = None
        self._viewing = False
        self.completed = 0  # optimizer steps made, skipped ones too
        self._follow()  # growing allocators start below the ranks that the layers were made for

    def accumulate(self, loss: Tensor, share: float | None = None) -> None:
        """Backward of one micro-batch.

        share: the part of the optimizer step's rows (of all processes together) that this loss is the mean of; by
        default 1 / `options.micro_batches`. Raises BenchError while ranks are masked, or if it is more than one number.
        """
        if self._viewing or self.flat.masked:
            raise BenchError("no training inside budget_view or model.eval(): ranks are masked for evaluation")
        if loss.numel() != 1:
            raise BenchError(f"expected one loss, found {list(loss.shape)} of them: take their mean")
        share = 1 / self.options.micro_batches if share is None else share
        loss.backward(torch.full_like(loss, share))
        part = loss.detach().reshape(()) * share
        self._loss = part if self._loss is None else self._loss + part

    def accumulate_nothing(self) -> None:
        """This process has no micro-batch of the step; its gradient comes from the other processes."""
        if self.process_group.world_size > 1 and self._loss is None:
            self._loss = self._zero.clone()

    def adopt_gradients(self) -> None:
        """Take over the gradients of backward passes that somebody else made, in place of `accumulate`."""
        self.flat.gather_gradients()
        self._loss = self._zero.clone()

    def discard_gradients(self) -> None:
        """Forget the gradients since the last step."""
        self.flat.gather_gradients()
        self.flat.zero_gradients()
        self._loss = None

    @aside
    def step(self, learning_rate: float | None = None) -> StepReport:
        """One optimizer step from the gradients that `accumulate` gathered.

        learning_rate: of this step alone; by default that of the options' own schedule. Raises BenchError without a
        gradient, after the last step of the schedule, or if gradients were cleared outside.
        """
        if self._loss is None:
            raise BenchError("step without accumulate: there is no gradient")
        if self.completed >= self.schedule.total_steps:
            raise BenchError(f"all {self.schedule.total_steps} steps of the schedule are made")
        flat, limit = self.flat, self.options.max_grad_norm
        flat.check_gradients()
        flat.unfold_gradients()
        loss = self._loss
        self.process_group.all_reduce_sum(flat.grad)
        self.process_group.all_reduce_sum(loss)
        # After the sum over processes: the regularizer counts once per step, however many losses were accumulated.
        regularizer = self._zero if self._regularizer is None else self._regularizer.add_gradient()
        # With several processes another one may have a gradient where this one has none.
        hold = flat.untouched() if self.process_group.world_size == 1 else []

        norm = torch.linalg.vector_norm(flat.grad)
        # 1 if norm or loss is inf or nan: inf * 0 and nan * 0 are nan, the one value here that differs from 0.
        skipped = (norm + loss).mul(0).ne(0).float()
        clip = None if limit is None else (limit / (norm + 1e-6)).clamp_(max=1.0)  # as torch.nn.utils.clip_grad_norm_
        if clip is not None:
            flat.grad.mul_(clip)
        rate = self.learning_rate(self.completed) if learning_rate is None else learning_rate
        self.optimizer.step(rate, skipped, hold)
        self._skipped.add_(skipped)
        self.completed += 1
        # The importance needs this step's gradient, so the allocator comes before the gradients are cleared.
        facts = StepFacts(1 - skipped, clip, loss, hold, rate, self.optimizer.moments, regularizer)
        masked = self.allocator.after_step(self.completed, facts)
        if masked:
            self._follow()
        flat.fold()
        flat.zero_gradients()
        self._loss = None
        return StepReport(
            self.completed, loss, regularizer, norm, skipped, rate, self.schedule.budget(self.completed), masked
        )

    @property
    def watches(self) -> bool:
        """Whether the allocator wants the loss on held-out rows now, after a step; `validated` takes it."""
        return self.allocator.watches(self.completed)

    @aside
    def validated(self, loss: float) -> bool:
        """Take in the loss on held-out rows. Returns whether ranks changed. Raises BenchError if none is wanted."""
        if not self.watches:
            raise BenchError(f"no held-out loss is wanted after step {self.completed}")
        changed = self.allocator.after_validation(self.completed, loss)
        if changed:
            self._follow()
        return changed

    def learning_rate(self, step: int) -> float:
        """The learning rate of the optimizer step that follows `step` steps."""
        return self.options.learning_rate_at(step, self.schedule.total_steps)

    def budget_mask(self) -> Tensor | None:
        """Which ranks [triplets] live under the budget of this step; None if all do."""
        return self.allocator.mask(self.completed)

    @contextmanager
    def budget_view(self) -> Iterator[None]:
        """Inside, the model obeys the budget of its step: evaluate and save it here. It is restored bit for bit."""
        mask = self.budget_mask()
        singular = self.flat.singular.clone()
        self._viewing = True
        try:
            if mask is not None:
                with torch.no_grad():
                    self.flat.singular.mul_(mask)
                self.flat.fold()
            yield
        finally:
            self.flat.singular.copy_(singular)
            self.flat.fold()
            self._viewing = False

    def masks(self) -> dict[str, list[bool]]:
        """Per site, which of its initial ranks live under the budget of this step: PEFT's rank_pattern."""
        layout, mask = self.flat.layout, self.budget_mask()
        kept = layout.kept if mask is None else layout.kept_by(mask.tolist())
        return {
            site.name: [rank in live for rank in range(initial)]
            for site, live, initial in zip(layout.sites, kept, self.initial_ranks, strict=True)
        }

    def live_ranks(self) -> dict[str, int]:
        """Per site, how many ranks live under the budget of this step."""
        return {name: sum(mask) for name, mask in self.masks().items()}

    def live_parameters(self) -> int:
        """Parameters of the adapter under the budget of this step: A, B and E of the live ranks."""
        ranks, extra = self.live_ranks(), 1 if self.flat.layout.svd else 0
        return sum(ranks[site.name] * (site.parameters_per_rank + extra) for site in self.flat.layout.sites)

    def trainable_parameters(self) -> dict[str, int]:
        """How many parameters the optimizer holds now, of the adapter and of the heads."""
        adapter = self.flat.layout.adapter_elements
        return {"adapter": adapter, "head": self.flat.elements - adapter}

    def skipped_steps(self) -> int:
        """How many steps so far had a gradient that was not finite. Synchronizes."""
        return int(self._skipped.item())

    def bytes(self) -> dict[str, int]:
        """Bytes that training holds now, apart from the frozen base and the activations."""
        elements = self.flat.elements * 4
        return {
            "parameters": elements,
            "gradients": elements,
            "optimizer": self.optimizer.bytes(),
            "importance": self.allocator.bytes(),
            "folded": self.flat.folded_bytes(),
        }

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All from which another core of the same training goes on bit for bit: tensors (copies) and plain JSON.

        Raises BenchError between `accumulate` and `step`, and inside `budget_view`.
        """
        if self._loss is not None or self._viewing:
            raise BenchError("a checkpoint is taken between optimizer steps")
        tensors, plain = self.allocator.state()
        optimizer_tensors, optimizer_plain = self.optimizer.state()
        state = {
            "parameters": self.flat.data,
            "skipped": self._skipped,
            **optimizer_tensors,
            **{f"{ALLOCATOR_PREFIX}{name}": tensor for name, tensor in tensors.items()},
        }
        return {name: tensor.detach().clone() for name, tensor in state.items()}, {
            "step": self.completed,
            "kept": [list(ranks) for ranks in self.flat.layout.kept],
            "allocator": plain,
            **optimizer_plain,
            **self._identity(),
        }

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def load_state_dict(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken. Raises BenchError if schedule, sites or heads were others."""
        for key, expected in self._identity().items():
            found = plain.get(key, "adamw" if key == "optimizer" else None)  # older checkpoints name none
            if found != expected:
                raise BenchError(f"the checkpoint is of another training: its {key} is {found}, not {expected}")
        self.flat.reshape(tuple(tuple(ranks) for ranks in plain["kept"]))
        self.flat.data.copy_(tensors["parameters"])
        self.flat.fold()
        self.flat.zero_gradients()
        self.optimizer.load(tensors, plain)
        self._skipped.copy_(tensors["skipped"])
        names = [name for name in tensors if name.startswith(ALLOCATOR_PREFIX)]
        self.allocator.load({name.removeprefix(ALLOCATOR_PREFIX): tensors[name] for name in names}, plain["allocator"])
        if self._regularizer is not None:
            self._regularizer.rebuild()
        self.completed, self._loss = int(plain["step"]), None

    def _identity(self) -> dict[str, Any]:
        return {
            "schedule": asdict(self.schedule),
            "sites": [site.name for site in self.flat.layout.sites],
            "heads": self.flat.head_names,
            "optimizer": self.optimizer.name,
        }

    def _follow(self) -> None:
        """Let parameters, gradients, moments and regularizer hold the ranks that the allocator keeps.

        Outputs stay: what leaves was masked to zero (but for ElaLoRA's); what enters has a zero factor, or 1e-5.
        """
        kept = self.allocator.kept()
        if kept is None or kept == self.flat.layout.kept:
            return
        old = self.flat.rebuild(kept)
        self.optimizer.carry(old)
        self.allocator.follow_layout(old)
        self.flat.fold()
        growth = self._allocator_options.growth
        for ranks in filter(any, (self.flat.layout.new_since(old), self.allocator.renewed() or ())):
            self.optimizer.forget(ranks, growth.warmup_steps if growth else 0)
        if self._regularizer is not None:
            self._regularizer.rebuild()
