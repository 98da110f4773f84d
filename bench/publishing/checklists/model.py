"""A checklist as data; `text.py` writes it as Markdown and as LaTeX."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class Item:
    """One question of a checklist, in a few words, and its answer: one text, or several of a list."""

    name: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """`asked_by`: the items of which checklists ask for it."""

    title: str
    asked_by: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Checklist:
    """`notes`: what a reader must know before anything else."""

    title: str
    notes: tuple[str, ...]
    sections: tuple[Section, ...]


def item(name: str, texts: Iterable[str] | str) -> Item:
    """An item; "not recorded" where there is no text."""
    found = (texts,) if isinstance(texts, str) else tuple(texts)
    return Item(name, found or (NOT_RECORDED,))


def counted(values: Iterable[object]) -> str:
    """The one value; of several each with its count, sorted by name; "not recorded" in place of None."""
    counts = Counter(NOT_RECORDED if value is None else str(value) for value in values)
    if len(counts) < 2:
        return next(iter(counts), NOT_RECORDED)
    return "mixed: " + ", ".join(f"{value} ({counts[value]} records)" for value in sorted(counts))
