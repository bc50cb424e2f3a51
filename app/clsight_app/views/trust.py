"""The faithfulness table as words: which measure is best, and which is not told apart from chance."""

import csv
import io
from dataclasses import dataclass
from typing import Final

import numpy as np
import xarray as xr

from clsight.faithfulness import METRICS
from clsight_app.jobs import JobState

_REMOVED: Final = {
    "mask": "hidden by the mask",
    "deletion": "cut out",
    "baseline": "replaced by the baseline {}",
}


@dataclass(frozen=True)
class Cell:
    """One score of the table.

    Args:
        score: The mean over samples; a dash where there is none.
        interval: From where to where; empty where there is none.
        is_best: Whether it is the best of its metric, the random ranking included.
        is_like_random: Whether its difference to the random ranking may be zero.
        reason: Why a number is missing or doubtful.
    """

    score: str
    interval: str
    is_best: bool
    is_like_random: bool
    reason: str


@dataclass(frozen=True)
class Row:
    """One measure of the table, with a cell for each metric."""

    label: str
    is_random: bool
    cells: tuple[Cell, ...]


def metric_title(name: str) -> str:
    """Return what a metric is called at the head of its column."""
    words = name.replace("_", " ").replace("aopc", "AOPC").replace("auprc", "AUPRC")
    return words.replace("leave one out tau", "leave-one-out τ")


def rows_of(table: xr.Dataset) -> list[Row]:
    """Return the lines of the table, the random ranking last.

    Args:
        table: What `clsight.faithfulness.summarize` gives.
    """
    names = table["measure"].values.tolist()
    order = [name for name in names if name != "random"] + ["random"]
    best = {metric: _best(table.sel(metric=metric)) for metric in table["metric"].values.tolist()}
    return [
        Row(
            str(table["label"].sel(measure=name).item()),
            name == "random",
            tuple(
                _cell(table.sel(measure=name, metric=metric), is_best=best[metric] == name) for metric in best
            ),
        )
        for name in order
    ]


def headline(table: xr.Dataset) -> str:
    """Return how the measures stand, in one sentence: which is best by how many metrics."""
    samples = table.attrs["samples"]
    wins: dict[str, int] = {}
    for metric in table["metric"].values.tolist():
        name = _best(table.sel(metric=metric))
        if name:
            wins[name] = wins.get(name, 0) + 1
    if not wins:
        if table["estimate"].isnull().all():
            return f"No measure has a score on {_counted(samples)}; the table tells why."
        return f"No measure is best alone by any metric, on {_counted(samples)}."
    most = max(wins.values())
    names = [str(table["label"].sel(measure=name).item()) for name in wins if wins[name] == most]
    whole = table.sizes["metric"]
    first, *rest = names
    if rest:
        return (
            f"No measure wins: {', '.join(rest)} and {first} each have the best mean score by {most} of "
            f"{whole} metrics, on {_counted(samples)}."
        )
    return (
        f"For this model, {first} has the best mean score by {most} of {whole} metrics, on "
        f"{_counted(samples)}."
    )


def like_random(table: xr.Dataset) -> str:
    """Return which measures no metric tells apart from a random ranking; empty if there is none."""
    measures = [name for name in table["measure"].values.tolist() if name != "random"]
    labels = [
        str(table["label"].sel(measure=name).item())
        for name in measures
        if not table["estimate"].sel(measure=name).isnull().all()
        and all(
            _cell(table.sel(measure=name, metric=metric), is_best=False).is_like_random
            for metric in table["metric"].values.tolist()
        )
    ]
    return f"By no metric told apart from a random ranking: {', '.join(labels)}." if labels else ""


def told_state(state: JobState) -> str:
    """Return what a job that is not done is doing, in one sentence."""
    done, total = state.progress.done, state.progress.total
    if state.status == "waiting":
        return "Waiting for a free thread." if not state.ahead else f"Waiting: {state.ahead} before it."
    if state.status == "canceled":
        return f"Canceled after {done} of {total} examples." if total else "Canceled before it began."
    if state.is_stopping:
        return "Stopping after the batch at hand."
    if state.status == "failed":
        return state.error
    if total and done == total:
        return "Computing the intervals."
    left = f", about {_duration(state.seconds / done * (total - done))} left" if done else ""
    return f"{done} of {total} examples{left}."


def told_removal(table: xr.Dataset) -> str:
    """Return how tokens were taken out, in one sentence."""
    how = _REMOVED[table.attrs["removal"]].format(table.attrs.get("baseline", ""))
    return f"Tokens were {how}. Intervals are at 95 %, over examples."


def csv_of(table: xr.Dataset) -> str:
    """Return the table as CSV, a line for each measure and metric, numbers in full."""
    names = [
        *("estimate", "low", "high", "above_random", "above_random_low", "above_random_high", "n", "reason")
    ]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["measure", "label", "metric", "better", *names])
    for measure in table["measure"].values.tolist():
        for metric in table["metric"].values.tolist():
            cell = table.sel(measure=measure, metric=metric)
            head = [measure, cell["label"].item(), metric, METRICS[metric].better]
            writer.writerow([*head, *(cell[name].item() for name in names)])
    return file.getvalue()


def _best(column: xr.Dataset) -> str:
    """Return the measure with the best mean score; empty where there is none, or several share it."""
    scores = column["estimate"].values * (
        1 if METRICS[str(column["metric"].item())].better == "higher" else -1
    )
    if np.isnan(scores).all():
        return ""
    at = np.flatnonzero(scores == np.nanmax(scores))
    return str(column["measure"].values[at[0]]) if len(at) == 1 else ""


def _cell(cell: xr.Dataset, *, is_best: bool) -> Cell:
    score, low, high = (float(cell[name]) for name in ("estimate", "low", "high"))
    differs = float(cell["above_random_low"]) > 0 or float(cell["above_random_high"]) < 0
    is_random = cell["measure"].item() == "random"
    return Cell(
        score="–" if np.isnan(score) else number(score),
        interval="" if np.isnan(low) else f"{number(low)} to {number(high)}",
        is_best=is_best,
        is_like_random=not (is_random or differs or np.isnan(score)),
        reason=str(cell["reason"].item()),
    )


def number(value: float) -> str:
    """Return a score with two digits after the point and a true minus sign."""
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")  # + 0.0: there is no −0.00


def _counted(samples: int) -> str:
    return f"{samples} example" + ("" if samples == 1 else "s")


def _duration(seconds: float) -> str:
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} min"
