"""One self-contained page per study: tables that sort and filter, figures, and every cell with its spec and ranks."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from pathlib import Path

import jinja2
import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

from bench.analysis.figures.study_figures import study_figures
from bench.analysis.figures.style import STYLE
from bench.analysis.page.cells import cell_section
from bench.analysis.results import Results
from bench.analysis.stats.comparison import Comparer
from bench.analysis.tables.model import Table
from bench.analysis.tables.render import as_csv, as_html, latex
from bench.analysis.tables.study_tables import study_tables
from bench.analysis.tuning_panels import lead_sentences

TEMPLATE = Path(__file__).with_name("page.html")


def page(results: Results) -> str:
    """HTML that loads nothing from elsewhere; every text from data is escaped."""
    comparer = Comparer(results)  # shared, so that predictions are read and resampled once
    tables = [_table_parts(table) for table in study_tables(results, comparer)]
    figures = [(name, text, _png_base64(figure)) for name, text, figure in study_figures(results, comparer)]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(TEMPLATE.read_text()).render(
        name=results.study.name,
        about=_about(results),
        tables=[table for table in tables if not _of_tuning(table["name"])],
        figures=[figure for figure in figures if not _of_tuning(figure[0])],
        tuning_tables=[table for table in tables if _of_tuning(table["name"])],
        tuning_figures=[figure for figure in figures if _of_tuning(figure[0])],
        tuning_sentences=lead_sentences(results),
        cells=[cell_section(results, cell.id) for cell in results.study.cells],
        provenance=_provenance(results),
    )


def _of_tuning(name: str) -> bool:
    """Whether the table or figure of that name belongs to the section on tuning."""
    return name.split("-")[0] == "tuning"


def _table_parts(table: Table) -> dict[str, str]:
    html = Markup(as_html(table))  # escaped by its own template already
    return {"name": table.name, "html": html, "csv": _data_url(as_csv(table)), "latex": _data_url(latex(table))}


def _png_base64(figure: Figure) -> str:
    stream = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    return base64.b64encode(stream.getvalue()).decode()


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
    successful = sum(record.status == "ok" for record in results.records.values())
    return (
        f"{description}. {len(cells)} cells: tasks {_unique(cell.task.label for cell in cells)}; methods "
        f"{_unique(cell.method.label for cell in cells)}; budgets {_unique(cell.budget_name for cell in cells)}; "
        f"backbones {_unique(cell.backbone.name for cell in cells)}; seeds {_unique(cell.seed for cell in cells)}. "
        f"{successful} ended well, {len(results.records) - successful} failed, "
        f"{len(cells) - len(results.records)} are missing."
    )


def _unique(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in dict.fromkeys(values))
