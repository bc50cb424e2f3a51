"""Which runs an arm needs, and which learning rate it is trained with."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from clsight.study.blocks import Arm
from clsight.study.keys import key_of
from clsight.study.planned_runs import Part, PlannedRun
from clsight.study.store import Store
from clsight.study.study_file import Study

CHOSEN_BY: Final = "validation_accuracy"
"""What learning rates are chosen by."""

Runs = Mapping[str, PlannedRun]
"""Runs by key."""


@dataclass(frozen=True)
class Maker:
    """How runs of a study are asked for.

    Attributes:
        study: The study.
        module: Of the function that makes a run; part of its key.
        allowed: Tasks of the user's own that may be imported.
    """

    study: Study
    module: str
    allowed: frozenset[str]

    def tuning_runs(self, arm: Arm) -> dict[float, Runs]:
        """Return for each learning rate of the grid the runs that try it on validation data."""
        tuning = self.study.tuning
        if not arm.tuned or tuning is None:
            return {}
        return {
            rate: self._keyed(self._run(arm, rate, seed, "validation", 0) for seed in tuning.seeds)
            for rate in tuning.learning_rates
        }

    def runs(self, arm: Arm, rate: float) -> dict[int, tuple[str, PlannedRun]]:
        """Return for each seed of the study the arm's run and its key."""
        found = {}
        for seed in arm.seeds:
            run = self._run(arm, rate, seed, "test", self.study.probe_steps)
            found[seed] = (key_of(run, self.module), run)
        return found

    def rate(self, arm: Arm, store: Store) -> float:
        """Return the learning rate of an arm: the best on validation data, if it is tuned.

        The best has the highest mean accuracy over the seeds of tuning, of equals the lowest. A run that
        diverged or failed has no right answer.
        """
        tried = self.tuning_runs(arm)
        if not tried:
            return arm.settings.learning_rate
        means = {rate: _mean_accuracy(store, list(runs)) for rate, runs in tried.items()}
        return max(sorted(means), key=lambda rate: means[rate])

    def _run(self, arm: Arm, rate: float, seed: int, evaluate: Part, probe_steps: int) -> PlannedRun:
        return PlannedRun(
            settings=replace(arm.settings, learning_rate=rate, seed=seed),
            evaluate=evaluate,
            probe_steps=probe_steps,
            allow_task=arm.settings.task in self.allowed,
        )

    def _keyed(self, runs: Iterable[PlannedRun]) -> Runs:
        return {key_of(run, self.module): run for run in runs}


def _mean_accuracy(store: Store, keys: Sequence[str]) -> float:
    total = 0.0
    for key in keys:
        run = store.run(key) if store.has(key) else None
        accuracy = math.nan if run is None or run.diverged else run.outcome.get(CHOSEN_BY, math.nan)
        total += 0.0 if math.isnan(accuracy) else accuracy
    return total / len(keys)
