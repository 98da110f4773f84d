"""The tracker's process: python -m bench.trackers.sink TRACKER FOLDER PROJECT RUN reads JSON lines and shows them.

The training sends {"config": ..., "sites": [...]} first, then the lines of curve.jsonl, and {"metrics": ...} at the
end. Nothing leaves the machine: wandb writes offline, trackio into its local database.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

STEP = "step"


class Sink(Protocol):
    def config(self, values: Mapping[str, Any]) -> None: ...

    def numbers(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files in FOLDER/RUN."""

    def __init__(self, folder: Path, _project: str, run: str) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._writer = EventFileWriter(str(folder / run))

    def config(self, values: Mapping[str, Any]) -> None:
        from tensorboard.plugins.text.summary_v2 import text_pb

        self._add(0, text_pb("config", json.dumps(values, indent=1)))

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._add(step, Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]))
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def _add(self, step: int, summary: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))


class WandB:
    """Offline runs in FOLDER/wandb, for `wandb sync`."""

    def __init__(self, folder: Path, project: str, run: str) -> None:
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        name = run.replace("/", "-")
        self._run = wandb.init(
            project=project,
            name=name,
            id=name,
            dir=str(folder),
            mode="offline",
            resume="allow",
            settings=wandb.Settings(x_disable_stats=True, disable_git=True, console="off"),
        )

    def config(self, values: Mapping[str, Any]) -> None:
        self._run.config.update(dict(values), allow_val_change=True)

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


class Trackio:
    """A local database in FOLDER, for `TRACKIO_DIR=FOLDER trackio show`."""

    def __init__(self, folder: Path, project: str, run: str) -> None:
        os.environ["TRACKIO_DIR"] = str(folder)
        import trackio

        self._trackio, self._project, self._run = trackio, project, run

    def config(self, values: Mapping[str, Any]) -> None:
        self._trackio.init(
            project=self._project, name=self._run.replace("/", "-"), config=dict(values), resume="allow", embed=False
        )

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        self._trackio.log(dict(values), step=step)

    def close(self) -> None:
        self._trackio.finish()


SINKS: dict[str, Callable[[Path, str, str], Sink]] = {"tensorboard": TensorBoard, "wandb": WandB, "trackio": Trackio}


def numbers_of(message: Mapping[str, Any], sites: list[str]) -> Iterator[tuple[str, float]]:
    """Names and numbers of a message. Nested names are joined by /; ranks are named by their matrices."""
    for key, value in message.items():
        if key == "live_ranks":
            yield "live_ranks", float(sum(value))
            yield from ((f"live_ranks/{site}", float(rank)) for site, rank in zip(sites, value, strict=False))
        elif isinstance(value, Mapping):
            yield from ((f"{key}/{name}", number) for name, number in numbers_of(value, sites))
        elif isinstance(value, (int, float)) and key != STEP:
            yield key, float(value)


def main(tracker: str, folder: str, project: str, run: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the training closes the pipe when it ends
    sink = SINKS[tracker](Path(folder), project, run)
    sites: list[str] = []
    step = 0
    for line in sys.stdin:
        message = json.loads(line)
        if "config" in message:
            sites = message["sites"]
            sink.config(message["config"])
            continue
        step = message.get(STEP, step)
        sink.numbers(step, dict(numbers_of(message, sites)))
    sink.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
