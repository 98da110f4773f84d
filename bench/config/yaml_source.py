"""Read YAML with line numbers, so that every error names the file, the line, the key and what was expected.

Files may come from anybody. So only the types of the safe loader are read, and duplicate keys, aliases, deep nesting
and huge files are refused.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from bench.config.hints import hint
from bench.config.renamed import suggestion
from bench.errors import FaultAt, Problem, SpecError, nearest

MAX_BYTES = 1_000_000
_MAPPINGS = ("dict_type", "model_type", "model_attributes_type")  # what pydantic calls a value that is no mapping
# What pydantic adds to the place of a fault: in a key itself, or in which of a field's types (types.py) the value is.
_MARKS = ("[key]", "[number]", "[auto]")
MAX_DEPTH = 20  # far deeper than any real file

KeyPath = tuple[str | int, ...]  # ("recipe", "epochs"), or ("seeds", 0) for the first item of a list
Places = dict[KeyPath, tuple[int, int]]  # line and column (from 1) of each key and item
Model = TypeVar("Model", bound=BaseModel)


_TAG = "tag:yaml.org,2002:"
_JSON_TAGS = frozenset(_TAG + name for name in ("null", "bool", "int", "float", "str", "seq", "map"))


class _Loader(yaml.SafeLoader):
    """The safe loader for values that JSON has, with the floats of YAML 1.2.

    PyYAML, which reads YAML 1.1, takes 1e-4 as a text, 2026-01-31 as a date, 010 as 8 and 1:30 as 90. Here the first is
    a number, the second a text, and the others are refused.
    """


# Copies of its own: both belong to the base class, which other users of PyYAML share.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if tag in _JSON_TAGS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_FLOAT = (
    f"{_TAG}float",
    re.compile(r"^[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)
_Loader.add_implicit_resolver(*_FLOAT)
_Loader.yaml_constructors = {
    tag: construct for tag, construct in yaml.SafeLoader.yaml_constructors.items() if tag is None or tag in _JSON_TAGS
}


class _Dumper(yaml.SafeDumper):
    """The safe dumper, which also puts in quotes a text that `_Loader` takes for a number: a hash such as 12e4."""


_Dumper.add_implicit_resolver(*_FLOAT)


def _whole_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    """An integer of at most 64 bits. No key needs more, and Python refuses to print much longer ones."""
    value: int = loader.construct_yaml_int(node)
    if value.bit_length() > 64:
        raise yaml.constructor.ConstructorError(None, None, "a whole number of more than 64 bits", node.start_mark)
    _refuse_other_bases(node, value)
    return value


def _number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    value: float = loader.construct_yaml_float(node)
    _refuse_other_bases(node, value)
    return value


def _refuse_other_bases(node: yaml.ScalarNode, value: float) -> None:
    """Refuse what YAML 1.1 reads as another number than a person does: 010 (to base 8), 1:30 (to base 60)."""
    if ":" in node.value or re.match(r"[-+]?0[0-9_]+$", node.value):
        message = f"{node.value}, which YAML reads as {value}: write the number without a colon or a leading zero"
        raise yaml.constructor.ConstructorError(None, None, message, node.start_mark)


_Loader.add_constructor(f"{_TAG}int", _whole_number)
_Loader.add_constructor(f"{_TAG}float", _number)


def yaml_text(data: dict[str, Any]) -> str:
    """`data` as text from which `parse_yaml` reads the same data, with the keys in their order."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=120)
    return text


def read_yaml(file: Path, most: int = MAX_BYTES) -> tuple[dict[str, Any], Places]:
    """The mapping in `file` of at most `most` bytes, and the line and column of every key and item.

    Raises SpecError if the file can't be read or holds anything but a plain mapping.
    """
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise SpecError([Problem(file, f"cannot be read: {error.strerror}")]) from error
    if len(raw) > most:
        raise SpecError([Problem(file, f"{len(raw):,} bytes; a description has at most {most:,}")])
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SpecError([Problem(file, f"is no UTF-8 text (byte {error.start})")]) from error
    return parse_yaml(text, file)


def parse_yaml(text: str, file: Path) -> tuple[dict[str, Any], Places]:
    """Like read_yaml, but from a text. `file` is only named in errors. Raises SpecError."""
    places: Places = {}
    try:
        _refuse_depth_and_aliases(text, file)
        node = yaml.compose(text, Loader=_Loader)
        if node is None:
            raise SpecError([Problem(file, "is empty; expected a mapping of keys to values", 1, 1)])
        _note_places(node, (), places, file)
        data = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise SpecError([Problem(file, f"is no valid YAML: {error.problem or error.context}", line, column)]) from error
    except (yaml.YAMLError, ValueError) as error:
        raise SpecError([Problem(file, f"is no valid YAML: {error}")]) from error
    if not isinstance(data, dict):
        raise SpecError([Problem(file, f"expected a mapping of keys to values, found {type(data).__name__}", 1, 1)])
    return data, places


