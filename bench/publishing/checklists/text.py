r"""A checklist as Markdown, and as LaTeX to \input into a paper: no packages, no numbered sections."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence

from bench.analysis.tables.render import TEX, tex
from bench.publishing.checklists.model import Checklist, Item, Section

MARKS = re.compile(r"[\\`*<>|~\[\]]|(?<!\w)_|_(?!\w)")  # what Markdown may read as a mark
MORE_TEX = {"`": r"\char96{}", "|": r"\textbar{}", '"': r"\char34{}"}  # ligatures, and letters of another font


def markdown(checklist: Checklist) -> str:
    """Headings and lists, as every dialect of Markdown has them."""
    lines = [f"# {_escaped(checklist.title)}", "", *(f"- {_escaped(note)}" for note in checklist.notes)]
    for section in checklist.sections:
        lines += ["", f"## {_escaped(section.title)}", "", f"Asked by: {_escaped(section.asked_by)}.", ""]
        for of_section in section.items:
            lines += _markdown_item(of_section)
    return "\n".join(lines) + "\n"


def latex(checklist: Checklist) -> str:
    r"""A fragment to \input, which compiles with pdfLaTeX in any class that has sections and lists."""
    lines = ["{\\raggedright", f"\\section*{{{escape(checklist.title)}}}", *_list(checklist.notes)]
    for section in checklist.sections:
        lines += ["", *_latex_section(section)]
    return "\n".join([*lines, "\\par}"]) + "\n"


def escape(text: str) -> str:
    """`text` for LaTeX: no character of it is a command, a ligature, or missing in pdfLaTeX's default fonts."""
    return "".join(map(_escaped_character, text)).replace("--", "-{}-")


def _escaped_character(character: str) -> str:
    if character in MORE_TEX:
        return MORE_TEX[character]
    if character in TEX or character.isascii():
        return tex(character) if character.isprintable() else " "
    plain = unicodedata.normalize("NFKD", character)
    known = "".join(part for part in plain if part.isascii() and part.isprintable())
    # A letter loses its accent; what has no letter below it is named by its code.
    return tex(known) if known else f"U+{ord(character):04X}"


def _latex_section(section: Section) -> Iterator[str]:
    yield f"\\subsection*{{{escape(section.title)}}}"
    yield f"Asked by: {escape(section.asked_by)}."
    yield "\\begin{itemize}"
    for of_section in section.items:
        name = f"\\item \\textbf{{{escape(of_section.name)}}}:"
        if len(of_section.texts) == 1:
            yield f"{name} {escape(of_section.texts[0])}"
        else:
            yield name
            yield from _list(of_section.texts)
    yield "\\end{itemize}"


def _list(texts: Sequence[str]) -> list[str]:
    entries = [f"\\item {escape(text)}" for text in texts]
    return ["\\begin{itemize}", *entries, "\\end{itemize}"] if entries else []


def _markdown_item(of_section: Item) -> list[str]:
    name = f"- **{_escaped(of_section.name)}**:"
    if len(of_section.texts) == 1:
        return [f"{name} {_escaped(of_section.texts[0])}"]
    return [name, *(f"  - {_escaped(text)}" for text in of_section.texts)]


def _escaped(text: str) -> str:
    return " ".join(MARKS.sub(r"\\\g<0>", text).split())


FORMATS: dict[str, Callable[[Checklist], str]] = {"markdown": markdown, "latex": latex}
