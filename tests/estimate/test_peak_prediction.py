"""The memory of a training: predicted from shapes, then measured in a process of its own."""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_cells import METHODS, Lab, record_of
from torch.nn import functional

from bench.config.cell import Cell
from bench.config.resolve import load_study
from bench.estimate.counters import FusedKernels, LiveBytes
from bench.estimate.jobs import growth_bound, memory_mb
from bench.estimate.memory import PredictedPeak, declared_batch, predict_peak
from bench.estimate.parameters import predict_parameters
from bench.estimate.tracing import BatchShape, trace

SHAPES = ((8, 16), (16, 64), (32, 24))  # rows and the longest row allowed
ACCURACY = 0.2  # of a prediction, at the least


def minilm_cell(method: str, rows: int, length: int) -> Cell:
    recipe = [f"recipe.batch_size={rows}", f"recipe.max_length={length}", "recipe.max_steps=2"]
    limits = ["limits.train_rows=64", "limits.evaluation_rows=8", "overrides={}"]
    return load_study("demo", [*recipe, *limits]).find("mnli", method, "small", 0)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("cache"), Path(), "classification")


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="resident peaks are Linux's")
@pytest.mark.parametrize(("rows", "length"), SHAPES)
def test_predicted_growth_is_near_the_measured_one(lab: Lab, tmp_path: Path, rows: int, length: int) -> None:
    growths = {}  # of each method, predicted and measured
    for method in METHODS:
        cell = minilm_cell(method, rows, length)
        lab.prepare(cell)
        assert lab.train(cell, tmp_path / method / "out", every=None) == 0, (tmp_path / method / "log.txt").read_text()
        recorded = record_of(tmp_path / method / "out").bytes
        assert recorded is not None
        measured = recorded.peak
        assert measured.growth is not None
        assert measured.predicted == pytest.approx(measured.growth, rel=ACCURACY)
        growths[method] = (measured.predicted, measured.growth)
    for (less, less_measured), (more, more_measured) in permutations(growths.values(), 2):
        if more > (1 + ACCURACY) * less:  # what is closer than that may come in either order
            assert more_measured > less_measured, growths


@lru_cache
def peak(task: str, method: str, *overrides: str, device: str = "cuda") -> PredictedPeak:
    cell = load_study("paper", list(overrides)).find(task, method, "small", 0)
    return predict_peak(cell, predict_parameters(cell), declared_batch(cell), "cpu" if device == "cpu" else "cuda")


def test_what_shapes_do_to_the_peak() -> None:
    plain = peak("sst2", "lora")
    assert peak("sst2", "qlora").activations < plain.activations  # half precision
    assert peak("sst2", "lora", "recipe.gradient_checkpointing=true").activations < plain.activations / 3
    half = peak("sst2", "lora", "recipe.accumulation=2").activations
    assert half == pytest.approx(plain.activations / 2, rel=0.02)
    assert peak("sst2", "adalora").state > 2 * plain.state / 1.5  # rank 4 at the start, and importance
    assert plain.total == plain.loaded + plain.state + plain.activations + plain.workspace


def test_gradients_that_are_gathered_before_count_in_the_memory_of_the_host() -> None:
    study = load_study("allocation", ["methods=[lora, gora]", "tasks=[sst2]", "tuning=null"])
    lora, gora = (study.find("sst2", method, "small", 0) for method in ("lora", "gora"))
    whole = 12 * (4 * 768**2 + 2 * 768 * 3072)  # elements of DeBERTa-v3-base's 72 matrices
    on = {
        device: predict_peak(gora, predict_parameters(gora), declared_batch(gora), device) for device in ("cpu", "cuda")
    }
    assert on["cpu"].state == 4 * whole
    assert on["cuda"].state < 4 * whole / 10
    assert memory_mb(gora, study.study) - memory_mb(lora, study.study) > 4 * whole / 1e6


def test_held_out_rows_do_not_change_the_peak() -> None:
    assert peak("sst2", "lora", "recipe.holdout_rows=5000") == peak("sst2", "lora")


def test_fused_attention_keeps_no_matrix_of_length_by_length() -> None:
    assert peak("cnn_dailymail", "lora").activations < peak("cnn_dailymail", "lora", device="cpu").activations / 2


@pytest.mark.parametrize(("length", "filled"), [(16, 16), (17, 24)])
def test_a_mask_is_kept_as_numbers_in_each_layer(length: int, filled: int) -> None:
    """PyTorch makes them of booleans for its memory-efficient kernel, and fills up rows to a multiple of 8."""
    with FusedKernels(), LiveBytes([]) as live, torch.device("meta"):
        query = torch.empty(2, 4, length, 8, requires_grad=True)
        mask = torch.ones(2, 1, length, length, dtype=torch.bool)
        held = []
        for layers in (1, 2):
            before = live.now
            held.append(functional.scaled_dot_product_attention(query, query, query, attn_mask=mask))
            output, log_sum_exp, bias = 2 * 4 * length * 8, 2 * 4 * length, 2 * length * filled
            assert live.now - before == 4 * (output + log_sum_exp + bias), layers


