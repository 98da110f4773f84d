"""What a paper's checklist asks of its experiments, answered from the records of a study; nothing is invented.

The items are those of the NeurIPS Paper Checklist and of the Responsible NLP Research checklist (ACL Rolling Review)
that records can answer. What they do not tell is said to be not recorded.
"""

from __future__ import annotations

from pathlib import Path

from bench.analysis.footnotes import cautions
from bench.analysis.results import Results, read_results
from bench.config.resolve import ResolvedStudy
from bench.publishing.checklists.assets import data_section, models_section, software_section
from bench.publishing.checklists.facts import read_facts
from bench.publishing.checklists.methods import error_bars_section, hyperparameters_section
from bench.publishing.checklists.model import Checklist, Section, item
from bench.publishing.checklists.runs import (
    compute_section,
    energy_section,
    failures_section,
    missing_text,
    seeds_section,
)

SECTIONS = (
    seeds_section,
    error_bars_section,
    hyperparameters_section,
    compute_section,
    energy_section,
    failures_section,
    data_section,
    models_section,
    software_section,
)
NOT_OURS = Section(
    "For the authors",
    "NeurIPS 1 to 3, 5, 9 to 11, 13 to 16; ACL A1 to A3, B3 to B5, D, E",
    (
        item(
            "Not in records",
            "Claims, limitations, theory, access to data and code, ethics, intended use, broader impacts, safeguards, "
            "new assets, people, use of AI assistants.",
        ),
    ),
)


def make_checklist(study: ResolvedStudy, results: Path) -> Checklist:
    """The checklist of a study, from its records below results/<study>.

    Raises BenchError if there is no record of it, not even of a trial, or one cannot be read.
    """
    found = read_results(study, results)
    facts = read_facts(found)
    return Checklist(
        title=f"Reproducibility checklist: study {study.name}",
        notes=_notes(found),
        sections=(*(section(facts) for section in SECTIONS), NOT_OURS),
    )


def _notes(results: Results) -> tuple[str, ...]:
    """How much of the study is recorded, and every caution of its tables, mixed environments among them."""
    failed = sum(record.status != "ok" for record in results.records.values())
    recorded = f"From {len(results.records)} records of {len(results.cells)} cells, of which {failed} failed."
    missing = missing_text(results)
    return (recorded, *([missing] if missing else []), *cautions(results))
