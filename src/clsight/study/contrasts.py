"""Every arm beside the one that differs by its strategy alone: exploratory, in each condition of a study."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import xarray as xr

from clsight.statistics import bootstrap
from clsight.study.results import ArmResults, StudyResults, setting_words

LOWER: Final = "lower"
HIGHER: Final = "higher"
UNCLEAR: Final = "unclear"


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Arms of a block that differ in their strategy alone.

    Attributes:
        block: Of the study.
        labels: What the arms share, of all that the block varies.
        arms: In the order of the study file; the others are compared with the first strategy of the block.
    """

    block: str
    labels: Mapping[str, Any]
    arms: tuple[ArmResults, ...]

    @property
    def words(self) -> str:
        """What the arms share, in words; empty where the block varies nothing but the strategy."""
        return setting_words(self.labels)


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """An arm and the one that it is compared with.

    Attributes:
        condition: Both are in.
        arm: The arm.
        reference: The arm with the first strategy of the block.
        metric: What is compared.
    """

    condition: Condition
    arm: ArmResults
    reference: ArmResults
    metric: str

    @cached_property
    def differences(self) -> xr.DataArray:
        """Arm − reference by `seed`."""
        return self.arm.values(self.metric) - self.reference.values(self.metric)

    @cached_property
    def interval(self) -> xr.Dataset:
        """Mean difference as `estimate` with its 95 % bootstrap interval over seeds, not adjusted."""
        return bootstrap(self.differences, over="seed", skipna=True)

    @property
    def reading(self) -> str:
        """`lower` or `higher` if the interval leaves out 0, else `unclear`."""
        return reading_of(self.interval)


@dataclass(frozen=True, kw_only=True)
class Change:
    """How a contrast changes with one setting, all others the same.

    Attributes:
        name: Of the setting.
        first: The contrast with one value of it.
        second: The same contrast with another.
    """

    name: str
    first: Contrast
    second: Contrast

    @cached_property
    def interval(self) -> xr.Dataset:
        """Mean of the second difference − the first, paired by seed, with its interval, not adjusted."""
        return bootstrap(self.second.differences - self.first.differences, over="seed", skipna=True)

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return reading_of(self.interval) != UNCLEAR

    @property
    def shared(self) -> str:
        """What else both conditions have, in words."""
        labels = self.first.condition.labels
        return setting_words({name: value for name, value in labels.items() if name != self.name})


def conditions_of(results: StudyResults) -> list[Condition]:
    """Return the conditions of a study: arms of a block that have all but the strategy in common."""
    found: dict[tuple[str, str], list[ArmResults]] = {}
    for arm in results.arms:
        found.setdefault((arm.block, repr(sorted(_shared(arm).items()))), []).append(arm)
    return [
        Condition(block=arms[0].block, labels=_shared(arms[0]), arms=tuple(arms)) for arms in found.values()
    ]


def contrasts_of(results: StudyResults, metric: str) -> list[Contrast]:
    """Return each arm that has a counterpart with the first strategy of its block, beside it.

    Raises:
        StudyError: If no run has such a metric.
    """
    results.check_metric(metric)
    return [
        Contrast(condition=condition, arm=arm, reference=other, metric=metric)
        for condition in conditions_of(results)
        for arm in condition.arms
        if (other := counterpart(arm, results)) is not None
    ]


def counterpart(arm: ArmResults, results: StudyResults) -> ArmResults | None:
    """Return the arm that has the first strategy of the block, and all else the same; None for itself."""
    of_block = [other for other in results.arms if other.block == arm.block]
    if "strategy" not in arm.labels:
        return None
    wanted = {**arm.labels, "strategy": of_block[0].labels["strategy"]}
    found = [other for other in of_block if other.labels == wanted and other is not arm]
    return found[0] if found and found[0].seeds == arm.seeds else None


def changes_of(contrasts: Sequence[Contrast]) -> list[Change]:
    """Return how each contrast changes where one setting of the block changes and no other."""
    return [
        Change(name=names[0], first=first, second=second)
        for number, first in enumerate(contrasts)
        for second in contrasts[number + 1 :]
        if len(names := list(_differing(first, second))) == 1
    ]


def reading_of(interval: xr.Dataset) -> str:
    """Return `lower` or `higher` if an interval leaves out 0, or all of several values are the same.

    Otherwise, and where there is no number, `unclear`.
    """
    low, high, estimate = (float(interval[name]) for name in ("low", "high", "estimate"))
    if math.isnan(low) and int(interval["n"]) > 1:
        low = high = estimate
    return LOWER if high < 0 else HIGHER if low > 0 else UNCLEAR


def _shared(arm: ArmResults) -> dict[str, Any]:
    return {name: value for name, value in arm.labels.items() if name != "strategy"}


def _differing(first: Contrast, second: Contrast) -> Iterator[str]:
    """Yield the settings that tell two contrasts apart; several if their strategies or blocks differ."""
    one, other = first.arm, second.arm
    if (one.block, one.labels["strategy"]) != (other.block, other.labels["strategy"]):
        yield from ("strategy", "strategy")
    yield from (name for name, value in _shared(one).items() if other.labels[name] != value)
