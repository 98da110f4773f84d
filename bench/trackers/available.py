"""Whether a study's tracker is installed: trackers are no dependency of the project."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.config.study import Study


def check_tracker(study: Study) -> None:
    """Raises BenchError if the study names a tracker that is not installed."""
    name = study.tracker
    if name is not None and find_spec(name) is None:
        raise BenchError(
            f"study {study.name!r}: tracker: {name} is not installed; it is added by: uv pip install {name}"
        )
