"""All forty faults are in docs/reliability.md, each with a test that exists, or with the reason why there is none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = dict(re.findall(r"^\| (\d+) \| (.+) \|$", (ROOT / "docs" / "reliability.md").read_text(), re.MULTILINE))


@pytest.mark.parametrize("number", range(1, 41))
def test_fault(number: int) -> None:
    text = ROWS[str(number)]
    for file in re.findall(r"`(tests/[^`]+|slurm/[^`]+)`", text):
        assert (ROOT / file).is_file(), f"{file} is named in docs/reliability.md and does not exist"
    assert "`" in text or "nothing is sent" in text
