"""What a user would run instead of the harness, in its best form: Trainer, PEFT and datasets, one cell per process.

    python benchmarks/peer.py --cell cell.json --rows FOLDER --backbone FOLDER --out FOLDER

It uses dynamic padding, batches of similar length, and the same rows, batch sizes, steps and precision as our cell;
PEFT's AdaLoRA with `update_and_allocate` after every optimizer step, before the gradients are cleared. `--cell` is a
resolved cell as JSON, `--rows` holds train.parquet and validation.parquet with the task's columns. The last line
printed is JSON: seconds per phase and metrics.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from datasets import load_dataset
from peft import AdaLoraConfig, LoraConfig, get_peft_model
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BitsAndBytesConfig,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from bench.config.cell import Cell
from bench.log import process_age

transformers.logging.set_verbosity_error()


class Allocate(TrainerCallback):  # type: ignore[misc]
    """PEFT's AdaLoRA as documented: after the optimizer step, before the gradients are cleared."""

    def __init__(self, model: Any) -> None:
        self.model, self.steps = model, 0

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        self.steps += 1
        self.model.base_model.update_and_allocate(self.steps)


class Clock(TrainerCallback):  # type: ignore[misc]
    """Seconds of the epochs, without what `Trainer.train` does before and after them."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self._began = time.perf_counter()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        self.seconds += time.perf_counter() - self._began


def model_of(cell: Cell, backbone: Path, steps: int) -> Any:
    """The encoder with the method's adapter; AdaLoRA's schedule spans `steps` optimizer steps."""
    torch.manual_seed(cell.seed)
    options: dict[str, Any] = {"dtype": torch.float32}
    if cell.method.storage == "nf4":
        options = {
            "dtype": torch.bfloat16,
            "quantization_config": BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=torch.bfloat16,
                llm_int8_skip_modules=[rf"(.*\.)?{head}(\..*)?" for head in cell.backbone.head],
            ),
        }
    base = AutoModelForSequenceClassification.from_pretrained(
        backbone, num_labels=len(cell.task.labels), attn_implementation=cell.backbone.attention, **options
    )
    targets = rf".*layer\.\d+\.({'|'.join(m.replace('.', '[.]') for m in cell.backbone.matrices)})"
    common: dict[str, Any] = {
        "target_modules": targets,
        "modules_to_save": cell.backbone.head,
        "lora_alpha": cell.recipe.alpha,
        "task_type": "SEQ_CLS",
    }
    rank = int(cell.budget.rank or 0)
    if cell.method.adapter == "lora":
        model = get_peft_model(base, LoraConfig(r=rank, **common))
    else:
        phases = cell.recipe.rank_schedule_at(steps)
        model = get_peft_model(
            base,
            AdaLoraConfig(
                init_r=cell.budget.initial_rank or rank,
                target_r=rank,
                tinit=phases.initial_steps,
                tfinal=phases.final_steps,
                deltaT=phases.interval,
                total_step=steps,
                orth_reg_weight=cell.recipe.orthogonality,
                **common,
            ),
        )
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def tokenized(rows: Path, tokenizer: Any, cell: Cell) -> Any:
    """Both splits, tokenized; `datasets` caches the result, so a second run reads its cache."""
    data = load_dataset("parquet", data_files={name: str(rows / f"{name}.parquet") for name in ("train", "validation")})
    texts, target = cell.task.data.columns.text, cell.task.data.columns.target

    def tokens(batch: Any) -> Any:
        encoded = tokenizer(*(batch[column] for column in texts), truncation=True, max_length=cell.recipe.max_length)
        return {**encoded, "labels": batch[target]}

    return data.map(tokens, batched=True, remove_columns=data["train"].column_names)


def accuracy(prediction: Any) -> dict[str, float]:
    from sklearn.metrics import accuracy_score, matthews_corrcoef

    classes = np.argmax(prediction.predictions, axis=-1)
    return {
        "accuracy": float(accuracy_score(prediction.label_ids, classes)),
        "mcc": float(matthews_corrcoef(prediction.label_ids, classes)),
    }


def trainer_of(cell: Cell, model: Any, data: Any, tokenizer: Any, out: Path, steps: int, epochs: float) -> Trainer:
    recipe = cell.recipe
    arguments = TrainingArguments(
        output_dir=str(out),
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=recipe.evaluation_batch_size,
        num_train_epochs=epochs,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=recipe.warmup_at(steps),
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.gradient_clip or 0.0,
        optim="adamw_torch_fused",
        train_sampling_strategy="group_by_length",
        logging_steps=25,
        save_strategy="no",
        report_to="none",
        seed=cell.seed,
        disable_tqdm=True,
        bf16=cell.method.storage in ("fp32_autocast", "nf4"),
        use_cpu=not torch.cuda.is_available(),
    )
    callbacks = [Allocate(model)] if cell.method.adapter == "adalora" else []
    return Trainer(
        model,
        arguments,
        train_dataset=data["train"],
        eval_dataset=data["validation"],
        callbacks=callbacks,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=accuracy,
    )


def main() -> None:
    seconds, began = {"libraries": process_age()}, time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("rows", "backbone", "cell", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cell = Cell.model_validate_json(args.cell.read_bytes())

    def spent(phase: str) -> None:
        nonlocal began
        now = time.perf_counter()
        seconds[phase], began = now - began, now

    tokenizer = AutoTokenizer.from_pretrained(args.backbone)
    data = tokenized(args.rows, tokenizer, cell)
    spent("data")
    steps = cell.recipe.total_steps(len(data["train"]))
    model = model_of(cell, args.backbone, steps)
    trainer = trainer_of(cell, model, data, tokenizer, args.out, steps, cell.recipe.epochs)
    spent("model")
    trainer.train()
    spent("training")
    metrics = trainer.evaluate()
    spent("evaluation")
    model.save_pretrained(args.out)
    (args.out / "results.json").write_text(json.dumps(metrics))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    print(
        json.dumps(
            {"seconds": seconds, "metrics": metrics, "steps": steps, "final_loss": losses[-1] if losses else None}
        )
    )


if __name__ == "__main__":
    main()
