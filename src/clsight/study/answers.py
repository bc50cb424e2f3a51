"""The answers of a study: each declared comparison tested, and adjusted for all of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import xarray as xr

from clsight.statistics import (
    bootstrap,
    equivalence,
    holm,
    paired_permutation,
    power_of_equivalence,
    seeds_for_equivalence,
    spread_of_pairs,
)
from clsight.study.primaries import DIFFERENCE, EQUIVALENCE
from clsight.study.results import StudyResults

DIFFERENT: Final = "different"
EQUIVALENT: Final = "equivalent"
INCONCLUSIVE: Final = "inconclusive"

WANTED_POWER: Final = 0.8


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two arms to compare.

    Attributes:
        name: Of the comparison.
        a: Values with the dim `seed`.
        b: Values with the same seeds; a difference is a − b.
        words: What the two sides are called.
        where: What both have in common, in words.
        strategies: How [CLS] begins on the two sides.
        metric: What the values are.
        test: `difference` or `equivalence`.
        margin: Largest difference that does not matter, in the unit of the values; None if not declared.
        declared_after: How many compared runs were finished when it was declared.
    """

    name: str
    a: xr.DataArray
    b: xr.DataArray
    words: tuple[str, str] = ("a", "b")
    where: str = ""
    strategies: tuple[str, str] = ("", "")
    metric: str = "accuracy"
    test: str = DIFFERENCE
    margin: float | None = None
    declared_after: int = 0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of a comparison.

    Attributes:
        pair: What was compared.
        p_value: Of the declared test.
        adjusted: That p-value, adjusted by Holm for all comparisons of the family.
        family: How many these are.
        level: Of the tests.
        verdict: `different`, `equivalent` or `inconclusive`; never that there is no difference.
        reason: What the reader must know of these numbers.
    """

    pair: Pair
    p_value: float
    adjusted: float
    family: int
    level: float
    verdict: str
    reason: str

    @cached_property
    def interval(self) -> xr.Dataset:
        """Mean of a − b over seeds as `estimate`, its 95 % bootstrap interval `low` to `high`, pairs `n`."""
        return bootstrap((self.pair.a - self.pair.b).rename(self.pair.metric), over="seed")

    @cached_property
    def power(self) -> float:
        """The chance to find equivalence within the margin at a true difference of 0.

        With this many seeds and the spread that was seen; NaN without a margin or a spread.
        """
        if self.pair.margin is None or not self._spread > 0:
            return math.nan
        seeds = self.pair.a.size
        return float(power_of_equivalence(self._spread, seeds, margin=self.pair.margin, level=self.level))

    @cached_property
    def seeds_needed(self) -> int:
        """How many seeds give that chance 0.8; −1 if 10,000 do not, 0 if it is unknown."""
        if self.pair.margin is None or not self._spread > 0:
            return 0
        needed = seeds_for_equivalence(
            self._spread, margin=self.pair.margin, power=WANTED_POWER, level=self.level
        )
        return int(needed["n"])

    @cached_property
    def _spread(self) -> float:
        return float(spread_of_pairs(self.pair.a, self.pair.b)["estimate"])


def primary_answers(results: StudyResults) -> list[Answer]:
    """Return the answer to each comparison that was declared before the study had results.

    Raises:
        StudyError: If a metric is none of the outcome.
    """
    return answered([pair for pair in pairs_of(results) if not pair.declared_after], results.level)


def late_answers(results: StudyResults) -> list[Answer]:
    """Return the answer to each comparison declared when results were there: exploratory, a family apart."""
    return answered([pair for pair in pairs_of(results) if pair.declared_after], results.level)


def pairs_of(results: StudyResults) -> list[Pair]:
    """Return the declared comparisons with their values.

    Raises:
        StudyError: If a metric is none of the outcome.
    """
    found = []
    for told in results.primaries:
        results.check_metric(told["metric"])
        a, b = (results.arm(told["block"], told[side]) for side in ("a", "b"))
        differing = {name for name, label in a.labels.items() if b.labels[name] != label}
        found.append(
            Pair(
                name=told["name"],
                a=a.values(told["metric"]),
                b=b.values(told["metric"]),
                words=(a.words(differing), b.words(differing)),
                where=a.words(a.labels.keys() - differing),
                strategies=(a.strategy, b.strategy),
                metric=told["metric"],
                test=told["test"],
                margin=told.get("margin"),
                declared_after=told["declared_after"],
            )
        )
    return found


def answered(pairs: Sequence[Pair], level: float) -> list[Answer]:
    """Return the answer to each comparison of one family.

    Differences by the paired permutation test, equivalence by two one-sided t-tests, or, where all
    differences are the same and no t-test exists, by two one-sided permutation tests against the margin.
    Holm's rule holds the chance of any false finding in the family at `level`.

    Args:
        pairs: The family.
        level: Of its tests.

    Raises:
        StatisticsError: If a pair has other seeds on one side.
    """
    tests = [(_of_difference if pair.test == DIFFERENCE else _of_equivalence)(pair, level) for pair in pairs]
    if not tests:
        return []
    adjusted = holm(xr.DataArray([p_value for p_value, _ in tests], dims="comparison")).values.tolist()
    return [
        Answer(
            pair=pair,
            p_value=p_value,
            adjusted=p,
            family=len(pairs),
            level=level,
            verdict=_verdict(pair, p, level),
            reason=reason,
        )
        for pair, (p_value, reason), p in zip(pairs, tests, adjusted, strict=True)
    ]


def _of_difference(pair: Pair, level: float) -> tuple[float, str]:
    test = paired_permutation(pair.a, pair.b, level=level)
    return float(test["p_value"]), str(test["reason"].item())


def _of_equivalence(pair: Pair, level: float) -> tuple[float, str]:
    assert pair.margin is not None
    test = equivalence(pair.a, pair.b, margin=pair.margin, level=level)
    reason = str(test["reason"].item())
    difference = float(test["estimate"])
    if math.isnan(test["p_value"]) and not math.isnan(difference) and pair.a.size > 1:
        above = paired_permutation(pair.a + pair.margin, pair.b, alternative="greater", level=level)
        below = paired_permutation(pair.a - pair.margin, pair.b, alternative="less", level=level)
        told = f"all {pair.a.size} differences are {difference:g}, tested by sign flips around the margin"
        return max(float(above["p_value"]), float(below["p_value"])), told
    if float(test["p_difference"]) <= level:
        p_difference = f"p = {float(test['p_difference']):.2g}, not adjusted"
        reason = "; ".join(part for part in (reason, f"the difference is not 0 ({p_difference})") if part)
    return float(test["p_value"]), reason


def _verdict(pair: Pair, adjusted: float, level: float) -> str:
    if not adjusted <= level:
        return INCONCLUSIVE
    return EQUIVALENT if pair.test == EQUIVALENCE else DIFFERENT
