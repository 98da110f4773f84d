"""One self-contained page of a study: tables that sort and filter, figures, and every cell with its spec and ranks."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

from bench.analysis.compare import Comparer
from bench.analysis.drawing import STYLE
from bench.analysis.figures import figures
from bench.analysis.frame import Results
from bench.analysis.render import as_html
from bench.analysis.tables import tables

TEMPLATE = Path(__file__).with_name("page.html")


def page(results: Results) -> str:
    """HTML with nothing outside of it; every text from data is escaped."""
    import jinja2
    import matplotlib as mpl
    from markupsafe import Markup

    pictures = []
    for name, text, figure in figures(results):
        stream = io.BytesIO()
        with mpl.rc_context(STYLE):
            figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
        pictures.append((name, text, base64.b64encode(stream.getvalue()).decode()))
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(TEMPLATE.read_text()).render(
        name=results.study.name,
        about=_about(results),
        tables=[Markup(as_html(table)) for table in tables(results, Comparer(results))],
        figures=pictures,
        cells=[_cell(results, cell.id) for cell in results.study.cells],
    )


def _about(results: Results) -> str:
    """The study in a paragraph, from its spec."""
    study, cells = results.study.study, results.study.cells

    def listed(values: Any) -> str:
        return ", ".join(str(value) for value in dict.fromkeys(values))

    done = sum(record.status == "ok" for record in results.records.values())
    return (
        f"{study.description.capitalize()}. {len(cells)} cells: tasks {listed(c.task.name for c in cells)}; methods "
        f"{listed(c.method.label for c in cells)}; budgets {listed(c.budget_name for c in cells)}; backbones "
        f"{listed(c.backbone.name for c in cells)}; seeds {listed(c.seed for c in cells)}. {done} ended well, "
        f"{len(results.records) - done} failed, {len(cells) - len(results.records)} are missing."
    )


def _cell(results: Results, name: str) -> dict[str, str]:
    record = results.full(name) if name in results.records else None
    if record is None:
        return {"id": name, "status": "missing", "text": "no record"}
    shown = record.model_dump(mode="json", exclude={"ranks", "spec", "files", "checksums"})
    shown["recipe"] = record.spec.get("recipe")
    shown["ranks at the end"] = {site: rank.end for site, rank in record.ranks.items()}
    return {"id": name, "status": record.status, "text": json.dumps(shown, indent=1, ensure_ascii=False)}
