"""The examples of docs/library.md run as they are written, one after the other, in a process of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from peft import PeftConfig

PAGE = Path(__file__).resolve().parents[2] / "docs" / "library.md"


def test_the_examples_run(tmp_path):
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "live ranks: 48 loss: 0." in done.stdout  # 12 matrices, 4 ranks each on average
    for folder in ("adapter", "adapter-of-trainer"):
        pattern = PeftConfig.from_pretrained(tmp_path / folder).rank_pattern
        assert sum(map(sum, pattern.values())) == 48
