"""How much of the attention falls on one token, or on tokens of a kind: specials, registers, a patch mask."""

from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from clsight.analysis.registry import DIRECT_TRUST, measure
from clsight.analysis.weights import named, shares_of
from clsight.errors import RecordError, did_you_mean
from clsight.records.checking import need
from clsight.schema import TOKEN_KINDS, Direction, TokenKind

NO_CONTENT: Final[tuple[TokenKind, ...]] = ("cls", "register", "distillation", "special")
"""The kinds of token that carry no content of the input."""


@measure(
    question="How much of its attention does CLS give to a single token?",
    definition="The largest weight of the row over the real tokens; the column is first divided by its sum.",
    unit="",
    range="1/n (all n tokens alike) to 1 (one token)",
    cost="O(tokens) per head; from the record",
    paper="Clark et al. 2019, What Does BERT Look At?, arXiv 1906.04341",
    trust=f"Short sequences have larger shares: compare with 1/n. {DIRECT_TRUST}",
    needs=("attends_to", "token_mask"),
    dims=("sample", "layer", "head"),
)
def max_share(record: xr.Dataset, *, direction: Direction = "attends_to") -> xr.DataArray:
    """Return the largest share of the attention that one real token has.

    Args:
        record: A plain or stacked record, or a selection that keeps `token`.
        direction: `attends_to` (row), or `attended_by`: the largest share of what CLS receives.

    Returns:
        The dims of the record without `token`; in [1/n, 1]. NaN where nothing is attended to or received.

    Raises:
        RecordError: If the record lacks the weights or the mask.
    """
    largest = shares_of(record, direction, asked_by="max_share").max("token", skipna=True)
    return named(
        largest,
        "max_share",
        long_name="largest share of one token",
        undefined="there is no attention to share",
    )


@measure(
    question="How much attention falls on tokens without content, such as [CLS], [SEP] and registers?",
    definition="Sum of the row over the tokens of a kind or mask; the column is first divided by its sum.",
    unit="",
    range="0 to 1",
    cost="O(tokens) per head; from the record",
    paper="Clark et al. 2019, What Does BERT Look At?, arXiv 1906.04341",
    trust=f"Many tokens of a kind get much by their number alone. {DIRECT_TRUST}",
    needs=("attends_to", "token_mask", "token_kind"),
    dims=("sample", "layer", "head"),
)
def mass_on(
    record: xr.Dataset,
    *,
    kinds: TokenKind | Sequence[TokenKind] | None = None,
    mask: xr.DataArray | NDArray[Any] | None = None,
    direction: Direction = "attends_to",
) -> xr.DataArray:
    """Return the share of the attention that falls on the chosen tokens.

    Args:
        record: A plain or stacked record, or a selection that keeps `token`.
        kinds: Token kinds, such as `"special"` or `["cls", "register"]`; by default all without content.
        mask: Instead of kinds: True at the tokens that count, dims `token` or `sample, token`; padding never
            counts. A patch mask, a span of words.
        direction: `attends_to` (row), or `attended_by`: the share of what CLS receives that they give.

    Returns:
        The dims of the record without `token`; in [0, 1]. NaN where a sample has no such token, or none of
        them has a query (column).

    Raises:
        RecordError: If the record lacks weights, mask or kinds, a kind is unknown, both `kinds` and `mask`
            are given, or the mask is not boolean or of another shape.
    """
    shares = shares_of(record, direction, asked_by="mass_on")
    if mask is None:
        names = NO_CONTENT if kinds is None else [kinds] if isinstance(kinds, str) else list(kinds)
        chosen = _of_kinds(need(record, "token_kind", asked_by="mass_on"), names)
        label = "tokens without content" if kinds is None else f"tokens of kind {', '.join(names)}"
    elif kinds is not None:
        raise RecordError(
            "mass_on",
            expected="`kinds` or a `mask`",
            got="both",
            next_step="Combine them: mask & (record.token_kind == kind)",
        )
    else:
        chosen, label = _checked_mask(mask, record["token_mask"]), "the chosen tokens"
    mass = shares.where(chosen).sum("token", skipna=True, min_count=1)
    return named(
        mass.transpose(*(dim for dim in shares.dims if dim != "token")),
        "mass_on",
        long_name=f"share of {label}",
        undefined="the sample has no such token, or none with a query",
    )


def _of_kinds(token_kind: xr.DataArray, kinds: Sequence[str]) -> xr.DataArray:
    """Return where tokens are of one of the kinds."""
    for name in kinds:
        if name not in TOKEN_KINDS:
            raise RecordError(
                "mass_on",
                expected="known token `kinds`",
                got=repr(name),
                next_step=did_you_mean(str(name), TOKEN_KINDS),
            )
    none = xr.zeros_like(token_kind, dtype=np.bool_)
    return reduce(or_, (token_kind == name for name in kinds), none)


def _checked_mask(mask: xr.DataArray | NDArray[Any], token_mask: xr.DataArray) -> xr.DataArray:
    """Return a mask of the caller with named dims, if it fits the tokens of the record."""
    if not isinstance(mask, xr.DataArray):
        values = np.asarray(mask)
        dims = token_mask.dims if values.ndim == token_mask.ndim else ("token",) if values.ndim == 1 else None
        mask = xr.DataArray(values, dims=dims)
    if mask.dtype != np.bool_ or "token" not in mask.dims or not _has_labels_of(token_mask, mask):
        raise RecordError(
            "mass_on",
            expected=f"a boolean `mask` with the labels of ({_sizes(token_mask)}), or of its tokens alone",
            got=f"{mask.dtype} of ({_sizes(mask)})",
            next_step="Make one from the record, such as record.token_text == 'good'",
        )
    return mask


def _has_labels_of(array: xr.DataArray, other: xr.DataArray) -> bool:
    """Tell whether every dim of the other is one of the array's, as long, and labeled alike where labeled."""
    return all(
        dim in array.dims
        and other.sizes[dim] == array.sizes[dim]
        and (dim not in other.coords or other.get_index(dim).equals(array.get_index(dim)))
        for dim in other.dims
    )


def _sizes(array: xr.DataArray) -> str:
    return ", ".join(f"{dim}={size}" for dim, size in array.sizes.items())
