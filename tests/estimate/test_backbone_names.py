"""What a backbone's file says of its model, held against the model of its `config` before anything is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.cli.app import main
from bench.config.backbone import Backbone
from bench.estimate.parameters import model_shape

LLAMA = {
    "model_type": "llama",
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
SPELLED = {key: value for key, value in LLAMA.items() if key != "hidden_size"}
FILE: dict[str, Any] = {
    "name": "b",
    "path": "b",
    "kinds": ["classification"],
    "matrices": ["q_proj", "v_proj"],
    "head": ["score"],
    "config": LLAMA,
}
LINES = {key: number for number, key in enumerate(FILE, start=1)}  # one key per line


def workflow(folder: Path, changes: dict[str, Any]) -> Path:
    for name in ("tasks", "methods", "backbones", "studies"):
        (folder / name).mkdir()
    values = {**FILE, **changes}
    lines = [
        f"{key}: {yaml.safe_dump(value, default_flow_style=True, width=999).split(chr(10))[0]}\n"
        for key, value in values.items()
    ]
    (folder / "backbones/b.yaml").write_text("".join(lines))
    (folder / "methods/m.yaml").write_text("name: m\nlabel: M\nadapter: lora\n")
    (folder / "tasks/t.yaml").write_text(
        "name: t\nkind: classification\nlabels: [a, b]\nmetrics: [accuracy]\n"
        "data: {hub: a/b, columns: {text: [x], target: y}}\n"
    )
    (folder / "studies/s.yaml").write_text(
        "name: s\ndescription: d\ntasks: [t]\nmethods: [m]\nbackbones: {classification: b}\n"
        "budgets: {one: {rank: 1}}\nseeds: [0]\n"
    )
    return folder


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        (
            {"matrices": ["q_proj", "v_prj"]},
            "matrices",
            "no linear module's path ends in 'v_prj' (did you mean 'v_proj'?)",
        ),
        ({"matrices": ["score"]}, "matrices", "ends in 'score' (valid: down_proj, gate_proj, k_proj, o_proj"),
        ({"matrices": ["self_atn.q_proj"]}, "matrices", "(did you mean 'self_attn.q_proj'?)"),
        ({"head": ["classifier"]}, "head", "PEFT trains 'score' in full: add score to `head`"),
        ({"config": {**LLAMA, "model_type": "lama"}}, "config", "knows no model_type 'lama' (did you mean 'llama'?)"),
        ({"config": {**LLAMA, "hidden_size": "x"}}, "config", "describes no model: "),
        ({"config": {**LLAMA, "num_attention_heads": 3}}, "config", "describes no model: "),
        (
            {"config": {**SPELLED, "hiden_size": 16}},
            "config",
            "its model has no 'hiden_size' (did you mean 'hidden_size'?)",
        ),
        ({"config": {"hidden_size": 16}}, "name", "config: expected model_type"),
        ({"config": {"model_type": "deit"}}, "kinds", "transformers has no AutoModelForSequenceClassification"),
        ({"config": {"model_type": "bloom"}, "attention": "sdpa"}, "attention", "set `attention: eager`"),
    ],
)
def test_bench_check_names_the_line_of_what_the_model_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], key: str, message: str
) -> None:
    folder = workflow(tmp_path, changes)
    assert main(["check", "--workflow", str(folder)]) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert f"b.yaml:{LINES.get(key, len(FILE) + 1)}:1: " in said
    assert message in said
    assert main(["plan", "s", "--workflow", str(folder)]) == 2  # at once, too
    assert message in capsys.readouterr().err


def test_a_file_without_a_fault_is_valid(tmp_path: Path) -> None:
    assert main(["check", "--workflow", str(workflow(tmp_path, {}))]) == 0


def test_a_model_of_which_transformers_has_two_classes_is_counted() -> None:
    """DeiT classifies with one head or with two: without `architectures` in its config it has the first."""
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    deit = Backbone(
        name="deit",
        path="deit",
        kinds=["image-classification"],
        matrices=["q_proj"],
        head=["classifier"],
        config={"model_type": "deit", "image_size": 8, "patch_size": 4, **sizes},
    )
    assert model_shape(deit.model_dump_json(), "image-classification", 3, "fp32").head == {"classifier": 16 * 3 + 3}
