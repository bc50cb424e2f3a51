"""What a study found: the numbers of every arm by seed, read from its folder."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import xarray as xr

from clsight.errors import StudyError, did_you_mean
from clsight.study.store import Store, StoredRun


@dataclass(frozen=True, kw_only=True)
class ArmResults:
    """The runs of an arm.

    Attributes:
        block: Of the study.
        labels: What tells the arm from the others of its block.
        settings: Of its runs, as plain values; seed and learning rate are in each run.
        learning_rate: They were trained with.
        tuned: Whether it was chosen on validation data.
        seeds: Of all its runs.
        runs: The finished ones by seed.
        failed: Error of those that failed, by seed.
    """

    block: str
    labels: Mapping[str, Any]
    settings: Mapping[str, Any]
    learning_rate: float
    tuned: bool
    seeds: tuple[int, ...]
    runs: Mapping[int, StoredRun]
    failed: Mapping[int, str]

    @property
    def diverged(self) -> int:
        """How many runs diverged."""
        return sum(run.diverged for run in self.runs.values())

    @property
    def strategy(self) -> str:
        """How [CLS] begins, whatever the study calls it."""
        return str(self.settings.get("strategy", self.labels.get("strategy", "")))

    @property
    def strategy_label(self) -> str:
        """What the study calls the strategy; all runs where it varies none."""
        return str(self.labels.get("strategy", "all runs"))

    def words(self, names: Collection[str] | None = None) -> str:
        """Return labels in words, the strategy first.

        Args:
            names: Which; None for all.
        """
        return setting_words({n: value for n, value in self.labels.items() if names is None or n in names})

    def values(self, metric: str) -> xr.DataArray:
        """Return a number per seed; NaN where it is undefined, and of runs that are not there.

        A run that diverged counts with the accuracy that it has, that of guessing: no strategy gains by runs
        that are left out.

        Args:
            metric: A name of the outcome.

        Returns:
            Values with the dim `seed`.
        """
        found = [_value(self.runs.get(seed), metric) for seed in self.seeds]
        return xr.DataArray(found, dims="seed", coords={"seed": list(self.seeds)}, name=metric)


@dataclass(frozen=True, kw_only=True)
class StudyResults:
    """All results of a study.

    Attributes:
        name: Of the study.
        question: What it asks, in words.
        level: Of its tests.
        arms: In the order of the study file.
        primaries: The declared comparisons, as plain values.
        study_file: Lines of the file that asked for it, every default included.
    """

    name: str
    question: str
    level: float
    arms: tuple[ArmResults, ...]
    primaries: tuple[Mapping[str, Any], ...]
    study_file: tuple[str, ...] = ()

    def arm(self, block: str, labels: Mapping[str, Any]) -> ArmResults:
        """Return the arm of a block with these labels."""
        (found,) = (arm for arm in self.arms if arm.block == block and arm.labels == labels)
        return found

    def check_metric(self, metric: str) -> None:
        """Raise StudyError if runs are finished and none has a number of that name."""
        names = {name for arm in self.arms for run in arm.runs.values() for name in run.outcome}
        if names and metric not in names:
            step = did_you_mean(metric, names)
            raise StudyError("metric", expected="a number of the outcome", got=repr(metric), next_step=step)


def results_of(store: Store) -> StudyResults:
    """Return the results in the folder of a study, whether it is finished or not.

    Raises:
        StudyError: If it is no study's folder, or files of a run were changed.
    """
    plan = store.plan()
    arms = tuple(_arm(store, told) for told in plan["arms"])
    return StudyResults(
        name=plan["name"],
        question=plan["question"],
        level=plan["level"],
        arms=arms,
        primaries=tuple(plan["primaries"]),
        study_file=tuple(plan["study_file"]),
    )


def setting_words(labels: Mapping[str, Any]) -> str:
    """Return settings by name in words, the strategy first."""
    order = sorted(labels, key=lambda name: name != "strategy")
    told = (str(labels[n]) if n == "strategy" else f"{n} {setting_word(labels[n])}" for n in order)
    return ", ".join(told)


def setting_word(value: Any) -> str:
    """Return the value of a setting as it is told."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def _arm(store: Store, told: Mapping[str, Any]) -> ArmResults:
    keys = {int(seed): key for seed, key in told["keys"].items()}
    failures = {seed: store.failure(key) for seed, key in keys.items()}
    return ArmResults(
        block=told["block"],
        labels=told["labels"],
        settings=told["settings"],
        learning_rate=told["learning_rate"],
        tuned=told["tuned"],
        seeds=tuple(keys),
        runs={seed: store.run(key) for seed, key in keys.items() if store.has(key)},
        failed={seed: error for seed, error in failures.items() if error},
    )


def _value(run: StoredRun | None, metric: str) -> float:
    if run is None:
        return math.nan
    value = run.outcome.get(metric, math.nan)
    return value if math.isfinite(value) else math.nan
