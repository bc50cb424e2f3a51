"""How do the tokens mix on their way to CLS, residual and LayerNorm counted? ALTI and GlobEnc."""

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
import xarray as xr
from torch import Tensor

from clsight.errors import CaptureError, did_you_mean
from clsight.hooks.forward import ClsIndex
from clsight.interventions.averaging import over_draws
from clsight.interventions.labeling import described, labeled
from clsight.interventions.opening import Opened, open_model
from clsight.interventions.parts import LayerParts
from clsight.interventions.registry import intervention
from clsight.interventions.requirements import (
    MOST_TOKENS,
    need_all,
    need_all_to_ask,
    need_stream,
    refuse_long,
)
from clsight.interventions.rolling import roll_down, shares
from clsight.interventions.sublayer import Contributions

if TYPE_CHECKING:
    from clsight.interventions.opening import Model, Raw

ALTI = "Ferrando et al. 2022, Measuring the Mixing of Contextual Information, arXiv 2203.04212"
GLOBENC = "Modarressi et al. 2022, GlobEnc, arXiv 2205.03286"
Variant = Literal["product", "row_normalized"]
VARIANTS: tuple[Variant, ...] = ("product", "row_normalized")
_ALL_CLIPPED = "no token is nearer to the result than zero is: all contributions of a query are clipped"


@intervention(
    question="How near is what each token adds to what CLS becomes, through all layers?",
    definition="max(0, ‖y_i‖₁ − ‖y_i − y_ij‖₁) over its sum, multiplied over layers; the row of CLS.",
    unit="",
    range="0 to 1, summing to 1",
    cost="one forward pass; O(tokens²) per layer, stated limit",
    paper=ALTI,
    trust="Contributions that point away are clipped to 0, and the feed-forward part does not count.",
    dims=("sample", "token"),
)
def alti(
    model: "Model",
    inputs: "Raw",
    *,
    cls_index: ClsIndex | None = None,
    token_mask: Any = None,
    within: str | None = None,
    draws: int = 10,
    seed: int = 0,
    max_tokens: int = MOST_TOKENS,
) -> xr.Dataset:
    """Return how near each token's contribution is to what CLS becomes (ALTI), per layer and rolled out.

    c_ij = max(0, ‖y_i‖₁ − ‖y_i − y_ij‖₁), y_ij through residual and LayerNorm, y_i the stream after
    attention with all biases; rows divided by their sum; product over layers. By the formula: the authors'
    code adds 1e-6 to each coordinate of the difference (`pairwise_distance`), which moves results by 4e-5.
    Contributions that point away are clipped to 0, which loses them; the feed-forward part does not count.

    Args:
        model: A module, or what `clsight.load` returned.
        inputs: As for `clsight.capture`; `cls_index`, `token_mask` and `within` too.
        cls_index: Position of CLS.
        token_mask: `[sample, token]`, True = real.
        within: Name of the submodule to look at.
        draws: Passes of a model that draws at random; the means are returned, with their spread as `…_std`.
        seed: Start of the random streams in the first draw.
        max_tokens: Longest sequence; time grows with its square.

    Returns:
        `alti` [sample, token] and, of single layers, `alti_layer` [sample, layer, token], in [0, 1], summing
        to 1; `clipped` [sample, layer], share of real tokens whose contribution to CLS is clipped. NaN, with
        the attribute `reason`, where all are.

    Raises:
        CaptureError: If the sequence is too long, a projection or residual sum was not found, a key is no
            token that asks, or tokens change between layers.
    """
    opening = partial(open_model, model, inputs, cls_index=cls_index, token_mask=token_mask, within=within)
    return over_draws(opening, partial(_alti, max_tokens=max_tokens), draws=draws, seed=seed)


def _alti(opened: Opened, max_tokens: int) -> xr.Dataset:
    """Return the result of one draw."""
    _check_mixing(opened, max_tokens, asked_by="alti")
    through, scores = roll_down(opened, _alti_scores, by_shares=True)
    of_layers, real = shares(scores), opened.token_mask[:, None]
    clipped = ((scores == 0) & real).sum(-1).to(scores.dtype) / real.sum(-1)
    undefined = of_layers.isnan().any(-1)
    words = {"paper": ALTI, "reason": _ALL_CLIPPED if bool(undefined.any() | through.isnan().any()) else ""}
    per_token, per_layer = ("sample", "token"), ("sample", "layer")
    variables = {
        "alti": labeled(opened, per_token, through, long_name="ALTI, all layers", **words),
        "alti_layer": labeled(
            opened, (*per_layer, "token"), of_layers, long_name="ALTI of the layer", **words
        ),
        "clipped": labeled(
            opened,
            per_layer,
            clipped,
            long_name="share of tokens clipped to 0",
        ),
    }
    return described(opened, "alti", variables, paper=ALTI)


