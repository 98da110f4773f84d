"""The block `generation`: impossible or ineffective keys are refused with their line; new keys change no old hash."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from bench.config.cell import spec_hash_of
from bench.config.generation import Generation, position_fault
from bench.config.resolve import load_study
from bench.errors import SpecError

TASK = """\
name: news
kind: summarization
data: {hub: a/b, columns: {text: [article], target: highlights}, embedded: articles}
metrics: [rouge1]
generation:
  beams: 4
  max_length: 20
"""
BACKBONE = """\
name: small-bart
hub: a/b
kinds: [summarization]
matrices: [q_proj]
config: {model_type: bart, max_position_embeddings: 64}
"""
STUDY = """\
name: news
data: embedded
backbones: {summarization: small-bart}
tasks: [news]
methods: [lora]
budgets: {small: {rank: 2}}
seeds: [0]
"""


@pytest.fixture
def summaries(workflow: Path) -> Path:
    for name, text in (("tasks/news", TASK), ("backbones/small-bart", BACKBONE), ("studies/news", STUDY)):
        (workflow / f"{name}.yaml").write_text(text)
    return workflow


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("20\n", "20\n  min_length: 21\n", r"news\.yaml:8:3: generation\.min_length: expected at most max_length.* 20"),
        ("20\n", "1\n", r"news\.yaml:7:3: generation\.max_length: .*greater than or equal to 2"),
        ("20\n", "20\n  min_length: -1\n", r"news\.yaml:8:3: generation\.min_length: .*greater than or equal to 0"),
        ("beams: 4", "beams: 0", r"news\.yaml:6:3: generation\.beams: .*greater than 0"),
        ("4\n", "1\n  early_stopping: true\n", r":7:3: generation\.early_stopping: True has no effect without a beam"),
        ("4\n", "1\n  length_penalty: 2.0\n", r":7:3: generation\.length_penalty: 2\.0 has no effect without a beam"),
        ("20\n", "20\n  early_stopping: later\n", r"news\.yaml:8:3: generation\.early_stopping"),
        ("20\n", "20\n  repetition_penalty: 0\n", r"news\.yaml:8:3: generation\.repetition_penalty: .*greater than 0"),
        ("20\n", "20\n  do_sample: true\n", r"news\.yaml:8:3: unknown key 'generation\.do_sample'"),
        ("20\n", "66\n", r"news\.yaml:4:1: task 'news': generation\.max_length is 66, above the 64 positions"),
    ],
)
def test_a_fault_is_named_with_its_place(summaries: Path, old: str, new: str, message: str) -> None:
    file = summaries / "tasks/news.yaml"
    file.write_text(TASK.replace(old, new))
    with pytest.raises(SpecError, match=message):
        load_study("news", (), summaries)


def test_a_fault_of_a_study_and_its_task_together_is_named_in_the_study(summaries: Path) -> None:
    (summaries / "studies/news.yaml").write_text(f"{STUDY}overrides:\n  news:\n    generation: {{max_length: 70}}\n")
    with pytest.raises(SpecError, match=r"studies/news\.yaml:10:18: task 'news': generation\.max_length is 70"):
        load_study("news", (), summaries)


def test_keys_that_are_left_out_change_no_hash(summaries: Path) -> None:
    def hash_with(text: str) -> str:
        (summaries / "tasks/news.yaml").write_text(TASK + text)
        return load_study("news", (), summaries).cells[0].spec_hash

    plain = hash_with("")
    spec = load_study("news", (), summaries).cells[0].model_dump(mode="json")
    for name in ("repetition_penalty", "early_stopping"):
        del spec["task"]["generation"][name]  # as a record from before the keys has it
    assert spec_hash_of(spec) == plain
    assert len({plain, hash_with("  repetition_penalty: 1.2\n"), hash_with("  early_stopping: never\n")}) == 3


@pytest.mark.parametrize(
    ("config", "largest"),
    [
        ({"max_position_embeddings": 64}, 65),  # the last token is never read
        ({"max_encoder_position_embeddings": 9, "max_decoder_position_embeddings": 32}, 33),  # LED
        ({"encoder": {}, "decoder": {"max_position_embeddings": 16}}, 17),  # an encoder-decoder of two models
        ({"n_positions": 8, "relative_attention_num_buckets": 32}, math.inf),  # T5
        ({"max_position_embeddings": -1}, math.inf),
        ({}, math.inf),
    ],
)
def test_positions_limit_what_is_written(config: dict[str, Any], largest: float) -> None:
    for length in (9, 17, 18, 33, 34, 65, 66):
        fault = position_fault(Generation(max_length=length), config)
        assert (fault is None) == (length <= largest), fault
    assert position_fault(None, config) is None
