"""Cards: what huggingface_hub reads in them, and what a person does."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from huggingface_hub import EvalResult, ModelCard
from scipy.stats import t
from sklearn.metrics import accuracy_score, matthews_corrcoef

from bench.analysis.results import Results, read_results
from bench.cli.app import main
from bench.config.catalog import WORKFLOW, load_catalog
from bench.config.kinds import KINDS
from bench.config.resolve import load_study
from bench.inputs.cache_keys import backbone_folder
from bench.publishing.cards.card import card, write_cards
from bench.publishing.cards.metadata import TASKS, hub_metric
from bench.publishing.cards.subjects import Subject, check_saved, subject_at, subjects_of
from bench.records.io import read_record, write_record

EXAMPLE = Path(__file__).resolve().parents[2] / "results" / "demo" / "example"


def of(results: Results, cell: str) -> Subject:
    return next(subject for subject in subjects_of(results) if subject.cell.id == cell)


def results_of(subject: Subject) -> dict[str, EvalResult]:
    """What the hub's own reader finds, by the metric's type and name."""
    found = ModelCard(card(subject)).data.eval_results or []
    return {f"{one.metric_type} {one.metric_name}": one for one in found}


def test_the_scores_stand_in_the_metadata_as_the_hub_reads_them(trained: Results) -> None:
    subject = of(trained, "cola/lora/small/seed-1")
    frame = pd.read_parquet(subject.folder.parent / "predictions.parquet")
    found = results_of(subject)
    expected = {
        "matthews_correlation MCC": matthews_corrcoef(frame["reference"], frame["prediction"]),
        "accuracy accuracy": accuracy_score(frame["reference"], frame["prediction"]),
    }
    assert {name: one.metric_value for name, one in found.items()} == pytest.approx(expected)
    for one in found.values():
        assert (one.task_type, one.dataset_type, one.dataset_name) == ("text-classification", "nyu-mll/glue", "CoLA")
        assert (one.dataset_config, one.dataset_split, one.dataset_revision) == ("cola", "validation", "b" * 40)
        assert one.dataset_args == {"num_rows": len(frame)}


def test_base_library_license_and_data_stand_in_the_metadata(trained: Results) -> None:
    data = ModelCard(card(of(trained, "cola/adalora/small/seed-0"))).data
    assert data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    assert (data.library_name, data.license, data.datasets) == ("peft", "apache-2.0", ["nyu-mll/glue"])
    assert data.pipeline_tag == "text-classification"
    assert {"adalora", "rankbench"} <= set(data.tags)


def test_rouge_is_written_as_a_percentage(trained: Results) -> None:
    subject = of(trained, "cnn_dailymail/lora/small/seed-0")
    value = subject.record.metrics["validation"]["last"]["rouge2"]
    assert value is not None
    assert results_of(subject)["rouge ROUGE-2"].metric_value == pytest.approx(100 * value)


def test_every_metric_and_kind_has_a_name_on_the_hub() -> None:
    assert TASKS.keys() == KINDS.keys()
    for kind, facts in KINDS.items():
        for metric in facts.metrics:
            assert hub_metric(metric, kind).factor in (1.0, 100.0)
    assert hub_metric("f1", "question-answering").factor == 100  # as SQuAD's own script
    assert hub_metric("evaluate:chrf:score/100", "summarization") == ("chrf", "chrf score", 100.0)


def test_the_interval_over_seeds_is_students(trained: Results) -> None:
    values = [of(trained, f"cola/lora/small/seed-{k}").record.reported.value for k in range(3)]  # type: ignore[union-attr]
    low, high = t.interval(0.95, 2, loc=np.mean(values), scale=np.std(values, ddof=1) / np.sqrt(3))
    text = card(of(trained, "cola/lora/small/seed-1")).replace("−", "-")
    row = next(line for line in text.splitlines() if line.startswith("| validation | MCC"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert [float(x) for x in re.findall(r"-?[\d.]+", cells[5])] == pytest.approx([low, high], abs=1e-4)
    assert float(cells[4]) == pytest.approx(np.mean(values), abs=1e-4)
    assert (float(cells[2]), cells[3]) == (pytest.approx(values[1], abs=1e-4), "200")


@pytest.mark.parametrize("seeds", [1, 2])
def test_without_enough_seeds_there_is_no_interval_and_it_is_said(made: Callable[..., Results], seeds: int) -> None:
    text = card(of(made(seeds, "tasks=[cola]", "methods=[lora]"), "cola/lora/small/seed-0"))
    assert "There is no interval over seeds" in text
    assert not re.search(r"\[−?[\d.]+, −?[\d.]+\]", text)


def test_generated_rows_are_said_first_and_no_data_set_is_named(made: Callable[..., Results]) -> None:
    results = made(1, "tasks=[cola]", "methods=[lora]", synthetic=True, revision=None)
    subject = of(results, "cola/lora/small/seed-0")
    text = card(subject)
    metadata, _, body = text.partition("\n---\n")
    assert body.lstrip().splitlines()[2].startswith("> **Trained and scored on generated rows.**")
    assert "glue" not in metadata.lower()
    assert "cola" not in metadata.lower()
    (kinds,) = {(one.dataset_type, one.dataset_split) for one in results_of(subject).values()}
    assert kinds == ("synthetic", "validation")


def test_the_ranks_are_those_of_the_record(trained: Results) -> None:
    subject = of(trained, "cola/adalora/small/seed-0")
    lines = card(subject).splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith("| encoder.layer |"))
    header, table = (
        lines[start].strip("| ").split(" | "),
        lines[start + 2 : start + 2 + len(subject.cell.backbone.matrices)],
    )
    found = {
        f"encoder.layer.{layer}.{cells[0]}": int(rank)
        for cells in (line.strip("| ").split(" | ") for line in table)
        for layer, rank in zip(header[1:], cells[1:], strict=True)
    }
    assert found == {name: rank.end for name, rank in subject.record.ranks.items()}


def test_an_undefined_score_is_said_and_left_out_of_the_metadata(trained: Results) -> None:
    subject = of(trained, "cola/lora/small/seed-0")
    metrics = {"validation": {"last": {"mcc": None, "accuracy": 0.5}}}
    subject = Subject(**{**vars(subject), "record": subject.record.model_copy(update={"metrics": metrics})})
    assert list(results_of(subject)) == ["accuracy accuracy"]
    assert "| validation | MCC | undefined |" in card(subject)


def test_a_card_leaves_the_record_valid_and_is_made_again(trained: Results) -> None:
    before = {subject.cell.id: subject.record for subject in subjects_of(trained)}
    assert write_cards(trained) == list(before)
    subject = of(trained, "cola/lora/small/seed-0")
    first = (subject.folder / "README.md").read_text()
    (subject.folder / "README.md").write_text("something else")
    write_cards(trained)
    assert (subject.folder / "README.md").read_text() == first == card(subject)
    for subject in subjects_of(trained):
        check_saved(subject.folder.parent, subject.record)
        assert subject.record == before[subject.cell.id]


def test_the_real_records_of_the_example_have_cards(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "demo")
    assert main(["cards", "demo", "--results", str(tmp_path)]) == 0
    assert "0 cards" in capsys.readouterr().out  # no adapter is kept there
    for file in (tmp_path / "demo").glob("cells/*/*/*/*/record.json"):
        (file.parent / "adapter").mkdir()
        (file.parent / "adapter" / "adapter_model.safetensors").touch()
    assert main(["cards", "demo", "--results", str(tmp_path)]) == 0
    assert "40 cards" in capsys.readouterr().out
    for subject in subjects_of(read_results(load_study("demo"), tmp_path)):
        found = ModelCard.load(subject.folder / "README.md").data
        assert len(found.eval_results) == len(subject.scores)
        assert found.base_model == subject.cell.backbone.hub_name


def test_the_version_that_made_the_record_is_told(trained: Results) -> None:
    subject = of(trained, "cola/lora/small/seed-0")
    record = subject.record.model_copy(update={"environment": {"rankbench": "0.2.0"}})
    assert "Trained by rankbench 0.2.0 as cell" in card(Subject(**{**vars(subject), "record": record}))


@pytest.mark.parametrize(
    ("precision", "told"),
    [
        ("bfloat16", 'predict inside `with torch.autocast("cuda", dtype=torch.bfloat16):` for the same.'),
        ("float32", "It was trained for torch.autocast, which was off"),
    ],
)
def test_a_card_tells_under_which_autocast_it_predicts(trained: Results, precision: str, told: str) -> None:
    subject = of(trained, "cola/lora/small/seed-0")
    method = subject.cell.method.model_copy(update={"storage": "fp32_autocast"})
    record = subject.record.model_copy(update={"environment": {"matmul_precision": precision}})
    changed = {"cell": subject.cell.model_copy(update={"method": method}), "record": record}
    text = card(Subject(**{**vars(subject), **changed}))
    assert told in text
    assert "| storage of the base | fp32_autocast |" in text
    assert "autocast" not in card(subject)


def test_a_license_is_told_and_changes_no_cell(trained: Results) -> None:
    subject = of(trained, "cola/lora/small/seed-0")
    cell = subject.cell
    backbone = cell.backbone.model_copy(update={"license": "wtfpl", "same_as": None})
    other = cell.model_copy(update={"backbone": backbone, "task": cell.task.model_copy(update={"license": None})})
    assert other.spec_hash == cell.spec_hash
    assert backbone_folder(backbone, None, Path("cache")) == backbone_folder(cell.backbone, None, Path("cache"))
    told = card(Subject(**{**vars(subject), "cell": other}))
    assert "- base `minilm`: wtfpl\n- data `nyu-mll/glue`: not recorded" in told
    assert "- base `sentence-transformers/all-MiniLM-L6-v2`: apache-2.0\n- data `nyu-mll/glue`: other" in card(subject)


def test_every_backbone_of_the_hub_names_its_license_or_none_is_known() -> None:
    catalog = load_catalog(WORKFLOW)
    unknown = {name for name, entry in catalog.backbones.items() if entry.item.license is None}
    assert unknown == {"pegasus-large"}  # whose card on the hub names none
    assert {name for name, entry in catalog.tasks.items() if entry.item.license is None} == {
        "multi30k_en_de",
        "tweet_sentiment",
        "xsum",
    }


def test_a_cell_by_itself_finds_the_seeds_beside_it(made: Callable[..., Results]) -> None:
    results = made(3, "tasks=[cola]", "methods=[lora]")
    subject = of(results, "cola/lora/small/seed-1")
    folder = subject.folder.parent
    all_seeds = [one.record for one in subjects_of(results) if one.cell.budget_name == "small"]
    assert subject_at(folder, subject.cell, subject.record).group == all_seeds
    assert len(all_seeds) == 3
    other = folder.with_name("seed-2") / "record.json"
    spec = {**read_record(other).spec, "recipe": {**read_record(other).spec["recipe"], "learning_rate": 0.5}}
    write_record(read_record(other).model_copy(update={"spec": spec}), other.parent)  # of another recipe
    folder.with_name("seed-0").joinpath("record.json").write_text("{}")  # damaged
    assert subject_at(folder, subject.cell, subject.record).group == [subject.record]
