"""Which part of the CLS row can make a difference at all? Effective attention."""

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import xarray as xr
from torch import Tensor

from clsight.hooks.forward import ClsIndex
from clsight.hooks.operations import split
from clsight.hooks.scores import per_query_head
from clsight.interventions.averaging import over_draws
from clsight.interventions.labeling import described, labeled
from clsight.interventions.opening import Opened, open_model
from clsight.interventions.parts import LayerParts
from clsight.interventions.registry import intervention
from clsight.interventions.requirements import need_some
from clsight.interventions.sublayer import weight_rows

if TYPE_CHECKING:
    from clsight.interventions.opening import Model, Raw

PAPER = "Brunner et al. 2020, On Identifiability in Transformers, arXiv 1908.04211"


@intervention(
    question="Which part of the CLS row can make a difference to what the head gives?",
    definition="a − a N Nᵀ, N an orthonormal basis of the left null space of V W_O over the real tokens.",
    unit="",
    range="any number; the attention itself where tokens are at most the width of a head",
    cost="one forward pass; O(tokens)",
    paper=PAPER,
    trust="It is no distribution: entries may be negative, and a row need not sum to 1.",
    dims=("sample", "layer", "head", "token"),
)
def effective_attention(
    model: "Model",
    inputs: "Raw",
    *,
    cls_index: ClsIndex | None = None,
    token_mask: Any = None,
    within: str | None = None,
    draws: int = 10,
    seed: int = 0,
) -> xr.Dataset:
    """Return the CLS row without the part that the values cancel: a − a N Nᵀ.

    N spans the left null space of V W_O of the head, over the real tokens of the sample. It is the attention
    itself whenever their number is at most the width of a head and their values are independent. Not a
    distribution: entries may be negative, rows need not sum to 1. O(tokens), one forward pass.

    Args:
        model: A module, or what `clsight.load` returned.
        inputs: As for `clsight.capture`; `cls_index`, `token_mask` and `within` too.
        cls_index: Position of CLS.
        token_mask: `[sample, token]`, True = real.
        within: Name of the submodule to look at.
        draws: Passes of a model that draws at random; the means are returned, with their spread as `…_std`.
        seed: Start of the random streams in the first draw.

    Returns:
        `effective_attention` [sample, layer, head, token], any number, NaN at padding; `value_rank`
        [sample, layer, head], the rank of V W_O. NaN, with the attribute `reason`, where the output
        projection of a layer was not found.

    Raises:
        CaptureError: If it was found in no layer.
    """
    opening = partial(open_model, model, inputs, cls_index=cls_index, token_mask=token_mask, within=within)
    return over_draws(opening, _effective, draws=draws, seed=seed)


def _effective(opened: Opened) -> xr.Dataset:
    """Return the result of one draw."""
    reason = need_some(opened, "projection", asked_by="effective_attention")
    found = [_of_layer(opened, layer) for layer in opened.layers]
    rows, ranks = (torch.stack(values, dim=1) for values in zip(*found, strict=True))
    per_head, words = ("sample", "layer", "head"), {"paper": PAPER, "reason": reason}
    variables = {
        "effective_attention": labeled(
            opened, (*per_head, "token"), rows, long_name="effective attention", **words
        ),
        "value_rank": labeled(opened, per_head, ranks, long_name="rank of the values", **words),
    }
    return described(opened, "effective_attention", variables, paper=PAPER)


def _of_layer(opened: Opened, layer: LayerParts) -> tuple[Tensor, Tensor]:
    """Return the effective rows `[sample, head, key]` and the ranks `[sample, head]` of one layer."""
    call = layer.call
    result = torch.full((call.samples, call.heads, call.keys), float("nan"), dtype=torch.float64)
    ranks = result[..., 0].clone()
    if "projection" in layer.absent:
        return result, ranks
    with torch.no_grad(), torch.autocast(call.query.device.type, enabled=False):
        rows = weight_rows(call, opened.position.index[:, None])[:, :, 0].double()
        values = per_query_head(call.value, call.heads).double()
        projection = split(layer.found("projection").double(), 1, call.heads)  # [channel, head, value_dim]
        narrow = torch.linalg.qr(projection.transpose(0, 1), mode="r").R  # [head, ≤ value_dim, value_dim]
        result.zero_()
        for sample, real in enumerate(opened.token_mask):
            outgoing = values[sample, :, real] @ narrow.mT  # [head, real token, ≤ value_dim]
            effective, rank = _in_column_space(rows[sample][:, real], outgoing)
            result[sample][:, real.cpu()] = effective.cpu()
            ranks[sample] = rank.cpu().double()
    return result, ranks


def _in_column_space(rows: Tensor, outgoing: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows `[head, token]` in the column space of `[head, token, width]`, and its rank, `[head]`."""
    left, sizes, _ = torch.linalg.svd(outgoing, full_matrices=False)
    smallest = sizes[:, :1] * max(outgoing.shape[-2:]) * torch.finfo(sizes.dtype).eps
    counts = sizes > smallest
    basis = left * counts[:, None]
    return (rows[:, None] @ basis @ basis.mT)[:, 0], counts.sum(-1)
