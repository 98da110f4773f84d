"""What `snakemake --config KEY=VALUE ...` asks for: the options of the run, and the cells of the study it wants.

snakemake --cores all --config study=demo tasks=cola,sst2 seeds=0 set="recipe.epochs=1; threads=2"

Snakemake guesses the type of each value: a folder called 010 becomes the number 10, one called {x} a mapping. So the
words of the command line are read again, as they were written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.config.cell import Cell
from bench.config.renamed import suggestion
from bench.config.resolve import ResolvedStudy
from bench.errors import BenchError, nearest
from bench.estimate.hardware import UNKNOWN_GPU, Hardware
from bench.estimate.sharing import check_sharing
from bench.evaluation.evaluate_modules import locate_modules
from bench.pipeline.folders import READ_BY_SHELLS, check_writable, named_folder, refuse_pattern
from bench.pipeline.run_options import SEPARATOR, RunOptions
from bench.pipeline.study import Pipeline
from bench.trackers.available import check_tracker

KEYS = ("study", "mirror", "results", "cache", "workflow", "tasks", "methods", "budgets", "seeds", "set", "container")
FOLDERS = ("mirror", "results", "cache", "workflow")
DEFAULT_STUDY = "demo"
# What narrows a study, and the name that a cell has for it.
_COORDINATES: dict[str, Callable[[Cell], str]] = {
    "tasks": lambda cell: cell.task.name,
    "methods": lambda cell: cell.method.name,
    "budgets": lambda cell: cell.budget_name,
    "seeds": lambda cell: str(cell.seed),
}
VARIABLE = "BENCH_CONFIG"  # the config of the main process, for the Snakemake inside its jobs


def config_of_run(parsed: Mapping[str, Any], words: Iterable[str] | None, *, is_main_process: bool) -> dict[str, Any]:
    """The config of the run: `parsed` is Snakemake's, `words` are the KEY=VALUE of the command line.

    The Snakemake inside a cluster's job gets the config of the main one from the environment, because a shell between
    the two changes what stands in quotes.
    """
    if not is_main_process and VARIABLE in os.environ:
        inherited: dict[str, Any] = json.loads(os.environ[VARIABLE])
        return inherited
    config = dict(parsed)
    for word in words or ():
        key, _, text = word.partition("=")
        if key in FOLDERS or (key in KEYS and not isinstance(parsed.get(key), dict | list)):
            config[key] = _unquoted(text) or None
    os.environ[VARIABLE] = json.dumps(config, default=str)
    return config


def words_for_jobs(words: Iterable[str] | None) -> list[str]:
    """Those of `words` that Snakemake can hand to its jobs. Two shells read them on the way to a node of a cluster.

    What these would change or execute is left out; a job has the whole config from its environment.
    """
    return [word for word in words or () if not READ_BY_SHELLS.search(word)]


def pipeline_from(
    config: Mapping[str, Any], *, is_main_process: bool = True, hardware: Hardware = UNKNOWN_GPU
) -> Pipeline:
    """The pipeline that `config` asks for, whose jobs run on `hardware`.

    Raises BenchError if a key, a name or a folder does not exist, or, in the main process, if the folder of results or
    of the cache cannot be written, or if cells are to share GPUs of which nothing tells the memory.
    """
    unknown = [key for key in config if key not in KEYS]
    if unknown:
        raise BenchError(f"--config: unknown key {unknown[0]!r}{nearest(unknown[0], KEYS)}")
    config = {key: value for key, value in config.items() if value is not None}  # `set=` says nothing
    options = _options(config)
    if is_main_process:
        check_writable("--directory", Path.cwd())  # where Snakemake keeps its locks and logs
        options.check_writable()
    study = options.load_study(needs_rows=True)
    extended = _extended(options, study, config)
    if extended != options:
        options, study = extended, extended.load_study(needs_rows=True)
    check_tracker(study.study)
    cells = _with_donors(study, _narrowed(study, config))
    locate_modules({cell.task.name: cell.task for cell in cells}.values())
    pipeline = Pipeline(study, cells, options, hardware)
    if is_main_process:
        check_sharing(study, (*cells, *pipeline.trials), hardware, options.peaks_file)
    return pipeline


def _with_donors(study: ResolvedStudy, cells: tuple[Cell, ...]) -> tuple[Cell, ...]:
    """`cells`, and in their places in the study those whose ranks they take over."""
    wanted = {cell.id for cell in cells} | {donor.id for cell in cells if (donor := study.donor(cell)) is not None}
    return cells if len(wanted) == len(cells) else tuple(cell for cell in study.cells if cell.id in wanted)


def _unquoted(text: str) -> str:
    """`text` without the quotes around it, which a profile's `config:` keeps."""
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1] if quoted else text


