"""One table model, written as Markdown, CSV, LaTeX (booktabs) and HTML."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Texts only. `name` is the file's, the first `heads` columns name the row, footnotes stand below."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    footnotes: tuple[str, ...] = ()
    heads: int = 1


def markdown(table: Table) -> str:
    lines = [table.columns, *table.rows]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    widths = [max(3, *(len(line[i]) for line in cells)) for i in range(len(table.columns))]
    sides = ["left" if i < table.heads else "right" for i in range(len(widths))]

    def line(texts: list[str]) -> str:
        padded = (t.ljust(w) if s == "left" else t.rjust(w) for t, w, s in zip(texts, widths, sides, strict=True))
        return f"| {' | '.join(padded)} |"

    rule = "|".join("-" * (w + 2) if s == "left" else "-" * (w + 1) + ":" for w, s in zip(widths, sides, strict=True))
    body = [line(cells[0]), f"|{rule}|", *(line(row) for row in cells[1:])]
    notes = [f"- {note}" for note in table.footnotes]
    return "\n".join([f"# {table.title}", "", *body, *(["", *notes] if notes else [])]) + "\n"


def as_csv(table: Table) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(table.rows)
    return stream.getvalue()


def latex(table: Table) -> str:
    form = "l" * table.heads + "r" * (len(table.columns) - table.heads)
    rows = [" & ".join(map(_tex, row)) + r" \\" for row in table.rows]
    notes = [rf"\par\footnotesize {_tex(note)}" for note in table.footnotes]
    head = " & ".join(map(_tex, table.columns)) + r" \\"
    return "\n".join(
        [r"\begin{table}", r"\centering", rf"\caption{{{_tex(table.title)}}}", rf"\begin{{tabular}}{{{form}}}",
         r"\toprule", head, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}", *notes, r"\end{table}", ""]
    )  # fmt: skip


def as_html(table: Table) -> str:
    def row(cells: tuple[str, ...], tag: str) -> str:
        parts = []
        for i, cell in enumerate(cells):
            scope = ' scope="row"' if tag == "td" and i < table.heads else ' scope="col"' if tag == "th" else ""
            name = "th" if scope else "td"
            parts.append(f"<{name}{scope}>{html.escape(cell)}</{name}>")
        return f"<tr>{''.join(parts)}</tr>"

    body = "\n".join(row(r, "td") for r in table.rows)
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in table.footnotes)
    return (
        f'<table id="{html.escape(table.name)}">\n<caption>{html.escape(table.title)}</caption>\n'
        f"<thead>{row(table.columns, 'th')}</thead>\n<tbody>\n{body}\n</tbody>\n</table>\n"
        + (f'<ul class="notes">{notes}</ul>\n' if notes else "")
    )


FORMATS: dict[str, Callable[[Table], str]] = {".md": markdown, ".csv": as_csv, ".tex": latex, ".html": as_html}


def _tex(text: str) -> str:
    for old, new in (("\\", r"\textbackslash{}"), ("&", r"\&"), ("%", r"\%"), ("_", r"\_"), ("#", r"\#"),
                     ("$", r"\$"), ("±", r"$\pm$"), ("—", "---"), ("×", r"$\times$"), ("Δ", r"$\Delta$")):  # fmt: skip
        text = text.replace(old, new)
    return text