def test_what_cublas_takes_on_a_gpu() -> None:
    assert peak("sst2", "lora").workspace == 2 * 32 * 2**20
    assert peak("sst2", "lora", device="cpu").workspace == 4 * 2**20


def test_the_gathers_of_deberta_sort_nothing() -> None:
    """Their backward pass takes the padded gradient, the sum and a part of it. Sorting all indices took gigabytes."""
    cell = load_study("paper").find("sst2", "lora", "small", 0)
    sites = predict_parameters(cell).sites
    on_gpu, on_cpu = (trace(cell, BatchShape(8, 128), device, sites, 2).activations for device in ("cuda", "cpu"))
    assert on_gpu < on_cpu + 3 * 8 * 12 * 128 * 512 * 4  # rows, heads, tokens, distances


def test_a_checkpointed_block_is_computed_again_with_fused_attention() -> None:
    """PyTorch suspends the mode of the fused kernels in backward, where the block is computed again."""
    checkpointed = "recipe.gradient_checkpointing=true"
    on_cpu = peak("cnn_dailymail", "lora", checkpointed, device="cpu").activations
    assert peak("cnn_dailymail", "lora", checkpointed).activations < 0.6 * on_cpu


def test_logits_over_the_vocabulary_count() -> None:
    cell = load_study("paper").find("cnn_dailymail", "lora", "small", 0)
    short, long = (
        predict_peak(cell, predict_parameters(cell), BatchShape(4, 256, target), "cuda").activations
        for target in (32, 64)
    )
    assert long - short > 4 * 32 * 50265 * 4  # rows x tokens x words x float32


@pytest.mark.parametrize("task", ["mnli", "cola", "cnn_dailymail"])
@pytest.mark.parametrize("study", ["paper", "demo"])
def test_a_job_on_the_cpu_is_given_what_training_takes(study: str, task: str) -> None:
    for method in ("lora", "adalora"):
        cell = load_study(study).find(task, method, "large", 0)
        needed = predict_peak(cell, predict_parameters(cell), declared_batch(cell), "cpu").growth
        bound = growth_bound(cell, cell.backbone.parameters or 30_000_000)
        assert bound is not None
        assert needed < bound < 4 * needed


def added_by_a_rank(config: dict[str, Any], matrices: list[str], batch: BatchShape, **recipe: Any) -> float:
    """Bytes of activations that one rank more adds to a model of that config."""
    cell = load_study("paper").find("cnn_dailymail" if batch.target else "sst2", "lora", "small", 0)
    backbone = cell.backbone.model_copy(
        update={"config": config, "matrices": matrices, "head": [] if batch.target else ["pooler", "classifier"]}
    )
    recipe_used = cell.recipe.model_copy(update=recipe)
    cell = cell.model_copy(update={"backbone": backbone, "recipe": recipe_used})
    sites = predict_parameters(cell).sites
    small, large = (trace(cell, batch, "cpu", sites, rank).activations for rank in (1, 33))
    return (large - small) / 32


ENCODER = {"vocab_size": 99, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}


@pytest.mark.parametrize(("layers", "groups", "inner"), [(1, 1, 1), (6, 1, 1), (6, 3, 2), (12, 4, 1)])
def test_a_rank_of_a_shared_matrix_counts_as_often_as_the_matrix_is_used(layers: int, groups: int, inner: int) -> None:
    shared = {"num_hidden_layers": layers, "num_hidden_groups": groups, "inner_group_num": inner}
    albert = {"model_type": "albert", **ENCODER, "embedding_size": 16, **shared}
    uses = 2 * layers * inner  # of the two matrices
    assert added_by_a_rank(albert, ["query", "ffn"], BatchShape(8, 32)) == 4 * uses * 8 * 32


def test_ranks_of_cross_attention_count_the_source() -> None:
    layers = {"encoder_layers": 2, "decoder_layers": 3, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    bart = {"model_type": "bart", "vocab_size": 99, "d_model": 32, **layers, **heads, "decoder_start_token_id": 2}
    source, target = 8 * 32, 8 * 4
    queries = 2 * source + 3 * 2 * target
    keys = 2 * source + 3 * (target + source)
    assert added_by_a_rank(bart, ["q_proj", "k_proj"], BatchShape(8, 32, 4)) == 4 * (queries + keys)


def test_a_checkpointed_layer_keeps_its_ranks_only_while_it_is_computed() -> None:
    bert = {"model_type": "bert", **ENCODER, "num_hidden_layers": 6}
    kept = {on: added_by_a_rank(bert, ["query"], BatchShape(8, 32), gradient_checkpointing=on) for on in (False, True)}
    assert (kept[False], kept[True]) == (6 * 4 * 8 * 32, 4 * 8 * 32)
