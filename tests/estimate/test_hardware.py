"""Run time by the class of card that a job will run on, before and after there are records."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.gpus import Card, stand_in_machine
from helpers.records import study_of
from snakemake.resources import Resources as SnakemakeResources
from test_duration import from_records, record, without_resources

from bench.cli.app import main
from bench.config.cell import Cell
from bench.config.resolve import load_study
from bench.errors import EXIT_BAD_INPUT, BenchError
from bench.estimate.gpu_memory import task_fits
from bench.estimate.hardware import CPU, UNKNOWN_GPU, Hardware, hardware_here
from bench.estimate.jobs import hardware_for, minutes
from bench.estimate.lengths import longest_source
from bench.estimate.parameters import Unpredictable
from bench.estimate.plan import plan
from bench.estimate.plan_table import show_plan
from bench.estimate.run_time import DEFAULT_PARAMETERS, evaluated_rows, run_time
from bench.pipeline.job_hardware import hardware_of_jobs, planned_hardware
from bench.pipeline.run_options import RunOptions
from bench.pipeline.study import Pipeline

T4, A100, H100 = (Hardware(gpu=True, model=model) for model in ("t4", "a100", "nvidia_h100_80gb_hbm3"))
PAPER = load_study("paper", ["seeds=[0]", "methods=[lora, qlora]", "budgets={small: {rank: 2}}"])


def _hours(name: str, hardware: Hardware) -> float:
    cell = PAPER.find(*name.split("/"), 0)
    return run_time(cell, hardware).seconds / 3600


@pytest.mark.parametrize("model", ["v100", "p100", "a2", "quadro_rtx_5000", "rtx_2080", "1g.5gb", "3g.20gb"])
def test_slow_cards_get_more_time_than_unknown_ones(model: str) -> None:
    slow = Hardware(gpu=True, model=model)
    assert _hours("mnli/lora/small", slow) > _hours("mnli/lora/small", UNKNOWN_GPU)


def test_a_slow_card_asks_for_more_and_a_fast_one_for_less_than_an_unknown_one() -> None:
    assert _hours("mnli/lora/small", T4) > 20
    assert _hours("mnli/lora/small", T4) > _hours("mnli/lora/small", UNKNOWN_GPU) > _hours("mnli/lora/small", H100)
    cola = PAPER.find("cola", "lora", "small", 0)
    assert minutes(cell=cola, study=PAPER.study, hardware=H100) < 60
    # bfloat16 counts where the card has it: Turing multiplies what nf4 stores in float32.
    assert _hours("mnli/qlora/small", A100) < _hours("mnli/lora/small", A100) / 3
    assert _hours("mnli/qlora/small", T4) == _hours("mnli/lora/small", T4)


def test_the_time_of_launches_does_not_fall_with_the_rate_of_the_card() -> None:
    """On the fastest card the host that starts the kernels still needs its time for each layer of each micro-batch."""
    cell, fastest = PAPER.find("cola", "qlora", "small", 0), Hardware(gpu=True, model="b200")
    steps = cell.recipe.total_steps(cell.declared_train_rows or 0)
    assert run_time(cell, fastest).seconds > steps * 12 * 1e-3
    split = cell.model_copy(update={"recipe": cell.recipe.model_copy(update={"accumulation": 4})})
    assert run_time(split, fastest).seconds > 2 * run_time(cell, fastest).seconds


def test_images_have_no_padding() -> None:
    """Every image of a size has as many patches, so that none of them is taken for padding."""
    cell = load_study("images").cells[0]
    steps = cell.recipe.total_steps(cell.declared_train_rows or 0)
    products = 6 * DEFAULT_PARAMETERS * steps * cell.recipe.batch_size * longest_source(cell)
    evaluated = evaluated_rows(cell) / (3 * steps * cell.recipe.batch_size)  # beside the products of training
    assert run_time(cell, CPU).seconds == pytest.approx((1 + evaluated) * products / CPU.flops("fp32", 1))


@pytest.fixture
def predicted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The storages of the cells whose peaks a plan asks for; predicting them would take seconds."""
    storages: list[str] = []

    def ask(cell: Cell, *_: Any) -> None:
        storages.append(cell.method.storage)
        raise Unpredictable("not asked here")

    for module in ("plan", "gpu_memory"):
        monkeypatch.setattr(f"bench.estimate.{module}.predict_peak", ask)
    return storages