def _options(config: Mapping[str, Any]) -> RunOptions:
    folders: dict[str, Any] = {key: _folder(key, config[key]) for key in FOLDERS if key in config}
    if "mirror" in folders and not folders["mirror"].is_dir():
        raise BenchError(f"mirror={folders['mirror']}: no such folder")
    for key in ("results", "cache"):
        if key in folders:
            refuse_pattern(key, folders[key])
    return RunOptions(
        study=str(config.get("study", DEFAULT_STUDY)),
        overrides=_overrides(config.get("set", "")),
        **folders,
    )


def _folder(key: str, value: Any) -> Path:
    """The folder that a key names. In a YAML file of --configfile, 2024 without quotes is a number, and taken."""
    if isinstance(value, bool) or not isinstance(value, str | int | Path):
        raise BenchError(f"{key}: expected the name of a folder, found {value!r}; write it in quotes")
    return named_folder(key, str(value))


def _overrides(value: Any) -> tuple[str, ...]:
    """The overrides that `set=` gives. A mapping is refused, also one that Snakemake's YAML parser made of the text."""
    if not isinstance(value, str):
        raise BenchError(
            f'--config set: expected dotted keys, such as set="recipe.epochs=1;threads=2", found {value!r}'
        )
    return tuple(part.strip() for part in value.split(SEPARATOR) if part.strip())


def _extended(options: RunOptions, study: ResolvedStudy, config: Mapping[str, Any]) -> RunOptions:
    """`options` with overrides that add to the study what `tasks=` and `methods=` name and only the catalog holds."""
    catalog: dict[str, Collection[str]] = {"tasks": study.catalog.tasks, "methods": study.catalog.methods}
    of_cells = {key: list(dict.fromkeys(map(value_of, study.cells))) for key, value_of in _COORDINATES.items()}
    wanted = {key: _names(config.get(key)) for key in _COORDINATES}
    new = {
        key: [name for name in dict.fromkeys(wanted[key] or ()) if name in names and name not in of_cells[key]]
        for key, names in catalog.items()
    }
    if not any(new.values()):
        return options
    if not study.study.grids:
        lists = {key: [*getattr(study.study, key), *names] for key, names in new.items() if names}
        added = [f"{key}={json.dumps(names)}" for key, names in lists.items()]
    else:  # each grid may have lists of its own, so what is new becomes grids beside them
        have: dict[str, list[Any]] = {
            key: [name for name in names if name in (wanted[key] or names)] or names for key, names in of_cells.items()
        }
        have["seeds"] = [int(seed) for seed in have["seeds"]]
        grids = [
            have | {"tasks": new["tasks"], "methods": [*have["methods"], *new["methods"]]},
            have | {"methods": new["methods"]},
        ]
        old = [grid.model_dump() for grid in study.study.grids]
        added = [f"grids={json.dumps(old + [grid for grid in grids if all(grid.values())])}"]
    return replace(options, overrides=(*options.overrides, *added))


def _narrowed(study: ResolvedStudy, config: Mapping[str, Any]) -> tuple[Cell, ...]:
    """The cells that `tasks=`, `methods=`, `budgets=` and `seeds=` leave. Raises BenchError at an unknown name."""
    cells = study.cells
    for key, value_of in _COORDINATES.items():
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
