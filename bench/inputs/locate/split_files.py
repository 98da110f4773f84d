"""Which files hold a split: as the README lists them, by the hub's naming, or as the task's `files` say.

The files of a split are looked up here and not by `datasets.load_dataset(folder, config)`. It refuses a folder that
holds one config of a data set whose README lists others (such as one task of GLUE), which is what a download of one
config and most mirrors are. Without a README it takes the splits of several configs for one data set. Paths and
addresses in a README may lead it out of the folder. It reads the shards that are there for the whole. And it serves
rows from its cache when a file was replaced by one with the same time of change.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bench.config.data import Data
from bench.errors import BenchError, nearest
from bench.inputs.locate.dataset_card import Card, data_files
from bench.inputs.locate.shards import check_numbered, check_shards

FORMATS = ("parquet", "csv", "tsv", "jsonl", "ndjson", "json", "arrow")
PACKINGS = ("gz", "bz2", "xz", "zst", "zip")
READ = f"{', '.join(FORMATS)}, also as {', '.join(PACKINGS)}"
_FILE = re.compile(
    rf"(?P<stem>.+?)(?:\.(?P<format>{'|'.join(FORMATS)}))?(?:\.(?P<packing>{'|'.join(PACKINGS)}))?", re.IGNORECASE
)
# Where the hub has the splits of a data set that names no config, if not at the top.
_IN_DEFAULT = ["default/", "default/data/"]
# Where the library datasets saves a split as a folder, this lists its files. Others beside them are caches.
SAVED_SPLIT = "state.json"


@dataclass(frozen=True)
class Kind:
    """The format of a file by its name: `format` is empty in a zip archive, whose member has a name of its own."""

    stem: str
    format: str
    packing: str

    @classmethod
    def of(cls, name: str) -> Kind | None:
        """None where the name is none of a format that is read."""
        match = _FILE.fullmatch(name)
        if match is None:
            return None
        stem, form, packing = match["stem"], (match["format"] or "").lower(), (match["packing"] or "").lower()
        return cls(stem, form, packing) if form or packing == "zip" else None


def names_in(folder: Path) -> list[str]:
    """The paths of all files in `folder`, with slashes. Hidden files and folders are left out."""
    names: list[str] = []
    above: dict[str, frozenset[str]] = {}  # what each folder and those above it really are
    for place, folders, files in os.walk(folder, followlinks=True):
        real, parents = os.path.realpath(place), above.get(os.path.dirname(place), frozenset())
        if real in parents:  # a link to a folder above
            folders.clear()
            continue
        above[place] = parents | {real}
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = Path(place).relative_to(folder)
        names += [(inside / name).as_posix() for name in files if not name.startswith(".")]
    return sorted(names)


def files_of_split(names: Sequence[str], card: Card, data: Data, split: str, folder: str) -> list[str]:
    """The files of a split among `names`, the paths of all files of the data set in `folder` or on the hub.

    >>> files_of_split(["cola/train-00000-of-00001.parquet"], Card(), task.data, "train", "mirror")
    ['cola/train-00000-of-00001.parquet']

    Raises BenchError where there are none, where a shard is missing, or where the split is there twice.
    """
    where = f"{data.title} ({data.config or 'no config'}), split {split!r}"
    _check_config(names, card, data)
    entry = card.chosen(data)
    listed = data_files(entry)
    base = str(entry.get("data_dir") or "").strip("/")
    if listed:
        chosen = _listed(names, listed.get(split, []), base, where)
    else:
        chosen = _by_name(names, _bases(names, data, base, split), split)
    if not chosen:
        raise BenchError(_nothing_found(names, card, data, split, listed, folder))
    check_format(chosen, where)
    check_shards([PurePosixPath(name) for name in chosen], where)
    if not listed:
        _check_one_form(chosen, split, where)
        check_numbered([PurePosixPath(name) for name in chosen], where)
    return chosen


def _check_config(names: Sequence[str], card: Card, data: Data) -> None:
    """Raises BenchError where the data set's own list of configs lacks the task's, and no folder is called so."""
    known = {*card.configs, *card.infos}
    if known and data.config not in {None, *known} and not any(name.startswith(f"{data.config}/") for name in names):
        raise BenchError(
            f"{data.title} has no config {data.config!r}: `config` should be one of {', '.join(sorted(known))}"
        )


def check_format(names: Sequence[str], where: str) -> None:
    """Raises BenchError where a file has none of the formats that are read, or where they have several formats."""
    kinds = {name: Kind.of(PurePosixPath(name).name) for name in names}
    strange = [name for name, kind in kinds.items() if kind is None]
    if strange:
        raise BenchError(f"{where}: {strange[0]} is of no format that is read ({READ})")
    formats = {(kind.format, kind.packing): name for name, kind in kinds.items() if kind}
    if len(formats) > 1:
        examples = " and ".join(sorted(formats.values())[:2])
        raise BenchError(f"{where}: {examples} are of several formats: a split has files of one format")


def _bases(names: Sequence[str], data: Data, base: str, split: str) -> list[str]:
    """The folders that may hold the split, as prefixes of names: those of the config where it has a folder."""
    if base:
        return [f"{base}/", f"{base}/data/"]
    config = data.config
    if config and any(name.startswith(f"{config}/") for name in names):
        return [f"{config}/", f"{config}/data/"]
    at_top = ["", "data/"]
    if config is None and not _by_name(names, at_top, split) and _by_name(names, _IN_DEFAULT, split):
        return _IN_DEFAULT
    return at_top


def _forms(split: str) -> dict[str, re.Pattern[str]]:
    """How the stem of a file may say that it is of `split`, below one of the folders that may hold it."""
    name = re.escape(split)
    return {
        "one file": re.compile(name),
        "shards": re.compile(rf"{name}-\d+-of-\d+(-\w+)?"),
        "numbered files": re.compile(rf"{name}[-_.]?\d+"),
        "a folder": re.compile(rf"{name}/[^/]+"),
    }


def _by_name(names: Sequence[str], bases: Sequence[str], split: str) -> list[str]:
    patterns = _forms(split).values()
    chosen = [name for name, stem in _stems(names, bases) if any(pattern.fullmatch(stem) for pattern in patterns)]
    saved = {PurePosixPath(name).parent for name in names if PurePosixPath(name).name == SAVED_SPLIT}
    return [
        name
        for name in chosen
        if PurePosixPath(name).parent not in saved or re.search(r"data-\d+-of-\d+\.arrow$", name)
    ]


def _stems(names: Sequence[str], bases: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each data file with its path below the first base that holds it, without the endings of its format."""
    for name in names:
        path = PurePosixPath(name)
        kind = Kind.of(path.name)
        if kind is None:
            continue
        for base in sorted(bases, key=len, reverse=True):
            if name.startswith(base):
                yield name, (path.parent / kind.stem).as_posix().removeprefix(base)
                break


