"""One self-contained page of a study: tables that sort and filter, figures, and every cell with its spec and ranks."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from bench.analysis.figures.all_figures import figures
from bench.analysis.figures.style import STYLE
from bench.analysis.page.cells import cell_section
from bench.analysis.results import Results
from bench.analysis.stats.comparison import Comparer
from bench.analysis.tables.all_tables import tables
from bench.analysis.tables.render import as_csv, as_html, latex

TEMPLATE = Path(__file__).with_name("page.html")


def page(results: Results) -> str:
    """HTML with nothing outside of it; every text from data is escaped."""
    import jinja2
    import matplotlib as mpl
    from markupsafe import Markup

    comparer = Comparer(results)
    pictures = []
    for name, text, figure in figures(results, comparer):
        stream = io.BytesIO()
        with mpl.rc_context(STYLE):
            figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
        pictures.append((name, text, base64.b64encode(stream.getvalue()).decode()))
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(TEMPLATE.read_text()).render(
        name=results.study.name,
        about=_about(results),
        tables=[
            {"name": table.name, "html": Markup(as_html(table)), "csv": _link(as_csv(table)),
             "latex": _link(latex(table))}
            for table in tables(results, comparer)
        ],
        figures=pictures,
        cells=[cell_section(results, cell.id) for cell in results.study.cells],
        made=_made(results),
    )  # fmt: skip


def _link(text: str) -> str:
    """A file inside the page."""
    return "data:text/plain;charset=utf-8;base64," + base64.b64encode(text.encode()).decode()


def _made(results: Results) -> list[tuple[str, str]]:
    """Commits and locks that the records name, and how many of each."""
    pairs = [
        (r.environment.get("commit") or "?", r.environment.get("lock_sha256") or "?") for r in results.records.values()
    ]
    return [(commit, f"{lock}, {pairs.count((commit, lock))} cells") for commit, lock in dict.fromkeys(pairs)]


def _about(results: Results) -> str:
    """The study in a paragraph, from its spec."""
    study, cells = results.study.study, results.study.cells

    def listed(values: Any) -> str:
        return ", ".join(str(value) for value in dict.fromkeys(values))

    about = study.description[:1].upper() + study.description[1:]
    done = sum(record.status == "ok" for record in results.records.values())
    return (
        f"{about}. {len(cells)} cells: tasks {listed(c.task.name for c in cells)}; methods "
        f"{listed(c.method.label for c in cells)}; budgets {listed(c.budget_name for c in cells)}; backbones "
        f"{listed(c.backbone.name for c in cells)}; seeds {listed(c.seed for c in cells)}. {done} ended well, "
        f"{len(results.records) - done} failed, {len(cells) - len(results.records)} are missing."
    )