def test_autocast_on_turing_is_planned_as_float32(tmp_path: Path, predicted: list[str]) -> None:
    study = load_study("demo", ["recipe_from=null", "tasks=[cola]", "methods=[lora_autocast]", "seeds=[0]"])
    study = replace(study, cells=study.cells[:1])
    for hardware, storage in ((T4, "fp32"), (A100, "fp32_autocast"), (UNKNOWN_GPU, "fp32_autocast")):
        plan(study, "cuda", results=tmp_path, hardware=hardware)
        task_fits(study, 2**34, results=tmp_path, hardware=hardware)
        assert predicted == [storage, storage]
        predicted.clear()


@pytest.mark.usefixtures("predicted")
def test_a_plan_without_words_is_for_the_gpu_that_cells_would_be_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where PyTorch can't use it, which a cell refuses to ignore: not the CPU's peak with the GPU's time limit."""
    stand_in_machine(monkeypatch, tmp_path, [Card("GPU-a", "Tesla T4", (7, 5), 15 * 2**30)])
    words = ["plan", "demo", "--json", "--results", str(tmp_path)]
    for override in ("tasks=[cola]", "methods=[lora]", "seeds=[0]", "budgets={small: {rank: 2}}"):
        words += ["--set", override]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)[0]["predicted_peak"]["device"] == "cuda"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)[0]["predicted_peak"]["device"] == "cpu"
    assert main([*words, "--gpu-memory", ""]) == EXIT_BAD_INPUT
    assert "expected a size such as 40GiB" in capsys.readouterr().err


def test_a_cell_without_a_gpu_has_the_rate_of_a_processor() -> None:
    cell = PAPER.find("cola", "lora", "small", 0)
    on_cpu = PAPER.study.model_copy(update={"resources": PAPER.study.resources.model_copy(update={"gpus": 0})})
    assert hardware_for(cell, on_cpu, H100) == CPU
    assert minutes(cell, on_cpu, hardware=H100) > 20 * minutes(cell, PAPER.study, hardware=H100)
    threads = cell.model_copy(update={"threads": 4})
    assert run_time(threads, CPU).seconds == pytest.approx(run_time(cell, CPU).seconds / 4)


def test_the_evaluation_counts_where_it_is_most_of_the_cell() -> None:
    short = ["limits={train_rows: 512}", "recipe={epochs: 1, max_steps: 16}"]
    cells = load_study("paper", ["seeds=[0]", "methods=[lora]", "budgets={small: {rank: 2}}", *short])
    mnli, texts = cells.find("mnli", "lora", "small", 0), cells.find("cnn_dailymail", "lora", "small", 0)
    rows = 9815 + 9832
    limited = mnli.model_copy(update={"data": mnli.data.model_copy(update={"evaluation_rows": 100})})
    assert (evaluated_rows(mnli), evaluated_rows(limited)) == (rows, 200)
    # 2 operations per parameter of DeBERTa's layers and per token: half of 256 tokens of each row.
    at_least = 2 * 85e6 * rows * 128 / CPU.flops("fp32", 1)
    assert run_time(mnli, CPU).seconds > at_least > 10 * run_time(limited, CPU).seconds
    assert minutes(mnli, cells.study, hardware=CPU) > at_least / 60
    shorter = texts.task.model_copy(update={"generation": texts.task.generation.model_copy(update={"max_length": 2})})
    brief = texts.model_copy(update={"task": shorter})
    assert run_time(texts, A100).seconds > run_time(brief, A100).seconds + 600


STUDY = study_of(3, "tasks=[sst2]", "methods=[lora, qlora]")


