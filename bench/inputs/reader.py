"""The tokenizer that reads the rows, and the model that its ids are for: those of a prepared backbone or of a saved
model."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.config.task import Task
from bench.errors import BenchError
from bench.files import digest, digest_json
from bench.inputs.model_files import FAST_TOKENIZER, FILES, IMAGE_PROCESSOR, TOKENIZERS
from bench.paths import MODEL_CONFIG

if TYPE_CHECKING:
    from transformers import BaseImageProcessor, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Reader:
    """The folder of a tokenizer, and that of the config.json of the model."""

    tokenizer: Path
    model: Path

    @property
    def key(self) -> dict[str, str]:
        """The SHA-256 of each file that decides how rows are read, by its name."""
        files = {name: self.tokenizer / name for name in FILES} | {MODEL_CONFIG: self.model / MODEL_CONFIG}
        return {name: digest(file) for name, file in sorted(files.items()) if file.is_file()}

    @property
    def tokenizer_sha256(self) -> str:
        """SHA-256 of tokenizer.json; where there is none, of the files that it would be made from."""
        file = self.tokenizer / FAST_TOKENIZER
        return digest(file) if file.is_file() else digest_json(self.key)


def has_tokenizer(folder: Path) -> bool:
    """Whether a tokenizer is saved in `folder`, in any of the forms that are read."""
    return any((folder / name).is_file() for name in TOKENIZERS)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in `folder`: no network, and no code of the model's own. Raises BenchError if it can't be read."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # what stands in its files may raise anything
        said = textwrap.shorten(f"{type(error).__name__}: {error}", 300)
        raise BenchError(f"{folder}: its tokenizer can't be read: {said}") from error


def load_image_processor(folder: Path) -> BaseImageProcessor:
    """The image processor in `folder`: no network, and no code of the model's own. Raises BenchError.

    It computes with PIL, whether or not torchvision is installed, so that the pixels are the same.
    """
    from transformers import AutoImageProcessor

    try:
        return AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False, backend="pil")
    except Exception as error:  # what stands in its file may raise anything
        said = textwrap.shorten(f"{type(error).__name__}: {error}", 300)
        raise BenchError(f"{folder / IMAGE_PROCESSOR}: the image processor can't be read: {said}") from error


def load_processor(task: Task, folder: Path) -> Any:
    """What prepares the rows of `task` for a model: its tokenizer, or its image processor. Raises BenchError."""
    return load_image_processor(folder) if task.facts.input == "image" else load_tokenizer(folder)


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, reader: Reader) -> None:
    """Raises BenchError where the tokenizer gives ids for which the model has no embedding, or can't pad."""
    if tokenizer.pad_token_id is None:
        raise BenchError(f"{reader.tokenizer}: its tokenizer has no token to pad with (pad_token)")
    config = json.loads((reader.model / MODEL_CONFIG).read_bytes())
    size = config.get("vocab_size")
    largest = max(tokenizer.get_vocab().values())
    if isinstance(size, int) and largest >= size:
        raise BenchError(
            f"{reader.tokenizer}: its tokenizer gives ids up to {largest}, but the model in {reader.model} has {size} "
            f"embeddings (vocab_size in {MODEL_CONFIG})"
        )
