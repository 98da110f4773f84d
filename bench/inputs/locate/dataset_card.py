"""What a data set says of itself: the YAML front matter of its README.md, and dataset_infos.json of older sets."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bench.config.data import Data
from bench.errors import BenchError

README, OLD_INFOS = "README.md", "dataset_infos.json"
CARD_FILES = (README, OLD_INFOS)
# What a config of a README may say of how its files are read: options of the library datasets for CSV, JSON, parquet.
_OPTIONS = {
    "sep",
    "delimiter",
    "header",
    "names",
    "column_names",
    "skiprows",
    "skipfooter",
    "nrows",
    "comment",
    "filters",
}
_OPTIONS |= {
    "quotechar",
    "quoting",
    "escapechar",
    "doublequote",
    "skipinitialspace",
    "lineterminator",
    "encoding",
    "field",
}


@dataclass(frozen=True)
class Card:
    """The configs of a data set, and what is declared of each, by the name of the config."""

    configs: dict[str, dict[str, Any]] = field(default_factory=dict)  # the entries of `configs` of the README
    infos: dict[str, dict[str, Any]] = field(default_factory=dict)  # features and splits

    def chosen(self, data: Data) -> dict[str, Any]:
        """The config whose splits are read: the one that the task names, else the default, else the only one.

        Raises BenchError where there are several and none is the default, or where it says what can't be obeyed.
        """
        entry = self._chosen(data)
        for option in sorted(_OPTIONS & entry.keys()):
            if not _is_done(option, entry[option], data):
                key = (
                    f": say `{option}` in `data`, too"
                    if option in ("encoding", "field")
                    else ", which is not supported"
                )
                raise BenchError(
                    f"{data.title}: {README} says that files are read with `{option}: {entry[option]!r}`{key}"
                )
        return entry

    def _chosen(self, data: Data) -> dict[str, Any]:
        if data.config is not None or not self.configs:
            return self.configs.get(data.config or "", {})
        default = [entry for entry in self.configs.values() if entry.get("default") is True]
        if default or "default" in self.configs:
            return default[0] if default else self.configs["default"]
        if len(self.configs) > 1:
            names = ", ".join(sorted(self.configs))
            raise BenchError(f"{data.title} has several configs and no default: give `config`, one of {names}")
        return next(iter(self.configs.values()))

    def rows(self, data: Data, split: str) -> int | None:
        """The declared number of rows of a split; None where none is declared."""
        splits = self._info(data).get("splits")
        entries = splits.values() if isinstance(splits, dict) else splits if isinstance(splits, list) else []
        named = {str(entry.get("name")): entry.get("num_examples") for entry in entries if isinstance(entry, dict)}
        count = named.get(split)
        return count if isinstance(count, int) and count > 0 else None  # scripts leave 0

    def class_names(self, data: Data, column: str) -> list[str] | None:
        """The declared names of the classes in `column`, in the order of their indices; None where there are none."""
        features = self._info(data).get("features")
        if isinstance(features, dict):  # dataset_infos.json
            return class_names_in(features, column)
        for feature in features if isinstance(features, list) else []:
            if isinstance(feature, dict) and feature.get("name") == column:
                dtype = feature.get("dtype")
                label = dtype.get("class_label") if isinstance(dtype, dict) else None
                return _ordered(label.get("names")) if isinstance(label, dict) else None
        return None

    def _info(self, data: Data) -> dict[str, Any]:
        if data.config is not None:
            return self.infos.get(data.config, {})
        name = self._chosen(data).get("config_name", "default")
        return self.infos.get(str(name), next(iter(self.infos.values())) if len(self.infos) == 1 else {})


def read_card(folder: Path) -> Card:
    """What README.md and dataset_infos.json in `folder` say; empty where they are absent or say nothing."""
    front = _front_matter(folder / README)
    configs = {str(entry.get("config_name", "default")): entry for entry in _entries(front, "configs")}
    infos = {str(entry.get("config_name", "default")): entry for entry in _entries(front, "dataset_info")}
    try:
        old = json.loads((folder / OLD_INFOS).read_bytes())
    except (OSError, ValueError, RecursionError):
        old = {}
    for name, info in old.items() if isinstance(old, dict) else ():
        if isinstance(info, dict):
            infos.setdefault(str(name), info)
    return Card(configs, infos)


def class_names_in(features: Mapping[str, Any], column: str) -> list[str] | None:
    """The names of a ClassLabel among `features` as the library datasets writes them as JSON; None where it is none."""
    feature = features.get(column)
    return _ordered(feature.get("names")) if isinstance(feature, dict) and "names" in feature else None


def data_files(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """The paths of each split, as a config of a README lists them: `data_files` has three forms."""
    files = config.get("data_files")
    if isinstance(files, str) or (isinstance(files, list) and all(isinstance(item, str) for item in files)):
        return {"train": _paths(files)} if files else {}
    listed: dict[str, list[str]] = {}
    for item in files if isinstance(files, list) else []:
        if isinstance(item, dict) and "split" in item:
            listed.setdefault(str(item["split"]), []).extend(_paths(item.get("path")))
    return listed


def _paths(paths: Any) -> list[str]:
    return [str(path) for path in paths] if isinstance(paths, list) else [str(paths)] if paths else []


def _is_done(option: str, value: Any, data: Data) -> bool:
    """Whether the files are read as the README says anyway."""
    usual = {"header": (0, "infer"), "quotechar": ('"',), "doublequote": (True,), "skipinitialspace": (False,)}
    if value is None or value in usual.get(option, ()):
        return True
    if option in ("sep", "delimiter"):
        return value in (",", ";", "\t", "|")  # which the header tells
    if option == "quoting":
        return bool(value == (csv.QUOTE_NONE if data.quotes is False else csv.QUOTE_MINIMAL))
    if option == "encoding":
        return str(value).lower().replace("_", "-") in ("utf-8", "utf8", data.encoding)
    return option == "field" and value == data.field


def _ordered(names: Any) -> list[str] | None:
    """Names of classes, which are a list, or a mapping of indices."""
    if isinstance(names, list):
        return [str(name) for name in names]
    if isinstance(names, dict) and all(str(key).isdecimal() for key in names):
        return [str(names[key]) for key in sorted(names, key=lambda key: int(key))]
    return None


def _front_matter(readme: Path) -> dict[str, Any]:
    if not readme.is_file():
        return {}
    text = readme.read_text(encoding="utf-8-sig", errors="replace")
    if not text.startswith("---"):
        return {}
    try:
        front = yaml.safe_load(text[3:].partition("\n---")[0])
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: a date such as 2020-99-99
        return {}
    return front if isinstance(front, dict) else {}


def _entries(front: Mapping[str, Any], key: str) -> Iterator[dict[str, Any]]:
    """The mappings under `key`, which holds one or a list of them."""
    value = front.get(key)
    yield from (entry for entry in (value if isinstance(value, list) else [value]) if isinstance(entry, dict))
