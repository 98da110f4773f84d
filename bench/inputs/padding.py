"""With what a decoder's rows are padded, and on which side, settled once when the model is prepared.

Many decoders are published without a token for padding, since they were trained on texts of one length. Another token
can stand in for it: the attention mask hides it, no loss counts it, and a head reads the last token that is another.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.inputs.reader import load_tokenizer
from bench.paths import MODEL_CONFIG

GENERATION_CONFIG = "generation_config.json"
KEY = "pad_token_id"


def settle_padding(folder: Path) -> str | None:
    """Let tokenizer and config of the decoder in `folder` agree on a token for padding; return it.

    It is the tokenizer's own, else the one that the config names, else the one that ends a text. Rows are padded on the
    right, so that positions count from the first token of a text. None, and nothing is changed, where the model is no
    decoder or where no such token is there: `check_vocabulary` refuses the latter.

    Raises BenchError if the tokenizer can't be read.
    """
    file = folder / MODEL_CONFIG
    config: dict[str, Any] = json.loads(file.read_bytes())
    if not _reads_one_way(str(config.get("model_type"))):
        return None
    tokenizer = load_tokenizer(folder)
    pad = tokenizer.pad_token
    if pad is None:
        named = config.get(KEY)
        pad = tokenizer.convert_ids_to_tokens(named) if isinstance(named, int) else tokenizer.eos_token
    if pad is None:
        return None
    if tokenizer.pad_token is None or tokenizer.padding_side != "right":
        tokenizer.pad_token, tokenizer.padding_side = pad, "right"
        tokenizer.save_pretrained(folder)
    for name in (file, folder / GENERATION_CONFIG):
        if name.is_file():
            _set_key(name, tokenizer.pad_token_id)
    return str(pad)


def _reads_one_way(model_type: str) -> bool:
    """Whether it is a decoder alone. XLNet, which reads its tokens in any order, looks for the last place of a row."""
    from transformers.models.auto import modeling_auto as auto

    others = auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES, auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES, {"xlnet"}
    return model_type in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not any(model_type in names for names in others)


def _set_key(file: Path, pad_id: int | None) -> None:
    content: dict[str, Any] = json.loads(file.read_bytes())
    if content.get(KEY) != pad_id:
        file.write_text(json.dumps({**content, KEY: pad_id}, indent=2, sort_keys=True) + "\n")
