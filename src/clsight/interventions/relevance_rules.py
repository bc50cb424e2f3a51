"""How does each kind of operation hand the relevance of its result down to what it was made of?

The rules of Chefer et al. 2021 (CVPR, arXiv 2012.09838), as the authors' code has them. Each function takes
the relevance of a result and the operands, all detached, and returns the relevance of the operands.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from clsight.hooks.scores import softmax_or_zero
from clsight.interventions.relevance_samples import Samples

Bilinear = Callable[[Tensor, Tensor], Tensor]
"""A function of two tensors that is linear in each."""

_STABILIZER = 1e-9


def divided(relevance: Tensor, by: Tensor) -> Tensor:
    """Return relevance / (by + 1e-9), and 0 where nothing was made: where `by` is 0."""
    divisor = by + _STABILIZER
    divisor = divisor.masked_fill(divisor == 0, _STABILIZER)
    return (relevance / divisor).masked_fill(by == 0, 0.0)


def through_weights(relevance: Tensor, features: Tensor, weight: Tensor, apply: Bilinear) -> Tensor:
    """Return the relevance of what a linear map read: the αβ rule with α = 1, β = 0.

    Each feature gets its share of x⁺w⁺ + x⁻w⁻, the products that are positive; bias and weight get none. A
    result without any such product hands nothing down.

    Args:
        relevance: Of `apply(features, weight)` without its bias.
        features: What the map read.
        weight: What it multiplied with.
        apply: How.
    """
    parts = [(features.clamp_min(0), weight.clamp_min(0)), (features.clamp_max(0), weight.clamp_max(0))]
    with torch.enable_grad():
        read = [features_of_sign.requires_grad_() for features_of_sign, _ in parts]
        made = [apply(one, weight_of_sign) for one, (_, weight_of_sign) in zip(read, parts, strict=True)]
    share = divided(relevance, (made[0] + made[1]).detach())
    slopes = torch.autograd.grad(made, read, [share, share])
    return read[0].detach() * slopes[0] + read[1].detach() * slopes[1]


def through_product(relevance: Tensor, left: Tensor, right: Tensor, apply: Bilinear) -> tuple[Tensor, Tensor]:
    """Return the relevance of both factors of a product of states, each a half: share by l·r, sign kept.

    Args:
        relevance: Of `apply(left, right)`.
        left: Such as attention weights.
        right: Such as values.
        apply: The product, such as `torch.matmul`.
    """
    factors = (left.clone().requires_grad_(), right.clone().requires_grad_())
    with torch.enable_grad():
        made = apply(*factors)
    slopes = torch.autograd.grad(made, factors, divided(relevance, made.detach()))
    return left * slopes[0] / 2, right * slopes[1] / 2


def through_sum(relevance: Tensor, left: Tensor, right: Tensor, samples: Samples) -> tuple[Tensor, Tensor]:
    """Return the relevance of both summands, entry by entry as l : r, sign kept, and then normalized.

    Per sample each summand's total becomes |its total| / (|total of left| + |total of right|) of the whole.

    Args:
        relevance: Of `left + right`.
        left: Broadcasts to the sum.
        right: Likewise.
        samples: Tells which entries belong to one sample.
    """
    share = divided(relevance, left + right)
    whole = samples.totals(relevance)
    parts = [(one * share).masked_fill(share == 0, 0.0) for one in (left, right)]  # a mask may be −∞
    sums = [samples.totals(part) for part in parts]
    size = sums[0].abs() + sums[1].abs()
    found = []
    for part, total, summand in zip(parts, sums, (left, right), strict=True):
        factor = divided(divided(total.abs(), size) * whole, total)
        found.append(samples.scaled(part, factor).sum_to_size(summand.shape))
    return found[0], found[1]


def through_pooling(relevance: Tensor, features: Tensor, apply: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the relevance of what was summed up or averaged: shares of the result, sign kept."""
    read = features.clone().requires_grad_()
    with torch.enable_grad():
        made = apply(read)
    return features * torch.autograd.grad(made, read, divided(relevance, made.detach()))[0]


def through_attention(
    relevance: Tensor, operands: Sequence[Tensor], samples: Samples, *, mask: Tensor | None, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the relevance of queries, keys and values of a fused call: the rules of what is fused, in turn.

    The product of weights and values, the softmax, which passes relevance on, the sum of scores and mask, if
    that is additive, and the product of queries and keys. Dense in tokens.

    Args:
        relevance: `[…, query, value_dim]`, of the result.
        operands: Queries `[…, query, head_dim]`, keys and values `[…, key, …]`, as many heads each.
        samples: Tells which entries belong to one sample.
        mask: Boolean (True = may attend) or additive, or None; broadcasts to `[…, query, key]`.
        scale: The factor on the products.
    """
    query, key, value = operands
    scores = query @ key.mT * scale
    if mask is None:
        weights = softmax_or_zero(scores)
    elif mask.dtype == torch.bool:
        weights = softmax_or_zero(scores.masked_fill(~mask, float("-inf")))
    else:
        weights = softmax_or_zero(scores + mask)
    of_weights, of_value = through_product(relevance, weights, value, torch.matmul)
    if mask is not None and mask.dtype != torch.bool:
        of_weights, _ = through_sum(of_weights, scores, mask, samples)
    of_query, of_key = through_product(of_weights, query, key, lambda left, right: left @ right.mT)
    return of_query, of_key, of_value
