"""How to read the table of protocols, and what the way of reporting does to its numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bench.analysis.lens import Lens
from bench.analysis.protocols import Protocol, Report
from bench.analysis.tuning_results import Group
from bench.analysis.wording import difference_text, in_unit, metric_text, number_text

EXPLANATIONS = {
    Protocol.LAST: "Last step, mean ± sd over seeds (n)",
    Protocol.HELD_OUT: "best held-out step, with the lowest loss on training rows that no method trains on",
    Protocol.MEDIAN_SEED: "median seed, the median over seeds",
    Protocol.BEST_EPOCH: "best epoch, in each training the epoch of the best score, mean ± sd over seeds (n)",
    Protocol.BEST_SEED: "best seed, the best of n trainings",
    Protocol.BEST_EPOCH_OF_BEST_SEED: "best epoch of best seed, the best score of any epoch of any of n trainings",
}
OPTIMISTIC = (
    "Optimistic, as often published: chosen by the scores that are shown. It grows with the number of epochs and seeds "
    "even where nothing is learned, and no interval of such a maximum is honest, so it has none."
)
MAX_PLACES = 8  # that a footnote names
ROUNDING = 1e-12  # a smaller difference is none


def protocol_notes(lens: Lens) -> Iterator[str]:
    yield f"{'; '.join(EXPLANATIONS[protocol] for protocol in lens.protocols)}."
    if any(protocol.optimistic for protocol in lens.protocols):
        yield OPTIMISTIC
    if lens.compares:
        yield (
            "Differences: over the seeds that both methods have, each reported in the same way. [95%]: as in the table "
            f"of comparisons, for {lens.reported.value} alone, by which the other tables report."
        )
    yield from _findings(lens)
    yield from _over_budget(lens)
    alone = [lens.name(group) for group in lens.groups if not lens.results.seeds_planned(*lens.first(group))]
    if alone:
        where = "; ".join(alone) if len(alone) <= MAX_PLACES else f"{len(alone)} rows"
        yield f"No difference, the study does not ask for {lens.results.labels[lens.baseline]}: {where}."


def _findings(lens: Lens) -> Iterator[str]:
    """What the way of reporting does to scores and to differences of one unit, where it does most."""
    for unit in dict.fromkeys(lens.metric(group).unit for group in lens.groups):
        yield from _findings_of(lens, [group for group in lens.groups if lens.metric(group).unit == unit])


def _findings_of(lens: Lens, groups: Sequence[Group]) -> Iterator[str]:
    widest = _widest(lens, groups, lens.report)
    if widest:
        gap, group, protocol, values = widest
        facts = lens.metric(group)
        yield (
            f"The way of reporting alone moves a score by up to {in_unit(facts, number_text(gap))}: "
            f"{lens.name(group)}, {metric_text(facts, values[0])} by {lens.reported.value}, "
            f"{metric_text(facts, values[1])} by {protocol.value}."
        )
    compared = [group for group in groups if lens.is_compared(group)]
    widest = _widest(lens, compared, lens.difference)
    if widest:
        gap, group, protocol, values = widest
        facts = lens.metric(group)
        turned = sum(_changes_sign(list(_values(lens, group, lens.difference).values())) for group in compared)
        yield (
            f"It moves a difference to {lens.results.labels[lens.baseline]} by up to "
            f"{in_unit(facts, number_text(gap))}: {lens.name(group)}, {difference_text(facts, values[0])} by "
            f"{lens.reported.value}, {difference_text(facts, values[1])} by {protocol.value}. Comparisons in which it "
            f"decides who is ahead: {turned} of {len(compared)}."
        )


Reading = Callable[[Protocol, Group], Report | None]


def _values(lens: Lens, group: Group, reading: Reading) -> dict[Protocol, float]:
    return {protocol: found.value for protocol in lens.protocols if (found := reading(protocol, group))}


def _widest(
    lens: Lens, groups: Sequence[Group], reading: Reading
) -> tuple[float, Group, Protocol, tuple[float, float]] | None:
    """Where another protocol is farthest from the reported one: by how much, as tables show it, and both values."""
    gaps = []
    for group in groups:
        values = _values(lens, group, reading)
        ours = values.pop(lens.reported, None)
        if ours is not None:
            shown = lens.metric(group).shown
            gaps += [(shown(abs(value - ours)), group, protocol, (ours, value)) for protocol, value in values.items()]
    return max(gaps, key=lambda gap: gap[0], default=None)


def _changes_sign(values: Sequence[float]) -> bool:
    return min(values, default=0.0) < -ROUNDING and max(values, default=0.0) > ROUNDING


def _over_budget(lens: Lens) -> Iterator[str]:
    """How many epochs are in no protocol, by method."""
    counts = []
    for method, label in lens.results.labels.items():
        runs = [run for group in lens.groups if group[1] == method for run in lens.runs[group]]
        left_out, epochs = sum(run.over_budget for run in runs), sum(run.epochs for run in runs)
        if left_out:
            counts.append(f"{label} {left_out} of {epochs}")
    if counts:
        yield (
            f"Epochs left out of every protocol, since the adapter was still above its budget: {', '.join(counts)}. "
            "Fewer epochs to choose from make an optimistic score less so."
        )