def _splits(names: Sequence[str], bases: Sequence[str]) -> set[str]:
    """The splits that files below `bases` are named after."""
    splits = set()
    for _, stem in _stems(names, bases):
        first, slash, rest = stem.partition("/")
        if slash and "/" not in rest and re.search(r"\d", rest):
            splits.add(first)  # a folder of numbered files; train.csv in a folder is of a config
        elif not slash and first not in ("dataset_infos", "dataset_info", "dataset_dict", "state"):
            splits.add(re.sub(r"-\d+-of-\d+(-\w+)?$", "", first))
    return splits


def _check_one_form(names: Sequence[str], split: str, where: str) -> None:
    """Raises BenchError where the rows of a split are there twice: in one file and in shards, or in two folders."""
    found: dict[tuple[str, str], str] = {}
    for name in names:
        path = PurePosixPath(name)
        kind = Kind.of(path.name)
        folder, stem = path.parent.as_posix(), kind.stem if kind else ""
        form = next((form for form, pattern in _forms(split).items() if pattern.fullmatch(stem)), "a folder")
        found.setdefault((folder, form), name)
    if len(found) > 1:
        one, other = list(found.values())[:2]
        raise BenchError(f"{where}: {one} and {other} both hold it: remove one of them")


def _listed(names: Sequence[str], patterns: Sequence[str], base: str, where: str) -> list[str]:
    """The files that a README lists. Raises BenchError where a path leads out of the folder or to no file."""
    from fsspec.utils import glob_translate  # type: ignore[import-untyped]

    chosen: list[str] = []
    for pattern in patterns:
        if PurePosixPath(pattern).is_absolute() or ".." in PurePosixPath(pattern).parts or "://" in pattern:
            raise BenchError(f"{where}: path {pattern!r} in README.md leaves the data set's folder")
        pattern = (PurePosixPath(base) / pattern).as_posix()
        matches = [name for name in names if re.match(glob_translate(pattern), name)]
        if not matches:
            raise BenchError(f"{where}: README.md lists {pattern!r}, and no file is called so")
        chosen += [name for name in matches if name not in chosen]
    return chosen


def _nothing_found(
    names: Sequence[str], card: Card, data: Data, split: str, listed: dict[str, list[str]], folder: str
) -> str:
    """Why a split has no file: another config, another name of the split, or another format."""
    where = f"{data.title} ({data.config or 'no config'}): no file of split {split!r} in {folder}"
    if listed:
        return f"{where}{nearest(split, listed.keys() - {split})}"
    bases = _bases(names, data, "", split)
    folders = {parent.as_posix() for name in names for parent in PurePosixPath(name).parents} - {".", "data"}
    configs = set(card.configs) or {f for f in folders if _by_name(names, [f"{f}/", f"{f}/data/"], split)}
    if configs and data.config not in configs and bases[0] in ("", "default/"):
        return f"{where}; `config` should be one of {', '.join(sorted(configs))}"
    named_alike = [parent for name in names for parent in PurePosixPath(name).parents if Kind.of(parent.name)]
    for parent in named_alike:
        if parent.name.partition(".")[0] == split:
            return f"{where}: {parent} is a folder"
    other = [name for name in names if PurePosixPath(name).name.partition(".")[0] == split and not Kind.of(name)]
    if other:
        return f"{where}: {other[0]} is of no format that is read ({READ})"
    known = _splits(names, [*bases, *([] if data.config else _IN_DEFAULT)]) - {split}
    files = [name for name in names if Kind.of(PurePosixPath(name).name)]
    held = f"; it holds {', '.join(files[:3])}" if files else ""
    return f"{where}{nearest(split, known) or held}"