@intervention(
    question="How large is what each token adds to CLS through all layers, both norms counted?",
    definition="Norms of y_ij behind both LayerNorms, multiplied over layers; the row of CLS over its sum.",
    unit="",
    range="0 to 1, summing to 1",
    cost="one forward pass; O(tokens²) per layer, stated limit",
    paper=GLOBENC,
    trust="The feed-forward part does not count, and norms multiply as if nothing ever canceled.",
    dims=("sample", "token"),
)
def globenc(
    model: "Model",
    inputs: "Raw",
    *,
    variant: Variant = "product",
    cls_index: ClsIndex | None = None,
    token_mask: Any = None,
    within: str | None = None,
    draws: int = 10,
    seed: int = 0,
    max_tokens: int = MOST_TOKENS,
) -> xr.Dataset:
    """Return the norms of what each token adds to CLS through both norms of a layer (GlobEnc), rolled out.

    N_ij = ‖y_ij through residual, first LayerNorm and the scale of the second‖ (N_ResOut; the feed-forward
    part is left out), then the product over layers. The published code multiplies N as it is ("product"),
    so that tokens with large norms count more; dividing each row by its sum first ("row_normalized") moves
    entries by up to 0.2. In pre-norm layers, for which it was not published, no norm follows either sum.

    Args:
        model: A module, or what `clsight.load` returned.
        inputs: As for `clsight.capture`; `cls_index`, `token_mask` and `within` too.
        variant: "product" or "row_normalized".
        cls_index: Position of CLS.
        token_mask: `[sample, token]`, True = real.
        within: Name of the submodule to look at.
        draws: Passes of a model that draws at random; the means are returned, with their spread as `…_std`.
        seed: Start of the random streams in the first draw.
        max_tokens: Longest sequence; time grows with its square.

    Returns:
        `globenc` [sample, token], in [0, 1]; in the end divided by its sum in both variants;
        `globenc_layer` [sample, layer, token], N of CLS in each layer, in [0, ∞).

    Raises:
        CaptureError: As for `alti`; if a post-norm layer has no second norm; if the variant is unknown.
    """
    if variant not in VARIANTS:
        raise CaptureError(
            "globenc",
            expected="a known `variant`",
            got=repr(variant),
            next_step=did_you_mean(variant, VARIANTS),
        )
    opening = partial(open_model, model, inputs, cls_index=cls_index, token_mask=token_mask, within=within)
    measured = partial(_globenc, variant=variant, max_tokens=max_tokens)
    return over_draws(opening, measured, draws=draws, seed=seed)


def _globenc(opened: Opened, variant: Variant, max_tokens: int) -> xr.Dataset:
    """Return the result of one draw."""
    _check_mixing(opened, max_tokens, asked_by="globenc")
    _check_second_norms(opened)
    through, of_layers = roll_down(opened, _globenc_norms, by_shares=variant == "row_normalized")
    words = {"paper": GLOBENC}
    variables = {
        "globenc": labeled(opened, ("sample", "token"), through, long_name=f"GlobEnc, {variant}", **words),
        "globenc_layer": labeled(
            opened,
            ("sample", "layer", "token"),
            of_layers,
            long_name="norm behind the second LayerNorm",
            **words,
        ),
    }
    return described(opened, "globenc", variables, paper=GLOBENC, variant=variant)


def _check_mixing(opened: Opened, max_tokens: int, *, asked_by: str) -> None:
    """Refuse what cannot be multiplied through all layers, or takes too long.

    Raises:
        CaptureError: With the first of it.
    """
    refuse_long(opened, max_tokens, asked_by=asked_by)
    one_by_one = "Ask for norm_weighted_residual, which looks at each layer alone"
    need_all_to_ask(opened, asked_by=asked_by, next_step=one_by_one)
    need_all(opened, "attended", asked_by=asked_by)
    need_stream(opened, asked_by=asked_by)


def _check_second_norms(opened: Opened) -> None:
    """Refuse a post-norm layer whose norm behind the feed-forward part was not seen.

    Raises:
        CaptureError: With the first such layer.
    """
    for layer in opened.layers:
        if layer.norm is not None and layer.second_norm is None:
            raise CaptureError(
                "globenc",
                expected="a norm behind the feed-forward part of each post-norm layer",
                got=f"none in layer `{layer.name}`: a norm that is written out may stand there",
                next_step="Ask for alti, which needs the norm behind attention alone",
            )


def _alti_scores(parts: LayerParts, found: Contributions, queries: Tensor, sample: int) -> Tensor:
    """Return how much nearer each part is to the result than zero is, `[query, token]`, at least 0."""
    distance = (found.total[:, None] - found.vectors).abs().sum(-1)
    near = (found.total.abs().sum(-1, keepdim=True) - distance).clamp_min(0.0)
    return near.masked_fill(~found.vectors.any(-1), 0.0)  # padding, but for rounding


def _globenc_norms(parts: LayerParts, found: Contributions, queries: Tensor, sample: int) -> Tensor:
    """Return the norms behind both norms of the layer, `[query, token]`."""
    vectors = found.vectors
    if parts.second_norm is not None:
        read = parts.second_norm.states.to(vectors.dtype)[sample, queries]
        vectors = parts.second_norm.scaled(vectors, read[:, None])
    norms: Tensor = torch.linalg.vector_norm(vectors, dim=-1)
    return norms
