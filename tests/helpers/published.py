"""A study of two tasks whose cells have adapters, written as if it had been trained on real rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.analysis.results import Results, read_results
from bench.config.resolve import ResolvedStudy
from bench.files import digest
from helpers.records import write_cell

CHOICE = ("tasks=[cola, cnn_dailymail]", "methods=[lora, adalora]")
REVISION = "b" * 40
HOST = "machine-of-nobody"  # in every record


def write_trained(folder: Path, study: ResolvedStudy, **data: Any) -> Results:
    """Write every cell of `study` below `folder`, with an adapter, and read the results.

    `data` replaces fields of what records say of the rows.
    """
    for cell in study.cells:
        place = folder / study.name / "cells" / cell.id
        adapter = place / "adapter"
        adapter.mkdir(parents=True)
        weights = adapter / "adapter_model.safetensors"
        weights.write_bytes(cell.id.encode() * 100)
        config = {"peft_type": "LORA", "base_model_name_or_path": str(folder / "cache" / "models" / "minilm")}
        (adapter / "adapter_config.json").write_text(json.dumps(config))
        write_cell(
            folder / study.name,
            cell,
            0.7 + 0.05 * cell.seed,
            files={"adapter/adapter_model.safetensors": digest(weights)},
            data={"synthetic": False, "fingerprint": "f" * 64, "revision": REVISION, **data},
            environment={"machine": HOST, "packages": {}},
        )
    return read_results(study, folder)
