"""Cells of each kind on a GPU that is pretended: no operation that would fail there, and no wait in a micro-batch."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from helpers.pretend_gpu import pretend_gpu
from helpers.small_cells import make_lab, record_of

# Of a batch that writes no text: the loss and what is predicted. Each is one copy to the host.
MOST_WAITS = 3


def notes_of(tmp_path: Path, kind: str, *, failing: bool = False) -> Counter[tuple[str, str, str]]:
    """Train a cell on the GPU; how often each phase met what where."""
    lab = make_lab(tmp_path, kind)
    cell = lab.prepare(lab.cell("lora", rows=24, epochs=1, max_steps=None))
    file = tmp_path / "notes"
    assert lab.train(cell, tmp_path / "out", every=None, before=partial(pretend_gpu, file, failing=failing)) == 0
    record = record_of(tmp_path / "out")
    assert (record.status, record.environment["device"]) == ("ok", "cuda"), record.message
    lines = [line.split("\t") for line in file.read_text().splitlines()]
    return Counter((phase, what, place) for phase, what, place in lines)


@pytest.mark.parametrize(
    "kind",
    [
        "classification",
        "question-answering",
        "multiple-choice",
        "classifying-gpt2",
        pytest.param("scored-choice", marks=pytest.mark.long),
        pytest.param("classifying-llama", marks=pytest.mark.long),
        pytest.param("causal-lm", marks=pytest.mark.long),
        pytest.param("summarization", marks=pytest.mark.long),
    ],
)
def test_a_cell_on_a_gpu(tmp_path: Path, kind: str) -> None:
    notes = notes_of(tmp_path, kind)
    assert not [note for note in notes if note[1].startswith(("two devices", "raises"))]
    steps = sum(count for (phase, what, _), count in notes.items() if (phase, what) == ("step", "begins"))
    batches = sum(count for (phase, what, _), count in notes.items() if (phase, what) == ("evaluation", "begins"))
    assert steps >= 2
    assert batches >= 2
    assert not [note for note in notes if note[0] == "step" and note[1].startswith("wait")]
    if kind not in ("causal-lm", "summarization"):  # `generate` waits at each token to see whether all rows ended
        waits = [count for (phase, what, _), count in notes.items() if phase == "evaluation" and "wait" in what]
        assert sum(waits) <= MOST_WAITS * batches, notes


def test_mistakes_are_noted(tmp_path: Path) -> None:
    """Else the test above would see nothing whatever happened."""
    notes = notes_of(tmp_path, "classification", failing=True)
    in_a_step = {what for phase, what, _ in notes if phase == "step"}
    assert in_a_step == {"begins", "two devices: mm", "wait: _local_scalar_dense", "raises: histc"}
