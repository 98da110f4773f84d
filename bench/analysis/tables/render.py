"""A table as Markdown, CSV, LaTeX (booktabs) and HTML."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Callable, Sequence

from bench.analysis.tables.model import Entry, Table

TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$", "±": r"$\pm$", "—": "---",
    "–": "--", "−": r"$-$", "×": r"$\times$", "Δ": r"$\Delta$", "ρ": r"$\rho$", "≈": r"$\approx$", "≥": r"$\geq$",
    "≤": r"$\leq$", "[": "{[}", "]": "{]}", "*": r"\textasteriskcentered{}",
}  # fmt: skip
PARTS, PARTS_OF_INTERVAL = ("mean", "sd", "n", "remark"), ("difference", "low", "high", "n", "remark")  # in CSV
WIDE = 6  # columns of a LaTeX table that is shrunk to the line
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:1rem}table{border-collapse:collapse}caption{text-align:left;"
    "font-weight:600}th,td{padding:.25rem .6rem;border-bottom:1px solid #999;text-align:right}"
    "th[scope=row],thead th{text-align:left}"
)


def markdown(table: Table) -> str:
    def escaped(text: str) -> str:
        return text.replace("|", "\\|").replace("<", "&lt;")

    def text(entry: Entry) -> str:
        plain = escaped(entry.shown)
        return f"**{plain}**" if entry.bold else plain

    cells = [[escaped(column.full) for column in table.columns], *([text(e) for e in r] for r in table.rows)]
    widths = [max(3, *(len(line[i]) for line in cells)) for i in range(len(table.columns))]
    left = [column.head for column in table.columns]

    def line(texts: Sequence[str]) -> str:
        padded = (t.ljust(w) if at_left else t.rjust(w) for t, w, at_left in zip(texts, widths, left, strict=True))
        return f"| {' | '.join(padded)} |"

    rule = "|".join("-" * (w + 2) if at_left else "-" * (w + 1) + ":" for w, at_left in zip(widths, left, strict=True))
    body = [line(cells[0]), f"|{rule}|", *(line(row) for row in cells[1:])]
    notes = [f"- {escaped(note)}" for note in table.footnotes]
    return "\n".join([f"# {table.title}", "", *body, *(["", *notes] if notes else [])]) + "\n"


def as_csv(table: Table) -> str:
    """Numbers at full length, each part of an entry in a column of its own."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    parts = [PARTS if c.measured else PARTS_OF_INTERVAL if c.interval else () for c in table.columns]
    heads = [[f"{c.full}: {part}" for part in own] or [c.full] for c, own in zip(table.columns, parts, strict=True)]
    writer.writerow([name for names in heads for name in names])
    for row in table.rows:
        fields: list[str] = []
        for entry, own in zip(row, parts, strict=True):
            if own:
                fields += [_part(entry, part) for part in own]
            else:
                fields.append(entry.shown if entry.value is None else _digits(entry.value))
        writer.writerow(fields)
    return stream.getvalue()


def _part(entry: Entry, part: str) -> str:
    match part:
        case "n":
            return "" if entry.n is None else str(entry.n)
        case "remark":
            remark = [entry.remark, "better" if entry.bold else "", "tie" if entry.tie else ""]
            return "; ".join(part for part in remark if part)
        case "sd":
            return _digits(entry.spread)
        case "low" | "high":
            return _digits(entry.low if part == "low" else entry.high)
        case _:
            return _digits(entry.value)


def latex(table: Table) -> str:
    """A floating table to \\input; its first line names the packages that it needs."""
    form = "l" * table.heads + "r" * (len(table.columns) - table.heads)
    lines = [rf"\begin{{tabular}}{{{form}}}", r"\toprule"]
    if table.groups:
        lines.append(" & ".join(rf"\multicolumn{{{n}}}{{c}}{{{tex(g)}}}" for g, n in table.groups) + r" \\")
        start = 1
        for group, span in table.groups:
            lines += [rf"\cmidrule(lr){{{start}-{start + span - 1}}}"] if group else []
            start += span
    lines += [" & ".join(tex(c.name) for c in table.columns) + r" \\", r"\midrule"]
    for row in table.rows:
        texts = [rf"\textbf{{{tex(entry.shown)}}}" if entry.bold else tex(entry.shown) for entry in row]
        lines.append(" & ".join(texts) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    if len(table.columns) > WIDE:
        lines[0], lines[-1] = rf"\resizebox{{\linewidth}}{{!}}{{{lines[0]}", rf"{lines[-1]}}}"
    below = " ".join(map(tex, table.footnotes))
    box = r"\par\smallskip\begin{minipage}{\linewidth}\footnotesize\raggedright"
    notes = [box, below, r"\end{minipage}"] if below else []
    return "\n".join(
        ["% \\usepackage{booktabs,graphicx}", r"\begin{table}", r"\centering", rf"\caption{{{tex(table.title)}}}",
         rf"\label{{tab:{table.name}}}", *lines, *notes, r"\end{table}", ""]
    )  # fmt: skip


def as_html(table: Table) -> str:
    """The table with its footnotes, to be put into a page."""
    escape = html.escape

    def field(entry: Entry, head: bool) -> str:
        inner = f"<strong>{escape(entry.shown)}</strong>" if entry.bold else escape(entry.shown)
        value = "" if entry.value is None else f' data-value="{_digits(entry.value)}"'
        return f'<th scope="row"{value}>{inner}</th>' if head else f"<td{value}>{inner}</td>"

    rows = "\n".join(
        "<tr>" + "".join(field(e, c.head) for c, e in zip(table.columns, row, strict=True)) + "</tr>"
        for row in table.rows
    )
    over = "".join(
        f'<th colspan="{n}" scope="colgroup">{escape(g)}</th>' if g else f'<td colspan="{n}"></td>'
        for g, n in table.groups
    )
    names = "".join(f'<th scope="col">{escape(column.name)}</th>' for column in table.columns)
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.footnotes)
    return (
        f'<table id="table-{escape(table.name)}">\n<caption>{escape(table.title)}</caption>\n<thead>'
        + (f"<tr>{over}</tr>" if over else "")
        + f"<tr>{names}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n"
        + (f'<ul class="notes">{notes}</ul>\n' if notes else "")
    )


def document(table: Table) -> str:
    """The table as a page of its own."""
    title = html.escape(table.title)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n{as_html(table)}</body>\n</html>\n"
    )


def tex(text: str) -> str:
    return "".join(TEX.get(sign, sign) for sign in text)


def _digits(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"


FORMATS: dict[str, Callable[[Table], str]] = {".md": markdown, ".csv": as_csv, ".tex": latex, ".html": document}
