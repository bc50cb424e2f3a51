"""How CLS attends, and how much it gets, beside what it would get if it could be ignored."""

import math

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from clsight.errors import CaptureError
from clsight.hooks import capture
from clsight.interventions import query_decomposition
from clsight.models import ClassificationTransformer
from clsight.study.fitting import drawn_anew
from clsight.study.tasks import Part

Numbers = dict[str, float]
INITIAL = ("cls_token.vector", "input")
"""What `query_decomposition` calls the vector that CLS starts from: a weight, or what was drawn."""


def attention_at_cls(model: ClassificationTransformer, part: Part) -> Numbers:
    """Return means over samples and heads, of each layer (0 is the first): all in [0, 1] but entropy.

    `cls_to_cls_0`: what CLS gives itself. `others_to_cls_0`: what the other tokens give CLS.
    `others_to_cls_if_silent_0`: what they would give a CLS whose key is zero, softmax-plus-one.
    `cls_entropy_0`: of the row of CLS over that of even attention. `even_share`: 1 / tokens. Empty where no
    CLS is in the sequence.
    """
    if not model.cls_token.in_sequence:
        return {}
    record = record_of(model, part)
    tokens = record["token_mask"].sum("token")
    found: Numbers = {"even_share": float((1 / tokens).mean())}
    to_cls = record["attended_by"].where(record["token_mask"]).isel(token=slice(1, None))
    row = record["attends_to"].astype(float)
    entropy = -(row * np.log(row.where(row > 0, 1.0))).sum("token") / np.log(tokens)
    silent = weights_of_a_silent_cls(model, part)
    for layer in range(record.sizes["layer"]):
        found[f"cls_to_cls_{layer}"] = float(row.isel(layer=layer, token=0).mean())
        found[f"others_to_cls_{layer}"] = float(to_cls.isel(layer=layer).mean())
        found[f"others_to_cls_if_silent_{layer}"] = silent[layer]
        found[f"cls_entropy_{layer}"] = float(entropy.isel(layer=layer).mean())
    return found


def weights_of_a_silent_cls(model: ClassificationTransformer, part: Part) -> list[float]:
    """Return what other tokens would give CLS in each layer if its key were zero, mean over all, in [0, 1].

    1 / (1 + Σ exp(scores of the other keys)): softmax-plus-one, the weight of a token that can be ignored
    (Miller 2023, https://www.evanmiller.org/attention-is-off-by-one.html).
    """
    layers = [layer for layer in model.encoder.layers if isinstance(layer, nn.TransformerEncoderLayer)]
    entering: list[Tensor] = []
    hooks = [
        layer.self_attn.register_forward_pre_hook(lambda _, given: entering.append(given[0].detach()))
        for layer in layers
    ]
    try:  # gradients keep torch from the fused layer, which calls no attention module
        with torch.enable_grad(), drawn_anew(model):
            model.eval()(part.inputs, part.token_mask)
    finally:
        for hook in hooks:
            hook.remove()
    with torch.no_grad():
        return [
            _silent(layer.self_attn, x, part.token_mask) for layer, x in zip(layers, entering, strict=True)
        ]


def _silent(attention: nn.MultiheadAttention, x: Tensor, token_mask: Tensor | None) -> float:
    """Return the mean weight of a silent CLS in a layer whose attention reads `[sample, token, channel]`."""
    query, key, _ = (
        one.reshape(len(x), x.shape[1], attention.num_heads, -1).transpose(1, 2)
        for one in nn.functional.linear(x, attention.in_proj_weight, attention.in_proj_bias).chunk(3, -1)
    )
    scores = (query[:, :, 1:] @ key[:, :, 1:].mT).double() / query.shape[-1] ** 0.5
    real = torch.ones(len(x), x.shape[1] - 1, dtype=torch.bool) if token_mask is None else token_mask
    scores = scores.masked_fill(~real[:, None, None], -math.inf)
    weights = torch.sigmoid(-scores.logsumexp(-1))  # [sample, head, query]
    return float(weights[real[:, None].expand_as(weights)].mean())


def record_of(model: ClassificationTransformer, part: Part) -> xr.Dataset:
    """Return a record of a model on some samples, the draws of CLS from the start of their stream."""
    inputs = (part.inputs,) if part.token_mask is None else (part.inputs, part.token_mask)
    with drawn_anew(model):
        record = capture(model, inputs, cls_index=0, keep=())
    return record.assign_coords(label=("sample", part.labels.numpy()))


def share_of_initial_vector(model: ClassificationTransformer, part: Part) -> Numbers:
    """Return `initial_share`: how much of where CLS looks first comes from the vector it starts from.

    Mean over samples and heads of the share of the variance of scores over tokens. NaN where the query of CLS
    is not a sum that has such a term: a query of zeros looks nowhere.
    """
    if not model.cls_token.in_sequence:
        return {}
    inputs = (part.inputs,) if part.token_mask is None else (part.inputs, part.token_mask)
    try:
        with drawn_anew(model):
            share = query_decomposition(model, inputs, cls_index=0)["share"]
    except CaptureError:  # all of the query is zero: there is no sum to take apart
        return {"initial_share": math.nan}
    terms = [name for name in share["part"].values if name in INITIAL]
    return {"initial_share": float(share.sel(part=terms).sum("part", skipna=False).mean(("sample", "head")))}
