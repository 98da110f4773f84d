"""What generated rows promise: their best possible score, and that changed generators are noticed."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU

from bench.config.catalog import load_catalog
from bench.config.cell import DataChoice
from bench.inputs import cache_keys, synthetic

SPLITS = ("train", "validation", "validation_matched", "validation_mismatched")


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("generator", ["acceptability", "inference", "question", "sentiment"])
def test_exactly_one_class_of_twenty_rows_is_wrong(generator: str, split: str) -> None:
    given, true = synthetic.rows(generator, split), synthetic.rows(generator, split, wrong_classes=False)
    assert given.texts == true.texts
    wrong = [a != b for a, b in zip(given.targets, true.targets, strict=True)]
    assert {sum(wrong[start : start + 20]) for start in range(0, len(wrong), 20)} == {1}
    assert set(given.targets) == set(true.targets)


def test_the_class_follows_from_the_texts() -> None:
    """Otherwise the best possible accuracy would be lower than the one that is stated."""
    for generator in ("acceptability", "inference", "question", "sentiment"):
        rows = synthetic.rows(generator, "train", wrong_classes=False)
        classes: dict[tuple[str, ...], set[int]] = {}
        for texts, target in zip(rows.texts, rows.targets, strict=True):
            classes.setdefault(tuple(texts), set()).add(target)
        assert all(len(found) == 1 for found in classes.values()), generator


def test_a_sentence_has_one_translation() -> None:
    for split in ("train", "validation"):
        rows = synthetic.rows("sentence_pairs", split)
        assert len({(texts[0], target) for texts, target in zip(rows.texts, rows.targets, strict=True)}) == len(
            {texts[0] for texts in rows.texts}
        )


def test_translations_can_be_learned_from_a_third_of_the_rows_and_from_no_other_sentence() -> None:
    """Every word is told, so the best BLEU is 100. One translation for all sentences gets little."""
    train, validation = (synthetic.rows("sentence_pairs", split) for split in ("train", "validation"))
    assert not {texts[0] for texts in train.texts} & {texts[0] for texts in validation.texts}
    few = train.texts[::3], train.targets[::3]
    known = {word for texts, target in zip(*few, strict=True) for word in (*texts[0].split(), *target.split())}
    assert known >= {word for target in validation.targets for word in target.split()}
    wanted = validation.targets
    assert all(BLEU().corpus_score([target] * len(wanted), [wanted]).score < 15 for target in wanted[:20])


def test_all_of_a_summary_but_its_weekday_stands_in_the_article() -> None:
    rows = synthetic.rows("articles", "validation")
    facts, days = zip(*(summary.rstrip(".").rsplit(" on ", 1) for summary in rows.targets), strict=True)
    assert all(
        fact in texts[0] and day not in texts[0] for day, fact, texts in zip(days, facts, rows.texts, strict=True)
    )
    rouge = RougeScorer(["rouge1"])

    def score(written: list[str]) -> float:
        pairs = zip(rows.targets, written, strict=True)
        return fmean(rouge.score(reference, text)["rouge1"].fmeasure for reference, text in pairs)

    best = score([f"{fact} on Monday." for fact in facts])
    assert best == pytest.approx(0.93, abs=0.01)
    assert score([texts[0].split(". ")[0] for texts in rows.texts]) < 0.6 * best


def test_changed_generators_have_other_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rows of a generator have no file that could be seen to change, so a version stands in their folder's name."""
    catalog = load_catalog()
    task, built = catalog.tasks["cnn_dailymail"].item, catalog.backbones["tiny-bart"].item
    hub, generated = DataChoice(source="hub"), DataChoice(source="embedded")

    def folders() -> list[Path]:
        fetched = catalog.backbones["bart-large"].item
        return [
            cache_keys.data_folder(task, fetched, hub, None, tmp_path),
            cache_keys.backbone_folder(fetched, None, tmp_path),
            cache_keys.data_folder(task, fetched, generated, None, tmp_path),
            cache_keys.backbone_folder(built, None, tmp_path),
        ]

    before = folders()
    monkeypatch.setattr(cache_keys, "GENERATED", cache_keys.GENERATED + 1)
    after = folders()
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, True, False, False]
