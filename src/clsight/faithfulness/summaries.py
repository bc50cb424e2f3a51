"""Scores of samples as one table with intervals, and as sentences that can be read aloud."""

from collections import Counter
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from clsight.errors import RecordError
from clsight.faithfulness.attributed import Text
from clsight.faithfulness.registry import METRICS
from clsight.statistics import bootstrap

_WAYS: Final = {
    "mask": "hidden by the mask",
    "deletion": "cut out",
    "baseline": "replaced by the baseline {}",
}


def summarize(scores: xr.Dataset, *, confidence: float = 0.95) -> xr.Dataset:
    """Return the table of a comparison, `[measure, metric]`, from the scores of its samples.

    Args:
        scores: What `score_batches` yielded, one batch or several joined along `sample`.
        confidence: Of the intervals, bootstrapped over samples.

    Returns:
        As `compare` returns it.

    Raises:
        RecordError: If these are no such scores.
        StatisticsError: If the confidence is none.
    """
    if not isinstance(scores, xr.Dataset) or not {"score", "reason", "label"} <= set(scores.variables):
        raise RecordError(
            "summarize",
            expected="scores that clsight.faithfulness.score_batches yielded",
            got=f"an object of type {type(scores).__name__}",
            next_step='Join batches with xarray.concat(batches, dim="sample")',
        )
    values = scores["score"].reset_coords(drop=True).assign_coords(scores["label"].coords)
    whole = bootstrap(values, "sample", skipna=True, confidence=confidence)
    difference = values - values.sel(measure="random", drop=True)
    above = bootstrap(difference, "sample", skipna=True, confidence=confidence)
    ends = (("", "estimate"), ("_low", "low"), ("_high", "high"))
    table = whole.assign({f"above_random{end}": above[name] for end, name in ends})
    table["reason"] = (whole["reason"].dims, _reasons(scores, whole))
    table.attrs = {
        **scores.attrs,
        "samples": scores.sizes["sample"],
        "confidence": confidence,
        "method": f"{whole.attrs['method']} bootstrap over samples",
        "resamples": whole.attrs["resamples"],
    }
    words = [_sentence(table.isel(metric=place)) for place in range(table.sizes["metric"])]
    table["sentence"] = ("metric", np.array(words, dtype=Text))
    return table


def _reasons(scores: xr.Dataset, whole: xr.Dataset) -> NDArray[Any]:
    """Return per cell why samples have no score, most frequent first, or what the bootstrap says."""
    told = np.empty(whole["reason"].shape, dtype=Text)
    reasons = scores["reason"].transpose("measure", "metric", "sample").values
    of_statistics = whole["reason"].values
    for cell in np.ndindex(told.shape):
        counted = Counter(reason for reason in reasons[cell].tolist() if reason)
        samples = reasons.shape[-1]
        parts = [f"{count} of {samples} samples: {reason}" for reason, count in counted.most_common()]
        told[cell] = "; ".join(parts) if parts else of_statistics[cell]
    return told


def _sentence(table: xr.Dataset) -> str:
    """Return one metric of the table in words: the best measure first."""
    metric = METRICS[str(table["metric"].item())]
    order = np.argsort(table["estimate"].values * (-1 if metric.better == "higher" else 1), kind="stable")
    scores = ", ".join(_score(table.isel(measure=place)) for place in order)
    way = _WAYS[table.attrs["removal"]].format(table.attrs.get("baseline", ""))
    removed = "" if "evidence" in metric.needs else f", tokens {way}"
    name = metric.name.replace("_", " ").replace("auprc", "AUPRC").replace("aopc", "AOPC")
    head = f"For this model, {name} ({metric.better} is better; {table.attrs['samples']} samples{removed})"
    return f"{head}: {scores}.{_not_told_apart(table)}"


def _score(cell: xr.Dataset) -> str:
    label = str(cell["label"].item())
    if np.isnan(cell["estimate"]):
        return f"{label} none ({cell['reason'].item()})"
    number = f"{label} scores {float(cell['estimate']):.3g}"
    if np.isnan(cell["low"]):
        return number
    return f"{number} ({float(cell['low']):.3g} to {float(cell['high']):.3g})"


def _not_told_apart(table: xr.Dataset) -> str:
    """Return a sentence on measures whose difference to the random ranking may be zero."""
    others = table.sel(measure=table["measure"] != "random")
    low, high = others["above_random_low"].values, others["above_random_high"].values
    is_known = ~np.isnan(others["estimate"].values)
    names = [str(label) for label in others["label"].values[~((low > 0) | (high < 0)) & is_known]]
    if not names:
        return ""
    confidence = f"{100 * table.attrs['confidence']:g} %"
    return f" Not told apart from a random ranking at {confidence} confidence: {', '.join(names)}."
