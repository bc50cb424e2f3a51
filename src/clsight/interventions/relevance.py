"""Which tokens does the answer rest on, by gradients of the attention weights? Chefer's rule for encoders."""

from typing import TYPE_CHECKING, Any

import torch
import xarray as xr
from torch import Tensor

from clsight.errors import CaptureError
from clsight.hooks.forward import ClsIndex
from clsight.hooks.gradient import Target, target_of
from clsight.hooks.operations import AttentionCall
from clsight.hooks.scores import per_query_head, score_blocks, softmax_or_zero
from clsight.interventions.labeling import described, labeled
from clsight.interventions.opening import Opened, open_model
from clsight.interventions.registry import intervention
from clsight.interventions.requirements import need_all_to_ask, need_order

if TYPE_CHECKING:
    from clsight.interventions.opening import Model, Raw

PAPER = "Chefer et al. 2021, Generic Attention-model Explainability (ICCV), arXiv 2103.15679"


@intervention(
    question="Which tokens does the answer rest on, by gradients of the attention weights?",
    definition="R ← R + mean over heads of (∂target/∂A ⊙ A)⁺ R from R = I upwards; the row of CLS.",
    unit="target",
    range="0 to ∞; CLS's own entry holds the 1 of I",
    cost="one forward and one backward pass; O(tokens) memory",
    paper=PAPER,
    trust="Negative evidence is dropped, and a saturated answer has no gradient.",
    dims=("sample", "token"),
)
def chefer(
    model: "Model",
    inputs: "Raw",
    *,
    target: Target | None = None,
    cls_index: ClsIndex | None = None,
    token_mask: Any = None,
    within: str | None = None,
    output: Any = None,
) -> xr.Dataset:
    """Return the relevance of each token for the target at CLS: the rule of ICCV 2021 for encoders.

    R ← R + mean over heads of (∂target/∂A ⊙ A)⁺ R from R = I, upwards; its row of CLS. The rule of CVPR 2021
    (arXiv 2012.09838) has the same form with the LRP relevance of A in place of A: with A itself it is this
    rule, so there is no second one here. The authors' code overwrites CLS's own entry; here it is kept.

    Args:
        model: A module, or what `clsight.load` returned.
        inputs: As for `clsight.capture`; `cls_index`, `token_mask`, `within` and `output` too.
        target: A class, one per sample, or a function from the output to `[sample]`; default the predicted
            class.
        cls_index: Position of CLS.
        token_mask: `[sample, token]`, True = real.
        within: Name of the submodule to look at.
        output: From the module's output to its logits.

    Returns:
        `chefer` [sample, token], in [0, ∞), CLS's own entry ≥ 1; `chefer_layer` [sample, layer, token], the
        row of CLS in mean (∂target/∂A ⊙ A)⁺ of each layer; in units of the target.

    Raises:
        CaptureError: If the target does not fit or does not reach every layer, not every key is a token that
            asks, or tokens move to other places between layers.
    """
    opened = open_model(
        model, inputs, cls_index=cls_index, token_mask=token_mask, within=within, output=output, graph=True
    )
    need_all_to_ask(
        opened,
        asked_by="chefer",
        next_step="Capture with keep='gradient', which gives gradients of the CLS row",
    )
    need_order(opened, asked_by="chefer")
    gradients = _gradients(opened, target)
    last = opened.layers[-1].call
    order = torch.arange(last.samples, device=last.query.device)
    cls_only = torch.zeros(last.samples, last.keys, dtype=last.dtype, device=last.query.device)
    cls_only[order, opened.position.index] = 1.0
    relevance = cls_only.clone()
    rows: list[Tensor] = []
    for layer, gradient in zip(reversed(opened.layers), reversed(gradients), strict=True):
        rows.insert(0, _through(layer.call, gradient, cls_only))
        relevance = relevance + _through(layer.call, gradient, relevance)
    return _labeled_relevance(opened, relevance, torch.stack(rows, dim=1))


def _labeled_relevance(opened: Opened, relevance: Tensor, rows: Tensor) -> xr.Dataset:
    """Return relevance `[sample, token]` and rows of single layers `[sample, layer, token]` with labels."""
    per_layer, words = ("sample", "layer", "token"), {"units": "target", "paper": PAPER}
    variables = {
        "chefer": labeled(opened, ("sample", "token"), relevance, long_name="relevance (ICCV 2021)", **words),
        "chefer_layer": labeled(
            opened, per_layer, rows, long_name="positive gradient × weight, mean over heads", **words
        ),
    }
    return described(opened, variables, paper=PAPER, variant="ICCV 2021; CLS entry kept")


def _gradients(opened: Opened, target: Target | None) -> list[Tensor]:
    """Return ∂Σtarget/∂output of every attention call, `[sample, head, query, value_dim]`."""
    taps = [layer.tap for layer in opened.seen if layer.tap is not None]
    with torch.enable_grad():
        chosen = target_of(opened.output, opened.logits, target).sum()
    outputs = [tap.raw_output for tap in taps]
    found: list[Tensor | None] = [None]
    if chosen.requires_grad:
        found = list(torch.autograd.grad(chosen, outputs, allow_unused=True))
    missing = [layer.name for layer, one in zip(opened.layers, found, strict=False) if one is None]
    if missing:
        raise CaptureError(
            "target",
            expected="a target that depends on every layer's attention through a graph",
            got=f"one that layer `{missing[0]}` does not reach",
            next_step="Choose a target that the answer is read off, and run without no_grad inside",
        )
    given = zip(taps, found, strict=True)
    return [tap.call.in_canonical_layout(one.detach()) for tap, one in given if one is not None]


def _through(call: AttentionCall, gradient: Tensor, share: Tensor) -> Tensor:
    """Return Σ_i share_i · mean over heads of (∂target/∂A_ij · A_ij)⁺ for every key j, `[sample, key]`.

    Args:
        call: The attention call.
        gradient: `[sample, head, query, value_dim]`, of the call's output.
        share: `[sample, query]`.
    """
    with torch.no_grad(), torch.autocast(call.query.device.type, enabled=False):
        values = per_query_head(call.value, call.heads).to(call.dtype).mT
        result = share.new_zeros(call.samples, call.keys)
        start = 0
        for scores in score_blocks(call):
            block = slice(start, start + scores.shape[2])
            of_weights = gradient[:, :, block].to(call.dtype) @ values
            evidence = (of_weights * softmax_or_zero(scores)).clamp_min(0.0).mean(1)
            result += (share[:, None, block] @ evidence)[:, 0]
            start = block.stop
        return result
