"""A small workflow folder, and a fixture that puts a fault into one of its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

FILES = {
    "tasks/cola.yaml": """\
name: cola
kind: classification
data:
  hub: nyu-mll/glue
  config: cola
  columns: {text: [sentence], target: label}
  rows: {train: 8551}
  embedded: acceptability
labels: [unacceptable, acceptable]
metrics: [mcc, accuracy]
recipe: {learning_rate: 5e-4, epochs: 25, batch_size: 32}
""",
    "tasks/sst2.yaml": """\
name: sst2
kind: classification
data: {hub: nyu-mll/glue, config: sst2, columns: {text: [sentence], target: label}, embedded: sentiment}
labels: [negative, positive]
metrics: [accuracy]
""",
    "methods/lora.yaml": "name: lora\nlabel: LoRA\nadapter: lora\n",
    "methods/adalora.yaml": "name: adalora\nlabel: AdaLoRA\nadapter: adalora\nallocator: adalora\n",
    "backbones/minilm.yaml": "name: minilm\nhub: a/b\nkinds: [classification]\nmatrices: [query, key]\n",
    "studies/s.yaml": """\
name: s
data: embedded
backbones: {classification: minilm}
tasks: [cola, sst2]
methods: [lora, adalora]
budgets:
  small: {rank: 2, initial_rank: 4}
  large: {rank: 8, initial_rank: 12}
seeds: [0, 1]
""",
}


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    return tmp_path


@pytest.fixture
def spoil(workflow: Path) -> Callable[[str, str, str], Path]:
    """Replace a piece of text in one file. The text must be there."""

    def change(name: str, old: str, new: str) -> Path:
        file = workflow / name
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))
        return workflow

    return change
