"""The specs of a run's cells, of which some are known only once other cells are recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.config.cell import Choice
from bench.errors import BenchError
from bench.pipeline.study import Pipeline
from bench.progress.records_read import Recorded
from bench.tuning.choose import choose, with_these_choices
from bench.tuning.donors import with_known_ranks


class SpecHashes:
    """The hash of the spec of each trial and cell of `pipeline`.

    Trials decide the recipe of a tuned cell, and another cell the ranks of one that takes them over. Records are read
    for that, so it is done once, and again only where the records change that decide.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline, study = pipeline, pipeline.study
        wanted = dict.fromkeys(trial.group for trial in pipeline.trials)
        self._trials = {group: study.trials[group] for group in wanted}
        donors = (study.donor(cell) for cell in pipeline.cells)
        self._donors = list(dict.fromkeys(donor.id for donor in donors if donor is not None))
        self._of_trials: dict[str, Sequence[Recorded | None]] = {}
        self._of_donors: Sequence[Recorded | None] | None = None
        self._choices: dict[str, Choice | None] = {}
        self._chosen = study
        self._hashes: dict[str, str] = {}

    def known(self, read: Mapping[str, Recorded]) -> Mapping[str, str]:
        """By the id of each cell the hash; empty while it is not known. `read`: the records that there are, by id."""
        changed = False
        for group, trials in self._trials.items():
            recorded = [read.get(trial.id) for trial in trials]
            if recorded != self._of_trials.get(group):
                self._of_trials[group], before = recorded, self._choices.get(group)
                self._choices[group] = self._choice(group, recorded)
                changed = changed or self._choices[group] != before
        donors = [read.get(name) for name in self._donors]
        if changed:
            self._chosen = with_these_choices(self._pipeline.study, self._choices)
        if changed or donors != self._of_donors:
            self._of_donors = donors
            self._hashes = self._known()
        return self._hashes

    def _choice(self, group: str, recorded: Sequence[Recorded | None]) -> Choice | None:
        trials = self._trials[group]
        of_today = (found and found.spec_hash == trial.spec_hash for found, trial in zip(recorded, trials, strict=True))
        if not all(of_today):
            return None
        try:
            return choose(trials, self._pipeline.paths)
        except BenchError:  # a record that is damaged: `bench status` names it
            return None

    def _known(self) -> dict[str, str]:
        study = with_known_ranks(self._chosen, self._pipeline.options.results) if self._donors else self._chosen
        wanted = {cell.id for cell in self._pipeline.cells}
        cells = [*self._pipeline.trials, *(cell for cell in study.cells if cell.id in wanted)]
        return {cell.id: "" if study.awaits(cell) else cell.spec_hash for cell in cells}
