"""The kinds of task: what each predicts, the model that it takes, its metrics. A new kind begins with a line here.

What a kind does with rows stands in bench/inputs/ (tokens and batches), what it does with a model in bench/evaluation/
(loss, predictions, scores).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ModelFamily = Literal["encoder", "encoder-decoder", "decoder"]
Target = Literal["class", "number", "text", "option", "span"]
Input = Literal["text", "image"]

ROUGE = frozenset({"rouge1", "rouge2", "rougeL", "rougeLsum"})
CORPUS_METRICS = frozenset({"bleu", "chrf"})  # of all texts of a split together: no means over rows
CLASS_METRICS = frozenset({"accuracy", "mcc", "f1"})


@dataclass(frozen=True)
class KindFacts:
    """What follows from the kind of a task.

    Attributes:
        family: how its model reads and writes. A decoder reads source and target in one sequence.
        auto_class: the class of transformers that builds the model, with the head of the task.
        adapter_task: what PEFT calls such a task (`task_type`); None where it has no name for it.
        target: what the target column holds: a class, a number, a text, which of the row's options is right, or spans
            of the row's second text.
        metrics: the harness's own metrics.
        target_tokens: whether the loss is that of the tokens of a target text, and their mean.
        input: what the model reads. A tokenizer prepares texts, the model's own image processor images.
    """

    family: ModelFamily
    auto_class: str
    adapter_task: str | None
    target: Target
    metrics: frozenset[str]
    target_tokens: bool
    input: Input = "text"

    @property
    def has_head(self) -> bool:
        """Whether the task puts a head of its own, which starts at random, on the pretrained model."""
        return not self.target_tokens

    @property
    def writes(self) -> bool:
        """Whether the model can write a text in its evaluation; options are scored as they are."""
        return self.target_tokens and self.target != "option"


def _classifier(target: Target, metrics: frozenset[str]) -> KindFacts:
    return KindFacts("encoder", "AutoModelForSequenceClassification", "SEQ_CLS", target, metrics, target_tokens=False)


def _writer(target: Target, metrics: frozenset[str]) -> KindFacts:
    return KindFacts("encoder-decoder", "AutoModelForSeq2SeqLM", "SEQ_2_SEQ_LM", target, metrics, target_tokens=True)


def _decoder(target: Target, metrics: frozenset[str]) -> KindFacts:
    return KindFacts("decoder", "AutoModelForCausalLM", "CAUSAL_LM", target, metrics, target_tokens=True)


KINDS: dict[str, KindFacts] = {
    "classification": _classifier("class", CLASS_METRICS),
    "image-classification": KindFacts(
        "encoder",
        "AutoModelForImageClassification",
        None,
        "class",
        CLASS_METRICS,
        target_tokens=False,
        input="image",
    ),
    "regression": _classifier("number", frozenset({"pearson", "spearman", "mean_correlation"})),
    "summarization": _writer("text", ROUGE | CORPUS_METRICS | {"perplexity"}),
    "translation": _writer("text", CORPUS_METRICS | {"perplexity"}),
    # A classification whose label is generated as text.
    "text-label": _writer("class", CLASS_METRICS | {"exact_match", "no_label"}),
    "causal-lm": _decoder("text", ROUGE | CORPUS_METRICS | {"exact_match", "perplexity"}),
    # Options that a head scores one by one, in place of the likelihood that a decoder gives them.
    "scored-choice": _classifier("option", frozenset({"accuracy"})),
    "multiple-choice": _decoder("option", frozenset({"accuracy", "accuracy_normalized"})),
    # Metrics of SQuAD: here f1 is that of the words that two answers share, a mean over questions.
    "question-answering": KindFacts(
        "encoder",
        "AutoModelForQuestionAnswering",
        "QUESTION_ANS",
        "span",
        frozenset({"exact_match", "f1"}),
        target_tokens=False,
    ),
}
