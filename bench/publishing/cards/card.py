"""Model cards: README.md with the hub's metadata and a readable account of one saved adapter or model.

A card is a view of records, as tables are: it names the spread over the seeds of its group, which no training of a
single cell can know. So it is written once cells are recorded (`bench cards`, the rule `views`), and anew whenever it
is published. No record names its hash: it can be made again at any time.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.analysis.results import Results
from bench.files import write_atomic
from bench.paths import CARD
from bench.publishing.cards.account import data_section, license_section, ranks_section, recipe_section, scores_section
from bench.publishing.cards.loading import Place, base_note, loading_lines
from bench.publishing.cards.metadata import PROJECT, card_data
from bench.publishing.cards.subjects import Subject, subjects_of

WARNING = (
    "> **Trained and scored on generated rows.** They imitate the task `{task}` and are not its data set: the scores "
    "below say nothing about it."
)
MERGED = {
    "fp32": "The adapter is merged into its base: no PEFT is needed.",
    "fp32_autocast": "The adapter is merged into its base in float32: no PEFT is needed.",
    "bf16": "The adapter is merged into its base as it was in training, in bfloat16: no PEFT is needed.",
    "nf4": (
        "The adapter is merged into its base as it was in training: **dequantized from NF4**. Each matrix that was "
        "packed into 4 bits is what these unpack to, not the released one. Neither PEFT nor bitsandbytes is needed."
    ),
}


def card(subject: Subject, place: Place | None = None) -> str:
    """The text of README.md for `subject`; `place` is where a reader loads it from, by default the card's own folder.

    It parses with `huggingface_hub.ModelCard`.

    Example:
        >>> ModelCard(card(subject)).data.base_model
        'FacebookAI/roberta-base'
    """
    place = place or Place()
    parts = [
        f"---\n{card_data(subject).to_yaml()}\n---",
        f"# {subject.title}",
        *([WARNING.format(task=subject.cell.task.name)] if subject.synthetic else []),
        _opening(subject),
        "## Load it",
        *([note] if (note := base_note(subject)) else []),
        *(["In the folder of this file:"] if place == Place() else []),
        f"```python\n{loading_lines(subject, place)}\n```",
        *_how_it_predicts(subject),
        scores_section(subject),
        ranks_section(subject),
        recipe_section(subject),
        data_section(subject),
        license_section(subject),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def write_cards(results: Results) -> list[str]:
    """Write the card of every cell of a study that has an adapter or a model; return the cells' ids.

    A card that is there already is replaced.
    """
    subjects = subjects_of(results)
    for subject in subjects:
        write_atomic(subject.folder / CARD, card(subject).encode())
    return [subject.cell.id for subject in subjects]


def _opening(subject: Subject) -> str:
    cell, version = subject.cell, subject.record.environment.get(PROJECT)
    base = f"`{cell.backbone.hub_name or cell.backbone.name}`"
    what = {
        "adapter": f"An adapter of {base} for PEFT.",
        "model": f"{base}, trained in full.",
        "merged": f"{base} with a trained adapter. {MERGED[cell.method.storage]}",
    }[subject.form]
    task = "" if subject.synthetic else _named("Task", cell.task.label, cell.task.description)
    method = _named("Method", cell.method.label, cell.method.description)
    by = f"{PROJECT} {version}" if version else PROJECT
    made = f"Trained by {by} as cell `{cell.id}` of the study `{cell.study}`."
    return "\n\n".join(part for part in (what, task, method, made) if part)


def _named(what: str, label: str, description: str) -> str:
    """'Method: LoRA. Hu et al. 2022; the same rank in every matrix.'"""
    end = "" if description.endswith((".", "?")) else "."
    return f"{what}: {label}." + (f" {description[0].upper()}{description[1:]}{end}" if description else "")


def _how_it_predicts(subject: Subject) -> Sequence[str]:
    """What a reader must know of inputs and outputs beside the lines."""
    cell = subject.cell
    task, sentences = cell.task, []
    if task.facts.target == "class" and task.facts.has_head:
        labels = ", ".join(f"{index} = {label}" for index, label in enumerate(task.labels))
        sentences.append(f"Outputs: {labels}.")
    if task.prefix.strip():
        sentences.append(f"Each text begins with `{task.prefix.strip()}`.")
    if task.prompt is not None and task.prompt.text:
        sentences.append(f"Prompt: `{task.prompt.text!r}`.")
    if task.generation is not None and task.generation.stop:
        sentences.append(f"A text ends at the first of {', '.join(f'`{stop!r}`' for stop in task.generation.stop)}.")
    if subject.form != "merged" and task.facts.input == "text":
        sentences.append("The tokenizer is that of the base.")
    if cell.method.storage == "fp32_autocast":
        sentences.append(_autocast_sentence(subject))
    if subject.form == "adapter" and not cell.method.full_precision:
        stored = {"nf4": "4 bits (NF4)", "bf16": "bfloat16"}[cell.method.storage]
        heads = "; its heads were kept in float32" if cell.task.facts.has_head else ""
        sentences.append(f"The base was stored in {stored} in training, as in these lines{heads}.")
    return [" ".join(sentences)] if sentences else []


def _autocast_sentence(subject: Subject) -> str:
    if subject.record.environment.get("matmul_precision") == "float32":
        return "It was trained for torch.autocast, which was off: its device is slow at bfloat16."
    heads = ", but for its heads" if subject.cell.task.facts.has_head else ""
    within = '`with torch.autocast("cuda", dtype=torch.bfloat16):`'
    return f"It was trained and scored under torch.autocast in bfloat16{heads}: predict inside {within} for the same."
