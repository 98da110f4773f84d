"""Metrics of the library `evaluate`: found on this machine, loaded from a file, never downloaded.

A module is Python code. It is run only where the user put it: in a folder that the task names, in an installed package,
or in the library's own cache, into which the user has once loaded it with `evaluate.load`. The hub is never asked.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from inspect import signature
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from bench.config.evaluate_metric import EvaluateMetric
from bench.config.task import Task
from bench.errors import BenchError

# Tells the libraries that a module may import to use no network.
OFFLINE = ("HF_EVALUATE_OFFLINE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")

# The argument by which a module of `evaluate` gives one value per row in place of an aggregate.
NO_AGGREGATOR = "use_aggregator"
ROUNDING = 1e-6  # between the mean that a module computes, in single precision at times, and that of its rows

# What a module is tried on before any training: predictions and references, by what a task predicts.
EXAMPLES: dict[str, tuple[list[Any], list[Any]]] = {
    "class": ([0, 1, 1, 0], [0, 1, 0, 0]),
    "option": ([0, 1, 1, 0], [0, 1, 0, 0]),
    "number": ([0.1, 0.7, 0.6, 0.3], [0.2, 0.9, 0.5, 0.1]),
    "text": (
        ["The teacher painted the bridge.", "A dog barked all night."],
        ["The teacher painted an old bridge.", "A dog barked."],
    ),
}


def evaluate_metrics(task: Task) -> dict[str, EvaluateMetric]:
    """The metrics of `task` that are modules of `evaluate`, by the name that the task gives them."""
    parsed = {name: EvaluateMetric.parse(name) for name in task.metrics}
    return {name: metric for name, metric in parsed.items() if metric is not None}


def locate_modules(tasks: Iterable[Task]) -> None:
    """Look for the file of every module that `tasks` name, without running it. Raises BenchError if one is missing."""
    for task in tasks:
        for name, metric in evaluate_metrics(task).items():
            try:
                locate(metric)
            except BenchError as error:
                raise BenchError(f"task {task.name!r}: metric {name!r}: {error}") from error


def locate(metric: EvaluateMetric) -> Path:
    """The Python file of a module: at its path, in the cache of `evaluate`, or in an installed package.

    Raises BenchError where it is in none of these.
    """
    if metric.is_path:
        path = Path(metric.module).expanduser()
        file = path / f"{path.name}.py" if path.is_dir() else path
        if file.suffix == ".py" and file.is_file():
            return file.resolve()
        raise BenchError(
            f"no such module: expected the file {path} or {path / path.name}.py. A module of the hub is code from the "
            "network, which is never fetched here: download its folder and name that"
        )
    folders = [_module_cache() / f"evaluate-{kind}--{metric.module}" for kind in ("metric", "measurement")]
    cached = [file for folder in folders for file in folder.glob(f"*/{metric.module}.py")]
    if cached:
        return max(cached, key=lambda file: file.stat().st_mtime)
    package = find_spec(metric.module) if metric.module.isidentifier() else None
    if package is not None and package.origin is not None and package.origin.endswith(".py"):
        return Path(package.origin)
    raise BenchError(
        f"no module {metric.module!r} on this machine, and none is fetched from the hub: that would run code of "
        f"others. Name its folder (evaluate:./{metric.module}), or load it once yourself: "
        f"python -c \"import evaluate; evaluate.load('{metric.module}')\""
    )


def try_modules_apart(tasks: Sequence[Task]) -> None:
    """Do `try_modules` for `tasks` in a process of its own, since this one may need the network. Raises BenchError."""
    named = [task for task in tasks if evaluate_metrics(task)]
    if named:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            for task in named:
                pool.submit(try_modules, task).result()


def try_modules(task: Task) -> None:
    """Load every module that `task` names and score a few example rows with it, so that no training is lost to it.

    From here on the libraries of this process use no network. Raises BenchError where a module can't be loaded, fails,
    or returns no number that can be told apart.
    """
    if evaluate_metrics(task):
        os.environ.update(dict.fromkeys(OFFLINE, "1"))
        predictions, references = EXAMPLES[task.facts.target]
        score_with_modules(task, predictions, references)


@dataclass(frozen=True)
class ModuleScore:
    """What a module says of a split: the metric (None where it is not finite), and each row's part of its mean.

    `rows` is None where the module does not give a value per row, or where the metric is not the mean of these.
    """

    value: float | None
    rows: list[float] | None = None


def score_with_modules(task: Task, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, ModuleScore]:
    """The score of each `evaluate` metric of `task`, by its name.

    A module gets indices of classes and options (-1 is a generated text that is no label), numbers (regression) or
    texts (summarization, causal-lm). Raises BenchError where a module fails.
    """
    scores = {}
    for name, metric in evaluate_metrics(task).items():
        where = f"task {task.name!r}: metric {name!r}"
        try:
            scores[name] = _score(_load(locate(metric)), metric, list(predictions), list(references))
        except BenchError as error:
            raise BenchError(f"{where}: {error}") from error
        except Exception as error:  # a module is somebody's code: it may raise anything
            raise BenchError(f"{where} failed on {task.kind}: {type(error).__name__}: {error}") from error
    return scores


def _score(module: Any, metric: EvaluateMetric, predictions: list[Any], references: list[Any]) -> ModuleScore:
    result = module.compute(predictions=predictions, references=references)
    named = _numbers(result.get(metric.key), len(references)) if metric.key else None
    if named is not None:  # the module gives values per row alone, as bleurt does; the metric is their mean
        return ModuleScore(*_scaled(named, metric.scale))
    value, key = metric.value_in(result), metric.key_in(result)
    if NO_AGGREGATOR in signature(module._compute).parameters:
        # Such a module (ROUGE) reports the median of its own random resamples: another number at each call.
        plain = module.compute(predictions=predictions, references=references, **{NO_AGGREGATOR: False})
        rows = _numbers(plain.get(key), len(references))
        return ModuleScore(value) if rows is None else ModuleScore(*_scaled(rows, metric.scale))
    rows = _numbers(next((result[name] for name in _names_of_rows(key) if name in result), None), len(references))
    if rows is None or value is None:
        return ModuleScore(value)
    mean, scaled = _scaled(rows, metric.scale)
    return ModuleScore(mean, scaled) if math.isclose(mean, value, rel_tol=0, abs_tol=ROUNDING) else ModuleScore(value)


def _names_of_rows(key: str) -> tuple[str, ...]:
    """What a module calls the values whose mean is its entry `key`: scores of score and of mean_score."""
    word = key.removeprefix("mean_")
    return f"{word}s", f"{word.removesuffix('y')}ies"


def _numbers(values: Any, rows: int) -> list[float] | None:
    """`values` as floats; None unless they are one finite number per row."""
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == rows and all(map(math.isfinite, numbers)) else None


def _scaled(rows: list[float], scale: float) -> tuple[float, list[float]]:
    """The mean of `rows` divided by `scale`, and the rows so divided."""
    scaled = [value / scale for value in rows]
    return math.fsum(scaled) / len(scaled), scaled


@lru_cache(maxsize=16)
def _load(file: Path) -> Any:
    """The module in `file`, ready to compute. Raises BenchError where it would download code."""
    os.environ["HF_EVALUATE_OFFLINE"] = "1"  # which the library reads when it is imported
    import evaluate  # takes seconds, since it imports the pipelines of transformers
    from evaluate.loading import get_imports

    urls = [source for kind, _, source, _ in get_imports(str(file)) if kind == "external"]
    if urls:
        raise BenchError(f"{file} imports code from the network ({urls[0]}), which is never fetched here")
    return evaluate.load(str(file), keep_in_memory=True)


def _module_cache() -> Path:
    """Where `evaluate` keeps the metrics it has loaded from the hub, by its own environment variables."""
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface")
    modules = os.environ.get("HF_MODULES_CACHE") or os.path.join(home, "modules")
    return Path(modules).expanduser() / "evaluate_modules" / "metrics"
