"""Which methods of a study learn their rank pattern, which are given one, and which pairs show what it is worth."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from bench.analysis.results import Results
from bench.config.method import Method

LATE: frozenset[str] = frozenset({"truncated", "truncated_end"})  # allocators that cut ranks after the training
STILL: frozenset[str] = LATE | {"fixed"}  # allocators that move no rank during the training


def has_given_pattern(method: Method) -> bool:
    """Whether the method's file says where its ranks come from, so that it learns none."""
    return method.pattern is not None


def source_of(method: Method) -> str | None:
    """The learned method whose ranks the method is given; None if it has no such source."""
    return None if method.pattern is None else method.pattern.source


def methods_of(results: Results) -> list[Method]:
    """In the order of the study."""
    return list({cell.method.name: cell.method for cell in results.cells}.values())


def learned_methods(results: Results) -> list[str]:
    """The methods whose allocator moves ranks, and whose matrices ended with different ranks in some cell."""
    varied = {cell.method.name for cell in results.cells if (p := results.patterns.get(cell.id)) and p.varies}
    return [
        method.name
        for method in methods_of(results)
        if method.name in varied and method.allocator not in STILL and not has_given_pattern(method)
    ]


def worth_pairs(methods: Sequence[Method], learned: Collection[str]) -> list[tuple[str, str]]:
    """Pairs (baseline, learned method) whose difference says what the learned pattern is worth, in the study's order.

    A baseline adapts the same matrices on the same storage, and is one of: a method that is given the learned method's
    ranks or those of no method, one that cuts its ranks after the training, and LoRA of one rank. Empty where LoRA is
    the only baseline: from it AdaLoRA differs in more than its pattern, and `comparisons` has that pair.
    """
    pairs = []
    for method in methods:
        if method.name in learned:
            like = [other for other in methods if other.name not in learned and _same_place(other, method)]
            about_patterns = [other.name for other in like if _is_about(other, method.name)]
            if about_patterns:
                names = {*about_patterns, *(other.name for other in like if _is_plain_lora(other))}
                pairs += [(other.name, method.name) for other in like if other.name in names]
    return pairs


def _is_about(method: Method, learned: str) -> bool:
    """Whether the method's ranks differ between matrices for another reason than learning while it trains."""
    if has_given_pattern(method):
        return source_of(method) in (None, learned)
    return method.allocator in LATE


def _is_plain_lora(method: Method) -> bool:
    return (
        method.adapter == "lora"
        and method.allocator == "fixed"
        and not method.regularized
        and not has_given_pattern(method)
    )


def _same_place(first: Method, second: Method) -> bool:
    return (first.storage, first.matrices, first.depth) == (second.storage, second.matrices, second.depth)
