"""What a reader must know of a tuning: how recipes were found, how the trials went, and why it may be no fair one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bench.analysis.results import Results
from bench.analysis.tuning_edges import edges
from bench.analysis.tuning_results import Group, GroupTuning
from bench.analysis.tuning_wording import SHORT, group_text, listed, trials_text, value_text, values_text
from bench.analysis.wording import FAILURE_WORDS, unit_text
from bench.config.tuning import Dimension, Tuning


def recipe_notes(results: Results) -> Iterator[str]:
    """How the recipes of the study's cells were found; nothing for a study that neither tunes nor takes values over."""
    tuning = results.tuning
    if not tuning:
        return
    keys = ", ".join(tuning.keys) or "nothing"
    if tuning.tuning is not None:
        yield (
            f"{keys} tuned per task × method × budget with {_trials_each(results, tuning.tuning)} each on "
            f"{tuning.tuning.holdout_rows:,} held-out training rows (docs/tuning.md); chosen values: table tuning."
        )
    for source, digest in _sources(tuning.groups):
        yield (
            f"{keys} taken over per task × method × budget from {source} (SHA-256 {digest[:SHORT]}), not tuned in this "
            "study; values: table tuning."
        )


def tuning_notes(results: Results) -> Iterator[str]:
    """How points were drawn and chosen, and how the trials went, as footnotes of the table of tuning."""
    tuning = results.tuning
    if tuning.tuning is not None:
        yield _protocol(results, tuning.tuning)
        yield _chosen_by(tuning.tuning, tuning.groups)
    else:
        yield ("Held-out scores and numbers of trials are those of the study that tuned; they cost this study nothing.")
    yield from _at_edges(results)
    yield from _failed(results)
    yield from _saved(tuning.tuning, tuning.groups)


def tuning_cautions(results: Results) -> Iterator[str]:
    """Why methods were not tuned alike, or not as the study says."""
    tuning = results.tuning
    for task, budget in tuning.panels:
        numbers = {results.labels[method]: _trials(group) for method, group in tuning.panel(task, budget).items()}
        if len(set(numbers.values())) > 1:
            counts = ", ".join(f"{label} {number}" for label, number in numbers.items())
            name = results.task_labels[task]
            yield f"Unequal tuning, {name}, {budget}: numbers of recorded trials differ ({counts})."
    missing = [
        f"{group_text(name, results)} ({len(group.trials)} of {group.planned} trials recorded)"
        for name, group in tuning.groups.items()
        if group.choice is not None and not group.complete
    ]
    if missing:
        yield f"Trained with values whose trials are missing now: {listed(missing)}."
    failed = [
        f"{group_text(name, results)} ({group.statuses['failed']} of {group.planned})"
        for name, group in tuning.groups.items()
        if group.statuses["failed"]
    ]
    if failed:
        yield f"Trials failed for another reason than memory or divergence, and count as the worst: {listed(failed)}."
    if tuning.outdated:
        yield f"{len(tuning.outdated)} records of trials answer an older spec of the study and are left out."


def _trials(group: GroupTuning) -> int:
    """Number of trials that the values were chosen from: those recorded here, or those of the file taken over."""
    return len(group.trials) if group.points else len(group.choice.trials) if group.choice else 0


def _sources(groups: Mapping[Group, GroupTuning]) -> list[tuple[str, str]]:
    """The files that values were taken over from, and their hashes."""
    choices = [group.choice for group in groups.values() if group.choice is not None]
    return list(dict.fromkeys((c.source, c.sha256 or "") for c in choices if c.source is not None))


def _protocol(results: Results, tuning: Tuning) -> str:
    drawn = "the full grid" if tuning.grid_size else f"drawn by {_sampler(tuning)} with seed {tuning.sampler_seed}"
    space = "; ".join(f"{key} {_dimension_text(dimension)}" for key, dimension in tuning.space.items())
    return (
        f"The same for every method of a task: {tuning.points} points ({drawn}; {space}), "
        f"{_seeds_text(results, tuning)}, and the {tuning.holdout_rows:,} held-out rows of the training split that a "
        "trial is scored on and not trained on. The reported splits are not read by trials."
    )


def _trials_each(results: Results, tuning: Tuning) -> str:
    """'4 trials', or '12 trials (4 points × 3 seeds; 5 on CoLA)'."""
    points, seeds = tuning.points, len(tuning.seeds)
    own = "".join(f"; {len(of_task)} on {name}" for name, of_task in _own_seeds(results, tuning))
    more = f" ({points} points × {seeds} seed{'s' if seeds > 1 else ''}{own})" if seeds > 1 or own else ""
    return trials_text(points * seeds) + more


