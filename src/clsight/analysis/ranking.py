"""Which tokens does CLS attend to most? The top of each row or column, with their texts."""

import numpy as np
import xarray as xr

from clsight.analysis.weights import checked_dims, weights_of
from clsight.errors import RecordError
from clsight.records.checking import need
from clsight.schema import Direction


def top_tokens(
    record: xr.Dataset,
    count: int = 5,
    *,
    direction: Direction = "attends_to",
    over: tuple[str, ...] | str = (),
) -> xr.Dataset:
    """Return the tokens with the largest weights, the largest first; equal weights in token order.

    Args:
        record: A plain or stacked record, or a selection that keeps `token`.
        count: How many tokens, at least 1; cut to the sequence length.
        direction: `attends_to` (row) or `attended_by` (column).
        over: Dims to average over first, such as `"head"`.

    Returns:
        Variables `position` (token index, -1 where a sample has fewer real tokens), `token_text` (then empty)
        and `weight` (then NaN), each with the remaining dims and `rank` (0 = largest) in place of `token`.

    Raises:
        RecordError: If `count` is below 1, or the record lacks weights, mask, texts or such a dim.
    """
    if count < 1:
        raise RecordError(
            "top_tokens", expected="a `count` of at least 1", got=repr(count), next_step="Ask for one or more"
        )
    weights = weights_of(record, direction, asked_by="top_tokens")
    weights = weights.mean(checked_dims(weights, over, asked_by="top_tokens"), skipna=True)
    text = need(record, "token_text", asked_by="top_tokens")
    plain = ("token", "token_text", "token_kind", "row", "column")
    weights, text = weights.drop_vars(plain, errors="ignore"), text.drop_vars(plain, errors="ignore")
    order: xr.DataArray = xr.apply_ufunc(
        _largest_first, weights, input_core_dims=[["token"]], output_core_dims=[["rank"]]
    )
    order = order.isel(rank=slice(0, count)).assign_coords(rank=np.arange(min(count, order.sizes["rank"])))
    weight = weights.isel(token=order)
    found = weight.notnull()
    texts = text.isel(token=order).where(found, "").transpose(*order.dims)
    return xr.Dataset({"position": order.where(found, -1), "token_text": texts, "weight": weight})


def _largest_first(weights: np.ndarray) -> np.ndarray:
    """Return the order of the last axis, largest first, NaN last, ties as they stand."""
    return np.argsort(-weights, axis=-1, kind="stable")
