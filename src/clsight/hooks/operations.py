"""One attention operation as it really ran, in one layout whatever function computed it.

Models call attention with two to four dimensions, with heads folded into the batch, with fewer key heads than
query heads. `AttentionCall` brings all of them to `[sample, head, token, head_dim]`, as views where possible.
"""

from dataclasses import dataclass

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
        mask: None, or broadcastable to `[sample, head, query, key]`: boolean (True = may attend) or additive.
        is_causal: Query i sees keys 0..i only.
        log_sum_exp: `[sample, head, query]`, of the scaled and masked scores, where the kernel gave it.
        scores: `[sample, head, query, key]`, only where the model itself held them (explicit softmax).
        has_dropout: Weights were dropped after the softmax, so that `output` is not `weights · value`.
        extra_keys: Keys at the end that are no tokens of the sequence (`bias_k`, `add_zero_attn`).
        kernel: The name of the operation that ran.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    output: Tensor
    scale: float
    mask: Tensor | None = None
    is_causal: bool = False
    log_sum_exp: Tensor | None = None
    scores: Tensor | None = None
    has_dropout: bool = False
    extra_keys: int = 0
    kernel: str = ""

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
    return tensor.unflatten(0, (samples, -1))


def can_unfold(tensor: Tensor, samples: int) -> bool:
    """Tell whether `unfold_heads` has one meaning for this shape."""
    if tensor.dim() == 3:
        return samples > 0 and tensor.shape[0] % samples == 0
    return tensor.dim() == 4 or (tensor.dim() == 2 and samples == 1)


def unfold_mask(mask: Tensor, *, samples: int, heads: int) -> Tensor:
    """Return a mask of two to four dimensions so that it broadcasts to `[sample, head, query, key]`."""
    if mask.dim() == 3 and mask.shape[0] == samples * heads:
        return mask.unflatten(0, (samples, heads))
    while mask.dim() < 4:
        mask = mask.unsqueeze(0)
    return mask