def _seeds_text(results: Results, tuning: Tuning) -> str:
    """'trial seed 100', or 'trial seeds 100, 101, on CoLA 100, 101, 102'."""
    own = "".join(f", on {name} {values_text(seeds)}" for name, seeds in _own_seeds(results, tuning))
    return f"trial {'seed' if len(tuning.seeds) == 1 else 'seeds'} {values_text(tuning.seeds)}{own}"


def _own_seeds(results: Results, tuning: Tuning) -> list[tuple[str, list[int]]]:
    """The labels of tasks that have trial seeds of their own, with these."""
    return [(name, tuning.seeds_of(task)) for task, name in results.task_labels.items() if task in tuning.task_seeds]


def _sampler(tuning: Tuning) -> str:
    return "a scrambled Sobol sequence" if tuning.sampler == "sobol" else "independent random draws"


def _dimension_text(dimension: Dimension) -> str:
    if dimension.values is not None:
        return f"one of {values_text(dimension.values)}"
    scale = " on a log scale" if dimension.scale == "log" else ""
    return f"from {dimension.lowest:g} to {dimension.highest:g}{scale}"


def _chosen_by(tuning: Tuning, groups: Mapping[Group, GroupTuning]) -> str:
    several = any(len(seeds) > 1 for seeds in (tuning.seeds, *tuning.task_seeds.values()))
    over = ", as a mean over trial seeds" if several else ""
    rungs = ", among the points that went on longest" if tuning.halving is not None else ""
    if tuning.choose_by == "loss":
        best, ties, shown = "lowest loss", "the point drawn first", "the loss"
    else:
        facts = [group.facts for group in groups.values()]
        metrics = ", ".join(dict.fromkeys(one.label for one in facts))
        best, ties = (
            f"best score in the task's first metric ({metrics})",
            "the lower loss, then to the point drawn first",
        )
        shown = unit_text(facts)
    if tuning.choose == "one_standard_error":
        best = f"{best}, or the first before it whose mean is within one standard error (paired over trial seeds),"
    return (
        f"Chosen: the point with the {best} on the held-out rows{over}{rungs}; ties go to {ties}. Held-out "
        f"score: {shown}, mean ± sd over trial seeds (n). It is the best of several, so it flatters: on new rows the "
        "point is expected to do worse."
    )


def _at_edges(results: Results) -> Iterator[str]:
    places = [
        f"{group_text(name, results)} ({key} {value_text(group.choice.values[key])} is the {end} of {number})"
        for name, group in results.tuning.groups.items()
        if group.choice is not None
        for key, (end, number) in edges(group).items()
    ]
    if places:
        yield f"At the edge of what was tried, so that a better value may lie beyond: {listed(places)}."


def _failed(results: Results) -> Iterator[str]:
    places = []
    for name, group in results.tuning.groups.items():
        faults = [f"{n} {FAILURE_WORDS[status]}" for status, n in sorted(group.statuses.items()) if status != "ok"]
        undefined = sum(trial.status == "ok" and trial.score(group.by) is None for trial in group.trials)
        faults += [f"{undefined} undefined"] if undefined else []
        if faults:
            places.append(f"{group_text(name, results)} ({', '.join(faults)} of {group.planned})")
    if places:
        yield f"Trials without a score, which count as the worst: {listed(places)}."


def _saved(tuning: Tuning | None, groups: Mapping[Group, GroupTuning]) -> Iterator[str]:
    """What successive halving saved, from the steps that were trained and the rungs at which trials stopped."""
    if tuning is None or tuning.halving is None:
        return
    trained = whole = 0.0
    stopped = 0
    for trial in (trial for group in groups.values() for trial in group.trials if trial.status == "ok"):
        rung = trial.stopped_at_rung
        trained += trial.steps
        whole += trial.steps if rung is None else trial.steps / tuning.rungs[rung - 1]
        stopped += rung is not None
    if whole:
        rungs = ", ".join(f"{100 * rung:g}%" for rung in tuning.rungs)
        yield (
            f"Successive halving: at {rungs} of the steps the best 1 in {tuning.halving} went on. {stopped} trials "
            f"stopped early; {100 * trained / whole:.0f}% of the steps of full trials were trained (trials that failed "
            "are left out). Hours have the start-up of a trial's last rung alone."
        )
