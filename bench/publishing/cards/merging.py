"""`bench export --as merged`: a cell's adapter and its base as one checkpoint of transformers, with a card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench.config.cell import Cell
from bench.config.folders import folder_of_task
from bench.errors import BenchError
from bench.evaluation.generation_settings import own_generation_config
from bench.files import folder_in_one_step
from bench.inputs.backbones import check_backbone, open_backbone
from bench.inputs.reader import load_tokenizer
from bench.models.merged import merged_model, save_plain
from bench.paths import CARD, CellPaths
from bench.publishing.cards.card import MERGED, card
from bench.publishing.cards.subjects import check_saved, subject_at
from bench.records.io import read_record
from bench.records.schema import Record
from bench.records.specs import cell_in


def cell_to_merge(folder: Path, workflows: Sequence[Path]) -> tuple[Cell, Record]:
    """The cell in `folder` and its record; files that its task names are looked up beside its file in `workflows`.

    Raises BenchError if there is no record, if this version can't read its spec, if it has no adapter, or if the
    adapter's file is not the recorded one.
    """
    paths = CellPaths(folder)
    if not paths.record.is_file():
        raise BenchError(f"{folder}: expected the folder of a cell, with a record of its base and its task in it")
    record = read_record(paths.record)
    cell = cell_in(record, paths.record, folder_of_task(workflows, record.cell.task))
    if cell.method.adapter == "full":
        raise BenchError(
            f"{folder}: method {cell.method.name!r} trained the whole model: {paths.model} is a checkpoint of "
            "transformers as it is, and there is nothing to merge"
        )
    check_saved(folder, record)
    return cell, record


def export_merged(folder: Path, cell: Cell, record: Record, base: Path, out: Path, dtype: str) -> str:
    """Write the cell in `folder` as one checkpoint to `out`; return the sentence that says what it is.

    `base` is the prepared folder of the backbone, which must hold the files that were recorded. `dtype` is float32 or
    bfloat16. Beside the weights there are config, tokenizer or image processor, for a model that writes text the
    generation config of its task, and a card.

    Raises BenchError where the base is another one, or where the adapter can't be merged.
    """
    manifest = open_backbone(base, cell.backbone)
    check_backbone(base, manifest)
    _check_same_base(base, manifest, record.model, cell)
    model = merged_model(cell, CellPaths(folder).adapter, base)
    if cell.task.generates:
        model.generation_config = own_generation_config(cell.task, model, load_tokenizer(base))
    subject = replace(subject_at(folder, cell, record), form="merged")
    with folder_in_one_step(out) as new:
        save_plain(model, base, new, dtype)
        (new / CARD).write_bytes(card(subject).encode())  # UTF-8, whatever the locale
    return MERGED[cell.method.storage].replace("**", "")


def _check_same_base(base: Path, prepared: Mapping[str, object], recorded: Mapping[str, object], cell: Cell) -> None:
    """Raises BenchError with the files that differ where the base is not the one that the adapter was trained on."""
    one, other = prepared.get("files"), recorded.get("files")
    assert isinstance(one, dict)
    known = other if isinstance(other, dict) else {}
    differing = sorted(name for name in one.keys() | known.keys() if one.get(name) != known.get(name))
    if differing:
        raise BenchError(
            f"{base}: backbone {cell.backbone.name!r} is not the one that the cell was trained on: "
            f"{', '.join(differing)} differ from the record"
        )
