"""S1 to S8: what PEFT's AdaLoRA does wrong with state and persistence, and ours does not."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from helpers.toy_models import Branches, PeftLoop, adapted, batches, cell_of, core_of, loss_of
from peft import AdaLoraConfig, LoraConfig, PeftModel, get_peft_model
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from bench.config.method import Method
from bench.engine.flat import FlatParameters
from bench.engine.schedule import RankSchedule
from bench.errors import BenchError
from bench.models.adapters import attach, save_adapter
from bench.models.export import export_lora
from bench.models.sites import AdapterSite

SHAPES = [(8, 16), (16, 8), (8, 8), (12, 8)]
SCHEDULE = RankSchedule(initial_budget=16, target_budget=7, initial_steps=2, final_steps=4, interval=2, total_steps=14)


def sites() -> list[AdapterSite]:
    return [AdapterSite(f"layers.{k}", i, o, "layers", k) for k, (i, o) in enumerate(SHAPES)]


def train(core, until: int, data: list) -> None:
    while core.completed < until:
        core.accumulate(loss_of(core.model, data[core.completed]))
        core.step()


def rows(count: int = 14) -> list:
    return [batch for batch, _ in zip(batches(0, 8, 16), range(count), strict=False)]


@pytest.mark.parametrize("stop", [1, 2, 7, 9, 10, 12])
def test_defect_S1_an_interrupted_training_equals_an_uninterrupted_one(tmp_path, stop):
    data, whole, core = rows(), core_of(SHAPES, 4, SCHEDULE), core_of(SHAPES, 4, SCHEDULE)
    train(whole, 14, data)
    for pause in (stop, stop + 1):  # twice in a row
        train(core, pause, data)
        tensors, plain = core.state_dict()
        save_file(tensors, tmp_path / "state.safetensors")
        core = core_of(SHAPES, 4, SCHEDULE)
        core.load_state_dict(load_file(tmp_path / "state.safetensors"), json.loads(json.dumps(plain)))
    train(core, 14, data)
    assert torch.equal(core.flat.data, whole.flat.data)
    assert core.state_dict()[1] == whole.state_dict()[1]


def test_defect_S1_pefts_checkpoint_lacks_the_importance():
    core = core_of(SHAPES, 4, SCHEDULE)
    peft = PeftLoop(adapted(SHAPES, 4, SCHEDULE, target=1), core)
    for batch in rows(5):
        peft.step(batch)
    saved = peft.model.state_dict()
    assert peft.allocator.exp_avg_ipt
    assert not [name for name in saved if "ipt" in name or "unc" in name]


def test_defect_S2_the_rank_number_is_never_trainable():
    torch.manual_seed(0)
    config = AdaLoraConfig(init_r=4, total_step=9, target_modules=["layers.0"], lora_alpha=8)
    raw = get_peft_model(Branches(SHAPES, torch.bfloat16), config)
    assert any(p.requires_grad for n, p in raw.named_parameters() if "ranknum" in n)  # PEFT's
    model = attach(Branches(SHAPES, torch.bfloat16), cell_of(rank=2, initial_rank=4), sites())
    core = core_of(SHAPES, 4, SCHEDULE, dtype=torch.bfloat16)
    for each in (model, core.model):
        assert not any(p.requires_grad for n, p in each.named_parameters() if "ranknum" in n)
    FlatParameters(raw, sites()[:1])  # and the core freezes it wherever it comes from
    assert not any(p.requires_grad for n, p in raw.named_parameters() if "ranknum" in n)
    train(core, 14, rows())
    assert {float(p) for n, p in core.model.named_parameters() if "ranknum" in n} == {4.0}


def test_defect_S3_the_importance_takes_two_buffers():
    core, data = core_of(SHAPES, 4, SCHEDULE), rows()
    train(core, 3, data)
    adapter = sum(p.numel() for n, p in core.model.named_parameters() if "lora_" in n)
    assert core.allocator.bytes() == 2 * 4 * adapter
    peft = PeftLoop(adapted(SHAPES, 4, SCHEDULE, target=1), core)
    peft.step(data[0])
    buffers = (peft.allocator.ipt, peft.allocator.exp_avg_ipt, peft.allocator.exp_avg_unc)
    assert sum(t.numel() for buffer in buffers for t in buffer.values()) == 3 * adapter


def test_defect_S4_the_allocation_is_state_and_not_config():
    core, data = core_of(SHAPES, 4, SCHEDULE), rows()
    config = core.model.peft_config["default"].to_dict()
    train(core, 14, data)
    assert core.model.peft_config["default"].to_dict() == config
    assert sum(map(sum, core.masks().values())) == 7
    peft = PeftLoop(adapted(SHAPES, 4, SCHEDULE, target=1), core)
    for batch in data:
        peft.step(batch)
    assert peft.model.peft_config["default"].rank_pattern is not None


def test_defect_S5_names_that_hold_words_of_the_model_are_safe(tmp_path):
    """PEFT looks for the adapter's name inside parameter names; ours is one fixed name and modules are exact."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = AdaLoraConfig(
            init_r=4, target_r=2, total_step=9, tfinal=3, target_modules=["layers.0", "layers.1"], lora_alpha=8
        )
        peft = get_peft_model(Branches(SHAPES), config, adapter_name="layers")
    for step in range(1, 8):
        loss_of(peft, next(batches(0, 4, 16))).backward()
        peft.base_model.update_and_allocate(step)
    with pytest.raises((KeyError, AttributeError, IndexError)):
        peft.save_pretrained(tmp_path / "peft")

    model = attach(Branches(SHAPES), cell_of(rank=2, initial_rank=4), sites())
    assert list(model.peft_config) == ["default"]
    flat = FlatParameters(model, sites()[1:2])  # layers.1, and nothing that only contains it
    assert [site.name for site in flat.layout.sites] == ["layers.1"]
    assert flat.layout.adapter_elements == 4 * (16 + 8 + 1)


