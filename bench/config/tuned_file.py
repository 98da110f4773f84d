"""tuned.yaml: the chosen point of every group of a study, which another study takes over with `recipe_from`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bench.config.catalog import Entry
from bench.config.cell import Cell, Choice
from bench.config.study import Study
from bench.config.types import Stored
from bench.config.yaml_source import build, place_of, read_yaml, yaml_text
from bench.errors import Problem, SpecError, nearest
from bench.files import digest_json
from bench.packaged import WORKFLOW

HEADING = """\
# The point with which each task x method x budget is trained, chosen on held-out rows of the training split.
# Written by the harness. Another study takes the values over with the key recipe_from and the path of this file.
"""
MAX_BYTES = 20_000_000  # a line of 130 bytes per trial


class TunedFile(Stored):
    """The content of a tuned.yaml. `choices` by task, method and budget. `sha256`: of everything else in the file."""

    study: str
    tuning: dict[str, Any]
    choices: dict[str, dict[str, dict[str, Choice]]]
    sha256: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the content without `sha256`."""
        return digest_json(self.model_dump(mode="json", exclude={"sha256"}))

    def choice(self, cell: Cell) -> Choice | None:
        """The choice of the group that is tuned for the cell."""
        task, method, budget = cell.tuned_group.split("/")
        return self.choices.get(task, {}).get(method, {}).get(budget)

    @property
    def groups(self) -> list[str]:
        """The groups that have a choice: 'cola/lora/small'."""
        return [
            f"{task}/{method}/{budget}"
            for task, methods in self.choices.items()
            for method, budgets in methods.items()
            for budget in budgets
        ]


def tuned_text(content: TunedFile) -> str:
    """The file's text."""
    data = content.model_copy(update={"sha256": content.digest}).model_dump(mode="json")
    for methods in data["choices"].values():
        for budgets in methods.values():
            for choice in budgets.values():
                for key in ("source", "sha256"):  # of values that were taken over themselves
                    del choice[key]
    return HEADING + yaml_text(data)


def read_tuned(file: Path) -> TunedFile:
    """The content of a tuned.yaml. Raises SpecError if it is no such file, or was changed after it was written."""
    data, places = read_yaml(file, most=MAX_BYTES)
    content = build(TunedFile, data, places, file)
    if content.sha256 != content.digest:
        message = "sha256: the file was changed after it was written; run the study that wrote it again"
        raise SpecError([Problem(file, message, *place_of(places, ("sha256",)))])
    return content


def taken_over(entry: Entry[Study]) -> TunedFile | None:
    """The content of the file that the study's `recipe_from` names; None if it names none. Raises SpecError."""
    file = file_taken_over(entry)
    return None if file is None else read_tuned(file)


def file_taken_over(entry: Entry[Study]) -> Path | None:
    """The file that the study's `recipe_from` names; None if it names none. Raises SpecError if there is no such file.

    The path is relative to the working folder or, if there is no such file, to the folder that holds workflow/; last
    comes the folder that holds the project's own workflow/, for a copy of it elsewhere.
    """
    name = entry.item.recipe_from
    if name is None:
        return None
    candidates = (Path(name), entry.file.parent.parent.parent / name, WORKFLOW.parent / name)
    file = next((file for file in candidates if file.is_file()), None)
    if file is None:
        place = place_of(entry.places, ("recipe_from",))
        raise SpecError([Problem(entry.file, f"recipe_from: no file {name}, here or beside the workflow", *place)])
    return file


def choice_for(entry: Entry[Study], content: TunedFile, cell: Cell) -> Choice | None:
    """The choice that `cell` takes over from `content`; None if the file has none for its group."""
    choice = content.choice(cell)
    if choice is None:
        return None
    return choice.model_copy(update={"source": entry.item.recipe_from, "sha256": content.sha256})


def missing_values(entry: Entry[Study], content: TunedFile, groups: Iterable[str]) -> Iterator[Problem]:
    """One problem if `content` has no values for some of the study's `groups`: the first of them, and how many more."""
    missing = [group for group in groups if group not in content.groups]
    if missing:
        more = f", nor for {len(missing) - 1} more groups" if len(missing) > 1 else ""
        message = f"recipe_from: {entry.item.recipe_from} has no values for {missing[0]}{more}"
        place = place_of(entry.places, ("recipe_from",))
        instead = "; with recipe_from=null the study's own recipe counts for all"
        yield Problem(entry.file, message + nearest(missing[0], content.groups) + instead, *place)
