"""How much does each token add to CLS when the residual and the LayerNorm count as well?"""

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import xarray as xr

from clsight.hooks.forward import ClsIndex
from clsight.interventions.averaging import over_draws
from clsight.interventions.labeling import described, labeled
from clsight.interventions.opening import Opened, open_model
from clsight.interventions.parts import LayerParts
from clsight.interventions.registry import intervention
from clsight.interventions.requirements import need_some
from clsight.interventions.sublayer import at_cls

if TYPE_CHECKING:
    from clsight.interventions.opening import Model, Raw

PAPER = "Kobayashi et al. 2021, Incorporating Residual and Normalization Layers, arXiv 2109.07152"


@intervention(
    question="How much does each token add to CLS when the residual and the LayerNorm count as well?",
    definition="‖γ (y_j − mean y_j) / sd‖ with y_j = Σ_h A_0j W_O v_j, x_0 added to CLS's own.",
    unit="",
    range="0 to ∞, in units of the residual stream",
    cost="one forward pass; O(tokens)",
    paper=PAPER,
    trust=(
        "One layer at a time, without the feed-forward part; norms do not tell whether contributions cancel."
    ),
    dims=("sample", "layer", "token"),
)
def norm_weighted_residual(
    model: "Model",
    inputs: "Raw",
    *,
    cls_index: ClsIndex | None = None,
    token_mask: Any = None,
    within: str | None = None,
    draws: int = 10,
    seed: int = 0,
) -> xr.Dataset:
    """Return how much each token adds to CLS behind attention, residual and LayerNorm.

    ‖γ · (y_j − mean y_j) / sd‖ with y_j = Σ_h A_0j W_O v_j, x_0 added to CLS's own, and the sd that the
    LayerNorm really divided by. In a pre-norm layer no norm follows: ‖y_j‖. With what b_O and β add, the
    vectors sum to the stream behind attention; this is checked. O(tokens) memory, one forward pass.

    Args:
        model: A module, or what `clsight.load` returned.
        inputs: As for `clsight.capture`; `cls_index`, `token_mask` and `within` too.
        cls_index: Position of CLS.
        token_mask: `[sample, token]`, True = real.
        within: Name of the submodule to look at.
        draws: Passes of a model that draws at random; the means are returned, with their spread as `…_std`.
        seed: Start of the random streams in the first draw.

    Returns:
        `norm_weighted_residual` [sample, layer, token], in [0, ∞), NaN at padding, in units of the stream;
        `mixing_ratio` [sample, layer], in [0, 1]: ‖Σ_{j≠CLS}‖ / (‖Σ_{j≠CLS}‖ + ‖of CLS‖);
        `completeness_error` [sample, layer]. NaN, with the attribute `reason`, where a layer's projection or
        residual sum was not found.

    Raises:
        CaptureError: If they were found in no layer, or the sum is not what the model computed.
    """
    opening = partial(open_model, model, inputs, cls_index=cls_index, token_mask=token_mask, within=within)
    return over_draws(opening, _with_residual, draws=draws, seed=seed)


def _with_residual(opened: Opened) -> xr.Dataset:
    """Return the result of one draw."""
    reason = need_some(opened, "attended", asked_by="norm_weighted_residual")
    found = [_of_layer(opened, layer) for layer in opened.layers]
    norms, ratios, errors = (torch.stack(values, dim=1) for values in zip(*found, strict=True))
    per_layer, words = ("sample", "layer"), {"paper": PAPER, "reason": reason}
    variables = {
        "norm_weighted_residual": labeled(
            opened, (*per_layer, "token"), norms, long_name="norm with residual and LayerNorm", **words
        ),
        "mixing_ratio": labeled(opened, per_layer, ratios, long_name="share of other tokens", **words),
        "completeness_error": labeled(
            opened, per_layer, errors, long_name="relative error of the sum", **words
        ),
    }
    variant = "attention, residual and LayerNorm"
    return described(opened, "norm_weighted_residual", variables, paper=PAPER, variant=variant)


def _of_layer(opened: Opened, layer: LayerParts) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return norms `[sample, key]`, mixing ratio and error `[sample]` of one layer."""
    if "attended" in layer.absent:
        undefined = opened.token_mask.new_full(opened.token_mask.shape, float("nan"), dtype=layer.dtype)
        return undefined, undefined[:, 0], undefined[:, 0]
    found = at_cls(layer, opened.position)
    vectors = found.vectors[:, 0]
    order = torch.arange(len(vectors), device=vectors.device)
    own = vectors[order, opened.position.index]
    others = torch.linalg.vector_norm(vectors.sum(1) - own, dim=-1)
    ratio = others / (others + torch.linalg.vector_norm(own, dim=-1))
    return torch.linalg.vector_norm(vectors, dim=-1), ratio, found.error[:, 0]
