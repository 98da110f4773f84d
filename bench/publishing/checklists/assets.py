"""Sections of a checklist on what was used: data sets, models, software."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from bench.analysis.footnotes import SHORT
from bench.analysis.tables.parameters import range_entry
from bench.analysis.wording import count_text
from bench.publishing.checklists.facts import Facts, Source
from bench.publishing.checklists.model import NOT_RECORDED, Section, counted, item
from bench.records.schema import Record

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "tokenizers", "datasets", "accelerate", "numpy")
WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt")  # ends of the names of files that hold a model's weights
DETERMINISTIC = (
    "Each training runs with PyTorch's deterministic algorithms and without TF32; an operation that has no "
    "deterministic kernel ends it. The same machine type, locked environment and seed give the same bits."
)


def data_section(facts: Facts) -> Section:
    """Per task its data set: revision, splits, sizes, license, and whether the rows are generated."""
    items = []
    for task, sources in facts.data.items():
        texts = [text for source in sources for text in _data_texts(facts, task, source, mixed=len(sources) > 1)]
        items.append(item(facts.results.task_labels[task], texts))
    asked = "NeurIPS 6, 12 (Licenses for existing assets); ACL B1, B2 (license), B6 (statistics for data)"
    return Section("Data", asked, tuple(items))


def models_section(facts: Facts) -> Section:
    """Per backbone its source, revision, hashes, size and license; and the sizes of the adapters."""
    results = facts.results
    items = []
    for name, sources in facts.models.items():
        texts = [text for source in sources for text in _model_texts(source, mixed=len(sources) > 1)]
        sizes = counted_range([r for r in results.records.values() if r.cell.backbone == name])
        items.append(item(name, [*texts, f"parameters of the base: {sizes}"]))
    tasks = list(results.tasks)
    adapters = [
        f"{results.labels[method]}, {budget}: {range_entry(results, tasks, method, budget).text}"
        for budget in results.budgets
        for method in results.methods_at(budget)
    ]
    return Section(
        "Models",
        "NeurIPS 12 (Licenses for existing assets); ACL B1, B2 (license), C1 (parameters)",
        (*items, item("Adapter parameters at the end, without heads, fewest to most over tasks and runs", adapters)),
    )


def software_section(facts: Facts) -> Section:
    """Versions, code, and what was deterministic."""
    records = list(facts.results.records.values())
    versions = [item(name, counted(_package(record, name) for record in records)) for name in PACKAGES]
    dirty = [record.environment.get("dirty") for record in records]
    unknown = dirty.count(None)
    edits = f"{sum(map(bool, dirty))} of {len(records)} records"
    return Section(
        "Software",
        "NeurIPS 4 (Experimental result reproducibility), 5 (Open access to data and code); ACL C4 (packages)",
        (
            item("Python", counted(record.environment.get("python") for record in records)),
            *versions,
            item("rankbench", counted(record.environment.get("rankbench") for record in records)),
            item("Commit", counted(record.environment.get("commit") for record in records)),
            item("Uncommitted changes", edits + (f"; of {unknown} {NOT_RECORDED}" if unknown else "")),
            item("Lock of all packages, SHA-256", counted(_short(r.environment.get("lock_sha256")) for r in records)),
            item("NVIDIA driver", counted(_driver(record) for record in records)),
            item("Operating system", counted(record.environment.get("platform") for record in records)),
            item("Precision of matrix products", counted(r.environment.get("matmul_precision") for r in records)),
            item("Deterministic mode", DETERMINISTIC),
        ),
    )


def counted_range(records: list[Record]) -> str:
    """The parameters of the base, fewest to most: another storage or head counts others."""
    sizes = [record.parameters.base for record in records if record.parameters]
    if not sizes:
        return NOT_RECORDED
    low, high = min(sizes), max(sizes)
    return count_text(low) if low == high else f"{count_text(low)} to {count_text(high)}"


def _data_texts(facts: Facts, task: str, source: Source, *, mixed: bool) -> Iterator[str]:
    spec, limits, record = source.spec["task"]["data"], source.spec["data"], source.record
    of = f" (of {source.count} records)" if mixed else ""
    name = _data_name(spec)
    if record.get("synthetic"):
        yield f"synthetic: rows of the generator {spec.get('embedded')}, in place of {name}{of}"
    else:
        yield f"{name}, revision {record.get('revision') or NOT_RECORDED}{of}"
    if record.get("evaluation_hub"):
        revision = record.get("evaluation_revision") or NOT_RECORDED
        yield f"evaluated on {record['evaluation_hub']}, revision {revision}"
    released = spec.get("rows", {}).get(spec["train"])
    rows = [] if record.get("synthetic") or released is None else [f"{released:,} released"]
    rows += [f"at most {limits['train_rows']:,} used"] if limits.get("train_rows") else []
    yield f"training split {spec['train']}: {', '.join(rows) or f'number of rows {NOT_RECORDED}'}"
    for split, of_set in spec["evaluation"].items():
        n = facts.evaluated.get(task, {}).get(split)
        yield f"evaluation split {split}{'' if split == of_set else f' ({of_set})'}: " + (
            f"n = {n:,}" if n is not None else f"n {NOT_RECORDED}"
        )
    yield f"fingerprint of the rows: {_short(record.get('fingerprint')) or NOT_RECORDED}"
    yield f"license: {source.spec['task'].get('license') or NOT_RECORDED}"


def _data_name(spec: dict[str, Any]) -> str:
    if spec.get("hub"):
        return str(spec["hub"]) + (f", configuration {spec['config']}" if spec.get("config") else "")
    return f"{spec['installed']} of an installed package" if spec.get("installed") else "files of one's own"


def _model_texts(source: Source, *, mixed: bool) -> Iterator[str]:
    spec, record = source.spec, source.record
    of = f" (of {source.count} records)" if mixed else ""
    revision = record.get("revision") or spec.get("revision")
    if spec.get("hub"):
        yield f"{spec['hub']}, revision {revision or NOT_RECORDED}{of}"
    elif spec.get("package"):
        yield f"in the Python package {spec['package']['module']}{of}"
    elif spec.get("built"):
        yield f"{spec['built']}, a small model that `bench prepare` trains{of}"
    else:  # the folders above it are those of one machine
        yield f"a local folder called {PurePath(spec.get('path') or '').name or NOT_RECORDED}{of}"
    weights = {name: sha for name, sha in record.get("files", {}).items() if name.endswith(WEIGHTS)}
    yield "SHA-256 of the weights: " + (
        ", ".join(f"{name} {_short(sha)}" for name, sha in sorted(weights.items())) or NOT_RECORDED
    )
    yield f"license: {spec.get('license') or NOT_RECORDED}"


def _package(record: Record, name: str) -> str | None:
    version: str | None = record.environment.get("packages", {}).get(name)
    return version


def _driver(record: Record) -> str | None:
    driver: str | None = record.environment.get("driver")
    return driver if str(record.environment.get("device")).startswith("cuda") else "none (processor)"


def _short(digest: str | None) -> str | None:
    return digest[:SHORT] if digest else None
