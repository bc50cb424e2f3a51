"""One attention operation as it really ran, in one layout whatever function computed it.

Models call attention with two to four dimensions, with heads folded into the batch, with fewer key heads than
query heads. `AttentionCall` brings all of them to `[sample, head, token, head_dim]`, as views where possible.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class AttentionCall:
    """What one attention operation received and gave.

    Attributes:
        query: `[sample, head, query, head_dim]`, after rotary embeddings and norms, as the kernel read it.
        key: `[sample, key_head, key, head_dim]`; `key_head` divides `head` under grouped queries.
        value: `[sample, key_head, key, value_dim]`.
        output: `[sample, head, query, value_dim]`, the operation's own result.
        scale: The factor on the scores; 1.0 where the model scaled the query beforehand.
        raw_output: The same result as the model goes on with, in the operation's own layout; None: `output`.
        raw_order: The order of `raw_output`'s dimensions that gives `[…, query, value_dim]`; empty: as it is.
        mask: None, or broadcastable to `[sample, head, query, key]`: boolean (True = may attend) or additive.
        is_causal: Query i sees keys 0..i only.
        log_sum_exp: `[sample, head, query]`, of the scaled and masked scores, where the kernel gave it.
        log_sum_exp_error: Largest error of `log_sum_exp` beyond rounding in float32.
        scores: `[sample, head, query, key]`, only where the model itself held them (explicit softmax).
        softmax_dtype: The dtype of the model's own softmax, where it took one (ViT rounds to float32).
        weights: `[sample, head, query, key]`, as the model itself multiplied them with the values, likewise.
        has_dropout: Weights were dropped after the softmax, so that `output` is not `weights · value`.
        is_folded: The model's own code folded heads into the batch, perhaps in the other order.
        extra_keys: Keys at the end that are no tokens of the sequence (`bias_k`, `add_zero_attn`).
        kernel: The name of the operation that ran.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    output: Tensor
    scale: float
    raw_output: Tensor | None = None
    raw_order: tuple[int, ...] = ()
    mask: Tensor | None = None
    is_causal: bool = False
    log_sum_exp: Tensor | None = None
    log_sum_exp_error: float = 0.0
    scores: Tensor | None = None
    weights: Tensor | None = None
    softmax_dtype: torch.dtype | None = None
    has_dropout: bool = False
    is_folded: bool = False
    extra_keys: int = 0
    kernel: str = ""

    def in_canonical_layout(self, raw: Tensor) -> Tensor:
        """Return a tensor laid out as `raw_output` as `[sample, head, query, value_dim]`."""
        return unfold_heads(raw.permute(self.raw_order) if self.raw_order else raw, self.samples)

    @property
    def versions(self) -> tuple[int, ...]:
        """How often each of the tensors was changed in place; those of inference mode do not tell."""
        tensors = (self.query, self.key, self.value, self.scores, self.log_sum_exp, self.mask)
        return tuple(-1 if one is None or one.is_inference() else one._version for one in tensors)

    @property
    def is_far(self) -> bool:
        """Whether to read a result is to wait for a device."""
        return self.query.device.type != "cpu"

    @property
    def samples(self) -> int:
        """Number of samples in the batch."""
        return self.query.shape[0]

    @property
    def heads(self) -> int:
        """Number of query heads."""
        return self.query.shape[1]

    @property
    def queries(self) -> int:
        """Number of query positions."""
        return self.query.shape[2]

    @property
    def keys(self) -> int:
        """Number of key positions, extra keys included."""
        return self.key.shape[2]

    @property
    def tokens(self) -> int:
        """Number of tokens of the sequence: the keys without the extra ones."""
        return self.keys - self.extra_keys

    @property
    def is_class_attention(self) -> bool:
        """Whether CLS alone asks, as in CaiT: one query over a sequence that includes CLS."""
        return self.queries == 1 < self.tokens

    @property
    def coarsest_dtype(self) -> torch.dtype:
        """The dtype that rounds the operation's result most."""
        dtypes = [self.query.dtype, self.softmax_dtype or self.query.dtype]
        return max(dtypes, key=lambda dtype: torch.finfo(dtype).eps)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype in which row and column are computed: float64 for float64, else float32."""
        return torch.float64 if self.query.dtype == torch.float64 else torch.float32


def unfold_heads(tensor: Tensor, samples: int) -> Tensor:
    """Return `[..., token, channel]` with two to four dimensions as `[sample, head, token, channel]`.

    Three dimensions are read as `[sample · head, token, channel]`, the layout of `torch.bmm`.
    """
    if tensor.dim() == 4:
        return tensor
    if tensor.dim() == 2:
        return tensor[None, None]
    return split(tensor, 0, samples)


def split(tensor: Tensor, dim: int, size: int) -> Tensor:
    """Return the tensor with one dimension split in two, the first of the given size."""
    return tensor.reshape(*tensor.shape[:dim], size, -1, *tensor.shape[dim + 1 :])


def unfold_mask(mask: Tensor, *, samples: int, heads: int) -> Tensor:
    """Return a mask of two to four dimensions so that it broadcasts to `[sample, head, query, key]`."""
    if mask.dim() == 3 and mask.shape[0] == samples * heads:
        return split(mask, 0, samples)
    while mask.dim() < 4:
        mask = mask.unsqueeze(0)
    return mask


@dataclass(frozen=True)
class Skipped:
    """An attention call that has no CLS row.

    Attributes:
        reason: Why, as a sentence about it.
        is_cross_attention: Whether it asks another sequence, as a decoder does.
    """

    reason: str
    is_cross_attention: bool = False


def canonical(call: AttentionCall, *, sizes: tuple[int, ...], extra_keys: int) -> AttentionCall | Skipped:
    """Return the call as `[sample, head, token, head_dim]`, or why that cannot be done.

    Args:
        call: The call as the model made it: two to four dimensions.
        sizes: The sizes that the batch may have, most likely first; empty if unknown. They tell samples from
            heads in `[sample · head, token, head_dim]`, and windows from samples.
        extra_keys: Keys at the end that are no tokens of the sequence.
    """
    samples = _samples_of_scores(call, sizes) or _samples(call.query, sizes)
    if samples is None:
        shape, batch = tuple(call.query.shape), sizes[0] if sizes else "unknown size"
        return Skipped(f"queries of shape {shape} for a batch of {batch} are windows or groups of tokens")
    if call.query.dim() == 3 and call.key.shape[0] != call.query.shape[0]:
        return Skipped(f"its keys of shape {tuple(call.key.shape)} are shared by the batch, not its tokens")
    log_sum_exp = call.log_sum_exp
    unfolded = replace(
        call,
        query=unfold_heads(call.query, samples),
        key=unfold_heads(call.key, samples),
        value=unfold_heads(call.value, samples),
        output=unfold_heads(call.output, samples),
        raw_output=call.output if call.raw_output is None else call.raw_output,
        scores=None if call.scores is None else unfold_heads(call.scores, samples),
        weights=None if call.weights is None else unfold_heads(call.weights, samples),
        log_sum_exp=None
        if log_sum_exp is None
        else _unfold_rows(log_sum_exp.reshape(call.query.shape[:-1]), samples),
        extra_keys=extra_keys,
    )
    if unfolded.queries not in (1, unfolded.tokens):
        return Skipped(
            f"it has {unfolded.queries} queries for {unfolded.tokens} keys, so it is no self-attention",
            is_cross_attention=True,
        )
    return unfolded


def _samples_of_scores(call: AttentionCall, sizes: tuple[int, ...]) -> int | None:
    """Return the batch size that scores of four dimensions show where queries are folded, or None."""
    if call.scores is None or call.scores.dim() != 4 or call.query.dim() != 3:
        return None
    samples, heads = call.scores.shape[:2]
    fits = samples * heads == len(call.query) and (not sizes or samples in sizes)
    return samples if fits else None


def _samples(query: Tensor, sizes: tuple[int, ...]) -> int | None:
    """Return the batch size of a call, or None if its shape is not that of a batch of whole sequences."""
    if query.dim() == 4:
        return query.shape[0] if not sizes or query.shape[0] in _batches(sizes, query.shape[2]) else None
    if query.dim() == 3:
        fitting = (size for size in _batches(sizes, query.shape[1]) if size and query.shape[0] % size == 0)
        return next(fitting, None)
    return 1 if query.dim() == 2 else None


def _batches(sizes: tuple[int, ...], tokens: int) -> tuple[int, ...]:
    """Return the sizes the batch may have: the second only where tokens, with CLS or without, come first."""
    return sizes if sizes and tokens in (sizes[0], sizes[0] + 1) else sizes[:1]


def _unfold_rows(tensor: Tensor, samples: int) -> Tensor:
    return unfold_heads(tensor[..., None], samples)[..., 0]


def sdpa_arguments(  # noqa: PLR0917 - torch's own order
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> dict[str, Any]:
    """Bind the arguments of `scaled_dot_product_attention`, a builtin without a signature."""
    return dict(locals())
