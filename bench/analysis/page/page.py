"""One self-contained page per study: the answer in sentences, figures, tables that sort and filter, and every cell."""

from __future__ import annotations

import base64
from collections.abc import Iterable

import matplotlib as mpl
from markupsafe import Markup

from bench.analysis.figures.patterns import NAME as PATTERN
from bench.analysis.figures.study_figures import study_figures
from bench.analysis.figures.style import STYLE
from bench.analysis.footnotes import cautions
from bench.analysis.page.cells import cell_section
from bench.analysis.page.panels import cost_panels, difference_panels, legend, pattern_panels, png_base64
from bench.analysis.page.templates import ENVIRONMENT
from bench.analysis.results import Results
from bench.analysis.sentences import answer_sentences
from bench.analysis.stats.comparison import Comparer
from bench.analysis.tables.model import Table
from bench.analysis.tables.render import as_csv, as_html, latex
from bench.analysis.tables.study_tables import study_tables
from bench.analysis.tuning_panels import lead_sentences
from bench.analysis.verdicts import against_baseline, verdicts


def page(results: Results) -> str:
    """HTML that loads nothing from elsewhere; every text from data is escaped.

    Raises BenchError for predictions that do not match their record.
    """
    comparer = Comparer(results)  # shared, so that predictions are read and resampled once
    tables = [_table_parts(table) for table in study_tables(results, comparer)]
    headline = against_baseline(results, verdicts(comparer))
    figures = _figures(results, comparer)
    return ENVIRONMENT.get_template("page.html").render(
        name=results.study.name,
        about=_about(results),
        answer=answer_sentences(results, headline),
        cautions=cautions(results),
        choices=_choices(results),
        difference_panels=list(difference_panels(results, headline)),
        cost_panels=list(cost_panels(results)),
        pattern_panels=list(pattern_panels(results)),
        legend=legend(results),
        tables=[table for table in tables if not _of_tuning(table["name"])],
        figures=[figure for figure in figures if not _of_tuning(figure["name"])],
        tuning_tables=[table for table in tables if _of_tuning(table["name"])],
        tuning_figures=[figure for figure in figures if _of_tuning(figure["name"])],
        tuning_sentences=lead_sentences(results),
        cells=[cell_section(results, cell) for cell in results.cells],
        provenance=_provenance(results),
    )


def _figures(results: Results, comparer: Comparer) -> list[dict[str, str]]:
    """The study's figures but for those that the page has as panels; `task`: the label of the one that it is about."""
    shown = []
    panels = {"differences", *(f"{task}-{name}" for task in results.tasks for name in ("score", PATTERN))}
    for name, text, figure in study_figures(results, comparer):
        if name in panels:
            continue
        task = next((label for task, label in results.task_labels.items() if name.startswith(f"{task}-")), "")
        with mpl.rc_context(STYLE):
            shown.append({"name": name, "text": text, "task": task, "data": png_base64(figure)})
    return shown


def _choices(results: Results) -> list[tuple[str, list[str]]]:
    """What the page can be filtered by."""
    return [
        ("task", list(results.task_labels.values())),
        ("method", list(results.labels.values())),
        ("budget", results.budgets),
    ]


def _of_tuning(name: str) -> bool:
    """Whether the table or figure of that name belongs to the section on tuning."""
    return name.split("-")[0] == "tuning"


def _table_parts(table: Table) -> dict[str, str]:
    html = Markup(as_html(table))  # escaped by its own template already
    return {"name": table.name, "html": html, "csv": _data_url(as_csv(table)), "latex": _data_url(latex(table))}


def _data_url(text: str) -> str:
    """A text file inside the page."""
    return "data:text/plain;charset=utf-8;base64," + base64.b64encode(text.encode()).decode()


def _provenance(results: Results) -> list[tuple[str, str]]:
    """The commits and locks that the records were made with, and how many records of each."""
    pairs = [
        (record.environment.get("commit") or "?", record.environment.get("lock_sha256") or "?")
        for record in results.records.values()
    ]
    return [(commit, f"{lock}, {pairs.count((commit, lock))} cells") for commit, lock in dict.fromkeys(pairs)]


def _about(results: Results) -> str:
    """The study in one paragraph: its description, what it varies, and how many cells are done."""
    study, cells = results.study.study, results.study.cells
    description = study.description[:1].upper() + study.description[1:]
    stop = "" if description.endswith((".", "?", "!")) else "."
    seeds = len({cell.seed for cell in cells})
    successful = sum(record.status == "ok" for record in results.records.values())
    failed, missing = len(results.records) - successful, len(cells) - len(results.records)
    return (
        f"{description}{stop} {successful} of {len(cells)} cells are done"
        f"{f', {failed} failed' if failed else ''}{f', {missing} missing' if missing else ''}: "
        f"{_unique(cell.task.label for cell in cells)}; {_unique(cell.method.label for cell in cells)}; "
        f"budgets {_unique(cell.budget_name for cell in cells)}; {seeds} seed{'s' if seeds > 1 else ''}; "
        f"{_unique(cell.backbone.name for cell in cells)}."
    )


def _unique(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in dict.fromkeys(values))
