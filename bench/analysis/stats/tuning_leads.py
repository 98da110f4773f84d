"""Which of two methods is ahead after k trials, as far as the bands of their tuning curves show it.

A lead is a claim about medians: that of the best of k trials of one method is better than that of the other. The claims
about all pairs of a family hold together with the family's confidence, for all k. Where estimates cross or differ but
bands meet, nothing is claimed.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from bench.analysis.stats.tuning_curves import TuningCurve


@dataclass(frozen=True)
class Lead:
    """A stretch of numbers of trials, from `start` to `end`, both included, at which one method is ahead.

    Attributes:
        of_first: whether it is the first of the two methods that is ahead.
        lasts: whether the stretch ends only where the trials of the other method can tell no more (its curve's
            `reach`), or where one of the two has no more trials.
    """

    of_first: bool
    start: int
    end: int
    lasts: bool


def leads(first: TuningCurve, second: TuningCurve) -> tuple[Lead, ...]:
    """The stretches of k at which the bands of the two curves do not meet, in ascending order.

    None goes beyond the `reach` of the curve that is behind: from n trials nobody can tell how good the best of n would
    be another time. Raises ValueError for curves that were not made together by `tuning_curves`.

    >>> from bench.config.score_ranges import SHARE
    >>> from bench.analysis.stats.tuning_curves import tuning_curves
    >>> curves = tuning_curves({"good": [0.9 + k / 1000 for k in range(32)], "bad": [0.5] * 32}, SHARE)
    >>> leads(curves["good"], curves["bad"])
    (Lead(of_first=True, start=1, end=4, lasts=True),)
    """
    if first.family < 2 or _family(first) != _family(second):
        raise ValueError("expected two curves that were made together by `tuning_curves`")
    numbers = range(1, min(first.trials, second.trials) + 1)
    stretches = [(who, list(stretch)) for who, stretch in groupby(numbers, lambda k: _of_first(first, second, k))]
    return tuple(
        Lead(who, stretch[0], stretch[-1], stretch[-1] == min(numbers[-1], (second if who else first).reach))
        for who, stretch in stretches
        if who is not None
    )


def lead_sentence(first_name: str, first: TuningCurve, second_name: str, second: TuningCurve) -> str:
    """What the curves show of two methods, as one sentence. Raises ValueError as `leads` does.

    - "From 2 trials on AdaLoRA is ahead of LoRA, as far as 32 trials can tell: up to 4 (95% confidence)."
    - "With 1 trial LoRA is ahead of AdaLoRA, with 3 to 7 trials AdaLoRA is ahead of LoRA (95% confidence)."
    - "Neither LoRA nor AdaLoRA is shown to be ahead of the other (95% confidence); 8 trials can tell of 1 at most."
    - "Neither LoRA nor AdaLoRA is shown to be ahead of the other (95% confidence): 6 trials are too few to tell."
    """
    certainty = f"({100 * first.confidence:g}% confidence)"
    found = leads(first, second)
    if not found:
        neither = f"Neither {first_name} nor {second_name} is shown to be ahead of the other {certainty}"
        return f"{neither}{_what_could_be_told(first, second)}."
    names = {True: (first_name, second_name), False: (second_name, first_name)}
    if len(found) == 1 and found[0].lasts:
        lead, (ahead, behind) = found[0], names[found[0].of_first]
        tell = f"as far as {_trials((second if lead.of_first else first).trials)} can tell: up to {lead.end}"
        return f"From {_trials(lead.start)} on {ahead} is ahead of {behind}, {tell} {certainty}."
    parts = [f"with {_stretch(lead)} {' is ahead of '.join(names[lead.of_first])}" for lead in found]
    text = ", ".join(parts)
    return f"{text[0].upper()}{text[1:]} {certainty}."


def _family(curve: TuningCurve) -> tuple[object, ...]:
    return curve.scale, curve.confidence, curve.family


def _of_first(first: TuningCurve, second: TuningCurve, k: int) -> bool | None:
    """Whether the first is ahead at k trials (True) or the second (False); None if the bands meet."""
    is_better, index = first.scale.is_better, k - 1
    if is_better(first.worse[index], second.better[index]):
        return True
    return False if is_better(second.worse[index], first.better[index]) else None


def _what_could_be_told(first: TuningCurve, second: TuningCurve) -> str:
    shared = min(first.trials, second.trials)
    reach = min(shared, max(first.reach, second.reach))
    if not reach:
        return f": {_trials(shared)} {'is' if shared == 1 else 'are'} too few to tell"
    return f"; {_trials(shared)} can tell of {reach} at most"


def _stretch(lead: Lead) -> str:
    """'4 trials' or '1 to 2 trials'."""
    return _trials(lead.end) if lead.start == lead.end else f"{lead.start} to {_trials(lead.end)}"


def _trials(number: int) -> str:
    return f"{number} trial" if number == 1 else f"{number} trials"
