"""The accuracy of PEFT's AdaLoRA and of ours on real rows.

    python benchmarks/adalora_accuracy.py --mirror DIR [--tasks sst2,qnli --seeds 0,1,2 --json]

Recipe, rows, batches and starting weights are those of the study `mirror`. PEFT's side follows its documentation: its
own model with its own regularizer in the loss, torch's AdamW, and `update_and_allocate` after every optimizer step. Our
side is the harness's engine. Both start from the same bits and see the same batches in the same order. A difference is
judged by its standard error over the paired seeds and by the binomial standard error of one accuracy.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from peft import AdaLoraConfig, get_peft_model
from torch import nn
from transformers import get_linear_schedule_with_warmup

from bench.config.cell import Cell
from bench.config.rank_schedule import largest_rank, schedule_of
from bench.config.resolve import load_study
from bench.engine.schedule import RankSchedule
from bench.evaluation.evaluate import evaluate
from bench.evaluation.loss import task_loss
from bench.inputs.backbones import prepare_backbone
from bench.inputs.collate import Collator
from bench.inputs.datasets import PreparedData, open_data, prepare_task
from bench.inputs.reader import load_tokenizer
from bench.models.adapters import attach
from bench.models.backbone import find_sites, head_modules, load_backbone
from bench.models.core import build_core
from bench.training.batches import epoch_batches
from bench.training.rng import seed_everything

CPU = torch.device("cpu")


class Peft:
    """A training with PEFT's AdaLoRA."""

    def __init__(self, cell: Cell, model: Any, sites: Any, schedule: RankSchedule) -> None:
        recipe, matrices = cell.recipe, len(sites)
        shapes = [(site.in_features, site.out_features) for site in sites]
        config = AdaLoraConfig(
            init_r=largest_rank(cell, shapes),
            target_r=schedule.target_budget // matrices,
            tinit=schedule.initial_steps,
            tfinal=schedule.final_steps,
            deltaT=schedule.interval,
            total_step=schedule.total_steps,
            beta1=recipe.importance_betas[0],
            beta2=recipe.importance_betas[1],
            orth_reg_weight=recipe.orthogonality,
            lora_alpha=recipe.alpha,
            target_modules=[s.name for s in sites],
            modules_to_save=[name.split(".")[-1] for name in head_modules(model, cell.backbone)],
            task_type="SEQ_CLS",
        )
        self.model = get_peft_model(model, config)
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        decayed = [p for p in self.trained if p.dim() > 1]
        plain = [p for p in self.trained if p.dim() <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=recipe.learning_rate,
            betas=recipe.adam_betas,
            eps=recipe.adam_epsilon,
        )
        warmup = recipe.warmup_at(schedule.total_steps)
        self.rates = get_linear_schedule_with_warmup(self.optimizer, warmup, schedule.total_steps)
        self.clip, self.steps = recipe.gradient_clip, 0

    def step(self, batch: Any) -> None:
        self.steps += 1
        self.model(**batch.inputs, labels=batch.targets).loss.backward()
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.trained, self.clip)
        self.optimizer.step()
        self.rates.step()
        self.model.base_model.update_and_allocate(self.steps)
        self.optimizer.zero_grad()

    def live(self) -> int:
        pattern = self.model.peft_config["default"].rank_pattern
        return sum(sum(row) for row in pattern.values())


class Ours:
    """The same training with our engine."""

    def __init__(self, cell: Cell, model: Any, sites: Any, schedule: RankSchedule) -> None:
        self.model, self.kind = attach(model, cell, sites), cell.task.kind
        self.core = build_core(self.model, sites, cell, schedule)

    def step(self, batch: Any) -> None:
        loss, _ = task_loss(self.model, batch, self.kind)
        self.core.accumulate(loss)
        self.core.step()

    def live(self) -> int:
        return sum(self.core.live_ranks().values())


def run(maker: type[Peft] | type[Ours], cell: Cell, data: PreparedData, folder: Path) -> dict[str, float]:
    """Train and score one cell: accuracy in percent, live ranks at the end, seconds of training, rows scored."""
    seed_everything(cell.seed)
    model = load_backbone(cell, folder, CPU)
    sites = find_sites(model, cell.backbone)
    shapes = [(site.in_features, site.out_features) for site in sites]
    schedule = schedule_of(cell, len(data.train), shapes)
    seed_everything(cell.seed + 1)
    side = maker(cell, model, sites, schedule)
    seed_everything(cell.seed + 2)
    tokenizer = load_tokenizer(folder)
    collate = Collator(data.train, cell.task.kind, tokenizer, CPU)
    lengths = [len(ids) for ids in data.train.input_ids]
    side.model.train()
    began, steps_done, epoch = time.monotonic(), 0, 0
    while steps_done < schedule.total_steps:
        for rows in epoch_batches(lengths, cell.recipe.batch_size, cell.seed, epoch):
            if steps_done < schedule.total_steps:
                side.step(collate(rows))
                steps_done += 1
        epoch += 1
    seconds = time.monotonic() - began
    split, metric = cell.task.primary_split, cell.task.metric
    value = evaluate(side.model, cell.task, data.evaluation, tokenizer, 64, CPU).metrics[split][metric] or 0.0
    return {"score": 100 * value, "live": side.live(), "seconds": seconds, "rows": len(data.evaluation[split])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mirror", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("results/cache"))
    parser.add_argument("--tasks", default="sst2,qnli")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    study = load_study("mirror", [f"seeds={seeds}"])
    places = {"mirror": arguments.mirror, "cache": arguments.cache}
    report: dict[str, Any] = {}
    for task in arguments.tasks.split(","):
        runs: dict[str, list[dict[str, float]]] = {"peft": [], "ours": []}
        for seed in seeds:
            cell = study.find(task, "adalora", "small", seed)
            folder = prepare_backbone(cell.backbone, **places)
            data = open_data(prepare_task(cell.task, cell.backbone, cell.data, **places))
            for name, maker in (("peft", Peft), ("ours", Ours)):
                runs[name].append(run(maker, cell, data, folder))
        report[task] = summary(runs)
        if not arguments.json:
            print(task, json.dumps(report[task]), flush=True)
    if arguments.json:
        print(json.dumps(report, indent=2))


def standard_error(values: list[float]) -> float | None:
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None


def summary(runs: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Means, the paired difference with its standard error over seeds, and the binomial error of one accuracy."""
    scores = {name: [r["score"] for r in runs_of_side] for name, runs_of_side in runs.items()}
    differences = [b - a for a, b in zip(scores["peft"], scores["ours"], strict=True)]
    p, rows = statistics.mean(scores["peft"]) / 100, runs["peft"][0]["rows"]
    return {
        "scores": scores,
        "means": {name: statistics.mean(values) for name, values in scores.items()},
        "difference": statistics.mean(differences),
        "error_over_seeds": standard_error(differences),
        "error_of_one_accuracy": 100 * math.sqrt(p * (1 - p) / rows),
        "live_ranks": {name: [r["live"] for r in runs_of_side] for name, runs_of_side in runs.items()},
        "seconds": {name: statistics.mean(r["seconds"] for r in runs_of_side) for name, runs_of_side in runs.items()},
    }


if __name__ == "__main__":
    main()