def _cell(seed: int = 0, method: str = "lora") -> Cell:
    return STUDY.find("sst2", method, "small", seed)


def _per_step(results: Path, hardware: Hardware, method: str = "lora") -> float | None:
    found = from_records(results, hardware).forecast(_cell(2, method), 40)
    return None if found is None else found.seconds_per_step


def test_records_of_a_processor_say_nothing_about_a_gpu_nor_the_other_way_round(tmp_path: Path) -> None:
    record(tmp_path, _cell(0), 2.0)
    assert _per_step(tmp_path, A100) is None
    assert _per_step(tmp_path, CPU) == pytest.approx(2.0)
    record(tmp_path, _cell(1), 0.1, device="NVIDIA A100-SXM4-40GB", kind="cuda")
    assert _per_step(tmp_path, A100) == pytest.approx(0.1)
    assert _per_step(tmp_path, CPU) == pytest.approx(2.0)


def test_records_of_another_card_are_scaled_up_and_never_down(tmp_path: Path) -> None:
    for method in ("lora", "qlora"):
        record(tmp_path, _cell(0, method), 0.1, device="NVIDIA A100-SXM4-80GB", kind="cuda")
    assert _per_step(tmp_path, T4) == pytest.approx(0.1 * 19.5 / 8.1)
    assert _per_step(tmp_path, T4, "qlora") == pytest.approx(0.1 * 0.10 * 312 / (0.25 * 8.1))
    assert _per_step(tmp_path, H100) == pytest.approx(0.1)
    assert _per_step(tmp_path, Hardware(gpu=True, model="unheard of")) is None


def test_records_of_the_same_class_come_before_more_of_another(tmp_path: Path) -> None:
    for seed in (0, 1):
        record(tmp_path, _cell(seed), 0.1, device="NVIDIA A100-SXM4-80GB", kind="cuda")
    record(tmp_path, _cell(2), 0.7, device="Tesla T4", kind="cuda")
    assert _per_step(tmp_path, T4) == pytest.approx(0.7)
    assert _per_step(tmp_path, UNKNOWN_GPU) == pytest.approx(0.1)  # that of most


def test_cards_of_one_class_are_alike_whatever_their_memory(tmp_path: Path) -> None:
    """`gpu_model: a100` names no size, and every record of an A100 does."""
    record(tmp_path, _cell(0), 0.1, device="NVIDIA A100-SXM4-80GB", kind="cuda")
    for seed in (1, 2):
        record(tmp_path, _cell(seed), 0.7, device="Tesla T4", kind="cuda")
    assert _per_step(tmp_path, A100) == pytest.approx(0.1)
    assert _per_step(tmp_path, Hardware(gpu=True, model="NVIDIA A100-SXM4-40GB")) == pytest.approx(0.1)


def test_a_cluster_of_unknown_cards_is_not_forecast_from_a_laptop(tmp_path: Path) -> None:
    record(tmp_path, _cell(0), 2.0, device="NVIDIA GeForce RTX 3060", kind="cuda")
    cluster = Hardware(gpu=True, slurm=True)
    assert _per_step(tmp_path, cluster) is None
    record(tmp_path, _cell(1), 0.2, device="NVIDIA A40", kind="cuda", slurm={"job": "7"})
    assert _per_step(tmp_path, cluster) == pytest.approx(0.2)


def test_the_plan_says_what_the_time_limits_come_from(tmp_path: Path) -> None:
    study = without_resources(STUDY)
    study = replace(study, cells=(_cell(0), _cell(0, "qlora")))
    record(tmp_path, _cell(0), 0.5, device="NVIDIA A100-SXM4-80GB", kind="cuda")
    from_records(tmp_path)
    rows = plan(study, "cuda", results=tmp_path, hardware=T4)
    assert rows[0]["minutes_from"]["records"] == 1
    assert rows[1]["minutes_from"] == {"device": "T4", "precision": "float32", "flops_per_second": 0.25 * 8.1e12}
    shown = show_plan(rows)
    assert (
        "time limits of 1 jobs by records of NVIDIA A100-SXM4-80GB, whose steps are counted 2.4 times: up to" in shown
    )
    assert "time limits of 1 jobs by T4 at an assumed 2.02 TFLOP/s in float32: up to" in shown
    given = replace(study, study=STUDY.study, cells=(_cell(0),))  # that of the demo says its minutes itself
    assert "time limits of 1 jobs by resources.runtime: up to" in show_plan(plan(given, results=tmp_path))


