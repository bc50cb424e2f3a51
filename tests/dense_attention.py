"""Dense attention of any model, the slow obvious way: torch's attention and softmax functions are replaced.

The replacements hold whole tokens × tokens matrices and share no mechanism with the capture. Two references:

- `dense_attention`: a float64 copy of the model whose operations are float64 too. What the model means.
- `attention_of_own_operations`: the model as it is, in its own dtype; of each operation's own queries, keys,
  mask and scale the weights in float64. What a half-precision model really does: its layers differ from
  those of the float64 copy by the rounding of everything before them, which no capture can undo.
"""

import copy
import math
from contextlib import contextmanager
from dataclasses import dataclass
from unittest import mock

import torch
from torch import nn

_softmax = torch.softmax
_fused = nn.functional.scaled_dot_product_attention


@dataclass
class Dense:
    """One attention operation in float64.

    Attributes:
        scores: `[..., query, key]`, scaled and masked.
        weights: `[..., query, key]`, their softmax; zero where every key is masked.
        key: `[..., key, head_dim]`, None where the model wrote its attention out.
    """

    scores: torch.Tensor
    weights: torch.Tensor
    key: torch.Tensor | None

    @classmethod
    def of(cls, scores, key=None):
        exact = scores.detach().double()
        return cls(exact, _softmax(exact, -1).nan_to_num(0.0), key)


def _scores(query, key, mask, *, is_causal, scale):
    scores = query @ key.mT * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if mask is not None and mask.dtype == torch.bool:
        return scores.masked_fill(~mask, -math.inf)
    return scores if mask is None else scores + mask.to(scores.dtype)


def _as_read(query):
    """Return a query in the dtype in which the operation reads it, under autocast too."""
    return query.to(torch.get_autocast_dtype("cpu")) if torch.is_autocast_enabled("cpu") else query


@contextmanager
def _replaced(kept, *, in_double):
    """Replace attention and softmax everywhere in this process; append each operation to `kept`."""

    def attention(  # noqa: PLR0917 - torch's own order
        query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False
    ):
        repeat = query.shape[-3] // key.shape[-3] if enable_gqa else 1
        keys, values = key.repeat_interleave(repeat, -3), value.repeat_interleave(repeat, -3)
        query64, key64 = _as_read(query).double(), _as_read(keys).double()
        kept.append(Dense.of(_scores(query64, key64, attn_mask, is_causal=is_causal, scale=scale), keys))
        if in_double:
            return kept[-1].weights @ values
        options = {"is_causal": is_causal, "scale": scale, "enable_gqa": enable_gqa}
        return _fused(query, key, value, attn_mask, dropout_p, **options)

    def softmax(scores, dim=-1, *args, dtype=None, **kwargs):
        if scores.dim() >= 3 and scores.is_floating_point():
            kept.append(Dense.of(scores))
        # Some models round to float32 here, whatever their own dtype is: a float64 reference does not.
        return _softmax(scores, dim, dtype=None if in_double else dtype)

    fast = torch.backends.mha.get_fastpath_enabled()
    with (
        mock.patch.object(nn.functional, "scaled_dot_product_attention", attention),
        mock.patch.object(nn.functional, "softmax", softmax),
        mock.patch.object(torch, "softmax", softmax),
        mock.patch.object(torch.Tensor, "softmax", softmax),
        torch.no_grad(),
    ):
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)


def dense_attention(module, inputs):
    """Return every attention operation of a float64 copy of `module`, called with the inputs by name."""
    kept = []
    exact = copy.deepcopy(module).double().eval()
    with _replaced(kept, in_double=True):
        exact(**in_double(inputs))
    return kept


def attention_of_own_operations(module, inputs):
    """Return every attention operation of `module` itself, in its own dtype, its weights in float64."""
    kept = []
    with _replaced(kept, in_double=False):
        module(**inputs)
    return kept


def in_double(inputs):
    """Return inputs with every floating-point tensor in float64."""
    return {
        name: tensor.double() if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() else tensor
        for name, tensor in inputs.items()
    }
