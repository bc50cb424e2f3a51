"""What does each token add to the residual stream of a query, attention and residual together?

y_ij = Σ_h A_ij W_O v_j, with the residual x_i added at j = i, each through the norm that follows with the
standard deviation it really had. With what b_O and β add, the sum over j is the stream after attention.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clsight.errors import CaptureError
from clsight.hooks.operations import AttentionCall, split, unfold_mask
from clsight.hooks.positions import Position
from clsight.hooks.scores import per_query_head, query_scores, softmax_or_zero
from clsight.interventions.parts import LayerParts

_BLOCK_BYTES = 64 * 2**20
_ULPS, _HALF_ULPS = 256, 8


@dataclass(frozen=True)
class Contributions:
    """The contributions to some queries of one layer.

    Attributes:
        vectors: `[…, query, key, channel]`, of each token.
        biases: `[…, query, channel]`, of b_O and β.
        total: `[…, query, channel]`, the stream after attention, as the model had it.
    """

    vectors: Tensor
    biases: Tensor
    total: Tensor

    @property
    def error(self) -> Tensor:
        """How far the contributions are from the total, relative to their sizes: `[…, query]`."""
        difference = self.vectors.sum(-2) + self.biases - self.total
        size = torch.linalg.vector_norm(self.vectors, dim=-1).sum(-1)
        size = size + torch.linalg.vector_norm(self.biases, dim=-1)
        error: Tensor = torch.linalg.vector_norm(difference, dim=-1) / size.clamp_min(_tiny(size))
        return error

    def checked(self, parts: LayerParts) -> "Contributions":
        """Return them if they reproduce what the model computed.

        Raises:
            CaptureError: If they do not: a step between was not seen.
        """
        allowed = rounding_of(parts)
        worst = float(self.error.max())
        if not worst <= allowed:
            raise CaptureError(
                parts.name,
                expected=f"contributions that add up to the residual stream within {allowed:.1g}",
                got=f"a relative difference of {worst:.1g}",
                where="Between attention and the residual stream the model does something that was not seen",
                next_step="Look at the layer's forward, and at the attributes `notes` of a capture",
            )
        return self


def rounding_of(parts: LayerParts) -> float:
    """Return by how much a sum may miss what the model computed, relative to the sizes of its terms."""
    coarsest = parts.call.coarsest_dtype
    return float(torch.finfo(coarsest).eps) * (_HALF_ULPS if coarsest.itemsize == 2 else _ULPS)


def _tiny(tensor: Tensor) -> float:
    return float(torch.finfo(tensor.dtype).tiny)


def weight_rows(call: AttentionCall, queries: Tensor) -> Tensor:
    """Return the weights of some queries, `[sample, head, query, key]`.

    Args:
        call: The attention call.
        queries: `[query]`, the same in all samples, or `[sample, query]`.
    """
    return softmax_or_zero(query_scores(call, queries))


def at_cls(parts: LayerParts, position: Position) -> Contributions:
    """Return the contributions to CLS, `[sample, 1, key, channel]`, in O(tokens) memory.

    Raises:
        CaptureError: If they do not add up to what the model computed.
    """
    with torch.no_grad(), torch.autocast(parts.call.query.device.type, enabled=False):
        total = parts.at_cls("attended", position)[:, None]
        row = weight_rows(parts.call, position.index[:, None])[:, :, 0].to(total.dtype)
        value = per_query_head(parts.call.value, parts.call.heads).to(total.dtype)
        weighted = (row[..., None] * value).transpose(1, 2).flatten(2)  # [sample, key, head · value_dim]
        vectors = weighted @ parts.found("projection").T
        order = torch.arange(len(vectors), device=vectors.device)
        vectors[order, position.index] += parts.at_cls("residual", position)
        return _through_norm(parts, vectors[:, None], total, position.index[:, None])


def in_blocks(parts: LayerParts, sample: int, queries: Tensor) -> Iterator[tuple[Tensor, Contributions]]:
    """Yield blocks of queries of one sample, each with the contributions to them, `[query, key, channel]`.

    Raises:
        CaptureError: If they do not add up to what the model computed.
    """
    call = _one_sample(parts.call, sample)
    with torch.no_grad(), torch.autocast(call.query.device.type, enabled=False):
        totals, residual = parts.found("attended")[sample], parts.found("residual")[sample]
        value = per_query_head(call.value, call.heads)[0].to(totals.dtype)  # [head, key, value_dim]
        weight = split(parts.found("projection"), 1, call.heads)  # [channel, head, value_dim]
        outgoing = torch.einsum("hjv,chv->hjc", value, weight)
        size = max(1, _BLOCK_BYTES // (call.keys * totals.shape[-1] * totals.itemsize))
        for block in torch.split(queries, size):
            rows = weight_rows(call, block)[0].to(totals.dtype)
            vectors = torch.einsum("hij,hjc->ijc", rows, outgoing)
            vectors[torch.arange(len(block), device=block.device), block] += residual[block]
            found = _through_norm(parts, vectors[None], totals[block][None], block, sample)
            yield block, Contributions(found.vectors[0], found.biases[0], found.total[0])


def _through_norm(
    parts: LayerParts, vectors: Tensor, total: Tensor, queries: Tensor, sample: int | None = None
) -> Contributions:
    """Bring contributions through the norm behind attention, if there is one.

    Args:
        parts: Of the layer.
        vectors: `[sample, query, key, channel]`.
        total: `[sample, query, channel]`.
        queries: `[sample, query]`, or `[query]` of one sample.
        sample: Which one sample this is; None: all.
    """
    states = total
    if parts.norm is not None:
        read = parts.norm.states.to(total.dtype)
        order = torch.arange(len(read), device=read.device)[:, None]
        states = read[order, queries] if sample is None else read[sample, queries][None]
        vectors = parts.norm.scaled(vectors, states[:, :, None])
    return Contributions(vectors, parts.added_by_biases(states), total).checked(parts)


def _one_sample(call: AttentionCall, sample: int) -> AttentionCall:
    """Return the call of one sample of the batch."""
    one = slice(sample, sample + 1)
    mask = call.mask
    if mask is not None:
        mask = unfold_mask(mask.detach(), samples=call.samples, heads=call.heads)
        mask = mask[one] if len(mask) > 1 else mask
    return replace(
        call,
        query=call.query[one],
        key=call.key[one],
        value=call.value[one],
        scores=None if call.scores is None else call.scores[one],
        log_sum_exp=None if call.log_sum_exp is None else call.log_sum_exp[one],
        mask=mask,
    )
