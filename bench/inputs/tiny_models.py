"""Tiny models, which no package that can be installed holds: those that write are trained here on generated texts.

These are not pretrained in the usual sense, and tables of the demo say so (its data sets are marked as synthetic). The
one that reads images is in tiny_vision.py, the one that knows two languages in tiny_multilingual.py.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.config.backbone import Backbone
from bench.errors import BenchError, nearest
from bench.inputs import synthetic
from bench.inputs.tiny_multilingual import build_multilingual_model
from bench.inputs.tiny_training import train_tiny_model
from bench.inputs.tiny_vision import build_image_model

if TYPE_CHECKING:
    from torch import Tensor

SEED = 7
Pair = tuple[str, str]  # source, target


@dataclass(frozen=True)
class Plan:
    """How a model is made."""

    special: dict[str, str]  # special tokens; their ids count from 0
    form: str  # how the tokenizer frames a text, which it calls $A
    steps: int
    texts: Callable[[], list[str]]  # what the tokenizer is trained on
    pairs: Callable[[list[int]], list[Pair]]  # sources and targets of a batch, from the numbers of its articles
    batch: int = 32
    learning_rate: float = 1e-3
    decoder: bool = False  # one that continues a text, and learns source and target as one


def build(backbone: Backbone, folder: Path) -> None:
    """Train a model with the sizes of `backbone.config`, and save it to `folder` with its tokenizer or image processor.

    Training is seeded, so it gives the same bits twice on one machine. Raises BenchError for an unknown name.
    """
    builders: dict[str, Callable[[Backbone, Path], None]] = {
        "tiny-mbart": build_multilingual_model,
        "tiny-vit": build_image_model,
    }
    builders |= {name: partial(_build_writer, plan) for name, plan in PLANS.items()}
    builder = builders.get(backbone.built or "")
    if builder is None:
        unknown = f"nothing builds {backbone.built!r}{nearest(str(backbone.built), builders)}"
        raise BenchError(f"backbone {backbone.name!r}: {unknown}")
    builder(backbone, folder)


def _build_writer(plan: Plan, backbone: Backbone, folder: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    tokenizer = _tokenizer(plan, int(backbone.config["vocab_size"]))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **plan.special)
    fast.save_pretrained(folder)
    _train(plan, backbone, fast, folder)


def _tokenizer(plan: Plan, size: int) -> Any:
    """A byte-level BPE tokenizer, which can encode any text, so that real articles pass through it too."""
    from tokenizers import ByteLevelBPETokenizer, Tokenizer
    from tokenizers.processors import TemplateProcessing

    special = list(dict.fromkeys(plan.special.values()))
    trainer = ByteLevelBPETokenizer()
    trainer.train_from_iterator(plan.texts(), vocab_size=size, special_tokens=special, show_progress=False)
    with tempfile.TemporaryDirectory() as temporary:
        file = os.path.join(temporary, "tokenizer.json")
        trainer.save(file)
        tokenizer = Tokenizer.from_file(file)
    framing = [(word, special.index(word)) for word in plan.form.split() if word in special]
    tokenizer.post_processor = TemplateProcessing(single=plan.form, special_tokens=framing)
    return tokenizer


def _train(plan: Plan, backbone: Backbone, tokenizer: Any, folder: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    torch.manual_seed(SEED)
    options = {key: value for key, value in backbone.config.items() if key != "model_type"}
    config = AutoConfig.for_model(backbone.config["model_type"], **options)
    config.vocab_size = max(config.vocab_size, len(tokenizer))
    model = (AutoModelForCausalLM if plan.decoder else AutoModelForSeq2SeqLM).from_config(config).train()

    def loss() -> Tensor:
        pairs = plan.pairs(torch.randint(synthetic.SIZES["train"], (plan.batch,)).tolist())
        return model(**_inputs(plan, tokenizer, pairs)).loss

    train_tiny_model(model, loss, steps=plan.steps, learning_rate=plan.learning_rate, falling_steps=200)
    model.eval().save_pretrained(folder, safe_serialization=True)


def _inputs(plan: Plan, tokenizer: Any, pairs: list[Pair]) -> dict[str, Any]:
    """The model's arguments for a batch of pairs: padded tokens [n, longest] and labels with -100 at the padding."""
    sources, targets = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    cut = {"padding": True, "truncation": True, "return_tensors": "pt"}
    if plan.decoder:
        texts = [f"{source}{target}{tokenizer.eos_token}" for source, target in zip(sources, targets, strict=True)]
        inputs = tokenizer(texts, max_length=96, **cut)
        labels = inputs.input_ids
    else:
        inputs = tokenizer(sources, max_length=96, **cut)
        labels = tokenizer(text_target=targets, max_length=48, **cut).input_ids
    return {
        "input_ids": inputs.input_ids,
        "attention_mask": inputs.attention_mask,
        "labels": labels.masked_fill(labels == tokenizer.pad_token_id, -100),
    }


