"""The demo's summarizer: a tiny BART trained here on generated articles, because none can be installed.

It is no pretrained model in the usual sense; tables that use it say so (the data set is marked synthetic).
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from bench.prepare import embedded
from bench.spec.backbone import Backbone

STEPS, BATCH, LEARNING_RATE, SEED = 300, 32, 1e-3, 7
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]  # ids 0 to 4, as BART's


def build(backbone: Backbone, folder: Path) -> None:
    """Train tokenizer and model of `backbone.config` sizes into `folder`: seeded, so twice the same on one machine."""
    from transformers import PreTrainedTokenizerFast

    rows = embedded.rows("articles", "train")
    articles, summaries = [row[0] for row in rows.texts], rows.targets
    tokenizer = _tokenizer(articles + summaries, int(backbone.config["vocab_size"]))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        mask_token="<mask>",
    )  # fmt: skip
    fast.save_pretrained(folder)
    _train(backbone, articles, summaries, fast, folder)


def _tokenizer(texts: list[str], size: int):  # type: ignore[no-untyped-def]
    """Byte-level BPE: it can write any text, so real articles pass through it too."""
    from tokenizers import ByteLevelBPETokenizer, Tokenizer
    from tokenizers.processors import TemplateProcessing

    trainer = ByteLevelBPETokenizer()
    trainer.train_from_iterator(texts, vocab_size=size, special_tokens=SPECIAL, show_progress=False)
    with tempfile.TemporaryDirectory() as temporary:
        file = os.path.join(temporary, "tokenizer.json")
        trainer.save(file)
        tokenizer = Tokenizer.from_file(file)
    tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return tokenizer


def _train(backbone: Backbone, articles: list[str], summaries: list[str], tokenizer, folder: Path) -> None:  # type: ignore[no-untyped-def]
    import torch
    from transformers import BartConfig, BartForConditionalGeneration

    torch.manual_seed(SEED)
    config = BartConfig(**{k: v for k, v in backbone.config.items() if k != "model_type"})
    config.vocab_size = max(config.vocab_size, len(tokenizer))
    model = BartForConditionalGeneration(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / 50, (STEPS - step) / 200)
        chosen = torch.randint(len(articles), (BATCH,)).tolist()
        # half of the batch learns to repeat the article's beginning: it must not know the demo's task too well
        targets = [summaries[i] if n % 2 else articles[i].split(". ")[0] + "." for n, i in enumerate(chosen)]
        source = tokenizer(
            [articles[i] for i in chosen], padding=True, truncation=True, max_length=96, return_tensors="pt"
        )
        labels = tokenizer(
            text_target=targets, padding=True, truncation=True, max_length=48, return_tensors="pt"
        ).input_ids
        labels = labels.masked_fill(labels == tokenizer.pad_token_id, -100)
        loss = model(input_ids=source.input_ids, attention_mask=source.attention_mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    model.eval().save_pretrained(folder, safe_serialization=True)
