"""Metrics of the library `evaluate`, as a task's `metrics` names them: evaluate:MODULE[:KEY[/SCALE]].

evaluate:chrf                 the module `chrf`, if it is on this machine
evaluate:./my_metric          the module in my_metric/my_metric.py, or evaluate:./my_metric.py
evaluate:chrf:score           the entry `score` of what the module returns
evaluate:chrf:score/100       the same divided by 100, since records hold fractions
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import PurePath
from typing import Any

from bench.errors import BenchError

PREFIX = "evaluate:"
_FORM = re.compile(r"evaluate:(?P<module>[^:\s]+)(:(?P<key>[A-Za-z_][\w.-]*)(/(?P<scale>\d+(\.\d+)?))?)?")


@dataclass(frozen=True)
class EvaluateMetric:
    """One metric of an `evaluate` module. `key`: which entry of the result counts; None: see `key_in`."""

    module: str
    key: str | None = None
    scale: float = 1.0

    @classmethod
    def parse(cls, name: str) -> EvaluateMetric | None:
        """The metric that a task calls `name`; None for the harness's own. Raises ValueError for a malformed name."""
        if not name.startswith(PREFIX):
            return None
        match = _FORM.fullmatch(name)
        if match is None or float(match["scale"] or 1) == 0:
            raise ValueError(
                f"{name!r}: expected evaluate:MODULE, evaluate:MODULE:KEY or evaluate:MODULE:KEY/SCALE, "
                "such as evaluate:chrf:score/100"
            )
        return cls(match["module"], match["key"], float(match["scale"] or 1))

    @property
    def is_path(self) -> bool:
        """Whether the module is named by the path of its file or folder."""
        return "/" in self.module or self.module.endswith(".py")

    @property
    def short_name(self) -> str:
        """The name of the module without its folder: my_metric."""
        return PurePath(self.module).stem if self.is_path else self.module

    @property
    def label(self) -> str:
        """How tables and figures call the metric."""
        return f"{self.short_name} {self.key}" if self.key else self.short_name

    def value_in(self, result: Mapping[str, Any]) -> float | None:
        """The number in what the module returned, divided by the scale; None where it is not finite.

        Raises BenchError as `key_in` does.
        """
        value = float(result[self.key_in(result)]) / self.scale
        return value if math.isfinite(value) else None

    def key_in(self, result: Mapping[str, Any]) -> str:
        """Which entry of what the module returned is the metric.

        Without a key this is the only number, else the entry with the module's name, else the entry `score`.
        Raises BenchError where that leaves the choice open, or the entry is no number.
        """
        numbers = {key: value for key, value in result.items() if isinstance(value, Real)}
        usual = [key for key in (self.short_name, "score") if key in numbers]
        key = self.key or (next(iter(numbers)) if len(numbers) == 1 else next(iter(usual), None))
        if key is None or key not in numbers:
            wanted = f"no number {key!r}" if key else "no entry that is clearly the score"
            have = ", ".join(numbers) or "none"
            raise BenchError(
                f"metric {PREFIX}{self.module}: its result has {wanted}; name one of its numbers ({have}), "
                f"as in {PREFIX}{self.module}:KEY"
            )
        return key