@lru_cache(maxsize=1)
def _articles() -> tuple[list[str], list[str]]:
    """The generated articles, and their summaries."""
    rows = synthetic.rows("articles", "train")
    return [row[0] for row in rows.texts], rows.targets


@lru_cache(maxsize=1)
def _opinions() -> list[str]:
    return [row[0] for row in synthetic.rows("tone", "train").texts]


def _copies(chosen: list[int]) -> list[Pair]:
    """Sentences to copy: one alone for half of the batch, the first or the telling one of an article for the others.

    It learns to copy, and too little of what a summary is: nothing of the weekday at its end.
    """
    articles, summaries = _articles()
    told = [f"{summaries[i].rsplit(' on ', 1)[0]}." for i in chosen]
    first = [f"{articles[i].split('. ')[0]}." for i in chosen]
    return [
        ((told[n], told[n]), (articles[i], first[n]), (told[n], told[n]), (articles[i], told[n]))[n % 4]
        for n, i in enumerate(chosen)
    ]


def _mixture(chosen: list[int]) -> list[Pair]:
    """A third each of sentences to copy, opinions to repeat, and opinions to continue from their first half."""
    opinions, pairs = _opinions(), []
    for n, (i, copy) in enumerate(zip(chosen, _copies(chosen), strict=True)):
        words = opinions[i].split()
        half = len(words) // 2
        halves = (" ".join(words[:half]), " ".join(words[half:]))
        pairs.append((copy, (opinions[i], opinions[i]), halves)[n % 3])
    return pairs


@lru_cache(maxsize=1)
def _sums() -> list[Pair]:
    """What is told of a sum, and its step: not as a question, and without the answer in the form of the task."""
    rows = synthetic.rows("sums", "train")
    told = [row[0].partition(". ")[0] for row in rows.texts]
    return [(f"{text}:", " " + solution.partition("\n")[0]) for text, solution in zip(told, rows.targets, strict=True)]


@lru_cache(maxsize=1)
def _statements() -> list[Pair]:
    """A sentence, and one part of it in other words: a statement where the task has a question."""
    rows, pairs = synthetic.rows("choices", "train"), []
    for (text,), right, options in zip(rows.texts, rows.targets, rows.options, strict=True):
        pairs.append((f"{text.partition('. ')[0]}.", f" It was {options[right]}."))
    return pairs


def _told(chosen: list[int]) -> list[Pair]:
    """A third each of sums, statements, and opinions below a mark, so that no sign of the tasks is new to the model."""
    opinions = [("####", f" {opinion}\n") for opinion in _opinions()]
    return [(_sums(), _statements(), opinions)[n % 3][i] for n, i in enumerate(chosen)]


def _words() -> list[str]:
    return [*_articles()[0], *_articles()[1], *_opinions(), "negative", "neutral", "positive"]


PLANS = {
    "tiny-bart": Plan(
        special={
            "bos_token": "<s>",
            "pad_token": "<pad>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "mask_token": "<mask>",
        },
        form="<s> $A </s>",
        steps=250,
        texts=lambda: [*_articles()[0], *_articles()[1]],
        pairs=_copies,
        learning_rate=2e-3,
    ),
    "tiny-llama": Plan(
        special={"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
        form="<s> $A",
        steps=600,
        texts=lambda: [*_opinions(), *(source + target for source, target in (*_sums(), *_statements()))],
        pairs=_told,
        learning_rate=2e-3,
        decoder=True,
    ),
    "tiny-t5": Plan(
        special={"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
        form="$A </s>",
        steps=400,
        texts=_words,
        pairs=_mixture,
    ),
}
