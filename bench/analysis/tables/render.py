"""A table as Markdown, CSV, LaTeX (booktabs) and HTML; the last two from the templates beside this module."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import jinja2

from bench.analysis.tables.model import Column, Entry, Table
from bench.analysis.tables.tex_width import size_of

# Greek letters that no Latin one looks like, as in β-LoRA; LaTeX's default fonts have them in formulas alone.
_LETTERS = "αβγδεζηθικλμνξπρσςτυφχψωΓΔΘΛΞΠΣΥΦΨΩ"
_NAMES = (
    "alpha beta gamma delta varepsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma varsigma tau upsilon "
    "varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
)
GREEK = dict(zip(_LETTERS, _NAMES.split(), strict=True))
TEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "_": r"\_",
    "#": r"\#",
    "$": r"\$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "±": r"$\pm$",
    "—": "---",
    "–": "--",
    "−": r"$-$",
    "×": r"$\times$",
    **{letter: rf"$\{name}$" for letter, name in GREEK.items()},
    "≠": r"$\neq$",
    "∞": r"$\infty$",
    "≈": r"$\approx$",
    "↓": r"$\downarrow$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "[": "{[}",  # after a \\ LaTeX would read it as an optional argument
    "]": "{]}",
    "*": r"\textasteriskcentered{}",
    "|": r"\textbar{}",  # a dash in TeX's own encoding, as a missing value is
}
PARTS = ("mean", "sd", "n", "remark")  # the CSV columns of a `measured` column
PARTS_OF_INTERVAL = ("difference", "low", "high", "n", "remark")  # those of an `interval` column


def markdown(table: Table) -> str:
    """A GitHub table under a heading, the footnotes as a list below it."""
    header = [_escape_markdown(column.full_name) for column in table.columns]
    body = [[_markdown_field(entry) for entry in row] for row in table.rows]
    widths = [max(3, *map(len, texts)) for texts in zip(header, *body, strict=True)]
    # Aligned by padding as well, so that the file is also readable as plain text.
    left_aligned = [column.head for column in table.columns]

    def line(texts: Sequence[str]) -> str:
        padded = [
            text.ljust(width) if left else text.rjust(width)
            for text, width, left in zip(texts, widths, left_aligned, strict=True)
        ]
        return f"| {' | '.join(padded)} |"

    rules = ["-" * (w + 2) if left else "-" * (w + 1) + ":" for w, left in zip(widths, left_aligned, strict=True)]
    lines = [f"# {table.title}", "", line(header), f"|{'|'.join(rules)}|", *map(line, body)]
    if table.footnotes:
        lines += ["", *(f"- {_escape_markdown(note)}" for note in table.footnotes)]
    return "\n".join(lines) + "\n"


def _markdown_field(entry: Entry) -> str:
    text = _escape_markdown(entry.shown)
    return f"**{text}**" if entry.bold else text


def _escape_markdown(text: str) -> str:
    # A bar would end the field, and < would start an HTML tag.
    return text.replace("|", "\\|").replace("<", "&lt;")


def as_csv(table: Table) -> str:
    """Numbers at full length; the parts of a mean or an interval stand in columns of their own."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([name for column in table.columns for name in _csv_names(column)])
    for row in table.rows:
        fields: list[str] = []
        for column, entry in zip(table.columns, row, strict=True):
            fields += [_csv_part(entry, part) for part in _csv_parts(column)]
        writer.writerow(fields)
    return stream.getvalue()


def _csv_parts(column: Column) -> tuple[str, ...]:
    if column.measured:
        return PARTS
    return PARTS_OF_INTERVAL if column.interval else column.parts or ("",)


def _csv_names(column: Column) -> list[str]:
    return [f"{column.full_name}: {part}" if part else column.full_name for part in _csv_parts(column)]


def _csv_part(entry: Entry, part: str) -> str:
    match part:
        case "":
            return entry.shown if entry.value is None else _digits(entry.value)
        case "n":
            return "" if entry.n is None else str(entry.n)
        case "remark":
            remarks = [entry.remark, "better" if entry.bold else "", "tie" if entry.tie else ""]
            return "; ".join(remark for remark in remarks if remark)
        case "sd":
            return _digits(entry.spread)
        case "low":
            return _digits(entry.low)
        case "high":
            return _digits(entry.high)
        case _:
            return _digits(entry.value)


def latex(table: Table) -> str:
    r"""A floating table to \input; its first line names the packages that it needs.

    It is in the largest size of type in which it fits the width of a page; where none is small enough, it is shrunk.
    """
    return _LATEX.get_template("table.tex").render(table=table, size=size_of(table))


def as_html(table: Table) -> str:
    """The table with its footnotes, to be put into a page."""
    return _HTML.get_template("table.html").render(table=table)


def html_document(table: Table) -> str:
    """The table as a page of its own."""
    return html_page(table.title, (), [table])


def html_page(title: str, lines: Sequence[str], tables: Sequence[Table]) -> str:
    """A page of several tables under a title for the browser, with some lines of text above them."""
    return _HTML.get_template("document.html").render(title=title, lines=lines, tables=tables)


def tex(text: str) -> str:
    """Escape every character that LaTeX reads as a command or that its default fonts lack."""
    return "".join(TEX.get(character, character) for character in text)


def _digits(value: float | None) -> str:
    # Ten digits: enough for any computation, and few enough to hide differences in rounding between processors.
    return "" if value is None else f"{value:z.10g}"


_LOADER = jinja2.FileSystemLoader(Path(__file__).parent)
_HTML = jinja2.Environment(
    loader=_LOADER,
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_HTML.filters["digits"] = _digits
_LATEX = jinja2.Environment(  # the usual braces and percent signs have a meaning in LaTeX
    loader=_LOADER,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    block_start_string="<%",
    block_end_string="%>",
    variable_start_string="<<",
    variable_end_string=">>",
    comment_start_string="<#",
    comment_end_string="#>",
)
_LATEX.filters["tex"] = tex
FORMATS: dict[str, Callable[[Table], str]] = {
    ".md": markdown,
    ".csv": as_csv,
    ".tex": latex,
    ".html": html_document,
}
