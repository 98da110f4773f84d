"""Which configs PEFT has and which fields each takes, read from its source: nothing of PEFT or torch is imported."""

from __future__ import annotations

import ast
import importlib.util
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench.errors import BenchError

# What the harness sets itself, from the budget, the recipe, the backbone, the task and the method's other keys.
OURS = frozenset({
    "r", "rank_pattern", "lora_alpha", "alpha", "alpha_pattern", "lora_dropout", "target_modules", "exclude_modules",
    "layers_to_transform", "layers_pattern", "layer_replication", "modules_to_save", "task_type", "peft_type",
    "inference_mode", "base_model_name_or_path", "revision", "auto_mapping", "peft_version",
})  # fmt: skip
TYPES: dict[str, tuple[type, ...]] = {"bool": (bool,), "int": (int,), "float": (int, float), "str": (str,)}
_CLASS = re.compile(r"^class (\w+)\b", re.MULTILINE)


@dataclass(frozen=True)
class ConfigClass:
    """A config class of PEFT: `fields` are the dataclass's, by name, with their annotation as it is written."""

    name: str
    fields: dict[str, str]
    bases: frozenset[str]

    @property
    def open(self) -> list[str]:
        """Fields that a method's file may set."""
        return sorted(self.fields.keys() - OURS)

    @property
    def usable(self) -> bool:
        """Whether it is an adapter on chosen matrices; not AdaLoRA, whose ranks we move ourselves."""
        return "PeftConfig" in self.bases and "target_modules" in self.fields and self.name != "AdaLoraConfig"

    def accepts(self, field: str, value: Any) -> bool:
        """Whether `value` fits a field of a plain type; other types are PEFT's to judge."""
        written = self.fields[field]
        plain = written.removeprefix("Optional[").removesuffix("]").removesuffix(" | None")
        if plain not in TYPES or (plain != written and value is None):
            return True
        return isinstance(value, TYPES[plain]) and (plain == "bool" or not isinstance(value, bool))


def config_class(name: str) -> ConfigClass | None:
    """The config called `name` if a method can use it. Raises BenchError where PEFT is not installed."""
    found = _read(name)
    return found if found is not None and found.usable else None


def config_names() -> list[str]:
    """Every config that a method can use."""
    return sorted(name for name in _files() if name.endswith("Config") and config_class(name) is not None)


@lru_cache(maxsize=128)
def _read(name: str) -> ConfigClass | None:
    """The class with the fields of all that it derives from."""
    file = _files().get(name)
    if file is None:
        return None
    (node,) = (n for n in _parsed(file).body if isinstance(n, ast.ClassDef) and n.name == name)
    fields: dict[str, str] = {}
    bases = {name}
    for base in filter(None, (_read(ast.unparse(base)) for base in node.bases)):
        fields |= base.fields
        bases |= base.bases
    for part in node.body:
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name) and _settable(part.value):
            fields[part.target.id] = ast.unparse(part.annotation)
    return ConfigClass(name, fields, frozenset(bases))


@lru_cache(maxsize=1)
def _files() -> dict[str, Path]:
    """Where each class that could be a config, or the base of one, is written."""
    spec = importlib.util.find_spec("peft")
    if spec is None or spec.origin is None:
        raise BenchError("the package peft is not installed")
    root = Path(spec.origin).parent
    files = [root / "config.py", *sorted(root.glob("tuners/*/config.py")), *sorted(root.glob("tuners/*.py"))]
    return {name: file for file in files for name in _CLASS.findall(file.read_text(encoding="utf-8"))}


@lru_cache(maxsize=64)
def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _settable(value: ast.expr | None) -> bool:
    """Whether a dataclass's field is an argument: not field(init=False)."""
    keywords = value.keywords if isinstance(value, ast.Call) else []
    return not any(k.arg == "init" and isinstance(k.value, ast.Constant) and k.value.value is False for k in keywords)
