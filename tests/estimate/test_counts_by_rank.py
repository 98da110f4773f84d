"""Published counts at many ranks and backbones, from the shipped configs alone."""

from __future__ import annotations

from functools import lru_cache

import pytest

from bench.config.resolve import load_study
from bench.estimate.parameters import Prediction, predict_parameters

RANKS = (1, 2, 3, 4, 5, 7, 8, 12, 16, 32, 64)
# backbone, kind, parameters of a LoRA rank over all matrices, how many matrices, parameters without and with 3 labels
BACKBONES = (
    ("deberta-v3-base", "classification", 165_888, 72, 184_424_451),
    ("bart-large", "summarization", 540_672, 192, 406_291_456),
    ("flan-t5-small", "summarization", 43_008, 48, 76_961_152),
    ("t5-small", "summarization", 36_864, 36, 60_506_624),
    ("minilm", "classification", 41_472, 36, 22_713_216 + 3 * 385),
)


@lru_cache
def predicted(backbone: str, kind: str, method: str, rank: int) -> Prediction:
    task = "mnli" if kind == "classification" else "cnn_dailymail"
    overrides = [f"backbones.{kind}={backbone}", f"budgets={{b: {{rank: {rank}, initial_rank: {rank + 1}}}}}"]
    study = load_study("paper", [*overrides, f"tasks=[{task}]", "seeds=[0]", f"methods=[{method}]"])
    return predict_parameters(study.find(task, method, "b", 0))


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize(("backbone", "kind", "per_rank", "matrices", "total"), BACKBONES)
def test_adapters_of_every_rank(backbone: str, kind: str, per_rank: int, matrices: int, total: int, rank: int) -> None:
    lora = predicted(backbone, kind, "lora", rank)
    assert lora.total == total
    assert (lora.adapter_start, lora.adapter_end) == (rank * per_rank, (rank * per_rank, rank * per_rank))
    adalora = predicted(backbone, kind, "adalora", rank)
    assert adalora.adapter_start == (rank + 1) * (per_rank + matrices)
    low, high = adalora.adapter_end
    assert low <= rank * (per_rank + matrices) <= high <= adalora.adapter_start


@pytest.mark.parametrize(
    ("rank", "adapter", "all_parameters"),
    [(4, 172_032, 77_133_184), (8, 344_064, 77_305_216), (16, 688_128, 77_649_280), (32, 1_376_256, 78_337_408)],
)
def test_flan_t5_small_is_counted_as_published(rank: int, adapter: int, all_parameters: int) -> None:
    flan = predicted("flan-t5-small", "summarization", "lora", rank)
    assert flan.adapter_start == adapter
    assert flan.total + flan.adapter_start == all_parameters


@pytest.mark.parametrize(("task", "with_classifier"), [("sst2", 333_314), ("mnli", 334_083)])
def test_rank_2_of_deberta_with_and_without_its_classifier(task: str, with_classifier: int) -> None:
    deberta = predict_parameters(load_study("paper").find(task, "lora", "small", 0))
    assert deberta.adapter_start == 331_776
    assert deberta.adapter_start + deberta.head["classifier"] == with_classifier
