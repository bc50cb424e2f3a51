"""Where does the first layer's query of CLS come from? From the vector CLS begins with, or from biases?

What enters the query's linear map is taken apart, at CLS, into the terms of the sums it was made by, through
norms whose standard deviation is held fixed. The sums, norms and the map are found by what they are fed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from clsight.errors import CaptureError
from clsight.hooks.forward import ClsIndex
from clsight.hooks.operations import AttentionCall, split
from clsight.hooks.scores import per_query_head, query_scores
from clsight.hooks.watching import original_of
from clsight.interventions.averaging import over_draws
from clsight.interventions.events import Event, LinearMap, Normalization, Scaled, Sum
from clsight.interventions.labeling import described, labeled
from clsight.interventions.opening import Opened, open_model
from clsight.interventions.parameter_names import parameter_with
from clsight.interventions.part_finder import norm_of
from clsight.interventions.registry import intervention
from clsight.interventions.sequences import cls_rows

if TYPE_CHECKING:
    from clsight.interventions.opening import Model, Raw

PAPER = "Additive decomposition; compare Kobayashi et al. 2021, arXiv 2109.07152"
_NO_SPREAD = "the scores of a head are the same for all tokens, or there is one token"
_ROUNDING = 64


@intervention(
    question="What makes CLS look where it does in the first layer: its initial vector, position, biases?",
    definition=(
        "Scores of the first layer's CLS query, split over the terms of the query; share: covariance of a "
        "term's scores with all scores over the variance of all, over the real tokens."
    ),
    unit="",
    range="any number; shares sum to 1, and may be negative",
    cost="one forward pass",
    paper=PAPER,
    trust=(
        "It explains how scores differ between tokens, in the first layer alone; what all tokens share "
        "cancels in the softmax."
    ),
    dims=("sample", "part", "head"),
)
def query_decomposition(
    model: "Model",
    inputs: "Raw",
    *,
    cls_index: ClsIndex | None = None,
    token_mask: Any = None,
    within: str | None = None,
    draws: int = 10,
    seed: int = 0,
) -> xr.Dataset:
    """Return how much of the first layer's CLS scores comes from each term of its query.

    Terms are the summands at CLS (called by the parameter that holds them, such as the word and position
    embeddings, else `input`), the β of each norm on the way, and the query's bias.

    Args:
        model: A module, or what `clsight.load` returned.
        inputs: As for `clsight.capture`; `cls_index`, `token_mask` and `within` too.
        cls_index: Position of CLS.
        token_mask: `[sample, token]`, True = real.
        within: Name of the submodule to look at.
        draws: Passes of a model that draws at random; the means are returned, with their spread as `…_std`.
        seed: Start of the random streams in the first draw.

    Returns:
        `score` [sample, part, head, token], which sum over `part` to the scores before masks, NaN at padding;
        `share` [sample, part, head] and `share_of_heads` [sample, part], over all heads together, NaN with
        the attribute `reason` where scores do not vary.

    Raises:
        CaptureError: If no linear map gave the query as it is, as with rotary embeddings, or scores are no
            multiple of query · key, as with a position bias.
    """
    opening = partial(open_model, model, inputs, cls_index=cls_index, token_mask=token_mask, within=within)
    return over_draws(opening, _split_scores, draws=draws, seed=seed)


def _split_scores(opened: Opened) -> xr.Dataset:
    """Return the result of one draw."""
    call = opened.layers[0].call
    query = _query_map(opened, call)
    terms = _numbered(_terms(opened, query.features, opened.before[: query.place]))
    mapped = {name: term @ query.weight.T for name, term in terms.items()}
    if query.bias is not None:
        mapped["query bias"] = query.bias.expand_as(next(iter(mapped.values())))
    key = per_query_head(call.key, call.heads).to(query.weight.dtype)
    scores = torch.stack(
        [(key @ split(part, 1, call.heads)[..., None])[..., 0] for part in mapped.values()], dim=1
    )
    scores = scores * _scale(opened, call, scores)
    real = opened.token_mask[:, None, None]
    share, of_heads = _shares(scores, real)
    undefined = bool(share.isnan().any() | of_heads.isnan().any())
    words = {"paper": PAPER, "reason": _NO_SPREAD if undefined else ""}
    parts = np.array(list(mapped), dtype=np.dtypes.StringDType())
    dims = ("sample", "part", "head")
    shown = scores.masked_fill(~real, float("nan"))
    variables = {
        "score": labeled(opened, (*dims, "token"), shown, long_name="score", paper=PAPER),
        "share": labeled(opened, dims, share, long_name="share of the variance of scores", **words),
        "share_of_heads": labeled(
            opened, dims[:2], of_heads, long_name="share of the variance of scores, all heads", **words
        ),
    }
    return described(opened, "query_decomposition", variables, paper=PAPER).assign_coords(part=parts)


@dataclass(frozen=True)
class _QueryMap:
    """The linear map that gave the query.

    Attributes:
        features: `[sample, channel]`, what it read at CLS.
        weight: `[head · head_dim, channel]`, times the factor between its result and the query.
        bias: `[head · head_dim]`, likewise.
        place: How many events came before it.
    """

    features: Tensor
    weight: Tensor
    bias: Tensor | None
    place: int


def _query_map(opened: Opened, call: AttentionCall) -> _QueryMap:
    """Return the linear map whose result, or a part of it, is the query of CLS times a factor.

    Raises:
        CaptureError: If there is none.
    """
    dtype = opened.layers[0].dtype
    query = opened.position.at(call.query).to(dtype).flatten(1)  # [sample, head · head_dim]
    for place, event in reversed(list(enumerate(opened.before))):
        if not isinstance(event, LinearMap):
            continue
        rows = zip(_at_cls(opened, event.features), _at_cls(opened, event.result), strict=False)
        for features, result in rows:
            for columns in _columns(result.shape[-1], query.shape[-1], call.heads):
                factor = _factor(query, result[:, columns].to(dtype), call)
                if factor is not None:
                    weight = factor * event.weight.detach()[columns].to(dtype)
                    bias = None if event.bias is None else factor * event.bias.detach()[columns].to(dtype)
                    return _QueryMap(features.to(dtype), weight, bias, place)
    raise CaptureError(
        "query_decomposition",
        expected="a linear map that gives the query of CLS in the first layer",
        got="none before the first attention call: a norm, a rotation or a window may stand between",
        next_step="Look at `query` in a record instead",
    )


def _columns(width: int, wanted: int, heads: int) -> list[Tensor]:
    """Return which columns of a result may be the query: each run of its width, or a part of each head."""
    if width % wanted:
        return []
    runs = list(torch.split(torch.arange(width), wanted))
    by_head = torch.arange(width).reshape(heads, width // wanted, -1)
    return runs if width == wanted else [*runs, *(part.flatten() for part in by_head.unbind(1))]


def _factor(query: Tensor, result: Tensor, call: AttentionCall) -> float | None:
    """Return the number that makes one of the other, or None."""
    size = float((result * result).sum())
    if size == 0.0:
        return None
    factor = float((query * result).sum()) / size
    allowed = _ROUNDING * torch.finfo(call.coarsest_dtype).eps * float(query.abs().max())
    return factor if float((query - factor * result).abs().max()) <= allowed else None


def _terms(opened: Opened, states: Tensor, events: Sequence[Event]) -> list[tuple[str, Tensor]]:
    """Return the terms of states at CLS, `[sample, channel]`, and what to call each.

    Args:
        opened: The forward pass.
        states: `[sample, channel]`.
        events: What happened before.
    """
    for place, event in reversed(list(enumerate(events))):
        if isinstance(event, LinearMap) or not _holds(opened, event.result, states):
            continue
        below = events[:place]
        if isinstance(event, Normalization):
            read = _paired(opened, event.result, event.features, states)
            norm = norm_of(event, read)
            parts = [(name, norm.scaled(part, read)) for name, part in _terms(opened, read, below)]
            if norm.bias is not None:
                parts.append(("norm bias", norm.bias.to(states.dtype).expand_as(states)))
            return parts
        if isinstance(event, Sum):
            left, right = (
                _paired(opened, event.result, side.expand_as(event.result), states)
                for side in (event.left, event.right)
            )
            return [*_terms(opened, left, below), *_terms(opened, right, below)]
        if isinstance(event, Scaled):
            factor = event.factor.detach() if isinstance(event.factor, Tensor) else event.factor
            read = _paired(opened, event.result, event.features, states)
            return [(name, part * factor) for name, part in _terms(opened, read, below)]
    return [(parameter_with(original_of(opened.call.module), states) or "input", states)]


def _at_cls(opened: Opened, tensor: Tensor) -> list[Tensor]:
    index, tokens = opened.position.index, opened.layers[0].call.tokens
    return list(cls_rows(tensor.detach(), index, tokens=tokens))


def _holds(opened: Opened, tensor: Tensor, states: Tensor) -> bool:
    return any(_same(row, states) for row in _at_cls(opened, tensor))


def _same(row: Tensor, states: Tensor) -> bool:
    return row.shape == states.shape and torch.equal(row.to(states.dtype), states)


def _paired(opened: Opened, held: Tensor, tensor: Tensor, states: Tensor) -> Tensor:
    """Return a tensor at CLS, in the layout in which another, laid out alike, holds the states there."""
    rows = zip(_at_cls(opened, held), _at_cls(opened, tensor), strict=True)
    return next(other.to(states.dtype) for row, other in rows if _same(row, states))


def _numbered(terms: list[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Return terms by name, a second one of a name with its number."""
    named: dict[str, Tensor] = {}
    for name, term in terms:
        copies = sum(key == name or key.startswith(f"{name} ") for key in named)
        named[f"{name} {copies + 1}" if copies else name] = term
    return named


