"""Means of more values than memory holds: count, mean and variance, batch by batch."""

from collections.abc import Sequence
from typing import Final, Self

import numpy as np
import xarray as xr
from numpy.dtypes import StringDType

from clsight.errors import StatisticsError
from clsight.statistics.cells import dims_of, numbers, summary_of

_NO_VARIANCE: Final = {0: "there is no value", 1: "one value alone has no variance"}


class RunningMean:
    """Count, mean and variance over some dims, per cell of the others, from batches; mergeable.

    The update of Chan, Golub and LeVeque (1983), exact but for rounding. NaN is left out and not counted.

    Args:
        over: Name or names of the dims that are averaged over; a batch may have any size along them.

    Example:
        >>> running = RunningMean(over="sample")
        >>> running.update(xr.DataArray([1.0, 2.0], dims="sample"))
        >>> running.update(xr.DataArray([6.0], dims="sample"))
        >>> float(running.compute()["mean"]), float(running.compute()["variance"])
        (3.0, 7.0)
    """

    def __init__(self, over: str | Sequence[str] = "sample") -> None:
        self.over = (over,) if isinstance(over, str) else tuple(over)
        self._state: xr.Dataset | None = None  # count, mean (0 if none) and squares around it
        self._words: dict[str, str] = {}

    def update(self, values: xr.DataArray) -> None:
        """Add a batch.

        Args:
            values: Has the dims `over`; on all others the labels of the batches before.

        Raises:
            StatisticsError: If it is no DataArray of finite numbers or NaN, or its dims or labels are others.
        """
        dims = dims_of(numbers(values, asked_by="RunningMean"), self.over, asked_by="RunningMean")
        loose = [name for name, coord in values.coords.items() if set(coord.dims) & set(dims)]
        batch = values.drop_vars(loose).astype("float64")
        count = batch.count(dims)
        mean = batch.sum(dims) / count.where(count > 0, 1)
        squares = ((batch - mean) ** 2).sum(dims)
        self._add(xr.Dataset({"count": count, "mean": mean, "squares": squares}))
        told = {"name": values.name, **{key: values.attrs.get(key) for key in ("long_name", "units")}}
        self._words = self._words or {key: str(word) for key, word in told.items() if word}

    def merge(self, other: Self) -> None:
        """Add all that another one has seen; the other stays as it is.

        Args:
            other: Averages over the same dims.

        Raises:
            StatisticsError: If it averages over other dims, or its cells have other labels.
        """
        if set(other.over) != set(self.over):
            raise StatisticsError(
                "RunningMean",
                expected=f"another one over ({', '.join(self.over)})",
                got=f"one over ({', '.join(other.over)})",
                next_step="Make both with the same `over`",
            )
        if other._state is not None:
            self._add(other._state)
            self._words = self._words or other._words

    def compute(self) -> xr.Dataset:
        """Return what the batches so far amount to.

        Returns:
            `mean` (NaN where nothing is counted), `variance` (of the sample, over count − 1; NaN where fewer
            than two are counted), `count` and `reason`.

        Raises:
            StatisticsError: If there was no batch.
        """
        if self._state is None:
            raise StatisticsError(
                "RunningMean",
                expected="at least one batch",
                got="none",
                next_step="Call update(values) first",
            )
        count = self._state["count"]
        mean = self._state["mean"].where(count > 0)
        variance = self._state["squares"].where(count > 1) / (count - 1).where(count > 1)
        told = [_NO_VARIANCE.get(int(counted), "") for counted in count.values.ravel()]
        reason = count.copy(data=np.array(told, dtype=StringDType()).reshape(count.shape))
        result = xr.Dataset({"mean": mean, "variance": variance, "count": count, "reason": reason})
        attributes = {"result": "running_mean", "method": "merged batches", "over": list(self.over)}
        result.attrs = {**self._words, **attributes, "reason": summary_of(told)}
        return result

    def _add(self, new: xr.Dataset) -> None:
        if self._state is None:
            self._state = new
            return
        old = self._state
        if set(old.dims) != set(new.dims) or not _same_labels(old, new):
            raise StatisticsError(
                "RunningMean",
                expected=f"the cells of the batches before, {dict(old.sizes)}, with their labels",
                got=f"cells {dict(new.sizes)}",
                next_step="Give every batch the same labels on all dims but those averaged over",
            )
        count = old["count"] + new["count"]
        share = new["count"] / count.where(count > 0, 1)
        apart = new["mean"] - old["mean"]
        mean = old["mean"] + apart * share
        squares = old["squares"] + new["squares"] + apart**2 * old["count"] * share
        self._state = xr.Dataset({"count": count, "mean": mean, "squares": squares})


def _same_labels(old: xr.Dataset, new: xr.Dataset) -> bool:
    try:
        xr.align(old, new, join="exact")
    except xr.AlignmentError:
        return False
    return True
