"""What would attention have given, had some of it not been: three paths of CLS, cut in four flavors.

A path is a set of pairs of query and key: the others that ask CLS (column), CLS that asks the others (row),
CLS that asks itself (self). A flavor says what stands for the cut: no weight at all and the rest renormalized
(mask), or the same weight on a value that is zero, a mean, or that of another input (resample).
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from clsight.hooks.operations import AttentionCall
from clsight.hooks.positions import Position
from clsight.hooks.scores import per_query_head, score_blocks
from clsight.interventions.single_heads import (
    asking,
    cls_row,
    cls_scores,
    column_of,
    of_heads,
    with_output,
    without_keys,
)

PATHS: Final[tuple[str, ...]] = ("column", "row", "self")
"""Attention of all others to CLS; of CLS to all others; of CLS to itself."""
FLAVORS: Final[tuple[str, ...]] = ("mask", "zero", "mean", "resample")
"""What stands for the cut: no weight, renormalized; or the same weight on zero, the mean, another input's."""
FROM_OTHERS: Final = frozenset(["mean", "resample"])
"""The flavors that take values from other samples of the batch."""


class Tokens:
    """Where CLS and the other real tokens stand.

    Args:
        position: Where CLS stands in each sample.
        is_cls: `[sample, key]`.
        token_mask: `[sample, key]`, True = a real token.
    """

    def __init__(self, position: Position, is_cls: Tensor, token_mask: Tensor) -> None:
        self.position = position
        self.is_cls = is_cls
        self.is_other = token_mask & ~is_cls

    @property
    def donors(self) -> Tensor:
        """For each token the token of the next sample that stands for it: `[sample, key]`.

        The other real tokens of a sample, in order, get those of the next sample, in order, from the first
        again where it has fewer; all else gets the token at its own place.
        """
        samples, keys = self.is_other.shape
        places = torch.arange(keys, device=self.is_other.device).repeat(samples, 1)
        for sample in range(samples):
            own = self.is_other[sample].nonzero()[:, 0]
            given = self.is_other[(sample + 1) % samples].nonzero()[:, 0]
            if len(given):
                places[sample, own] = given[torch.arange(len(own), device=own.device) % len(given)]
        return places


def kept_values(call: AttentionCall, tokens: Tokens, path: str) -> Tensor:
    """Return what a later cut of this call may need of its values, `[sample, head, 1 or key, value_dim]`."""
    value = per_query_head(call.value.detach(), call.heads).to(call.dtype)
    return value.clone() if path == "row" else tokens.position.at(value)[:, :, None].clone()


def stand_in(values: Tensor, tokens: Tokens, path: str, flavor: str) -> Tensor:
    """Return the values that stand for those of the cut, broadcastable to `[sample, head, key, value_dim]`.

    Args:
        values: As `kept_values` gave them, of a pass in which nothing was cut.
        tokens: Where CLS and the others stand.
        path: One of `PATHS`.
        flavor: `zero`, `mean` or `resample`.
    """
    if flavor == "zero":
        return torch.zeros_like(values[:1, :, :1])
    if path != "row":
        return values.mean(0, keepdim=True) if flavor == "mean" else values.roll(-1, dims=0)
    if flavor == "mean":
        real = tokens.is_other[:, None, :, None]
        total = values.masked_fill(~real, 0.0).sum((0, 2), keepdim=True)
        return total / tokens.is_other.sum()
    index = tokens.donors[:, None, :, None].expand(values.shape)
    return values.roll(-1, dims=0).gather(2, index)


def cut(
    call: AttentionCall, tokens: Tokens, path: str, heads: Sequence[int], instead: Tensor | None
) -> Tensor:
    """Return what attention gives, in its own layout, when a path is cut in some heads.

    Args:
        call: The attention call.
        tokens: Where CLS and the others stand.
        path: One of `PATHS`.
        heads: Which heads.
        instead: What stands for the values of the cut, as `stand_in` gives it; None: their weight goes.
    """
    with torch.autocast(call.query.device.type, enabled=False):
        some = of_heads(call, heads)
        if instead is not None:
            instead = instead[:, list(heads)]
        if path == "column":
            return with_output(call, heads, _without_column(some, tokens, instead))
        asks = asking(some, tokens.position)
        output = some.output.clone()
        samples = torch.arange(some.samples, device=output.device)
        output[samples, :, asks.index] = _at_cls(some, tokens, path, instead)
        return with_output(call, heads, output)


def _at_cls(call: AttentionCall, tokens: Tokens, path: str, instead: Tensor | None) -> Tensor:
    """Return what CLS gets when it asks not the others, or not itself: `[sample, head, value_dim]`."""
    is_cut = (tokens.is_cls if path == "self" else ~tokens.is_cls)[:, None]
    if instead is None:
        weights, value = without_keys(cls_scores(call, tokens.position), is_cut), call.value
    else:
        weights, value = cls_row(call, tokens.position), torch.where(is_cut[..., None], instead, call.value)
    return (weights[..., None] * value).sum(2)


def _without_column(call: AttentionCall, tokens: Tokens, instead: Tensor | None) -> Tensor:
    """Return what the queries get when all but CLS do not ask CLS: `[sample, head, query, value_dim]`."""
    is_cls = tokens.is_cls[:, None, : call.queries, None]
    if instead is None:
        key = tokens.is_cls[:, None, None]
        parts = [without_keys(scores, key) @ call.value for scores in score_blocks(call)]
        return torch.where(is_cls, call.output, torch.cat(parts, dim=2))
    change = instead - tokens.position.at(call.value)[:, :, None]
    weights = column_of(call, tokens.position).masked_fill(is_cls[..., 0], 0.0)
    return call.output + weights[..., None] * change
