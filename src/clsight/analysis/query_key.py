"""How a weight of the CLS row comes about: the CLS query times a key in each dimension, and the scale."""

import numpy as np
import xarray as xr

from clsight.analysis.weights import named, weights_of
from clsight.records.checking import need


def query_times_key(record: xr.Dataset) -> xr.DataArray:
    """Return the products q·k of the CLS query with each token's key, one for each dimension of the head.

    Their sum over `head_dim`, times the scale of the head, is the score before softmax, where the model adds
    nothing to it; see `score_scale`.

    Args:
        record: A record, or a selection of it, kept with "keys_values".

    Returns:
        Dims (sample, layer, head, token, head_dim), float64; NaN at padding.

    Raises:
        RecordError: If the record lacks `query` or `keys`.
    """
    query, keys = (need(record, name, asked_by="query_times_key") for name in ("query", "keys"))
    mask = need(record, "token_mask", asked_by="query_times_key")
    products = (keys.astype(np.float64) * query.astype(np.float64)).where(mask)
    return named(products.transpose(*keys.dims), "query_times_key", long_name="query × key")


def log_weights(record: xr.Dataset) -> xr.DataArray:
    """Return the natural logarithm of the CLS row: its scores before softmax, less their log-sum-exp.

    Masks and position biases are in it. The constant that softmax takes away is the same for all tokens of a
    head, so differences between tokens are those of the scores.

    Args:
        record: A record, or a selection of it.

    Returns:
        The dims of `attends_to`; at most 0, −inf where the weight is 0, NaN at padding.

    Raises:
        RecordError: If the record lacks the weights or the mask.
    """
    weights = weights_of(record, "attends_to", asked_by="log_weights")
    with np.errstate(divide="ignore"):
        logarithms = xr.apply_ufunc(np.log, weights)
    return named(logarithms, "log_weights", long_name="score before softmax, up to a constant", units="nats")


def score_scale(record: xr.Dataset) -> xr.Dataset:
    """Return the scale that turns q·k into scores, and how far scores are from it at most.

    A least-squares line through (q·k, ln weight) of the tokens with a weight. A misfit near 0 says that the
    score is scale × q·k and nothing else; a large one that the model adds to it, such as a position bias.

    Args:
        record: A record, or a selection of it, kept with "keys_values".

    Returns:
        `scale` and `misfit` (nats), dims (sample, layer, head); NaN with fewer than three such tokens.

    Raises:
        RecordError: If the record lacks `query`, `keys` or the weights.
    """
    dots = query_times_key(record).sum("head_dim", skipna=False)
    scores = log_weights(record)
    counts: xr.DataArray = xr.apply_ufunc(np.isfinite, scores + dots)
    x, y = dots.where(counts), scores.where(counts)
    x, y = x - x.mean("token"), y - y.mean("token")
    spread = (x**2).sum("token")
    scale = ((x * y).sum("token") / spread.where(spread > 0)).where(counts.sum("token") >= 3)
    misfit = abs(y - scale * x).max("token")
    return xr.Dataset({"scale": scale, "misfit": misfit.where(scale.notnull())}).drop_attrs()