def _workflow(nodes: int | None, *resources: str, main: bool = True) -> Any:
    parse = SnakemakeResources.parser_factory(allow_expressions=True, defaults="bare")
    settings = SimpleNamespace(nodes=nodes, default_resources=parse(list(resources)) if resources else None)
    return SimpleNamespace(is_main_process=main, resource_settings=settings)


@pytest.fixture(params=[False, True], ids=["no_slurm", "slurm"])
def slurm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> bool:
    """Whether the machine has the command that hands jobs to Slurm, whatever the one that the test runs on has."""
    programs = tmp_path / "bin"
    programs.mkdir()
    if request.param:
        (programs / "sbatch").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(programs))
    return bool(request.param)


def test_jobs_run_on_this_machine_or_on_what_the_profile_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, slurm: bool
) -> None:
    machine = stand_in_machine(monkeypatch, tmp_path, [Card("GPU-a"), Card("GPU-b", "Tesla T4", (7, 5), 15 * 2**30)])
    assert hardware_of_jobs(_workflow(None)) == Hardware(gpu=True, model="Tesla T4", memory=15 * 2**30)
    assert hardware_of_jobs(_workflow(200)) == replace(UNKNOWN_GPU, remote=True, slurm=slurm)
    a100 = replace(A100, remote=True, slurm=slurm)
    assert hardware_of_jobs(_workflow(200, "gpu_model=a100", "nodes=1")) == a100
    # The Snakemake inside a job has no such options, and says the same.
    assert hardware_of_jobs(_workflow(None, main=False)) == a100
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert hardware_here().model == "NVIDIA H100 80GB HBM3"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert hardware_of_jobs(_workflow(None)) == CPU
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    machine.error = 999  # a driver that does not answer: the cells will say so, not the Snakefile
    machine.write()
    assert hardware_here() == UNKNOWN_GPU


def test_a_plan_is_for_the_profile_where_it_is_asked_for_gpus(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, slurm: bool
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    profile = tmp_path / "config.yaml"
    profile.write_text("default-resources: [gpu_model=h100, nodes=1]\n")
    assert planned_hardware("cuda", profile) == Hardware(gpu=True, model="h100", remote=True, slurm=slurm)
    assert planned_hardware("cpu", profile) == CPU
    assert planned_hardware(None, profile) is None
    for written, model in (("gpu_model: 3090", "3090"), ("- gpu_model='a100'", "a100"), ("gpu_model:", None)):
        profile.write_text(f"default-resources:\n  {written}\n")
        found = planned_hardware("cuda", profile)
        assert found is not None
        assert found.model == model
    for broken in ("default-resources: [gpu_model]", "default-resources: a100", "- a100", "a: ["):
        profile.write_text(broken)
        with pytest.raises(BenchError, match=r"config.yaml: "):
            planned_hardware("cuda", profile)
    profile.unlink()
    assert planned_hardware("cuda", profile) == replace(UNKNOWN_GPU, remote=True, slurm=slurm)


def test_jobs_of_snakemake_ask_by_the_card() -> None:
    pipeline = Pipeline.of(RunOptions(study="paper", overrides=("seeds=[0]", "methods=[lora]")))
    wildcards = SimpleNamespace(method="lora", budget="small", seed="0")
    asked = [replace(pipeline, hardware=hardware).minutes("sst2", wildcards, 1) for hardware in (T4, A100, H100)]
    assert asked == sorted(asked, reverse=True)
    assert len(set(asked)) == 3
