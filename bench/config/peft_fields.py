"""Check a method's PEFT config against the class in PEFT: its name, its fields and the types of their values.

This imports PEFT, and with it torch: about three seconds. So reading a study does not do it. `bench check` checks every
method. `bench plan` and the main process of Snakemake check the methods of the study, `bench train` by hand that of its
cell, and they import PEFT only if one of these has `adapter: peft`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from bench.config.catalog import Catalog, Entry
from bench.config.method import FULL_PRECISION, Method, PeftChoice
from bench.config.yaml_source import Places, place_of
from bench.errors import BenchError, Problem, SpecError, nearest

# Fields that the harness sets from the budget, the recipe, the backbone, the task and the method's other keys.
SET_BY_HARNESS = frozenset(
    [
        "alpha",
        "alpha_pattern",
        "auto_mapping",
        "base_model_name_or_path",
        "exclude_modules",
        "fan_in_fan_out",
        "inference_mode",
        "layer_replication",
        "layers_pattern",
        "layers_to_transform",
        "lora_alpha",
        "lora_dropout",
        "modules_to_save",
        "peft_type",
        "peft_version",
        "r",
        "rank_pattern",
        "revision",
        "target_modules",
        "task_type",
    ]
)

# Types whose values can be checked. Whether a value fits another type is for PEFT to say.
_PLAIN_TYPES = (bool, int, float, str, NoneType)


def config_names() -> list[str]:
    """The PEFT configs that a method can name: adapters on chosen matrices.

    AdaLoraConfig is not one of them, because `adapter: adalora` uses our own layers.
    """
    return sorted(_config_classes())


def config_class(name: str) -> type[Any]:
    """The config class of PEFT called `name`. Raises BenchError with the nearest valid name if no method can use it."""
    classes = _config_classes()
    if name not in classes:
        raise BenchError(f"{name!r} is no adapter of PEFT{nearest(name, classes)}")
    return classes[name]


def field_types(config: type[Any]) -> dict[str, Any]:
    """The type of each field of a PEFT config class that its constructor takes, by the field's name."""
    # PEFT writes some annotations as strings, so the dataclass fields alone do not hold the types.
    hints = get_type_hints(config)
    return {field.name: hints[field.name] for field in dataclasses.fields(config) if field.init}


def check_peft_methods(catalog: Catalog, names: Iterable[str]) -> None:
    """Check the PEFT configs of the methods called `names`. Imports PEFT if there is one. Raises SpecError."""
    problems = peft_problems(catalog.methods[name] for name in names)
    if problems:
        raise SpecError(problems)


def check_peft_methods_apart(catalog: Catalog, names: Iterable[str]) -> None:
    """`check_peft_methods` in a process of its own, for a process that must not import torch yet. Raises SpecError."""
    named = [name for name in names if catalog.methods[name].item.peft is not None]
    if named:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            pool.submit(check_peft_methods, catalog, named).result()


def peft_problems(methods: Iterable[Entry[Method]]) -> list[Problem]:
    """Every fault in the PEFT configs of `methods`. Imports PEFT if one of them has any."""
    problems: list[Problem] = []
    for entry in methods:
        if entry.item.peft is not None:
            problems += _config_problems(entry.item.peft, entry.places, entry.file)
            problems += _bias_problems(entry.item, entry.places, entry.file)
    return problems


def _config_classes() -> dict[str, type[Any]]:
    """Name and class of each config in PEFT's own registry that adapts chosen matrices."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    return {
        config.__name__: config
        for config in PEFT_TYPE_TO_CONFIG_MAPPING.values()
        if config.__name__ != "AdaLoraConfig" and any(f.name == "target_modules" for f in dataclasses.fields(config))
    }


def _config_problems(choice: PeftChoice, places: Places, file: Path) -> Iterator[Problem]:
    try:
        types = field_types(config_class(choice.config))
    except BenchError as error:
        yield Problem(file, f"peft.config: {error}", *place_of(places, ("peft", "config")))
        return
    for name, value in choice.fields.items():
        message = ""
        if name in SET_BY_HARNESS:
            message = f"{name!r} follows from budget, recipe, backbone and the method's other keys: leave it out"
        elif name not in types:
            message = f"{choice.config} has no field {name!r}{nearest(name, types.keys() - SET_BY_HARNESS)}"
        elif not _accepts(types[name], value):
            message = f"{name}: expected {_written(types[name])}, found {value!r}"
        if message:
            yield Problem(file, f"peft.fields: {message}", *place_of(places, ("peft", "fields", name)))


def _bias_problems(method: Method, places: Places, file: Path) -> Iterator[Problem]:
    """Biases of the base that PEFT trains (`bias: all`, `lora_only`, ...) must be stored in the type of training."""
    assert method.peft is not None  # the caller's methods all have one
    bias = method.peft.fields.get("bias", "none")
    if isinstance(bias, str) and bias != "none" and not method.full_precision:
        needed = f"storage must be {' or '.join(FULL_PRECISION)}, not {method.storage}"
        message = f"peft.fields: bias: {bias} trains the base's biases: {needed}"
        yield Problem(file, message, *place_of(places, ("peft", "fields", "bias")))


def _accepts(expected: Any, value: Any) -> bool:
    """Whether `value` fits the type `expected`; True for types that are for PEFT to judge."""
    options = _options(expected)
    if not set(options) <= set(_PLAIN_TYPES):
        return True
    if isinstance(value, bool):  # Python counts True as an int, PEFT does not mean it
        return bool in options
    if isinstance(value, int) and float in options:  # 1 in place of 1.0
        return True
    return isinstance(value, options)


def _options(expected: Any) -> tuple[Any, ...]:
    """The members of a union, or the type itself."""
    return get_args(expected) if get_origin(expected) in (Union, UnionType) else (expected,)


def _written(expected: Any) -> str:
    """The type as one writes it: 'int | None'."""
    return " | ".join("None" if option is NoneType else option.__name__ for option in _options(expected))
