"""Which tokens does the answer rest on, by gradient and relevance of the weights? Chefer's rule at CVPR."""

from typing import TYPE_CHECKING, Any

import torch
import xarray as xr
from torch import Tensor, nn

from clsight.hooks.forward import ClsIndex
from clsight.hooks.gradient import Target
from clsight.interventions.averaging import over_draws
from clsight.interventions.labeling import described, labeled
from clsight.interventions.opening import Opened, open_model
from clsight.interventions.registry import intervention
from clsight.interventions.relevance_graph import need_rules
from clsight.interventions.relevance_mode import RelevanceMode, changed_in_place
from clsight.interventions.relevance_rules import divided
from clsight.interventions.relevance_samples import Samples, layout_in
from clsight.interventions.requirements import MOST_TOKENS, need_all_to_ask, need_order, refuse_long
from clsight.interventions.weight_evidence import at_outputs, multiplied

if TYPE_CHECKING:
    from clsight.interventions.opening import Model, Raw

PAPER = (
    "Chefer et al. 2021, Transformer Interpretability Beyond Attention Visualization (CVPR), arXiv 2012.09838"
)
_NAME = "chefer_lrp"


@intervention(
    question="Which tokens does the answer rest on, by gradient and relevance of the attention weights?",
    definition="Π over layers of (I + mean over heads of (∂target/∂A ⊙ relevance of A)⁺); the row of CLS.",
    unit="target",
    range="0 to ∞; CLS's own entry holds the 1 of I",
    cost="one forward and two backward passes; O(tokens²) per layer, stated limit",
    paper=PAPER,
    trust=(
        "The rules of relevance are conventions: negative evidence is dropped in every linear map, biases "
        "and norms take none; and where products of states nearly cancel, they magnify rounding."
    ),
    dims=("sample", "token"),
)
def chefer_lrp(
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
    max_tokens: int = MOST_TOKENS,
) -> xr.Dataset:
    """Return the relevance of each token for the target at CLS: the rule of CVPR 2021.

    Π_l (I + mean over heads of (∂target/∂A ⊙ R^A)⁺), its row of CLS. R^A, the relevance of the weights, is 1
    at the target and goes down by the authors' rules (`relevance_rules`): through linear maps by positive
    products alone, without bias; through sums by share, normalized per sample; half of a product of states to
    each factor; norms, activations, softmax and fixed factors pass it on; what only moves numbers passes it
    where its gradient goes. Unlike in the authors' code, samples are apart and CLS's own entry is kept.

    Args:
        model: A module, or what `clsight.load` returned.
        inputs: As for `clsight.capture`; `cls_index`, `token_mask`, `within` and `output` too.
        target: As for `chefer`; what a function computes goes by the rules too.
        cls_index: Position of CLS.
        token_mask: `[sample, token]`, True = real.
        within: Name of the submodule to look at.
        draws: Passes of a model that draws at random; the means are returned, with their spread as `…_std`.
        seed: Start of the random streams in the first draw.
        output: From the module's output to its logits.
        max_tokens: Longest sequence.

    Returns:
        `chefer_lrp` [sample, token], in [0, ∞), CLS's own entry ≥ 1; `chefer_lrp_layer` [sample, layer,
        token], the row of CLS in the mean of each layer; in units of the target.

    Raises:
        CaptureError: As `chefer`; if an operation has no rule, or the sequence is too long.
    """
    rules: RelevanceMode

    def opening(*, seed: int) -> Opened:
        nonlocal rules
        rules = RelevanceMode(_module_of(model))
        with rules:
            return open_model(
                model,
                inputs,
                cls_index=cls_index,
                token_mask=token_mask,
                within=within,
                output=output,
                graph=True,
                seed=seed,
            )

    def measured(opened: Opened) -> xr.Dataset:
        return _relevance(opened, rules, target, max_tokens=max_tokens)

    return over_draws(opening, measured, draws=draws, seed=seed, of_class=True)


def _relevance(opened: Opened, rules: RelevanceMode, target: Target | None, *, max_tokens: int) -> xr.Dataset:
    """Return the result of one draw."""
    with rules, torch.enable_grad():
        chosen = opened.target_in(opened.output, opened.logits, target)
    refuse_long(opened, max_tokens, asked_by=_NAME)
    need_all_to_ask(
        opened, asked_by=_NAME, next_step="Capture with keep='gradient', which gives gradients of the CLS row"
    )
    need_order(opened, asked_by=_NAME)
    gradients = at_outputs(opened, chosen, keep_graph=True)
    relevance, rows = multiplied(opened, gradients, _relevance_per_weight(opened, rules, chosen))
    return _labeled_relevance(opened, relevance, rows)


def _module_of(model: Any) -> nn.Module:
    """Return the module whose weights count as weights; of what is no model, one without any."""
    module = model if isinstance(model, nn.Module) else getattr(model, "module", None)
    return module if isinstance(module, nn.Module) else nn.Identity()


def _relevance_per_weight(opened: Opened, rules: RelevanceMode, target: Tensor) -> list[Tensor]:
    """Return per layer what makes weight times value the relevance of a weight: half of R / output.

    Returns:
        `[sample, head, query, value_dim]`.

    Raises:
        CaptureError: If an operation has no rule.
    """
    taps = [layer.tap for layer in opened.seen if layer.tap is not None]
    need_rules(target, [tap.edge for tap in taps], asked_by=_NAME)
    for tap, layer in zip(taps, opened.layers, strict=True):
        if tap.raw_output._version != tap.version:
            raise changed_in_place(layer.name)
    found = [layer.residual for layer in opened.layers if layer.residual is not None]
    call = opened.layers[0].call
    samples = Samples(call.samples, call.tokens, lambda: layout_in(rules.sums, found), asked_by=_NAME)
    with rules.asking_for(samples), torch.autocast(call.query.device.type, enabled=False):
        relevances = at_outputs(opened, target)
    outputs = [tap.call.in_canonical_layout(tap.raw_output.detach()) for tap in taps]
    return [
        divided(relevance.to(call.dtype), output.to(call.dtype)) / 2
        for relevance, output in zip(relevances, outputs, strict=True)
    ]


def _labeled_relevance(opened: Opened, relevance: Tensor, rows: Tensor) -> xr.Dataset:
    """Return relevance `[sample, token]` and rows of single layers `[sample, layer, token]` with labels."""
    words = {"units": "target", "paper": PAPER}
    variables = {
        _NAME: labeled(opened, ("sample", "token"), relevance, long_name="relevance (CVPR 2021)", **words),
        f"{_NAME}_layer": labeled(
            opened,
            ("sample", "layer", "token"),
            rows,
            long_name="positive gradient × relevance of weights, mean over heads",
            **words,
        ),
    }
    variant = "CVPR 2021, product from the first layer; CLS entry kept"
    return described(opened, _NAME, variables, paper=PAPER, variant=variant)
