"""What `bench tuned` says and writes: the choice of every group of a study, from the records of its trials alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.config.cell import Choice
from bench.config.metric_facts import metric_facts
from bench.config.resolve import ResolvedStudy
from bench.config.tuned_file import TunedFile
from bench.errors import BenchError
from bench.paths import StudyPaths
from bench.tuning.choose import choose_from, why_not
from bench.tuning.edges import Edge, edges
from bench.tuning.outcomes import outcomes


@dataclass(frozen=True)
class GroupChoice:
    """What the trials of one group came to: the choice, or why there is none.

    edges: see `bench.tuning.edges`. scored: how many of its `trials` have a score.
    """

    group: str
    choice: Choice | None
    why_not: str = ""
    edges: dict[str, Edge] | None = None
    scored: int = 0
    trials: int = 0


def group_choices(study: ResolvedStudy, results: Path) -> list[GroupChoice]:
    """The choice of every group that the study tunes, in its order.

    Raises BenchError if the study tunes nothing, or if a record can't be read.
    """
    if not study.trials:
        raise BenchError(f"study {study.name!r} tunes nothing: it has no block tuning")
    paths = StudyPaths(results, study.name)
    groups = []
    for group, trials in study.trials.items():
        found = outcomes(trials, paths)
        choice = choose_from(trials, found) if found else None
        if found is None or choice is None:
            groups.append(GroupChoice(group, None, why_not(trials, paths)))
        else:
            scored = sum(outcome.scored for outcome in found)
            at_edge = edges([outcome.values for outcome in found], choice.values)
            groups.append(GroupChoice(group, choice, edges=at_edge, scored=scored, trials=len(trials)))
    return groups


def tuned_file(study: ResolvedStudy, groups: list[GroupChoice]) -> TunedFile:
    """The content of the study's tuned.yaml: the groups that have a choice. Raises BenchError if none has."""
    choices: dict[str, dict[str, dict[str, Choice]]] = {}
    for group in groups:
        if group.choice is not None:
            task, method, budget = group.group.split("/")
            choices.setdefault(task, {}).setdefault(method, {})[budget] = group.choice
    if not choices:
        raise BenchError(f"study {study.name!r}: no group has a choice; {groups[0].group}: {groups[0].why_not}")
    assert study.study.tuning is not None
    tuning = study.study.tuning.model_dump(mode="json", by_alias=True)
    return TunedFile(study=study.name, tuning=tuning, choices=choices)


def line_of(group: GroupChoice) -> str:
    """'cola/lora/small: learning_rate 0.004 (the highest tried), mcc 53.12 held out, 8 of 8 trials with a score'."""
    choice = group.choice
    if choice is None:
        return f"{group.group}: no choice: {group.why_not}"
    at_edge = group.edges or {}
    values = [f"{key} {value}{_edge_text(at_edge.get(key))}" for key, value in choice.values.items()]
    assert choice.score is not None
    by = metric_facts(choice.by)
    score = f"{by.shown(choice.score):z.{by.digits}f}"
    return (
        f"{group.group}: {', '.join(values)}; {choice.by} {score} on held-out rows; {group.scored} of {group.trials} "
        "trials have a score"
    )


def _edge_text(edge: Edge | None) -> str:
    return f" (at the edge: the {edge} that was tried)" if edge else ""
