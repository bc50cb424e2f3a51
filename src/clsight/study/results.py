"""What came out of a study: a row per run, and the answers to what was declared beforehand."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import xarray as xr

from clsight import statistics
from clsight.errors import StudyError
from clsight.study.blocks import Arm
from clsight.study.conduct import jobs_of
from clsight.study.primaries import EQUIVALENCE, Primary
from clsight.study.store import Store
from clsight.study.study_file import Study

_POWER: Final = 0.8


@dataclass(frozen=True)
class Answer:
    """What a declared comparison found.

    Attributes:
        primary: What was declared.
        difference: Mean of a − b over seeds, in the unit of the metric.
        low: Lower end of its 95 % interval, bootstrapped over seeds.
        high: Upper end.
        p_value: Of the declared test.
        p_adjusted: By Holm over all declared comparisons.
        verdict: different, equivalent, inconclusive, or missing.
        sentence: All of this in words.
    """

    primary: Primary
    difference: float
    low: float
    high: float
    p_value: float
    p_adjusted: float
    verdict: str
    sentence: str


def table_of(study: Study, folder: str | Path) -> pd.DataFrame:
    """Return a row per run that is compared: block, what the block varies, seed, rate, and every number.

    Runs that are not there yet have NaN and `state` missing; others are done, diverged or failed.

    Raises:
        StudyError: If there is no such folder.
    """
    if not Path(folder).is_dir():
        raise StudyError(
            str(folder),
            expected="the folder of a study",
            got="none",
            next_step="Run it first: clsight study run FILE",
        )
    store = Store(folder)
    rows = [row for arms in study.arms.values() for arm in arms for row in _rows(study, arm, store)]
    return pd.DataFrame(rows)


def _rows(study: Study, arm: Arm, store: Store) -> Iterator[dict[str, object]]:
    for job in jobs_of(study, arm, store):
        run = store.find(job)
        state = (
            "missing" if run is None else "failed" if run.error else "diverged" if run.diverged else "done"
        )
        yield {
            "block": arm.block,
            **arm.labels,
            "seed": job.settings.seed,
            "rate": job.settings.learning_rate,
            "state": state,
            "error": "" if run is None else run.error.strip().rpartition("\n")[2],
            "key": job.key,
            **({} if run is None else run.outcome),
        }


def values_of(table: pd.DataFrame, arm: Arm, metric: str) -> xr.DataArray:
    """Return a number of the runs of an arm, by seed.

    Raises:
        StudyError: If no run has it.
    """
    chosen = table["block"] == arm.block
    for name, value in arm.labels.items():
        chosen &= table[name] == value
    if metric not in table:
        raise StudyError(
            metric,
            expected="a number that runs have",
            got="none of that name",
            next_step=f"Choose one of {', '.join(map(str, table.select_dtypes('number').columns))}",
        )
    rows = table[chosen].set_index("seed")[metric].astype(float)
    return xr.DataArray(rows.to_numpy(), dims="seed", coords={"seed": rows.index.to_numpy()}, name=metric)


def answers(study: Study, table: pd.DataFrame) -> list[Answer]:
    """Return what each declared comparison found, p-values adjusted by Holm over all of them."""
    pairs = [
        tuple(values_of(table, arm, primary.metric) for arm in (primary.a, primary.b))
        for primary in study.primaries
    ]
    tests = [
        _test(primary, a, b, study.level) for primary, (a, b) in zip(study.primaries, pairs, strict=True)
    ]
    p_values = xr.DataArray([float(test["p_value"]) for test in tests], dims="primary")
    adjusted = statistics.holm(p_values).values.tolist() if tests else []
    return [
        _answer(primary, pair, float(test["p_value"]), float(p), study.level)
        for primary, pair, test, p in zip(study.primaries, pairs, tests, adjusted, strict=True)
    ]


def _test(primary: Primary, a: xr.DataArray, b: xr.DataArray, level: float) -> xr.Dataset:
    if primary.test == EQUIVALENCE:
        assert primary.margin is not None  # checked with the study file
        return statistics.equivalence(a, b, margin=primary.margin, level=level)
    return statistics.paired_permutation(a, b, level=level)


def _answer(
    primary: Primary, pair: Sequence[xr.DataArray], p_value: float, p_adjusted: float, level: float
) -> Answer:
    difference = pair[0] - pair[1]
    interval = statistics.bootstrap(difference, over="seed")
    estimate, low, high = (float(interval[name]) for name in ("estimate", "low", "high"))
    if np.isnan(p_value):
        verdict = "missing" if bool(difference.isnull().any()) else "inconclusive"
    elif p_adjusted > level:
        verdict = "inconclusive"
    else:
        verdict = "equivalent" if primary.test == EQUIVALENCE else "different"
    where = "" if np.isnan(low) else f" (95 % {low:+.3f} to {high:+.3f})"
    margin = f" within ±{primary.margin:g}" if primary.test == EQUIVALENCE else ""
    test = "no p-value" if np.isnan(p_value) else f"p = {p_value:.2g}, Holm {p_adjusted:.2g}"
    sentence = (
        f"{primary.name}: {verdict}{margin}; {estimate:+.3f}{where}, {test}, n = {difference.sizes['seed']}"
        f"{_power(primary, difference, level) if verdict == 'inconclusive' else ''}."
    )
    return Answer(primary, estimate, low, high, p_value, p_adjusted, verdict, sentence)


def _power(primary: Primary, difference: xr.DataArray, level: float) -> str:
    """Return what seeds would have shown equivalence, where the declared ones could not."""
    if primary.test != EQUIVALENCE or primary.margin is None or difference.sizes["seed"] < 2:
        return ""
    spread = float(difference.std("seed", ddof=1))
    if not spread > 0:
        return ""
    power = statistics.power_of_equivalence(
        spread, difference.sizes["seed"], margin=primary.margin, level=level
    )
    if float(power) >= _POWER:
        return f" (power {float(power):.2f})"
    needed = statistics.seeds_for_equivalence(spread, margin=primary.margin, level=level, power=_POWER)
    return f" (power {float(power):.2f}; {int(needed['n'])} seeds would have {_POWER:g})"


def summary(study: Study, table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return a row per arm: mean of a number over seeds, 95 % interval, n, how many diverged or failed."""
    rows = []
    for arms in study.arms.values():
        for arm in arms:
            values = values_of(table, arm, metric)
            states = states_of(table, arm)
            interval = statistics.bootstrap(values, over="seed", skipna=True)
            told = {name: float(interval[name]) for name in ("estimate", "low", "high")}
            rows.append(
                {"block": arm.block, **arm.labels, **told, "n": int(values.notnull().sum()), **states}
            )
    return pd.DataFrame(rows)


def states_of(table: pd.DataFrame, arm: Arm) -> dict[str, int]:
    """Return how many runs of an arm diverged, failed, and are missing."""
    chosen = table["block"] == arm.block
    for name, value in arm.labels.items():
        chosen &= table[name] == value
    return {
        state: int((table[chosen]["state"] == state).sum()) for state in ("diverged", "failed", "missing")
    }
