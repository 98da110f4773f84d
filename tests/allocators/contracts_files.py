"""What holds of an adapter that an allocator has trained on a real model: plain PEFT loads it, and LoRA equals it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from helpers.small_cells import Lab, record_of
from peft import PeftModel
from registry_cases import Case, advance, demand, method_of, told
from torch import Tensor

from bench.cli.app import main
from bench.config.cell import Cell
from bench.config.rank_schedule import largest_rank, schedule_of
from bench.engine.step import Core
from bench.inputs.backbones import prepare_backbone
from bench.models.adapters import attach, save_trained
from bench.models.backbone import find_sites, load_backbone
from bench.models.core import step_options
from bench.models.export import export_lora

HELD_OUT, ROWS = 12, 60
ROUNDING = {"rtol": 1e-4, "atol": 1e-5}  # of float32, through two layers


def check_saved(case: Case, lab: Lab, folder: Path) -> None:
    """What is saved in `folder` gives the outputs of the training in plain PEFT; so does AdaLoRA's export to LoRA."""
    cell = cell_of(case, lab, rate=0.2)  # high, so that even singular values that start at zero matter at the end
    base = prepare_backbone(cell.backbone, mirror=None, cache=lab.cache)
    core = trained(cell, base)
    want = recorded(core, cell, folder)
    alone = loaded(cell, base, folder / "adapter", emptied=True)
    demand(_difference(want, alone), case, "its adapter changes nothing, so that nothing can be seen of it")
    off = _difference(want, loaded(cell, base, folder / "adapter"))
    demand(off is None, case, f"loaded by plain PEFT, its adapter gives outputs that differ by up to {off}")
    if case.svd:
        export_lora(folder / "adapter", folder / "lora")
        off = _difference(want, loaded(cell, base, folder / "lora"))
        demand(off is None, case, f"exported to LoRA, its adapter gives outputs that differ by up to {off}")


def check_recorded(case: Case, lab: Lab, folder: Path) -> None:
    """A whole cell, trained as a job does, ends with a record, and what it saved gives the recorded predictions."""
    cell, out, again = lab.prepare(cell_of(case, lab)), folder / "cell", folder / "again"
    demand(lab.train(cell, out, every=None) == 0, case, "its cell ends with an error")
    record = record_of(out)
    demand(record.status == "ok", case, f"its cell ends with {record.status}: {record.message}")
    assert record.parameters is not None
    use = record.parameters.budget
    demand(use.used <= use.limit, case, f"its record says {use.used} {use.unit}, the budget is {use.limit}")
    code = main(["evaluate", str(out), "--cache", str(lab.cache), "--out", str(again)])
    demand(code == 0, case, "what its cell saved cannot be evaluated")
    one, other = (pd.read_parquet(place / "predictions.parquet") for place in (out, again))
    demand(one.equals(other), case, "what its cell saved gives other predictions than were recorded")


def cell_of(case: Case, lab: Lab, rate: float = 5e-3) -> Cell:
    """A cell of the lab whose method is the allocator on its adapter; rate: its learning rate."""
    cell = lab.cell(case.adapter, rank=3, rows=ROWS, holdout_rows=HELD_OUT, learning_rate=rate)
    return cell.model_copy(update={"method": method_of(case.name, case.adapter)})


def trained(cell: Cell, base: Path) -> Any:
    """The core of the cell's model after all of its steps, on random words."""
    torch.manual_seed(0)
    model = load_backbone(cell, base, torch.device("cpu"))
    sites = find_sites(model, cell.backbone)
    model = attach(model, cell, sites)
    shapes = [(site.in_features, site.out_features) for site in sites]
    schedule = schedule_of(cell, ROWS, shapes)
    options = told(cell, schedule, [1] * len(sites), largest_rank(cell, shapes))
    core: Any = Core(model, sites, step_options(cell, schedule.total_steps), schedule, options)
    core.model = model
    for step in range(schedule.total_steps):
        words = _words(step)
        core.accumulate(model(input_ids=words, labels=words[:, 1] % 2).loss)
        advance(core)
    return core


@torch.no_grad()
def recorded(core: Any, cell: Cell, folder: Path) -> Tensor:
    """The outputs of the trained model under its budget. The adapter is saved to `folder`."""
    core.model.eval()
    with core.budget_view():
        outputs = core.model(input_ids=_words(99)).logits
        save_trained(core.model, cell.method, folder / "adapter", core.masks())
    return outputs


@torch.no_grad()
def loaded(cell: Cell, base: Path, adapter: Path, *, emptied: bool = False) -> Tensor:
    """The outputs of a fresh base with the saved adapter; emptied: with its heads alone, B being zero."""
    torch.manual_seed(1)
    model = load_backbone(cell, base, torch.device("cpu"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT reads AdaLoRA's masks by site as if they were LoRA's ranks
        model = PeftModel.from_pretrained(model, adapter).eval()
    for name, parameter in model.named_parameters():
        if emptied and "lora_B" in name:
            parameter.zero_()
    return model(input_ids=_words(99)).logits


def _words(seed: int) -> Tensor:
    return torch.randint(4, 200, (8, 12), generator=torch.Generator().manual_seed(seed))


def _difference(want: Tensor, found: Tensor) -> str | None:
    """The largest difference; None if it is float32's rounding."""
    return None if torch.allclose(found, want, **ROUNDING) else f"{float((found - want).abs().max()):.2g}"
