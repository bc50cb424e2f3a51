"""Which tokens does the answer rest on, by gradients of the attention weights? Chefer's rule for encoders."""

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import xarray as xr
from torch import Tensor

from clsight.hooks.forward import ClsIndex
from clsight.hooks.gradient import Target
from clsight.interventions.averaging import over_draws
from clsight.interventions.labeling import described, labeled
from clsight.interventions.opening import Opened, open_model
from clsight.interventions.registry import intervention
from clsight.interventions.requirements import need_all_to_ask, need_order
from clsight.interventions.weight_evidence import at_outputs, multiplied

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
    draws: int = 10,
    seed: int = 0,
    output: Any = None,
) -> xr.Dataset:
    """Return the relevance of each token for the target at CLS: the rule of ICCV 2021 for encoders.

    R ← R + mean over heads of (∂target/∂A ⊙ A)⁺ R from R = I, upwards; its row of CLS. The rule of CVPR 2021,
    with the relevance of A in place of A, is `chefer_lrp`. The authors' code overwrites CLS's own entry; here
    it is kept.

    Args:
        model: A module, or what `clsight.load` returned.
        inputs: As for `clsight.capture`; `cls_index`, `token_mask`, `within` and `output` too.
        target: A class, one per sample, or a function from the output to `[sample]`; default the predicted
            class.
        cls_index: Position of CLS.
        token_mask: `[sample, token]`, True = real.
        within: Name of the submodule to look at.
        draws: Passes of a model that draws at random; the means are returned, with their spread as `…_std`.
        seed: Start of the random streams in the first draw.
        output: From the module's output to its logits.

    Returns:
        `chefer` [sample, token], in [0, ∞), CLS's own entry ≥ 1; `chefer_layer` [sample, layer, token], the
        row of CLS in mean (∂target/∂A ⊙ A)⁺ of each layer; in units of the target.

    Raises:
        CaptureError: If the target does not fit or does not reach every layer, not every key is a token that
            asks, or tokens move to other places between layers.
    """
    opening = partial(
        open_model,
        model,
        inputs,
        cls_index=cls_index,
        token_mask=token_mask,
        within=within,
        output=output,
        graph=True,
    )
    return over_draws(opening, partial(_relevance, target=target), draws=draws, seed=seed, of_class=True)


def _relevance(opened: Opened, target: Target | None) -> xr.Dataset:
    """Return the result of one draw."""
    need_all_to_ask(
        opened,
        asked_by="chefer",
        next_step="Capture with keep='gradient', which gives gradients of the CLS row",
    )
    need_order(opened, asked_by="chefer")
    with torch.enable_grad():
        chosen = opened.target_in(opened.output, opened.logits, target)
    relevance, rows = multiplied(opened, at_outputs(opened, chosen))
    return _labeled_relevance(opened, relevance, rows)


def _labeled_relevance(opened: Opened, relevance: Tensor, rows: Tensor) -> xr.Dataset:
    """Return relevance `[sample, token]` and rows of single layers `[sample, layer, token]` with labels."""
    per_layer, words = ("sample", "layer", "token"), {"units": "target", "paper": PAPER}
    variables = {
        "chefer": labeled(opened, ("sample", "token"), relevance, long_name="relevance (ICCV 2021)", **words),
        "chefer_layer": labeled(
            opened, per_layer, rows, long_name="positive gradient × weight, mean over heads", **words
        ),
    }
    return described(opened, "chefer", variables, paper=PAPER, variant="ICCV 2021; CLS entry kept")
