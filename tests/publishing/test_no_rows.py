"""No text of a data set is in a bundle, and its tables are those of the whole predictions all the same."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pandas as pd
import pyarrow.parquet
import pytest
from helpers.records import make_record

from bench.analysis.build import make_tables
from bench.analysis.compare.sides import Side, paired
from bench.analysis.results import read_results
from bench.analysis.stats.without_texts import holds_texts_of_rows
from bench.cli.app import main
from bench.config.resolve import ResolvedStudy, load_study
from bench.evaluation.answers import answer_rows
from bench.evaluation.corpus_scores import corpus_scores
from bench.evaluation.perplexity import LOGLIKELIHOOD, TOKENS, perplexity
from bench.inputs.answers import listed_answers
from bench.paths import StudyPaths
from bench.publishing.bundles.gather import Laid, gather, lay_out
from bench.publishing.bundles.scrub import Scrubber
from bench.records.io import read_record, write_record

WORDS = ["ein", "Hund", "läuft", "schnell", "durch", "den", "grünen", "Park", "am", "Morgen", "und", "bellt", "laut"]
SENTENCES = [" ".join(WORDS[start : start + 6]) for start in range(8)] * 5


def rows_of(study: ResolvedStudy, seed: int) -> pd.DataFrame:
    """Predictions of a translation, or of answers; some are wrong, with each seed others."""
    wrong = [(number + seed) % 3 == 0 for number in range(len(SENTENCES))]
    if "multi30k_en_de" in study.study.tasks:
        if study.cells[0].task.metrics == ["perplexity"]:  # nothing is written
            found = [-2.0 * number - seed for number in range(1, len(SENTENCES) + 1)]
            columns = {LOGLIKELIHOOD: found, TOKENS: [number % 7 + 3 for number in range(len(SENTENCES))]}
            return pd.DataFrame({"reference": SENTENCES, "prediction": found, **columns})
        given = [text.replace("grünen", "alten") if no else text for text, no in zip(SENTENCES, wrong, strict=True)]
        return pd.DataFrame({"reference": SENTENCES, "prediction": given})
    wanted = [listed_answers([text[:7], text[:12]]) for text in SENTENCES]
    given = ["" if no else text[:12] for text, no in zip(SENTENCES, wrong, strict=True)]
    return pd.DataFrame({"reference": wanted, "prediction": given})


def write(study: ResolvedStudy, results: Path, *, synthetic: bool) -> None:
    for cell in study.cells:
        rows = rows_of(study, cell.seed)
        texts = (rows["prediction"].tolist(), rows["reference"].tolist())
        if cell.task.facts.target == "span":
            scores = answer_rows(cell.task, *texts)
            metrics = {metric: sum(values) / len(values) for metric, values in scores.items()}
            rows = rows.assign(**{f"score_{metric}": values for metric, values in scores.items()})
        elif cell.task.generates:
            metrics = corpus_scores(cell.task, *texts)
        else:
            metrics = {"perplexity": perplexity(rows[LOGLIKELIHOOD].tolist(), rows[TOKENS].tolist())}
        splits = cell.task.data.evaluation
        frames = [rows.assign(split=split, row=range(len(rows))) for split in splits]
        folder = results / study.name / "cells" / cell.id
        folder.mkdir(parents=True)
        pd.concat(frames).to_parquet(folder / "predictions.parquet", index=False)
        sha256 = hashlib.sha256((folder / "predictions.parquet").read_bytes()).hexdigest()
        data = {"synthetic": synthetic, "fingerprint": "f"}
        record = make_record(cell, dict.fromkeys(splits, metrics), files={"predictions.parquet": sha256}, data=data)
        write_record(record, folder)


def laid_out(study: ResolvedStudy, results: Path, target: Path) -> Laid:
    gathered = gather(study, read_results(study, results), partial=False)
    scrubber = Scrubber(source.whole_record() for source in gathered.sources)
    return lay_out(gathered, StudyPaths(target, study.name), scrubber, adapters=False)


def shown(file: Path) -> str:
    return str(pyarrow.parquet.read_table(io.BytesIO(file.read_bytes())).to_pylist())


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("translation", ["overrides.multi30k_en_de.metrics=[bleu, chrf]"]),
        (
            "translation",
            ["overrides.multi30k_en_de.metrics=[perplexity]", "overrides.multi30k_en_de.generation=null"],
        ),
        ("questions", ["tasks=[squad_v2]"]),
    ],
    ids=["translation", "perplexity", "questions"],
)
def test_the_tables_are_the_same_without_the_texts(name: str, more: list[str], tmp_path: Path) -> None:
    study = load_study(name, more)
    write(study, tmp_path / "whole", synthetic=False)
    laid = laid_out(study, tmp_path / "whole", tmp_path / "without")
    for results in (tmp_path / "whole", tmp_path / "without"):
        make_tables(study, results)
    tables = [tmp_path / results / name / "tables" for results in ("whole", "without")]
    for file in tables[0].iterdir():
        assert file.read_bytes() == (tables[1] / file.name).read_bytes(), file.name
    for cell in study.cells:
        before, after = (
            StudyPaths(tmp_path / results, name).cell(cell.id).predictions for results in ("whole", "without")
        )
        key = f"cells/{cell.id}/predictions.parquet"
        assert laid.originals[key] == hashlib.sha256(before.read_bytes()).hexdigest()
        record = read_record(after.with_name("record.json"))
        assert record.files == {"predictions.parquet": hashlib.sha256(after.read_bytes()).hexdigest()}
        references = pd.read_parquet(after)["reference"]
        assert references.str.fullmatch("sha256:[0-9a-f]{16}").all()
        for text in rows_of(study, cell.seed)["reference"]:
            assert text not in shown(after)


@pytest.mark.parametrize(("name", "more"), [("translation", []), ("questions", ["tasks=[squad_v2]"])])
def test_a_study_and_its_bundle_are_compared_alike(
    name: str, more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = load_study(name, more)
    write(study, tmp_path / "whole", synthetic=False)
    laid_out(study, tmp_path / "whole", tmp_path / "without")
    assert main(["compare", str(tmp_path / "whole"), str(tmp_path / "without"), "--fail-over", "0"]) == 0
    assert f"All cells that both have, {len(study.cells)}, are the same bit for bit" in capsys.readouterr().out
    cell = study.cells[0]
    folder = StudyPaths(tmp_path / "whole", name).cell(cell.id).folder
    frame = pd.read_parquet(folder / "predictions.parquet")
    given = frame["prediction"].tolist()
    frame["prediction"] = [given[0] + ", ja", *given[1:]]
    frame.to_parquet(folder / "predictions.parquet", index=False)
    sha256 = hashlib.sha256((folder / "predictions.parquet").read_bytes()).hexdigest()
    record = read_record(folder / "record.json")
    write_record(record.model_copy(update={"files": {"predictions.parquet": sha256}}), folder)
    pairs = paired(Side.at(tmp_path / "without"), Side.at(tmp_path / "whole")).pairs
    assert [pair.id for pair in pairs if not pair.same_bits] == [cell.id]


def test_answers_are_parts_of_rows_and_go_too(tmp_path: Path) -> None:
    study = load_study("questions", ["tasks=[squad_v2]"])
    write(study, tmp_path / "whole", synthetic=False)
    laid_out(study, tmp_path / "whole", tmp_path / "without")
    cell = study.cells[0]
    after = pd.read_parquet(StudyPaths(tmp_path / "without", study.name).cell(cell.id).predictions)
    whole = rows_of(study, cell.seed)["prediction"].tolist()
    assert [value == "" for value in after["prediction"]][: len(whole)] == [value == "" for value in whole]
    assert set(after["prediction"].str.fullmatch("|sha256:[0-9a-f]{16}")) == {True}


def test_what_a_model_wrote_itself_stays(tmp_path: Path) -> None:
    study = load_study("translation")
    write(study, tmp_path / "whole", synthetic=False)
    laid_out(study, tmp_path / "whole", tmp_path / "without")
    cell = study.cells[0]
    after = pd.read_parquet(StudyPaths(tmp_path / "without", study.name).cell(cell.id).predictions)
    rows = rows_of(study, cell.seed)
    for found, given in zip(after["prediction"], rows["prediction"], strict=False):
        assert found.startswith("sha256:") if given in SENTENCES else found == given
    assert sum("alten" in text for text in after["prediction"]) > 5


def test_what_came_out_of_a_bundle_goes_into_one_as_it_is(tmp_path: Path) -> None:
    study = load_study("translation")
    write(study, tmp_path / "whole", synthetic=False)
    laid_out(study, tmp_path / "whole", tmp_path / "without")
    assert laid_out(study, tmp_path / "without", tmp_path / "again").originals == {}


def test_generated_rows_stay_as_they_are(tmp_path: Path) -> None:
    study = load_study("translation")
    write(study, tmp_path / "whole", synthetic=True)
    assert laid_out(study, tmp_path / "whole", tmp_path / "same").originals == {}


def test_no_kind_of_task_is_forgotten() -> None:
    """Texts stand in the predictions of these alone; the others have classes, numbers and options."""
    catalog = load_study("demo").catalog
    kinds = {entry.item.kind for entry in catalog.tasks.values() if holds_texts_of_rows(entry.item, synthetic=False)}
    assert kinds == {"summarization", "translation", "causal-lm", "question-answering"}
