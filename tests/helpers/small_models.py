"""Models with two layers and random weights, in the layout of the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.inputs import synthetic

SIZES = {"vocab_size": 300, "max_position_embeddings": 64}


def save_small_model(model: Path, kind: str) -> None:
    """Save a BERT, BART or Llama, as tasks of that `kind` take, and a tokenizer of the demo's words in `model`."""
    import torch
    from transformers import BartConfig, BartForConditionalGeneration, BertConfig, BertModel

    torch.manual_seed(0)
    if kind in ("causal-lm", "multiple-choice", "classifying-llama"):
        save_small_decoder(model)
    elif kind == "classifying-gpt2":
        save_small_gpt2(model)
    elif kind == "summarization":
        save_tokenizer_of_words(model, "articles", start="<s>", end="</s>")
        sizes = {"encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
        config = BartConfig(
            d_model=64,
            encoder_ffn_dim=128,
            decoder_ffn_dim=128,
            bos_token_id=2,
            eos_token_id=3,
            pad_token_id=0,
            decoder_start_token_id=3,
            forced_eos_token_id=3,
            **sizes,
            **SIZES,
        )
        BartForConditionalGeneration(config).save_pretrained(model)
    else:
        words = "reports" if kind == "question-answering" else "acceptability"
        save_tokenizer_of_words(model, words, start="[CLS]", end="[SEP]")
        bert = BertConfig(
            hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128, pad_token_id=0, **SIZES
        )
        BertModel(bert).save_pretrained(model)


def save_bert_of_pairs(folder: Path, rows: int = 12) -> None:
    """Save a BERT whose random weights are large enough to see a difference, and a BERT tokenizer of the words of the
    first generated premises and hypotheses."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    texts = [text for pair in synthetic.rows("inference", "train").texts[:rows] for text in pair]
    words = sorted({word for text in texts for word in text.lower().rstrip(".").split()})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *words]) + "\n")
    BertTokenizer.from_pretrained(folder).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(words) + 6, initializer_range=0.5, **sizes)).save_pretrained(folder)


def save_small_decoder(folder: Path, *, chat: bool = False) -> None:
    """Save a Llama with grouped queries and a byte-level tokenizer of generated sums and choices in `folder`."""
    import torch
    from tokenizers import processors
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = _byte_level_tokenizer(["<pad>", "<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    if chat:
        fast.chat_template = (
            "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}\n{% endfor %}"
            "{% if add_generation_prompt %}assistant:{% endif %}"
        )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.2,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def save_small_gpt2(folder: Path) -> None:
    """Save a GPT-2 as it is published, without a token for padding: neither tokenizer nor config names one."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    end = "<|endoftext|>"
    fast = PreTrainedTokenizerFast(tokenizer_object=_byte_level_tokenizer([end]), bos_token=end, eos_token=end)
    fast.padding_side = "left"
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64, "initializer_range": 0.2}
    GPT2LMHeadModel(GPT2Config(vocab_size=len(fast), bos_token_id=0, eos_token_id=0, **sizes)).save_pretrained(folder)


def _byte_level_tokenizer(special: list[str]) -> Any:
    from tokenizers import ByteLevelBPETokenizer

    texts = [row[0] for name in ("sums", "choices") for row in synthetic.rows(name, "train").texts]
    trainer = ByteLevelBPETokenizer()
    trainer.train_from_iterator(texts, vocab_size=400, special_tokens=special, show_progress=False)
    return trainer._tokenizer


def save_tokenizer_of_words(folder: Path, generator: str, *, start: str = "<s>", end: str = "</s>") -> None:
    """Save a tokenizer of the words of the generator's sources, which has 300 at the most."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["[PAD]", "[UNK]", start, end]
    texts = [" ".join(row) for row in synthetic.rows(generator, "train").texts]
    tokenizer.train_from_iterator(texts, trainers.WordLevelTrainer(vocab_size=300, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", pair=f"{start} $A {end} $B {end}", special_tokens=[(start, 2), (end, 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", bos_token=start, eos_token=end
    ).save_pretrained(folder)


def save_small_vit(folder: Path) -> None:
    """Save a vision transformer for images of 16 x 16 pixels, and its image processor."""
    import torch
    from transformers import ViTConfig, ViTImageProcessorPil, ViTModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    ViTModel(ViTConfig(image_size=16, patch_size=4, **sizes)).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)
