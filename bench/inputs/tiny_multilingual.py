"""The tiny model that knows two languages: an mBART, trained here to restore generated sentences of each.

It is pretrained as mBART was (Liu et al. 2020), on single sentences: it reads one whose words are partly masked, behind
the token of its language, and writes it whole. It never sees which sentence translates which, nor any of an evaluation
split. So the translation is what an adapter has to add: without one the model repeats its English source.
"""

from __future__ import annotations

import string
from collections import Counter
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.config.backbone import Backbone
from bench.inputs import synthetic
from bench.inputs.tiny_training import train_tiny_model

if TYPE_CHECKING:
    from torch import Tensor

SEED = 7
STEPS, BATCH, LEARNING_RATE = 400, 32, 2e-3
MOST_MASKED = 0.7  # of a sentence's words; the share is drawn between 0 and this, so it is mBART's 35% on average
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")  # in the order of mBART's ids
LANGUAGES = ("en_XX", "de_DE")
LETTERS = f"▁{string.ascii_letters}{string.digits}{string.punctuation}ÄÖÜäöüß"  # ▁ is the blank before a word
LETTER_SCORE = -20.0  # less than any word's, so that only unknown words are spelled by their letters


def build_multilingual_model(backbone: Backbone, folder: Path) -> None:
    """Train an mBART of the sizes of `backbone.config` on both languages, and save it with its tokenizer to `folder`.

    Training is seeded, so it gives the same bits twice on one machine.
    """
    import torch
    from transformers import AutoConfig, MBartForConditionalGeneration

    torch.manual_seed(SEED)
    rows = synthetic.rows("sentence_pairs", "train")
    texts = ([row[0] for row in rows.texts], rows.targets)
    tokenizer = _tokenizer([text for language in texts for text in language])
    options = {key: value for key, value in backbone.config.items() if key != "model_type"}
    config = AutoConfig.for_model(backbone.config["model_type"], **options)
    config.vocab_size = max(config.vocab_size, len(tokenizer))
    model = MBartForConditionalGeneration(config).train()
    sentences = _encoded(tokenizer, texts)
    special, padding = torch.tensor(tokenizer.all_special_ids), tokenizer.pad_token_id

    def loss() -> Tensor:
        whole = sentences[torch.randint(len(sentences), (BATCH,))]
        hidden = torch.rand(whole.shape) < MOST_MASKED * torch.rand(BATCH, 1)
        read = whole.masked_fill(hidden & ~torch.isin(whole, special), tokenizer.mask_token_id)
        labels = whole.masked_fill(whole == padding, -100)
        return model(input_ids=read, attention_mask=(whole != padding).long(), labels=labels).loss

    train_tiny_model(model, loss, steps=STEPS, learning_rate=LEARNING_RATE, falling_steps=STEPS // 2)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _tokenizer(texts: list[str]) -> Any:
    """mBART-50's tokenizer with the words of `texts` as its pieces, by their frequency, and letters for all others."""
    from transformers import MBart50Tokenizer

    counts = Counter(word for text in texts for word in text.rstrip(".").split())
    words = [(f"▁{word}", log(count / counts.total())) for word, count in sorted(counts.items())]
    others = [(letter, LETTER_SCORE) for letter in LETTERS]
    first, last = ([(token, 0.0) for token in tokens] for tokens in (SPECIAL, (*LANGUAGES, "<mask>")))
    return MBart50Tokenizer(vocab=[*first, *words, *others, *last])


def _encoded(tokenizer: Any, texts: tuple[list[str], list[str]]) -> Tensor:
    """The ids of each language's texts behind the token of the language, as one tensor [texts, longest]."""
    ids = []
    for language, of_language in zip(LANGUAGES, texts, strict=True):
        tokenizer.src_lang = language
        ids += tokenizer(of_language).input_ids
    return tokenizer.pad({"input_ids": ids}, return_tensors="pt").input_ids
