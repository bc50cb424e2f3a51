"""Many samples as numbers and words: heads with intervals, the most extreme examples, weight by place."""

import csv
import io
import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from clsight import analysis, statistics
from clsight.analysis import MEASURES
from clsight.errors import AppError, did_you_mean
from clsight_app.components.controls import measure_label
from clsight_app.views.head import class_name
from clsight_app.views.wording import percent

RESAMPLES: Final = 1000
SPREAD: Final = (0.1, 0.9)
"""The quantiles over samples between which four of five lie."""
_SHOWN: Final = 3
_ENDS: Final = (("low", "high"), ("spread_low", "spread_high"))


@dataclass(frozen=True)
class Extremes:
    """Positions of samples with the largest and the smallest value of a measure in a head, ends first."""

    highest: tuple[int, ...]
    lowest: tuple[int, ...]


@dataclass(frozen=True)
class HeadLine:
    """One measure of one head, in words: mean over samples, its interval, where four of five samples lie."""

    name: str
    mean: str
    interval: str
    spread: str
    reason: str = ""


def groups_of(record: xr.Dataset) -> tuple[str, list[str]]:
    """Return what tells samples apart (`class`, `predicted class` or nothing), and the name for each."""
    if "label" in record.coords:
        labels = record["label"].values
        return "class", [class_name(record, int(label)) if label >= 0 else "none" for label in labels]
    if "logits" in record:
        best = record["logits"].argmax("class").values
        return "predicted class", [class_name(record, int(one)) for one in best]
    return "", ["all samples"] * record.sizes["sample"]


def members_of(record: xr.Dataset, group: str) -> NDArray[np.int64]:
    """Return the positions of the samples of a group; of all where it is empty.

    Raises:
        AppError: There is no such group.
    """
    names = groups_of(record)[1]
    if group and group not in names:
        step = did_you_mean(group[:80], sorted(set(names)))
        raise AppError("class", expected="one of the samples'", got=repr(group[:80]), next_step=step)
    return np.flatnonzero([not group or name == group for name in names])


def heads_over_samples(values: xr.Dataset) -> xr.Dataset:
    """Return of each measure and head the mean over samples, its interval, and where four of five lie.

    Args:
        values: By measure, `[sample, layer, head]`.

    Returns:
        `estimate`, `low`, `high`, `n`, `reason` (see `clsight.statistics.bootstrap`), `spread_low`,
        `spread_high`; dims measure, layer, head.
    """
    tables = []
    for name in values:
        table = statistics.bootstrap(values[name], "sample", resamples=RESAMPLES, skipna=True)
        low, high = _spread(values[name])
        tables.append(table.assign(spread_low=low, spread_high=high))
    return xr.concat(tables, xr.DataArray(list(map(str, values)), dims="measure", name="measure"))


def axis_table(heads: xr.Dataset, name: str) -> xr.Dataset:
    """Return one measure of `heads_over_samples` as a figure takes it, titled with name and unit."""
    if name not in heads["measure"].values:
        raise AppError(
            name,
            expected="a measure that the record has what is needed for",
            got="one without",
            next_step=f"Choose one of {', '.join(heads['measure'].values.tolist())}",
        )
    return heads.sel(measure=name, drop=True).assign_attrs(title=title_of(name))


def title_of(name: str) -> str:
    """Return the name of a measure with its unit."""
    unit = MEASURES[name].unit
    return f"{measure_label(name)} ({unit})" if unit else measure_label(name)


def told(name: str, value: float) -> str:
    """Return a number of a measure with its unit; shares as percent."""
    if np.isnan(value):
        return "none"
    return f"{value:.2f} {MEASURES[name].unit}" if MEASURES[name].unit else percent(value)


def headline(heads: xr.Dataset, samples: int) -> str:
    """Return which head is most focused and which keeps most to itself, in one sentence."""
    parts = []
    for name, words, sign in (
        ("entropy", "the most focused head is {} (entropy {})", -1),
        ("cls_self_attention", "CLS looks at itself most in {} ({})", 1),
    ):
        if name not in heads["measure"].values:
            continue
        means = heads["estimate"].sel(measure=name)
        if means.isnull().all():
            continue
        at = (sign * means).fillna(-np.inf).argmax(["layer", "head"])
        one = heads.sel(measure=name).isel(at)
        place = f"layer {int(one['layer'])}, head {int(one['head'])}"
        parts.append(words.format(place, _with_interval(name, one)))
    counted = f"{samples:,} sample" + ("" if samples == 1 else "s")
    return f"Over {counted}, {'; '.join(parts)}." if parts else f"No measure has a value over {counted}."


def head_lines(heads: xr.Dataset, *, layer: int, head: int) -> list[HeadLine]:
    """Return a line for each measure of a head."""
    lines = []
    for name in heads["measure"].values.tolist():
        one = heads.sel(measure=name, layer=layer, head=head)
        interval, spread = (_from_to(name, float(one[low]), float(one[high])) for low, high in _ENDS)
        mean, reason = told(name, float(one["estimate"])), str(one["reason"].item())
        lines.append(HeadLine(measure_label(name), mean, interval, spread, reason))
    return lines


def extremes(values: xr.DataArray, members: NDArray[np.int64], count: int = _SHOWN) -> Extremes:
    """Return the samples with the largest and the smallest values; a sample is in one of the lists at most.

    Args:
        values: One number for each sample; NaN is left out, of equals the first comes first.
        members: Positions of the samples that count.
        count: How many of each.
    """
    there = members[~np.isnan(values.values[members])]
    upward = there[np.argsort(values.values[there], kind="stable")]
    downward = there[np.argsort(-values.values[there], kind="stable")]
    highest = tuple(int(one) for one in downward[: min(count, (len(there) + 1) // 2)])
    return Extremes(highest, tuple(int(one) for one in upward if int(one) not in highest)[:count])


def profile_of(record: xr.Dataset, *, by: str = "distance") -> xr.Dataset:
    """Return the mean weight of CLS by place, and between which weights four of five samples lie.

    Args:
        record: Samples of one layer and head.
        by: `distance`, `row` or `column`.
    """
    profile = analysis.position_profile(record, by=by)  # type: ignore[arg-type]
    low, high = _spread(profile)
    return xr.Dataset({"mean": profile.mean("sample", skipna=True), "low": low, "high": high})


def csv_of(heads: xr.Dataset) -> str:
    """Return a line for each measure, layer and head, numbers in full."""
    names = ("estimate", "low", "high", "spread_low", "spread_high", "n", "reason")
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["measure", "layer", "head", *names])
    for name in heads["measure"].values.tolist():
        for layer in heads["layer"].values.tolist():
            for head in heads["head"].values.tolist():
                one = heads.sel(measure=name, layer=layer, head=head)
                writer.writerow([name, layer, head, *(one[part].item() for part in names)])
    return file.getvalue()


def _from_to(name: str, low: float, high: float) -> str:
    return "–" if np.isnan(low) else f"{told(name, low)} to {told(name, high)}"


def _spread(values: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Return both quantiles of `SPREAD` over samples; NaN where no sample has a value."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice")
        ends = values.quantile(SPREAD, "sample", skipna=True)
    return ends.isel(quantile=0, drop=True), ends.isel(quantile=1, drop=True)


def _with_interval(name: str, one: xr.Dataset) -> str:
    estimate, low, high = (float(one[part]) for part in ("estimate", "low", "high"))
    if np.isnan(low):
        return told(name, estimate)
    return f"{told(name, estimate)}, 95 % interval {told(name, low)} to {told(name, high)}"
