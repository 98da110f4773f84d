"""The lines by which a reader loads what a card stands beside, for the card."""

from __future__ import annotations

from dataclasses import dataclass

from bench.inputs.model_classes import head_outputs
from bench.publishing.cards.subjects import Subject

BASE = "BASE"  # in place of a base that no reader can load by a name


@dataclass(frozen=True)
class Place:
    """From where a reader loads it: a repository on the hub and the folder in it, or the folder of the card itself."""

    repository: str = "."
    subfolder: str = ""

    @property
    def arguments(self) -> str:
        """As Python writes them: '"owner/name", subfolder="cola/lora/small/seed-0"'."""
        return f'"{self.repository}"' + (f', subfolder="{self.subfolder}"' if self.subfolder else "")


def loading_lines(subject: Subject, place: Place) -> str:
    """Python that leaves a `model`, ready for prediction; of an adapter on its `base`."""
    auto = subject.cell.task.facts.auto_class
    if subject.form != "adapter":
        images = subject.cell.task.facts.input == "image"
        name, processor = ("processor", "AutoImageProcessor") if images else ("tokenizer", "AutoTokenizer")
        lines = [f"model = {auto}.from_pretrained({place.arguments}).eval()"]
        if subject.form == "merged":
            lines.append(f"{name} = {processor}.from_pretrained({place.arguments})")
            return "\n".join([f"from transformers import {auto}, {processor}", "", *lines])
        return "\n".join([f"from transformers import {auto}", "", *lines])
    packed = subject.cell.method.storage == "nf4"
    return "\n".join(
        [
            "from peft import PeftModel",
            f"from transformers import {auto}" + (", BitsAndBytesConfig" if packed else ""),
            "",
            *([_nf4_line(subject)] if packed else []),
            f"base = {auto}.from_pretrained({', '.join(_base_arguments(subject))})",
            f"model = PeftModel.from_pretrained(base, {place.arguments}).eval()",
        ]
    )


def base_note(subject: Subject) -> str | None:
    """What BASE stands for in the lines; None where they name a repository of the hub."""
    backbone = subject.cell.backbone
    if backbone.hub_name is not None or subject.form != "adapter":
        return None
    if backbone.path is not None:
        where = f"the local folder that `workflow/backbones/{backbone.name}.yaml` names"
    else:
        where = f"its folder below `results/cache/models/`, made by `bench prepare {subject.cell.study}`"
    return f"`{BASE}` is the backbone `{backbone.name}`, which is not on the hub: {where}."


def _base_arguments(subject: Subject) -> list[str]:
    cell, backbone = subject.cell, subject.cell.backbone
    arguments = [f'"{backbone.hub_name or BASE}"']
    revision = backbone.revision or subject.record.model.get("revision")
    if backbone.hub and revision:
        arguments.append(f'revision="{revision}"')
    if cell.task.facts.has_head:
        arguments.append(f"num_labels={head_outputs(cell.task)}")
    pad = backbone.config.get("pad_token_id")
    if cell.task.facts.has_head and subject.record.model.get("pad_token") is not None and pad is not None:
        arguments.append(f"pad_token_id={pad}")  # the checkpoint of many decoders names none
    if cell.method.storage == "bf16":
        arguments.append('dtype="bfloat16"')
    if cell.method.storage == "nf4":
        arguments += ["quantization_config=nf4", 'dtype="bfloat16"']
    return arguments


def _nf4_line(subject: Subject) -> str:
    method, heads = subject.cell.method, [*subject.cell.backbone.head, "lm_head"]
    skipped = ", ".join(f'".*{head}"' for head in heads)  # wherever it stands in the model
    double = f", bnb_4bit_use_double_quant={method.double_quantization}"
    return (
        f'nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4"{double}, '
        f'bnb_4bit_compute_dtype="bfloat16", llm_int8_skip_modules=[{skipped}])'
    )
