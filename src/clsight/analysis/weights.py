"""What all measures start from: the CLS row or column of a record, and which of its entries count."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from clsight.errors import RecordError, did_you_mean
from clsight.records.checking import need
from clsight.schema import DIRECTIONS, Direction


def weights_of(record: xr.Dataset, direction: Direction, *, asked_by: str) -> xr.DataArray:
    """Return the CLS row or column in float64, NaN at tokens that do not count.

    What counts are the real tokens; in the column, those that have a query.

    Args:
        record: A plain or stacked record, or any selection of it that keeps `token`.
        direction: `attends_to` (the row, sums to 1) or `attended_by` (the column, each entry in [0, 1]).
        asked_by: The function that needs them; the subject of messages.

    Raises:
        RecordError: If `direction` is unknown, the record lacks the variable, its mask or `token`, or a
            sample is nothing but padding.
    """
    if direction not in DIRECTIONS:
        raise RecordError(
            asked_by,
            expected="a known `direction`",
            got=repr(direction),
            next_step=did_you_mean(str(direction), DIRECTIONS),
        )
    weights = need(record, direction, asked_by=asked_by)
    mask = need(record, "token_mask", asked_by=asked_by)
    if "token" not in weights.dims:
        raise RecordError(
            asked_by,
            expected="a record with a `token` dimension",
            got=f"dims ({', '.join(map(str, weights.dims))})",
            next_step="Select tokens after this function, not before",
        )
    _check_not_all_padding(mask, asked_by=asked_by)
    return weights.astype(np.float64).where(mask)


def _check_not_all_padding(mask: xr.DataArray, *, asked_by: str) -> None:
    """Raise if a sample has no real token, of which there is nothing to say."""
    empty = ~mask.any("token")
    if bool(empty.any()):
        which = np.flatnonzero(np.atleast_1d(empty.values)).tolist()
        more = " and more" if len(which) > 5 else ""
        raise RecordError(
            asked_by,
            expected="at least one real token in every sample",
            got=f"only padding in sample {', '.join(map(str, which[:5]))}{more}",
            next_step='Leave such samples out: record.isel(sample=record.token_mask.any("token").values)',
        )


def shares_of(record: xr.Dataset, direction: Direction, *, asked_by: str) -> xr.DataArray:
    """Return the CLS row as it stands, or the CLS column divided by its sum, over the tokens that count.

    NaN where there is nothing to share: a row that may see no token, a column of zeros. Else as `weights_of`.
    """
    weights = weights_of(record, direction, asked_by=asked_by)
    if direction == "attends_to":
        return weights.where(weights.where(record["token_mask"], 0.0).sum("token", skipna=False) > 0)
    return weights / weights.sum("token", skipna=True, min_count=1)


def token_count(record: xr.Dataset, *, asked_by: str) -> xr.DataArray:
    """Return how many real tokens each sample has, [CLS] included."""
    return need(record, "token_mask", asked_by=asked_by).sum("token").astype(np.float64)


def cls_position(record: xr.Dataset, *, asked_by: str) -> xr.DataArray:
    """Return the label of [CLS] on the `token` dimension: without dims, or per `sample` where they differ.

    Raises:
        RecordError: If the record does not say where [CLS] stands, or no longer holds that token.
    """
    index = record.attrs.get("cls_index")
    position = record.get("cls_position", xr.DataArray(-1 if index is None else index))
    if position.dtype.kind != "i" or not bool(position.isin(record["token"].values).all()):
        raise RecordError(
            asked_by,
            expected="a record that holds [CLS]: attributes with `cls_index`, and that token",
            got=f"cls_index {index!r} and {record.sizes.get('token', 0)} tokens",
            next_step="Select tokens after this function, and keep the attributes of the record",
        )
    return position.reset_coords(drop=True)


def is_cls(record: xr.Dataset, *, asked_by: str) -> xr.DataArray:
    """Return which tokens are [CLS]: boolean, dims `token`, or `sample, token` where positions differ."""
    position = cls_position(record, asked_by=asked_by)
    return (record["token"] == position).transpose(*position.dims, "token")


def checked_dims(array: xr.DataArray, over: str | Sequence[str], *, asked_by: str) -> list[str]:
    """Return the dims of `over` that the array still has; a dim selected down to one label is skipped."""
    names = [over] if isinstance(over, str) else list(over)
    for name in names:
        if name not in array.dims and name not in array.coords:
            raise RecordError(
                asked_by,
                expected=f"`over` among the dims ({', '.join(map(str, array.dims))})",
                got=repr(name),
                next_step=did_you_mean(str(name), map(str, array.dims)),
            )
    return [name for name in names if name in array.dims]


def without_token_labels(array: xr.DataArray) -> xr.DataArray:
    """Return the array without the coordinates that say something of single tokens."""
    return array.drop_vars([name for name, labels in array.coords.items() if "token" in labels.dims])


def named(
    array: xr.DataArray, name: str, *, long_name: str = "", units: str = "", undefined: str = ""
) -> xr.DataArray:
    """Return the array under the name of its measure, with the words a figure puts on its axis.

    Args:
        array: The values.
        name: Name of the measure.
        long_name: By default the name with spaces.
        units: As in the description of the measure; empty for a pure number.
        undefined: Where an entry is NaN that is no padding, in words; stands in `attrs["undefined"]`.
    """
    words = {"undefined": f"NaN where {undefined}"} if undefined else {}
    return array.rename(name).assign_attrs(
        long_name=long_name or name.replace("_", " "), units=units, **words
    )
