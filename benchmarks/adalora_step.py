"""What a training step costs with LoRA, with PEFT's AdaLoRA and with our engine.

    python benchmarks/adalora_step.py [--pairs 24 --json]

Counts the ATen operations and host synchronizations of one step, and times steps of all sides in turn. Two models have
the same 72 adapted matrices: `deberta` has the shape of DeBERTa-v3-base with random weights (a small vocabulary changes
no operation), and `proxy` has width 64, so that dispatching operations takes nearly all the time. Ranks go from 3 to 2,
with a mask at every step.
"""

from __future__ import annotations

import argparse
import json
import statistics
import warnings
from collections.abc import Callable
from typing import Any

import torch
from counting import Operations, host_reads, nothing, ratios, timed
from peft import AdaLoraConfig, LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

from bench.config.backbone import Backbone
from bench.config.budget import Budget
from bench.config.cell import Cell, DataChoice
from bench.config.method import Method
from bench.config.recipe import Recipe
from bench.config.task import Task
from bench.engine.flat import FlatParameters
from bench.engine.regularizer import Regularizer
from bench.engine.schedule import RankSchedule
from bench.models.core import build_core
from bench.models.sites import AdapterSite

WIDTHS = {"deberta": (768, 3072, 12), "proxy": (64, 256, 1)}
MATRICES = r".*layer\.\d+\.(attention\.(self\.(query|key|value)_proj|output\.dense)|(intermediate|output)\.dense)"
START, TARGET, GAMMA, TOTAL = 3, 2, 0.1, 10_000


def backbone(name: str) -> Any:
    width, inner, heads = WIDTHS[name]
    torch.manual_seed(0)
    config = DebertaV2Config(
        vocab_size=512,
        hidden_size=width,
        intermediate_size=inner,
        num_attention_heads=heads,
        num_hidden_layers=12,
        relative_attention=True,
        pos_att_type="p2c|c2p",
        position_buckets=256,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        position_biased_input=False,
        type_vocab_size=0,
        max_relative_positions=-1,
        pad_token_id=0,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=2,
    )
    return DebertaV2ForSequenceClassification(config).train()


def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(1, 512, (2, 16), generator=generator)
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": torch.tensor([0, 1])}


def attach(model: Any, svd: bool) -> Any:
    common: dict[str, Any] = {
        "target_modules": MATRICES,
        "modules_to_save": ["pooler", "classifier"],
        "task_type": "SEQ_CLS",
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not svd:
            return get_peft_model(model, LoraConfig(r=TARGET, lora_alpha=16, **common))
        config = AdaLoraConfig(
            init_r=START,
            target_r=TARGET,
            tinit=0,
            tfinal=TOTAL // 2,
            deltaT=1,
            total_step=TOTAL,
            lora_alpha=16,
            orth_reg_weight=GAMMA,
            **common,
        )
        return get_peft_model(model, config)


def sites_of(model: Any) -> list[AdapterSite]:
    base = model.get_base_model()
    return [
        AdapterSite(name, module.in_features, module.out_features, name.split(".", 4)[-1], int(name.split(".")[3]))
        for name, module in base.named_modules()
        if hasattr(module, "lora_A")
    ]


def cell_of(svd: bool) -> Cell:
    adapter = "adalora" if svd else "lora"
    return Cell(
        study="benchmark",
        task=Task(
            name="toy",
            kind="classification",
            data={"hub": "a/b", "columns": {"text": ["t"], "target": "y"}},
            labels=["a", "b"],
            metrics=["accuracy"],
        ),
        backbone=Backbone(name="deberta", path="none", kinds=["classification"], matrices=["query_proj"]),
        method=Method(name="m", label="m", adapter=adapter, allocator="adalora" if svd else "fixed"),
        budget_name="small",
        budget=Budget(rank=TARGET),
        seed=0,
        recipe=Recipe(learning_rate=1e-3, orthogonality=GAMMA, warmup_steps=0),
        data=DataChoice(source="embedded"),
    )


class PeftStep:
    """One step as in PEFT's documentation, with torch's default AdamW and clipping."""

    def __init__(self, name: str, svd: bool) -> None:
        self.model, self.svd, self.batch = attach(backbone(name), svd), svd, batch()
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-3, weight_decay=0.0)
        self.steps = 0

    def __call__(self, operations: Operations | None = None) -> None:
        under = operations.under if operations else nothing
        self.steps += 1
        with under("forward"):
            loss = self.model(**self.batch).loss
        with under("backward"):
            loss.backward()
        with under("optimizer"):
            nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimizer.step()
        with under("allocation"):
            if self.svd:
                self.model.base_model.update_and_allocate(self.steps)
        with under("other"):
            self.optimizer.zero_grad()


