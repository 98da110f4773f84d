"""What `snakemake --config KEY=VALUE ...` asks for: the options of the run, and the cells of the study it wants.

snakemake --cores all --config study=demo tasks=cola,sst2 seeds=0 set="recipe.epochs=1; threads=2"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.config.catalog import WORKFLOW
from bench.config.cell import Cell
from bench.config.renamed import suggestion
from bench.config.resolve import ResolvedStudy
from bench.errors import BenchError, nearest
from bench.evaluation.evaluate_modules import locate_modules
from bench.paths import RESULTS
from bench.pipeline.run_options import SEPARATOR, RunOptions
from bench.pipeline.study import Pipeline
from bench.trackers.available import check_tracker

KEYS = ("study", "mirror", "results", "cache", "workflow", "tasks", "methods", "budgets", "seeds", "set")
DEFAULT_STUDY = "demo"


def pipeline_from(config: Mapping[str, Any]) -> Pipeline:
    """The pipeline that `config` asks for. Raises BenchError if a key, a name or a folder does not exist."""
    unknown = [key for key in config if key not in KEYS]
    if unknown:
        raise BenchError(f"--config: unknown key {unknown[0]!r}{nearest(unknown[0], KEYS)}")
    config = {key: value for key, value in config.items() if value is not None}  # `set=` says nothing
    options = _options(config)
    study = options.load_study(needs_rows=True)
    extended = _extended(options, study, config)
    if extended != options:
        options, study = extended, extended.load_study(needs_rows=True)
    check_tracker(study.study)
    cells = _narrowed(study, config)
    locate_modules({cell.task.name: cell.task for cell in cells}.values())
    return Pipeline(study, cells, options)


def _options(config: Mapping[str, Any]) -> RunOptions:
    """Snakemake parses values as YAML, so that a folder called 2024 comes as a number: hence str()."""
    mirror = Path(str(config["mirror"])).expanduser() if "mirror" in config else None
    if mirror is not None and not mirror.is_dir():
        raise BenchError(f"mirror={config['mirror']}: no such folder")
    results = Path(str(config.get("results", RESULTS)))
    cache = Path(str(config["cache"])) if "cache" in config else None
    for key, folder in (("results", results), ("cache", cache)):
        if folder is not None and folder.exists() and not folder.is_dir():
            raise BenchError(f"{key}={folder}: is a file, not a folder")
    return RunOptions(
        study=str(config.get("study", DEFAULT_STUDY)),
        results=results,
        cache=cache,
        mirror=mirror,
        workflow=Path(str(config.get("workflow", WORKFLOW))),
        overrides=_overrides(config.get("set", "")),
    )


def _overrides(value: Any) -> tuple[str, ...]:
    """The overrides that `set=` gives. A mapping is refused, also one that Snakemake's YAML parser made of the text."""
    if not isinstance(value, str):
        raise BenchError(
            f'--config set: expected dotted keys, such as set="recipe.epochs=1;threads=2", found {value!r}'
        )
    return tuple(part.strip() for part in value.split(SEPARATOR) if part.strip())


def _extended(options: RunOptions, study: ResolvedStudy, config: Mapping[str, Any]) -> RunOptions:
    """`options` with overrides that add to the study what `tasks=` and `methods=` name and only the catalog holds."""
    catalog: dict[str, Mapping[str, Any]] = {"tasks": study.catalog.tasks, "methods": study.catalog.methods}
    added = []
    for key, entries in catalog.items():
        in_study: list[str] = getattr(study.study, key)
        new = [name for name in _names(config.get(key)) or [] if name in entries and name not in in_study]
        if new:
            added.append(f"{key}=[{', '.join([*in_study, *new])}]")
    return replace(options, overrides=(*options.overrides, *added))


def _narrowed(study: ResolvedStudy, config: Mapping[str, Any]) -> tuple[Cell, ...]:
    """The cells that `tasks=`, `methods=`, `budgets=` and `seeds=` leave. Raises BenchError at an unknown name."""
    cells = study.cells
    coordinates: dict[str, Callable[[Cell], str]] = {
        "tasks": lambda cell: cell.task.name,
        "methods": lambda cell: cell.method.name,
        "budgets": lambda cell: cell.budget_name,
        "seeds": lambda cell: str(cell.seed),
    }
    for key, value_of in coordinates.items():
        wanted = _names(config.get(key))
        if wanted is None:
            continue
        valid = {value_of(cell) for cell in study.cells}
        for name in wanted:
            if name not in valid:
                raise BenchError(f"--config {key}: study {study.name!r} has no {name!r}{suggestion(name, valid)}")
        cells = tuple(cell for cell in cells if value_of(cell) in wanted)
    return cells


def _names(value: Any) -> list[str] | None:
    """'a,b', [a, b] or a as a list of names; None if nothing is named."""
    if value is None:
        return None
    items = value if isinstance(value, list) else str(value).split(",")
    return [str(item).strip() for item in items]
