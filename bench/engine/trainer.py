"""The training core under transformers' Trainer: an optimizer and a callback.

    model = get_peft_model(base, AdaLoraConfig(init_r=12, target_r=8, tinit=50, tfinal=100, total_step=500, ...))
    optimizer = AdapterOptimizer(model, lr=1e-3)
    Trainer(model, TrainingArguments(max_steps=500, max_grad_norm=0, ...), train_dataset=rows,
            optimizers=(optimizer, None), callbacks=[AdapterCallback(optimizer)]).train()

Ranks change at the steps that the AdaLoraConfig names, accumulation and the learning-rate scheduler are Trainer's, and
its checkpoints hold all that a resumed training needs to go on to the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from bench.engine.fused_layers import ADAPTER
from bench.engine.options import BudgetUnit, OptimizerName
from bench.engine.peft_model import ENDLESS, BudgetKeeper, bare_core, record_ranks
from bench.engine.report import StepReport
from bench.engine.step import Core
from bench.errors import BenchError


class AdapterOptimizer(torch.optim.Optimizer):  # type: ignore[misc]
    """AdamW, clipping, AdaLoRA's regularizer and rank allocation as one `torch.optim.Optimizer`.

    It trains every trainable parameter of `model`: the adapter and the modules to save. The learning rate is that of
    its one parameter group, so that any scheduler of PyTorch works. `max_grad_norm` clips the whole gradient; clipping
    from outside would not see the adapter's, which is kept in one flat buffer. Weight decay acts on matrices only.

    Make it when the model is on its device. Its state holds the exact parameters, moments, importance averages and
    ranks, so that `load_state_dict` continues a training bit for bit, whatever was loaded into the model before. A step
    of torch's gradient scalers is refused.

    Raises BenchError if the model has no AdaLoRA or LoRA adapter on linear layers; see `bare_core`.
    """

    _step_supports_amp_scaling = True  # torch's gradient scalers then leave a note here in place of touching gradients

    def __init__(
        self,
        model: Any,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        max_grad_norm: float | None = 1.0,
        unit: BudgetUnit = "ranks",
        optimizer: OptimizerName = "adamw",
        adapter: str = ADAPTER,
    ) -> None:
        self.model, self.adapter = model, adapter
        self.core: Core = bare_core(
            model,
            learning_rate=lr,
            weight_decay=weight_decay,
            betas=betas,
            epsilon=eps,
            max_grad_norm=max_grad_norm,
            unit=unit,
            optimizer=optimizer,
            adapter=adapter,
        )
        self.keeper = BudgetKeeper(model, self.core)
        self.last_report: StepReport | None = None
        super().__init__([p for p in model.parameters() if p.requires_grad], {"lr": lr})

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One optimizer step from the gradients of all backward passes since the last one."""
        if hasattr(self, "found_inf"):
            raise BenchError("a gradient scaler is not supported: train in bfloat16 or float32, which need none")
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self.core.flat.masked and not self.model.training:
            raise BenchError("no training in model.eval(), where ranks are masked for evaluation: call model.train()")
        self.core.adopt_gradients()
        self.last_report = self.core.step(learning_rate=self.param_groups[0]["lr"])
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:  # noqa: ARG002 (the interface of torch.optim)
        """Forget the gradients since the last step. A step clears them itself."""
        self.core.discard_gradients()

    def state_dict(self) -> dict[str, Any]:
        tensors, plain = self.core.state_dict()
        return {**super().state_dict(), "core": {"tensors": tensors, "plain": plain}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken. Raises BenchError if that was another model or another schedule."""
        if "core" not in state_dict:
            raise BenchError("the optimizer state is of another optimizer: it holds no training core")
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "core"})
        core = state_dict["core"]
        self.core.load_state_dict(core["tensors"], core["plain"])
        self.keeper.resume()


class AdapterCallback(TrainerCallback):  # type: ignore[misc]
    """Checks Trainer's arguments against the schedule, logs ranks, and writes the final ranks into PEFT's config.

    Logged beside Trainer's own numbers: `budget`, `live_ranks`, `regularizer` (its value times its weight), and
    `grad_norm`, which is then that of adapter and heads together.
    """

    def __init__(self, optimizer: AdapterOptimizer) -> None:
        self._optimizer = optimizer

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Raises BenchError where the training could not be what the arguments say."""
        core = self._optimizer.core
        total = core.schedule.total_steps
        if total not in (ENDLESS, state.max_steps):
            raise BenchError(
                f"AdaLoraConfig.total_step is {total}, but Trainer makes {state.max_steps} optimizer steps: "
                f"set total_step={state.max_steps}"
            )
        if total != ENDLESS and core.completed != state.global_step:
            raise BenchError(
                f"the optimizer has made {core.completed} steps, but Trainer begins after step {state.global_step}: "
                "resume from a checkpoint that holds optimizer.pt (save_only_model=False), or make model and "
                "AdapterOptimizer anew for another training"
            )
        if args.max_grad_norm:
            raise BenchError(
                f"TrainingArguments.max_grad_norm is {args.max_grad_norm}, which would not see the adapter's gradient: "
                "set it to 0 and give max_grad_norm to AdapterOptimizer"
            )
        if args.fp16:
            raise BenchError(
                "fp16 with a gradient scaler is not supported: use bf16, or a model loaded in half precision"
            )
        if args.world_size > 1:
            raise BenchError(f"{args.world_size} processes under Trainer are not supported: start one process")
        if args.n_gpu > 1:  # Trainer copies the model to all of them (torch.nn.DataParallel)
            raise BenchError(f"{args.n_gpu} GPUs under Trainer are not supported: name one in CUDA_VISIBLE_DEVICES")
        core.flat.check_views()

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        logs: dict[str, Any] | None = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        report = self._optimizer.last_report
        if report is None or logs is None or "loss" not in logs:
            return
        numbers = {
            "budget": report.budget,
            "live_ranks": sum(self._optimizer.core.live_ranks().values()),
            "regularizer": _number(report.regularizer),
            "grad_norm": _number(report.grad_norm),
        }
        logs.update(numbers)
        state.log_history[-1].update(numbers)  # Trainer has copied the numbers there already

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        if args.load_best_model_at_end and state.best_model_checkpoint is not None:
            self._optimizer.keeper.release()  # Trainer has just loaded the best checkpoint's parameters
        if self._optimizer.core.completed < self._optimizer.core.schedule.total_steps:
            return  # Trainer may go on, and PEFT would cut what it saves and loads then to the ranks of now
        record_ranks(self._optimizer.model, self._optimizer.core, self._optimizer.adapter)


def _number(value: Tensor) -> float:
    return float(value.item())