class OurStep:
    """The same step with our engine."""

    def __init__(self, name: str, svd: bool, interval: int = 1, freezes_at: int = TOTAL // 2) -> None:
        self.model, self.batch = attach(backbone(name), svd), batch()
        sites = sites_of(self.model)
        first, last = (START if svd else TARGET) * len(sites), TARGET * len(sites)
        schedule = RankSchedule(
            initial_budget=first,
            target_budget=last,
            final_steps=TOTAL - freezes_at,
            interval=interval,
            total_steps=TOTAL,
        )
        self.core = build_core(self.model, sites, cell_of(svd), schedule)

    def __call__(self, operations: Operations | None = None) -> None:
        under = operations.under if operations else nothing
        with under("forward"):
            loss = self.model(**self.batch).loss
        with under("backward"):
            self.core.accumulate(loss)
        with under("optimizer"):
            self.core.step()

    def watch(self, operations: Operations) -> None:
        operations.watch(self.core.allocator, "after_step", "allocation")
        if self.core._regularizer is not None:
            operations.watch(self.core._regularizer, "add_gradient", "regularizer")


def counted(step: PeftStep | OurStep) -> tuple[dict[str, int], dict[str, int]]:
    """Operations and synchronizations of the third step, per part; the first two set up optimizer state."""
    step()
    step()
    operations = Operations()
    if isinstance(step, OurStep):
        step.watch(operations)
    with operations, host_reads(operations):
        step(operations)
    counts = dict(operations.counts)
    return {**counts, "total": sum(counts.values())}, dict(operations.syncs)


def step_costs(name: str, pairs: int) -> dict[str, Any]:
    operations, syncs = {}, {}
    makers: dict[str, Callable[[], PeftStep | OurStep]] = {
        "lora": lambda: PeftStep(name, svd=False),
        "peft-adalora": lambda: PeftStep(name, svd=True),
        "ours-lora": lambda: OurStep(name, svd=False),
        "ours-adalora": lambda: OurStep(name, svd=True),
        "ours-adalora, no mask": lambda: OurStep(name, svd=True, interval=TOTAL),
        "ours-adalora, compacted": lambda: OurStep(name, svd=True, freezes_at=2),
    }
    for label, make in makers.items():
        operations[label], syncs[label] = counted(make())
    steps: dict[str, Callable[[], None]] = {
        "lora": PeftStep(name, svd=False),
        "peft-adalora": PeftStep(name, svd=True),
        "ours-lora": OurStep(name, svd=False),
        "ours-adalora": OurStep(name, svd=True),
        "ours-adalora, compacted": OurStep(name, svd=True, freezes_at=1),
    }
    seconds = timed(steps, pairs)
    total = operations["lora"]["total"]
    return {
        "operations": operations,
        "operations_to_lora": {label: round(counts["total"] / total, 3) for label, counts in operations.items()},
        "synchronizations": syncs,
        "milliseconds": {label: round(1e3 * statistics.median(times), 2) for label, times in seconds.items()},
        "time_to_lora": ratios(seconds, "lora"),
    }


def regularizer_costs(ranks: range, pairs: int) -> dict[int, float]:
    """Time of our regularizer (value and gradient) divided by that of PEFT's expression with autograd, per rank."""
    ratio_by_rank = {}
    shapes = [(768, 768)] * 48 + [(768, 3072)] * 12 + [(3072, 768)] * 12
    for rank in ranks:
        model = _Matrices(shapes, rank)
        flat = FlatParameters(model, model.sites)
        ours = Regularizer(flat, GAMMA)
        matrices = [torch.randn(rank, n).requires_grad_() for shape in shapes for n in shape]

        def peft_step(matrices: list[Tensor] = matrices) -> None:
            total: Any = 0
            for p in matrices:
                gram = p @ p.T
                eye = torch.eye(*gram.size(), out=torch.empty_like(gram))
                total += torch.norm(gram - eye, p="fro")
            (GAMMA * total / len(matrices)).backward()
            for p in matrices:
                p.grad = None

        ratio_by_rank[rank] = ratios(timed({"ours": ours.add_gradient, "peft": peft_step}, pairs), "peft")["ours"]
    return ratio_by_rank


class _Matrices(nn.Module):  # type: ignore[misc]
    """Adapted matrices of given shapes and nothing else."""

    def __init__(self, shapes: list[tuple[int, int]], rank: int) -> None:
        from peft.tuners.adalora.layer import SVDLinear

        super().__init__()
        config = AdaLoraConfig(init_r=rank, total_step=2)
        self.layers = nn.ModuleList(
            SVDLinear(nn.Linear(*shape).requires_grad_(False), "default", config, r=rank) for shape in shapes
        )
        self.sites = [AdapterSite(f"layers.{k}", i, o, "m", k) for k, (i, o) in enumerate(shapes)]


def goals(report: dict[str, Any]) -> dict[str, bool]:
    """Which of the goals that the engine was built for the measured figures meet."""
    deberta, proxy = report["deberta"], report["proxy"]
    ours, syncs = deberta["operations"], deberta["synchronizations"]
    inside = ("optimizer", "allocation", "regularizer")
    return {
        "operations of a step <= 1.25 x LoRA": deberta["operations_to_lora"]["ours-adalora"] <= 1.25,
        "importance update < 30 operations": ours["ours-adalora, no mask"]["allocation"] < 30,
        "at most one synchronization per mask": sum(syncs["ours-adalora"].get(k, 0) for k in inside) <= 1,
        "no synchronization in other steps": sum(syncs["ours-adalora, no mask"].get(k, 0) for k in inside) == 0,
        "proxy step <= 1.15 x LoRA": proxy["time_to_lora"]["ours-adalora"] <= 1.15,
        "regularizer not slower than PEFT's at any rank": max(report["regularizer_to_peft"].values()) <= 1.0,
        "two importance buffers": report["importance_buffers"] == 2,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--pairs", type=int, default=24, help="timed steps of each side")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    report: dict[str, Any] = {name: step_costs(name, arguments.pairs) for name in WIDTHS}
    report["regularizer_to_peft"] = regularizer_costs(range(2, 17), arguments.pairs)
    core = OurStep("proxy", svd=True).core
    report["importance_buffers"] = core.allocator.bytes() // (4 * core.flat.layout.adapter_elements)
    report["versions"] = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    report["goals"] = goals(report)
    if arguments.json:
        print(json.dumps(report, indent=2))
        return
    for name in WIDTHS:
        print(f"\n{name}: operations per step, by part; time relative to LoRA")
        for label, counts in report[name]["operations"].items():
            ratio = report[name]["time_to_lora"].get(label, "")
            print(f"  {label:24}{counts}  x{report[name]['operations_to_lora'][label]}  time x{ratio}")
        print(f"  synchronizations: {report[name]['synchronizations']}")
    print(f"\nregularizer, time relative to PEFT's per rank: {report['regularizer_to_peft']}")
    for goal, met in report["goals"].items():
        print(f"{'met ' if met else 'MISSED'}  {goal}")


if __name__ == "__main__":
    main()
