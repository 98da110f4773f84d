"""Evaluation of the same weights by the harness and by the Trainer: generated summaries, and classes.

    python benchmarks/generation.py --mirror DIR [--rows 200 --beams 2 --turns 3 --json]

Both sides take turns in one process with one model. `same` is the share of summaries that are identical; for classes it
is 1 if the accuracy is the same, because the Trainer returns predictions in another order. Each side uses its usual
batch size: ours the evaluation batch size of the recipe, the Trainer that of training.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import peer
import torch
from datasets import Dataset
from rouge_score.rouge_scorer import RougeScorer
from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments

from bench.config.cell import Cell
from bench.config.resolve import load_study
from bench.evaluation.evaluate import evaluate
from bench.inputs.backbones import prepare_backbone
from bench.inputs.datasets import open_data, prepare_task
from bench.inputs.reader import load_tokenizer
from bench.models.adapters import attach, reload_adapter, save_adapter
from bench.models.backbone import find_sites, load_backbone
from bench.training.rng import seed_everything

CPU = torch.device("cpu")


class Both:
    """The evaluation rows and the model of a cell, for both sides."""

    def __init__(self, cell: Cell, mirror: Path, folder: Path) -> None:
        self.cell, self.folder = cell, folder
        backbone = prepare_backbone(cell.backbone, mirror=mirror, cache=folder / "cache")
        data = prepare_task(cell.task, cell.backbone, cell.data, mirror=mirror, cache=folder / "cache")
        self.tokenizer = load_tokenizer(backbone)
        self.split = open_data(data).evaluation[cell.task.primary_split]
        seed_everything(cell.seed)
        model = load_backbone(cell, backbone, CPU)
        model = attach(model, cell, find_sites(model, cell.backbone))
        save_adapter(model, folder / "adapter")
        self.model = reload_adapter(model, folder / "adapter").eval()

    def ours(self) -> tuple[float, Any]:
        split, size = self.cell.task.primary_split, self.cell.recipe.evaluation_batch_size
        began = time.perf_counter()
        evaluated = evaluate(self.model, self.cell.task, {split: self.split}, self.tokenizer, size, CPU)
        seconds = time.perf_counter() - began
        return seconds, evaluated.predictions[split] if self.cell.task.generates else [
            evaluated.metrics[split]["accuracy"]
        ]

    def peer(self) -> tuple[float, Any]:
        return self._summaries() if self.cell.task.generates else self._classes()

    def _classes(self) -> tuple[float, Any]:
        rows = Dataset.from_dict({"input_ids": self.split.input_ids, "labels": self.split.targets})
        trainer = peer.trainer_of(
            self.cell, self.model, {"train": rows, "validation": rows}, self.tokenizer, self.folder / "out", 1, 1
        )
        began = time.perf_counter()
        output = trainer.predict(rows)
        return time.perf_counter() - began, [output.metrics["test_accuracy"]]

    def _summaries(self) -> tuple[float, Any]:
        generation, recipe = self.cell.task.generation, self.cell.recipe
        assert generation
        rows = Dataset.from_dict({"input_ids": self.split.input_ids, "labels": self.split.label_ids})
        scorer = RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=True)

        def rouge(output: Any) -> dict[str, float]:
            pad = self.tokenizer.pad_token_id
            texts, references = (
                self.tokenizer.batch_decode(np.where(ids < 0, pad, ids), skip_special_tokens=True)
                for ids in (output.predictions, output.label_ids)
            )
            scores = [scorer.score(reference, text) for reference, text in zip(references, texts, strict=True)]
            return {key: float(np.mean([score[key].fmeasure for score in scores])) for key in scores[0]}

        config = self.model.generation_config
        config.update(
            max_length=generation.max_length,
            min_length=generation.min_length,
            num_beams=generation.beams,
            length_penalty=generation.length_penalty,
            no_repeat_ngram_size=generation.no_repeat_ngram,
            early_stopping=generation.beams > 1,
            do_sample=False,
        )
        arguments = Seq2SeqTrainingArguments(
            output_dir=str(self.folder / "out"),
            per_device_eval_batch_size=recipe.batch_size,
            predict_with_generate=True,
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = Seq2SeqTrainer(
            self.model,
            arguments,
            data_collator=DataCollatorForSeq2Seq(self.tokenizer, self.model),
            compute_metrics=rouge,
            processing_class=self.tokenizer,
        )
        began = time.perf_counter()
        output = trainer.predict(rows)
        seconds = time.perf_counter() - began
        ids = np.where(output.predictions < 0, self.tokenizer.pad_token_id, output.predictions)
        return seconds, self.tokenizer.batch_decode(ids, skip_special_tokens=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mirror", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--beams", type=int, default=2)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    report = {}
    summaries = [f"limits.evaluation_rows={args.rows}", f"overrides.cnn_dailymail.generation.beams={args.beams}"]
    for task, overrides in (("cnn_dailymail", summaries), ("sst2", ["limits.evaluation_rows=872"])):
        cell = load_study("mirror", overrides).find(task, "lora", "small", 0)
        with tempfile.TemporaryDirectory() as folder:
            both = Both(cell, args.mirror, Path(folder))
            turns = [(both.ours(), both.peer()) for _ in range(args.turns)]
        mine, theirs = turns[0][0][1], turns[0][1][1]
        ratios = [peer_seconds / our_seconds for (our_seconds, _), (peer_seconds, _) in turns]
        report[task] = {
            "ratio": [median(ratios), min(ratios), max(ratios)],
            "seconds": {"ours": median(t[0][0] for t in turns), "peer": median(t[1][0] for t in turns)},
            "same": float(np.mean([str(a).strip() == str(b).strip() for a, b in zip(mine, theirs, strict=True)])),
        }
    if args.json:
        print(json.dumps(report, indent=1))
        return
    for task, it in report.items():
        middle, least, most = it["ratio"]
        ours, theirs = it["seconds"]["ours"], it["seconds"]["peer"]
        print(
            f"{task}: the Trainer takes {middle:.2f} times as long ({least:.2f} to {most:.2f}), {theirs:.1f} s for "
            f"{ours:.1f} s; same outputs: {it['same']:.1%}"
        )


if __name__ == "__main__":
    main()
