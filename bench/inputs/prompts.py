"""What a decoder reads and writes for each row: the tokens of its prompt, and those of what stands behind it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

import pyarrow

from bench.config.prompt import OPTION, filled
from bench.config.task import Task
from bench.errors import BenchError
from bench.inputs.empty_texts import with_a_token
from bench.inputs.formats.rows import Rows
from bench.inputs.portions import IDS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Columns of multiple-choice rows: the tokens of all options one after the other, and of each its tokens and characters.
OPTION_IDS, OPTION_LENGTHS, OPTION_CHARACTERS = "option_ids", "option_lengths", "option_characters"
Ids = list[int]


def check_prompts(task: Task, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises BenchError where the tokenizer has no token that ends a text, or no chat template that the task needs."""
    if task.prompt is None:
        return
    if tokenizer.eos_token_id is None:
        raise BenchError(f"task {task.name!r}: the backbone's tokenizer has no token that ends a text (eos_token)")
    if task.prompt.chat and not tokenizer.chat_template:
        raise BenchError(
            f"task {task.name!r}: prompt.chat is true, but the backbone's tokenizer has no chat template; "
            "leave it out, and write the whole prompt in prompt.text"
        )


class PromptEncoder:
    """Turns rows of a decoder's task into columns: input_ids (prompts), label_ids (completions) and those of options.

    A completion of a causal-lm task ends with the token that ends a text, unless it is cut. An option has none: its
    likelihood is that of its words.
    """

    def __init__(self, task: Task, tokenizer: PreTrainedTokenizerBase) -> None:
        assert task.prompt is not None  # the configuration checks it for these kinds
        self.task, self.prompt, self._tokenizer = task, task.prompt, tokenizer

    def __call__(self, rows: Rows) -> dict[str, pyarrow.Array]:
        """The columns of a block of rows, by their names. Raises BenchError where a completion has no token."""
        columns = self.task.data.columns
        values = [dict(zip(columns.text, texts, strict=True)) for texts in rows.texts]
        prompts = [self._written(filled(self.prompt.text, value)) for value in values]
        if self.task.facts.target == "option":
            completions = [
                [filled(self.prompt.completion, {**value, OPTION: option}) for option in options]
                for value, options in zip(values, rows.options, strict=True)
            ]
            return self._of_options(prompts, completions, rows)
        targets = zip(values, rows.targets, strict=True)
        texts = [[filled(self.prompt.completion, {**value, columns.target: target})] for value, target in targets]
        heads, tails = self._encoded(prompts, texts)
        end, most = self._tokenizer.eos_token_id, self.task.recipe.max_target_length
        labels = [[*tail[0], end][:most] for tail in tails]
        for number, tail in zip(rows.numbers, tails, strict=True):
            self._check(tail[0], number)
        return {"input_ids": pyarrow.array(heads, IDS), "label_ids": pyarrow.array(labels, IDS)}

    def _of_options(self, prompts: list[str], completions: list[list[str]], rows: Rows) -> dict[str, pyarrow.Array]:
        heads, tails = self._encoded(prompts, completions)
        most = self.task.recipe.max_target_length
        for number, tail in zip(rows.numbers, tails, strict=True):
            for option in tail:
                self._check(option, number)
                if len(option) > most:
                    raise BenchError(
                        f"task {self.task.name!r}, row {number}: an option has {len(option)} tokens, above "
                        f"recipe.max_target_length, {most}: options that are cut can't be compared"
                    )
        return {
            "input_ids": pyarrow.array(heads, IDS),
            "label_ids": pyarrow.array([tail[i] for tail, i in zip(tails, rows.targets, strict=True)], IDS),
            OPTION_IDS: pyarrow.array([list(chain.from_iterable(tail)) for tail in tails], IDS),
            OPTION_LENGTHS: pyarrow.array([[len(option) for option in tail] for tail in tails], IDS),
            OPTION_CHARACTERS: pyarrow.array([[len(option) for option in row] for row in rows.options], IDS),
        }

    def _written(self, text: str) -> str:
        """The prompt as the model is given it."""
        if not self.prompt.chat:
            return text
        message = [{"role": "user", "content": text}]
        return str(self._tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))

    def _encoded(self, prompts: list[str], completions: list[list[str]]) -> tuple[list[Ids], list[list[Ids]]]:
        """The tokens of each prompt, cut to the recipe's length, and of each of its completions.

        A completion is what a text of both has behind the tokens of the prompt, as a model meets it in running text.
        Where the two share a token, each is encoded by itself: generation starts behind the prompt's tokens.
        """
        heads = self._ids(prompts)
        pairs = zip(prompts, completions, strict=True)
        wholes = iter(self._ids([prompt + text for prompt, texts in pairs for text in texts]))
        tails = []
        for head, texts in zip(heads, completions, strict=True):
            tails.append([self._tail(head, next(wholes), text) for text in texts])
        return [self._cut(head) for head in with_a_token(heads, self._tokenizer)], tails

    def _tail(self, head: Ids, whole: Ids, text: str) -> Ids:
        if whole[: len(head)] == head:
            return whole[len(head) :]
        ids: Ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _ids(self, texts: Sequence[str]) -> list[Ids]:
        """The tokens of each text, with the tokenizer's start of a text, if it has one, and without its end."""
        if not texts:
            return []
        # A chat template writes the special tokens itself.
        found: list[Ids] = self._tokenizer(list(texts), add_special_tokens=not self.prompt.chat)["input_ids"]
        start, end = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
        if self.prompt.chat:
            return found
        # OPT begins a text with the token that ends one: of an empty text that start is all there is.
        return [ids[:-1] if ids[-1:] == [end] and ids != [start] else ids for ids in found]

    def _cut(self, ids: Ids) -> Ids:
        most = self.task.recipe.max_length
        if len(ids) <= most:
            return ids
        if self.prompt.cut == "end":
            return ids[:most]
        start = ids[:1] if ids[0] == self._tokenizer.bos_token_id else []
        return start + ids[len(ids) - most + len(start) :]

    def _check(self, completion: Ids, number: int) -> None:
        if not completion:
            raise BenchError(f"task {self.task.name!r}, row {number}: nothing of its completion is left to learn")
