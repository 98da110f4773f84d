"""How a printed average may count a task that has several scores, such as MNLI on two splits.

A rule is written as `mnli=mean; qqp=accuracy`: by task, which of its scores is averaged. Tasks with one score need no
word.
"""

from __future__ import annotations

from bench.errors import nearest

Rule = dict[str, str]  # by task, the score that counts
MEAN = "mean"
# The scores of a task that an average may take alone, beside the mean of all of them.
ALONE = ("matched", "accuracy", "pearson", "spearman")
PLAIN = "one value per task"  # the rule of a row in which no task has several scores


def rule_text(rule: Rule) -> str:
    """'mnli=mean; qqp=accuracy'; PLAIN for the empty rule."""
    return "; ".join(f"{task}={choice}" for task, choice in rule.items()) or PLAIN


def parse_rule(text: str) -> Rule:
    """The rule that `text` writes. Raises ValueError, with what was expected, if it writes none.

    >>> parse_rule("mnli=mean; qqp=accuracy")
    {'mnli': 'mean', 'qqp': 'accuracy'}
    """
    if text == PLAIN:
        return {}
    rule: Rule = {}
    for part in text.split(";"):
        task, equals, choice = (word.strip() for word in part.partition("="))
        if not (task and equals):
            raise ValueError(f"{part.strip()!r} is no part of a rule: expected TASK=SCORE, such as mnli=mean")
        if choice not in (MEAN, *ALONE):
            raise ValueError(f"unknown score {choice!r}{nearest(choice, (MEAN, *ALONE))}")
        rule[task] = choice
    return rule