def _refuse_depth_and_aliases(text: str, file: Path) -> None:
    """Walk the parser's events before anything is built.

    The walk is iterative: composing the nodes first would let deep nesting exhaust Python's stack.
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        message = ""
        if isinstance(event, yaml.AliasEvent):  # a few nested aliases can expand to gigabytes
            message = "aliases (*name) are not allowed"
        elif isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            message = f"nested deeper than {MAX_DEPTH}" if depth > MAX_DEPTH else ""
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if message:
            mark = event.start_mark
            raise SpecError(
                [Problem(file, message, mark.line + 1, mark.column + 1)] if mark else [Problem(file, message)]
            )


def _note_places(node: yaml.Node, path: KeyPath, places: Places, file: Path) -> None:
    """Add the line and column of `node` and of all below it to `places`. Raises SpecError at a duplicate key."""
    places.setdefault(path, (node.start_mark.line + 1, node.start_mark.column + 1))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _note_places(item, (*path, index), places, file)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = (*path, str(key.value))
            line, column = key.start_mark.line + 1, key.start_mark.column + 1
            if name in places:
                message = f"key {key.value!r} stands twice (first in line {places[name][0]})"
                raise SpecError([Problem(file, message, line, column)])
            places[name] = (line, column)
            _note_places(value, name, places, file)


def place_of(places: Places, path: KeyPath) -> tuple[int, int]:
    """Line and column of `path`, or of the closest parent of it that is in the file; (0, 0) if there is none."""
    for end in range(len(path), -1, -1):
        if path[:end] in places:
            return places[path[:end]]
    return (0, 0)


def build(model: type[Model], data: dict[str, Any], places: Places, file: Path, folder: Path | None = None) -> Model:
    """Validate `data` as a `model`. Paths in it are relative to `folder`; without one, to the folder of `file`.

    Raises SpecError with one problem per fault. An unknown key is reported with its new name or the nearest valid one.
    """
    try:
        return model.model_validate(data, context={"folder": folder or file.parent})
    except ValidationError as error:
        raise SpecError(_problems(model, error, places, file)) from error


def _problems(model: type[BaseModel], error: ValidationError, places: Places, file: Path) -> list[Problem]:
    problems = []
    for fault in error.errors(include_url=False):
        path = tuple(part for part in fault["loc"] if part not in _MARKS)
        key = ".".join(str(part) for part in path)
        line, column = place_of(places, path)
        if fault["type"] == "extra_forbidden":
            message = f"unknown key {key!r}{suggestion(str(path[-1]), _fields_at(model, path[:-1]))}"
        elif fault["type"] == "missing":
            message = f"key {key!r} is missing"
        elif fault["type"] == "value_error":
            if isinstance(fault["ctx"]["error"], FaultAt):
                line, column = place_of(places, (*path, *fault["ctx"]["error"].key.split(".")))
            message = f"{key}: {fault['ctx']['error']}" if key else str(fault["ctx"]["error"])
        else:
            text = "expected a mapping of keys to values" if fault["type"] in _MAPPINGS else _lower_first(fault["msg"])
            value = repr(fault["input"])
            value = value if len(value) <= 80 else value[:77] + "..."
            near = ""  # the nearest valid value, where there is a list of them
            if fault["type"] == "literal_error" and isinstance(fault["input"], str):
                near = nearest(fault["input"], _expected_literals(fault))
            message = f"{key}: {text}, found {value}{near or hint(fault['type'], fault['input'])}"
        problems.append(Problem(file, message, line, column))
    return problems


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def _expected_literals(fault: Any) -> list[str]:
    return [part.strip("' ") for part in str(fault["ctx"]["expected"]).replace(" or ", ", ").split(",")]


def _fields_at(model: type[BaseModel], path: KeyPath) -> list[str]:
    """The valid keys of the model that `path` leads to, starting at `model`; empty if it leads to no model."""
    current: Any = model
    for part in path:
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = current.model_fields.get(str(part))
            current = _unwrapped(field.annotation) if field else None
        elif get_origin(current) in (dict, list, tuple):
            current = _unwrapped(get_args(current)[-1])
        if current is None:
            return []
    if not (isinstance(current, type) and issubclass(current, BaseModel)):
        return []
    return [field.alias or name for name, field in current.model_fields.items()]


def _unwrapped(annotation: Any) -> Any:
    """`annotation` without `| None` and without Annotated."""
    if hasattr(annotation, "__metadata__"):
        return _unwrapped(annotation.__origin__)
    if get_origin(annotation) in (Union, UnionType):
        parts = [part for part in get_args(annotation) if part is not type(None)]
        return _unwrapped(parts[0])
    return annotation
