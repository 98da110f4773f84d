"""README.md of a bundle: what is in it, how it is checked, and the commands that repeat it."""

from __future__ import annotations

import shlex
from collections import Counter

from bench.paths import MANIFEST
from bench.publishing.bundles.citation import Credits
from bench.publishing.bundles.manifest import CITATION, CRATE, LOCKED, SPECS, Manifest
from bench.records.schema import Record

MOST_NAMED = 20  # missing cells; the manifest has all


def readme(manifest: Manifest, credits: Credits, description: str, records: list[Record]) -> bytes:
    """The text, in Markdown."""
    study = manifest.study
    file = f"{study}.zip"
    parts = [
        f"# {credits.title}\n\n{description}",
        *([_missing(manifest)] if manifest.missing else []),
        f"""## Check it

    bench verify {file}                  # every file, every record
    bench verify {file} --tables tables  # makes the tables again from the records and compares their bytes""",
        f"""## Repeat it

    bench reproduce {file} --cells 2     # trains two recorded cells again, and compares scores and bits
    {_snakemake(manifest)}

The first works on the file. The second trains everything again, in the folder where the file was unpacked; its results
go to `again/`. Both need rankbench {manifest.rankbench} and, for the same bits, the packages of `{LOCKED}`. The records
were made {_made(records)}.""",
        f"""## What is in it

| file | content |
|---|---|
| `{MANIFEST}` | the SHA-256 of every other file, what was replaced in records, what is missing |
| `{CITATION}`, `{CRATE}` | how to cite it; the same for archives, as RO-Crate |
| `{LOCKED}` | the packages that the records were made with |
| `{SPECS}/` | the YAML files of study, tasks, methods and backbones |
| `{manifest.results}/cells/` | per cell its record, the curve of its training, its predictions{_adapters(manifest)} |
{_tuned(manifest)}| `{manifest.results}/tables/`, `figures/`, `report.html` | made from these records |
| `results/reference/` | published numbers that tables may show beside these |""",
        _left_out(manifest),
    ]
    return ("\n\n".join(parts) + "\n").encode()


def _missing(manifest: Manifest) -> str:
    missing, planned = manifest.missing, manifest.cells + manifest.trials
    named = ", ".join(f"`{name}`" for name in missing[:MOST_NAMED])
    more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
    return (
        f"**This bundle is partial.** Of {planned} cells and trials, {len(missing)} have no record: {named}{more}. "
        "Tables show a dash for them."
    )


def _snakemake(manifest: Manifest) -> str:
    words = [f"study={manifest.study}", f"workflow={SPECS}", "results=again"]
    words += [f"set={'; '.join(manifest.overrides)}"] if manifest.overrides else []
    # Beside the YAML files that the harness carries, in a checkout and in an installed package alike.
    folder = "from bench.config.catalog import WORKFLOW; print(WORKFLOW.parent)"
    found = f"\"$(python -c '{folder}')/Snakefile\""
    return f"snakemake --snakefile {found} --cores all --config {' '.join(map(shlex.quote, words))}"


def _made(records: list[Record]) -> str:
    places = Counter(
        (record.environment.get("rankbench") or "0.1", str(record.environment.get("commit") or "unknown")[:12])
        for record in records
    )
    return ", ".join(
        f"with rankbench {version} at commit {commit} ({count})" for (version, commit), count in sorted(places.items())
    )


def _adapters(manifest: Manifest) -> str:
    return " and what was trained" if manifest.adapters else "; what was trained is not in it"


def _tuned(manifest: Manifest) -> str:
    if not manifest.trials:
        return ""
    return f"| `{manifest.results}/trials/`, `tuned.yaml` | trials of the tuning, and what they chose |\n"


def _left_out(manifest: Manifest) -> str:
    listed = "\n".join(f"- *{name}*: {what}." for name, what in sorted(manifest.rules.items()))
    fields = ", ".join(f"`{name}` ({', '.join(rules)})" for name, rules in sorted(manifest.replaced.items()))
    changed = sum(member.original_sha256 is not None for member in manifest.files.values())
    texts = (
        f"{changed} files of predictions hold the beginning of a SHA-256 in place of each text of a row; the SHA-256 "
        f"of the whole file is `original_sha256` in `{MANIFEST}`."
        if changed
        else "No file of predictions holds texts of a data set other than generated ones."
    )
    return f"""## What is not in it

No row of a data set and no base model. {texts}

Records do not say on which machine they were made. Replaced in their fields, by rule: {fields or "nothing"}.

{listed}"""