def test_defect_S6_a_pruned_adalora_is_exported_as_plain_lora(tmp_path):
    core = core_of(SHAPES, 4, SCHEDULE)
    x, _ = next(batches(1, 8, 16))
    train(core, 14, rows())
    assert len(set(core.live_ranks().values())) > 1
    with core.budget_view():
        want = core.model(x)
        save_adapter(core.model, tmp_path / "adapter", core.masks())
    export_lora(tmp_path / "adapter", tmp_path / "lora")
    torch.manual_seed(0)
    loaded = PeftModel.from_pretrained(Branches(SHAPES), tmp_path / "lora")
    assert loaded.peft_config["default"].peft_type == "LORA"
    torch.testing.assert_close(loaded(x), want, rtol=1e-4, atol=1e-5)
    ranks = {s.name: getattr(loaded.get_base_model().get_submodule(s.name), "r", {}).get("default", 0) for s in sites()}
    assert ranks == core.live_ranks()


def test_defect_S7_live_ranks_and_parameters_are_reported():
    core, data = core_of(SHAPES, 4, SCHEDULE), rows()
    first = core.trainable_parameters()["adapter"]
    train(core, 14, data)
    ranks = core.live_ranks()
    assert sum(ranks.values()) == 7
    count = sum(ranks[s.name] * (s.in_features + s.out_features + 1) for s in core.flat.layout.sites)
    assert core.live_parameters() == core.trainable_parameters()["adapter"] == count < first
    peft = PeftLoop(adapted(SHAPES, 4, SCHEDULE, target=1), core)
    before = peft.model.get_nb_trainable_parameters()
    for batch in data:
        peft.step(batch)
    assert peft.model.get_nb_trainable_parameters() == before


@pytest.mark.parametrize("option", ["use_rslora", "init_lora_weights", "lora_bias", "alpha_pattern", "use_dora"])
def test_defect_S8_options_that_would_be_ignored_are_refused(option):
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Method(name="m", label="m", adapter="adalora", **{option: True})


def test_defect_S8_layers_that_the_core_would_not_honour_are_refused():
    model = get_peft_model(Branches(SHAPES), LoraConfig(r=2, target_modules=["layers.0"], use_dora=True))
    with pytest.raises(BenchError, match="not supported"):
        FlatParameters(model, sites()[:1])
    biased = get_peft_model(Branches(SHAPES), LoraConfig(r=2, target_modules=["layers.0"], lora_bias=True))
    with pytest.raises(BenchError, match="not supported"):
        FlatParameters(biased, sites()[:1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = AdaLoraConfig(
            init_r=4,
            total_step=9,
            target_modules=["layers.0"],
            lora_alpha=8,
            use_rslora=True,
            alpha_pattern={"layers.0": 99.0},
        )
        peft = get_peft_model(Branches(SHAPES), config)
    assert peft.get_base_model().layers[0].scaling["default"] == 8  # PEFT took both and honors neither


def test_the_saved_adapter_of_a_pruned_training_loads_with_plain_peft(tmp_path):
    for compact in (True, False):
        core = core_of(SHAPES, 4, SCHEDULE, cell_of(method={"compact": compact}))
        x, _ = next(batches(1, 8, 16))
        for until, batch_count in ((7, 7), (14, 14)):  # once between masks, once at the end
            train(core, until, rows(batch_count))
            folder = tmp_path / f"{compact}-{until}"
            with core.budget_view():
                want = core.model(x)
                save_adapter(core.model, folder, core.masks())
            core.model.peft_config["default"].rank_pattern = None
            torch.manual_seed(0)
            loaded = PeftModel.from_pretrained(Branches(SHAPES), folder)
            torch.testing.assert_close(loaded(x), want, rtol=1e-4, atol=1e-5)