def _scale(opened: Opened, call: AttentionCall, products: Tensor) -> float:
    """Return the factor on q · k; where the model wrote its scores out, the one that they show.

    Scores must be q · k times that factor wherever there is a token: what a mask adds would be no term here.

    Args:
        opened: The forward pass.
        call: The attention call.
        products: `[sample, part, head, key]`, q · k of CLS by term.

    Raises:
        CaptureError: If the scores hold more than a multiple of q · k.
    """
    given = products.sum(1)
    real = opened.token_mask[:, None].expand_as(given)
    own = query_scores(call, opened.position.index[:, None])[:, :, 0].to(given.dtype)[real]
    largest, given = float(products.abs().sum(1)[real].max()), given[real]
    factor = call.scale
    if call.scores is not None and largest > 0.0:
        factor = float((own * given).sum() / (given * given).sum())
    error = float((own - factor * given).abs().max())
    allowed = _ROUNDING * torch.finfo(call.coarsest_dtype).eps * largest * abs(factor)
    if not error <= allowed:
        raise CaptureError(
            "query_decomposition",
            expected="scores that are a multiple of query · key",
            got=f"scores that differ from one by {error:.2g}",
            where="A relative position bias, or a mask between real tokens, may be added to them",
            next_step="Look at `query` and `attends_to` in a record instead",
        )
    return factor


def _shares(scores: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Return the shares of variance `[sample, part, head]`, and of all heads together `[sample, part]`.

    Args:
        scores: `[sample, part, head, token]`.
        real: `[sample, 1, 1, token]`.
    """
    count = real.sum(-1, keepdim=True)
    centered = scores - (scores * real).sum(-1, keepdim=True) / count
    centered = centered * real
    covariance = (centered * centered.sum(1, keepdim=True)).sum(-1)
    variance = covariance.sum(1, keepdim=True)
    size = (scores * real).square().sum(-1).sum(1, keepdim=True)
    constant = variance <= torch.finfo(scores.dtype).eps ** 2 * 1e4 * size
    share = torch.where(constant, float("nan"), covariance / variance)
    of_heads = covariance.sum(-1) / variance.sum(-1)
    return share, torch.where(constant.all(-1), float("nan"), of_heads)
