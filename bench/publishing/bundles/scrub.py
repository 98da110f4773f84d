"""What records say of the machine that made them, replaced by names that mean nothing elsewhere.

A record in a bundle is a valid one: its checksums are those of what stands in it. Nothing that a table or a figure
shows is replaced, and nothing that decides the hash of its cell: an absolute path there is refused.
"""

from __future__ import annotations

import getpass
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from bench.errors import BenchError
from bench.records.schema import Record

RULES = {
    "machine": "the host that a cell ran on is machine-1, the next machine-2, in fields and in texts",
    "user": "the name of a user, as paths to homes have it, is `user` in texts",
    "gpu": "the UUID of a GPU is gpu-1, the next gpu-2",
    "slurm": "job and partition of Slurm are job-1 and partition-1, the next job-2 and partition-2",
    "path": "an absolute path is … and its last part",
}
# Where people and programs write what they like. A word elsewhere, such as `cpu`, may be the name of a host by chance.
TEXTS = ("message", "log_tail", "notes", "training.discarded_checkpoints")
KEPT = ("spec", "cell")  # they are the cell's hash, or names that decide it
# Places in a spec that name files. They are part of the hash of the cell.
NAMED_IN_SPECS = ("backbone.path", "task.data.files", "task.metrics", "choice.source")
# From a slash that begins a word to the last slash before a colon, quote or line break, blanks included, and the word
# behind it: a folder's name may hold blanks. What stands between two paths is lost, too. No part of an address.
# Compilers take paths behind a letter (-I/usr/include), and a share of a network begins with two slashes.
_BEGINS = r"(?<![\w.~/…\-])~?|(?<=file://)|(?<=[\s\"'`,=]-[A-Za-z])|(?<![\w.~/…\-:])/"
_PATH = re.compile(rf"(?:{_BEGINS})/(?!/)(?:[^:\"'`\n]*/)?([^\s/:\"'`,;()\[\]{{}}]+)")
_HOME = re.compile(r"/(?:home|Users|users)/([^/\s:\"'`,;]+)")
_GPU = re.compile(r"\b(?:GPU|MIG)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


class Scrubber:
    """The names of one study: the same host has the same name in each of its records."""

    def __init__(self, records: Iterable[Record]) -> None:
        """records: all records of the study, in the order in which names are counted."""
        self.replaced: dict[str, set[str]] = {}
        self._counted: dict[str, dict[str, str]] = {}
        users = {_me()}
        for record in records:
            slurm = record.environment.get("slurm") or {}
            for host in (record.environment.get("machine"), slurm.get("node")):
                if host:
                    self._name("machine", _short(host))
            for _, text in _strings({name: _field(record, name) for name in TEXTS}, ""):
                users.update(_HOME.findall(text))
        hosts = self._counted.get("machine", {})
        self._words = {**dict.fromkeys(users, ("user", "user")), **{name: ("machine", hosts[name]) for name in hosts}}
        # A word of digits alone would be a number, wherever it stands. A host may be written with its domain.
        found = [word for word in self._words if word and not word.isdigit()]
        found.sort(key=lambda word: (-len(word), word))
        either = [re.escape(word) + (r"(?:\.[\w.-]*\w)?" if word in hosts else "") for word in found]
        self._word = re.compile(rf"(?<![\w-])(?:{'|'.join(either)})(?![\w-])") if found else None

    def scrubbed(self, record: Record) -> Record:
        """`record` without what the rules replace. Raises BenchError where its spec names an absolute path."""
        _refuse_paths_in(record)
        data = record.model_dump(mode="json", exclude={"checksums", *KEPT})
        environment = data["environment"]
        self._field(environment, "environment.machine", "machine", _short)
        self._field(environment, "environment.gpu_uuid", "gpu")
        if environment.get("slurm"):
            self._field(environment["slurm"], "environment.slurm.node", "machine", _short)
            self._field(environment["slurm"], "environment.slurm.job", "slurm", prefix="job")
            self._field(environment["slurm"], "environment.slurm.partition", "slurm", prefix="partition")
        changed = {name: self._texts(value, name) for name, value in data.items()}
        kept = {name: getattr(record, name) for name in KEPT}
        return Record.model_validate({**changed, **kept})

    def _field(
        self, owner: dict[str, Any], path: str, rule: str, key: Callable[[str], str] = str, prefix: str = ""
    ) -> None:
        name = path.rpartition(".")[2]
        if owner.get(name):
            owner[name] = self._name(prefix or rule, key(str(owner[name])))
            self._note(path, rule)

    def _name(self, prefix: str, value: str) -> str:
        known = self._counted.setdefault(prefix, {})
        return known.setdefault(value, f"{prefix}-{len(known) + 1}")

    def _note(self, path: str, rule: str) -> None:
        self.replaced.setdefault(path, set()).add(rule)

    def _texts(self, value: Any, path: str) -> Any:
        """`value` with the rules for texts applied to each of its strings."""
        if isinstance(value, dict):
            return {self._text(key, path): self._texts(item, _below(path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self._texts(item, path) for item in value]
        return self._text(value, path) if isinstance(value, str) else value

    def _text(self, text: str, path: str) -> str:
        def gpu(match: re.Match[str]) -> str:
            return self._name("gpu", match[0])

        def word(match: re.Match[str]) -> str:
            rule, name = self._words.get(match[0]) or self._words[_short(match[0])]
            self._note(path, rule)
            return name

        text = self._sub(_GPU, gpu, text, path, "gpu")
        text = self._sub(_PATH, r"…/\1", text, path, "path")
        return self._word.sub(word, text) if self._word and path.startswith(TEXTS) else text

    def _sub(self, pattern: re.Pattern[str], by: Any, text: str, path: str, rule: str) -> str:
        changed = pattern.sub(by, text)
        if changed != text:
            self._note(path, rule)
        return changed


def absolute_path_in(text: str) -> str | None:
    """The first absolute path in `text`; None if there is none.

    >>> absolute_path_in("recipe_from=/data/tuned.yaml")
    '/data/tuned.yaml'
    """
    found = _PATH.search(text)
    return found[0] if found else None


def _refuse_paths_in(record: Record) -> None:
    for place, text in _strings(record.spec, ""):
        if place.startswith(NAMED_IN_SPECS) and absolute_path_in(text):
            raise BenchError(
                f"{record.cell.id}: its spec names the absolute path {text} ({place}), which is part of its hash; "
                "a bundle holds no path of this machine: name it relative to the project's folder, and train it again"
            )


def _strings(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every string in JSON data and its place: 'task.data.files.train'."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _strings(item, _below(path, str(key)))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item, path)
    elif isinstance(value, str):
        yield path, value


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _field(record: Record, name: str) -> Any:
    """The field `name` of a record; with a dot, that field of its part."""
    part, _, rest = name.partition(".")
    value = getattr(record, part)
    return getattr(value, rest, None) if rest else value


def _short(host: str) -> str:
    """A host without its domain: Slurm and the system may name it either way."""
    return host.split(".")[0]


def _me() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        return ""
