"""The checklist says what the records say, and no more."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.records import ENVIRONMENT, make_record, sets_of, study_of, write_cell
from helpers.tuned import rate, tuned_study, write_final_cells, write_trials

from bench.analysis.wording import two_digits
from bench.cli.app import main
from bench.config.resolve import ResolvedStudy, load_study
from bench.publishing.checklists.checklist import make_checklist
from bench.publishing.checklists.model import Checklist
from bench.records.energy import Energy
from bench.records.io import read_record, write_record

EXAMPLE = Path(__file__).parents[2] / "results" / "demo" / "example"
SMALL = ("tasks=[sst2]", "methods=[lora, adalora]", "grids=[{budgets: [small]}]")
GPU = {**ENVIRONMENT, "device": "cuda", "device_name": "NVIDIA H100 80GB HBM3", "driver": "580.65.06"}


def answers(checklist: Checklist) -> dict[str, str]:
    """By 'section: item', its texts in one."""
    return {
        f"{section.title}: {item.name}": "\n".join(item.texts)
        for section in checklist.sections
        for item in section.items
    }


def change_record(file: Path, energy: Energy | None = None, **changes: Any) -> None:
    record = read_record(file)
    if energy is not None and record.training is not None:
        changes["training"] = record.training.model_copy(update={"energy": energy})
    write_record(record.model_copy(update=changes), file.parent)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    results = tmp_path_factory.mktemp("results")
    shutil.copytree(EXAMPLE / "cells", results / "demo" / "cells")
    return answers(make_checklist(load_study("demo"), results))


def test_the_example(example: dict[str, str]) -> None:
    assert example["Seeds: Seeds of the results"] == "1 (0) in each of 40 groups (task × method × budget)"
    assert example["Error bars: Spread"] == "None: one seed has no spread."
    assert (
        "taken over per task × method × budget from workflow/tuned/demo.yaml"
        in (example["Hyper-parameters: How they were chosen"])
    )
    assert "AdaLoRA, large: learning_rate 0.008" in example["Hyper-parameters: SST-2"].splitlines()
    assert "batch_size 8, " in example["Hyper-parameters: The same in all cells"]
    assert example["Energy: Final cells"] == "not measured (40 runs)"
    assert example["Software: peft"] == "0.21.2"
    assert example["Software: NVIDIA driver"] == "none (processor)"
    versions = {read_record(file).environment["rankbench"] for file in (EXAMPLE / "cells").rglob("record.json")}
    assert {example["Software: rankbench"]} == versions
    assert example["Failures: Final cells"] == "none of 40 recorded, 40 planned"


def test_a_record_of_0_1_names_no_version(tmp_path: Path) -> None:
    cell = tmp_path / "demo" / "cells" / "sst2" / "lora" / "small" / "seed-0"
    shutil.copytree(EXAMPLE / "cells" / "sst2" / "lora" / "small" / "seed-0", cell)
    record = read_record(cell / "record.json")
    named = {name: value for name, value in record.environment.items() if name != "rankbench"}
    write_record(record.model_copy(update={"environment": named}), cell)
    assert answers(make_checklist(load_study("demo"), tmp_path))["Software: rankbench"] == "not recorded"


def test_data_and_models_of_the_example(example: dict[str, str]) -> None:
    cola = example["Data: CoLA"].splitlines()
    assert cola[0] == "synthetic: rows of the generator acceptability, in place of nyu-mll/glue, configuration cola"
    assert "evaluation split validation: n = 200" in cola
    assert f"license: {load_study('demo').catalog.tasks['cola'].item.license}" in cola
    assert "evaluation split mismatched (validation_mismatched): n = 200" in example["Data: MNLI"]
    assert "SHA-256 of the weights: model.safetensors 53aa51172d14" in example["Models: minilm"]
    assert "parameters of the base: 22,565,376" in example["Models: minilm"]


def test_hours_are_those_of_the_records(example: dict[str, str]) -> None:
    records = [read_record(file) for file in (EXAMPLE / "cells").rglob("record.json")]
    hours = sum(record.training.seconds.total for record in records if record.training) / 3600
    assert example["Compute: Hours, final cells"] == f"{two_digits(hours)} process hours on AMD EPYC (40 runs in all)"


def some_cells(results: Path) -> ResolvedStudy:
    """Three seeds: of LoRA two on GPUs with energy and one missing; of AdaLoRA one that ran out of memory."""
    study = study_of(3, *SMALL)
    folder = results / study.name
    for cell in study.cells:
        if cell.method.name == "lora" and cell.seed < 2:
            write_cell(folder, cell, 0.8, environment=GPU)
            energy = Energy(training=7200.0, sources=("nvml",), shared=cell.seed == 1)
            change_record(folder / "cells" / cell.id / "record.json", energy)
        elif cell.method.name == "adalora":
            write_cell(folder, cell, 0.8, status="oom" if cell.seed == 2 else "ok")
    return study


def test_what_is_missing_failed_mixed_and_shared_is_told(tmp_path: Path) -> None:
    made = make_checklist(some_cells(tmp_path), tmp_path)
    found = answers(made)
    assert made.notes[0] == "From 5 records of 6 cells, of which 1 failed."
    assert "Incomplete: 1 of 6 cells have no record" in made.notes[1]
    assert any("Mixed devices: AMD EPYC (3), NVIDIA H100 80GB HBM3 (2)." in note for note in made.notes)
    assert found["Seeds: Seeds of the results"] == "2 (0, 1) in each of 2 groups (task × method × budget)"
    assert found["Failures: Final cells"] == "1 out of memory of 5 recorded, 6 planned"
    assert "GPU hours on NVIDIA H100 80GB HBM3" in found["Compute: Hours, final cells"]
    assert "process hours on AMD EPYC" in found["Compute: Hours, final cells"]
    assert found["Compute: Hours, failures"] == "of 1 of 1 runs: not recorded"
    assert found["Energy: Final cells"] == "4.00 Wh (2 runs; 2 of 4: not measured)"
    assert "Shared: during 1 of 2 measured runs" in found["Energy: How it was measured"]
    assert found["Software: NVIDIA driver"] == "mixed: 580.65.06 (2 records), none (processor) (3 records)"


def test_seeds_that_differ_between_groups_are_named(tmp_path: Path) -> None:
    study = some_cells(tmp_path)
    cell = study.find("sst2", "lora", "small", 2)
    write_cell(tmp_path / study.name, cell, 0.8)
    assert answers(make_checklist(study, tmp_path))["Seeds: Seeds of the results"].splitlines() == [
        "3 (0, 1, 2): SST-2, small: LoRA",
        "2 (0, 1): SST-2, small: AdaLoRA",
    ]


def test_failures_that_were_set_aside_still_count(tmp_path: Path) -> None:
    study = some_cells(tmp_path)
    cell = study.find("sst2", "adalora", "small", 2)
    folder = tmp_path / study.name / "cells" / cell.id
    (folder / "record.json").rename(folder / "record.oom-1.json")
    found = answers(make_checklist(study, tmp_path))
    assert found["Failures: Set aside for another try"] == "1 out of memory"
    assert found["Compute: Hours, failures"] == "of 1 of 1 runs: not recorded"


def test_a_license_in_the_spec_is_told(tmp_path: Path) -> None:
    study = study_of(1, *SMALL)
    for cell in study.cells:
        write_cell(tmp_path / study.name, cell, 0.8)
        file = tmp_path / study.name / "cells" / cell.id / "record.json"
        spec = read_record(file).spec
        spec["backbone"]["license"], spec["task"]["license"] = "apache-2.0", "cc-by-4.0"
        change_record(file, spec=spec)
    found = answers(make_checklist(study, tmp_path))
    assert "license: apache-2.0" in found["Models: minilm"]
    assert "license: cc-by-4.0" in found["Data: SST-2"]


def test_rows_of_a_hub_have_their_revision(tmp_path: Path) -> None:
    study = study_of(1, *SMALL, "data=hub")
    for number, cell in enumerate(study.cells):
        data = {"synthetic": False, "fingerprint": "f" * 64, "revision": f"{number}" * 40, "hub": "nyu-mll/glue"}
        write_cell(tmp_path / study.name, cell, 0.8, data=data)
    found = answers(make_checklist(study, tmp_path))["Data: SST-2"]
    assert f"nyu-mll/glue, configuration sst2, revision {'0' * 40} (of 1 records)" in found
    assert f"nyu-mll/glue, configuration sst2, revision {'1' * 40} (of 1 records)" in found
    assert "67,349 released" in found


def test_a_study_that_tunes(tmp_path: Path) -> None:
    study = tuned_study("tuning.trials=4", "tuning.seeds=[100, 101]")
    slowest = min(rate(trial) for trials in study.trials.values() for trial in trials)

    def outcome(trial: Any) -> Any:
        return "diverged" if rate(trial) == slowest else 0.9 - rate(trial)

    folder = write_trials(study, tmp_path, outcome)
    some = next(iter(study.trials.values()))[0]
    shutil.rmtree(folder / "trials" / some.id)
    write_final_cells(study, tmp_path)
    made = make_checklist(study, tmp_path)
    found = answers(made)
    planned = sum(map(len, study.trials.values()))
    assert found["Seeds: Seeds of the trials"] == "100, 101, none of them a seed of the results"
    chosen = found["Hyper-parameters: How they were chosen"]
    assert "(4 points × 2 seeds)" in chosen
    assert "held-out rows of the training split that a trial is scored on" in chosen
    assert "Chosen: the point with the best score in the task's first metric" in chosen
    assert any(f"1 of {planned} trials have no record" in note for note in made.notes)
    failed = sum(trial["status"] == "diverged" for trial in _trials(folder))
    assert found["Failures: Trials"] == f"{failed} diverged of {planned - 1} recorded, {planned} planned"
    hours = two_digits(11.1 * (planned - 1 - failed) / 3600)
    assert found["Compute: Hours, trials"].startswith(f"{hours} process hours on AMD EPYC")


def _trials(folder: Path) -> list[dict[str, Any]]:
    return [read_record(file).model_dump() for file in (folder / "trials").rglob("record.json")]


def test_the_command_writes_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = some_cells(tmp_path / "results")
    words = ["checklist", "demo", "--results", str(tmp_path / "results"), *sets_of(3, *SMALL)]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"# Reproducibility checklist: study {study.name}\n")
    out = tmp_path / "paper" / "checklist.tex"
    assert main([*words, "--format", "latex", "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert "\\section*{Reproducibility checklist: study demo}" in out.read_text()


def test_without_records_one_sentence_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checklist", "demo", "--results", str(tmp_path)]) == 2
    assert "no record of study 'demo'" in capsys.readouterr().err


def test_nothing_of_the_machine_is_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = study_of(1, *SMALL)
    for cell in study.cells:
        secret = {**ENVIRONMENT, "machine": "node17.cluster", "slurm": {"job_id": "4711"}}
        record = make_record(cell, {cell.task.primary_split: {cell.task.metric: 0.5}}, environment=secret)
        place = tmp_path / study.name / "cells" / cell.id
        place.mkdir(parents=True)
        backbone = {**record.spec["backbone"], "package": None, "path": "/home/someone/models/minilm"}
        write_record(record.model_copy(update={"spec": {**record.spec, "backbone": backbone}}), place)
    assert main(["checklist", "demo", "--results", str(tmp_path), *sets_of(1, *SMALL)]) == 0
    printed = capsys.readouterr().out
    assert "a local folder called minilm" in printed
    assert "2 of 2 final cells ran in jobs of Slurm" in printed
    for secret_text in ("node17", "4711", "someone", str(tmp_path)):
        assert secret_text not in printed
