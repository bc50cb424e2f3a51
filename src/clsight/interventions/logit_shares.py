"""How much does each head, reading each token, add to the target directly? Direct logit attribution."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import xarray as xr
from torch import Tensor

from clsight.errors import CaptureError
from clsight.hooks.forward import ClsIndex
from clsight.hooks.gradient import Target
from clsight.hooks.operations import split
from clsight.hooks.scores import per_query_head
from clsight.interventions.averaging import over_draws
from clsight.interventions.events import Normalization, Sum
from clsight.interventions.labeling import described, labeled
from clsight.interventions.opening import Opened, open_model
from clsight.interventions.part_finder import norm_of
from clsight.interventions.parts import LayerParts, Norm
from clsight.interventions.registry import intervention
from clsight.interventions.requirements import need_all, need_stream
from clsight.interventions.sequences import cls_rows
from clsight.interventions.sublayer import rounding_of, weight_rows

if TYPE_CHECKING:
    from clsight.interventions.opening import Model, Raw

PAPER = "Elhage et al. 2021, https://transformer-circuits.pub/2021/framework"


@intervention(
    question="Which heads, reading which tokens, write the answer into CLS?",
    definition=(
        "(A_0j W_O v_j) · g, with g = ∂target/∂(what the readout reads at CLS), taken back along the "
        "residual stream through norms whose standard deviation is held fixed."
    ),
    unit="target",
    range="any number; with all other terms the sum is the target",
    cost="one forward and one backward pass of the readout",
    paper=PAPER,
    trust=(
        "Only the direct way counts: what a token adds to CLS may be used by later layers instead. Exact "
        "where the readout is linear, else (a pooler with tanh) first order, with the difference in `rest`."
    ),
    dims=("sample", "layer", "head", "token"),
)
def direct_logit_attribution(
    model: "Model",
    inputs: "Raw",
    *,
    target: Target | None = None,
    cls_index: ClsIndex | None = None,
    token_mask: Any = None,
    within: str | None = None,
    draws: int = 10,
    seed: int = 0,
    output: Callable[[Any], Tensor] | None = None,
) -> xr.Dataset:
    """Return what each head, reading each token, adds to the target along the stream of CLS.

    All terms sum to `target`; this is checked. The final norm is the one that read what left the last layer.

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
        `attention` [sample, layer, head, token]; `attention_bias` (b_O), `feed_forward` and `norm_bias` (β)
        [sample, layer]; `entering` (the state before the first layer), `final_norm_bias` and `rest` (the bias
        of a linear readout; in others also what is not first order or not read off CLS) [sample]; their sum
        `target`, and `completeness_error` [sample], by how much it misses, relative to the sum of sizes.

    Raises:
        CaptureError: If the target does not fit or does not depend on CLS, the stream cannot be followed, or
            the terms do not sum to the target.
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
    return over_draws(opening, partial(_shares, target=target), draws=draws, seed=seed, of_class=True)


def _shares(opened: Opened, target: Target | None) -> xr.Dataset:
    """Return the result of one draw."""
    need_all(opened, "leaving", asked_by="direct_logit_attribution")
    need_stream(opened, asked_by="direct_logit_attribution", at_cls=True)
    with torch.enable_grad():
        chosen = opened.target_in(opened.output, opened.logits, target)
    states, gradient, final = _readout(opened, chosen)
    value = chosen.detach().to(states.dtype)
    terms = {"rest": value - (gradient * states).sum(-1), "target": value}
    terms["final_norm_bias"] = torch.zeros_like(value)
    if final is not None:
        terms["final_norm_bias"] = _bias_term(final, gradient)
        gradient = final.pulled_back(gradient, opened.layers[-1].at_cls("leaving", opened.position))
    layers: list[dict[str, Tensor]] = []
    for layer in reversed(opened.layers):
        of_layer, gradient = _down(opened, layer, gradient)
        layers.insert(0, of_layer)
    terms["entering"] = (gradient * opened.layers[0].at_cls("residual", opened.position)).sum(-1)
    terms["completeness_error"] = _checked_error(opened, layers, terms)
    return _labeled_terms(opened, layers, terms)


def _down(opened: Opened, layer: LayerParts, gradient: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Return the terms of one layer, and the gradient of what entered it at CLS."""
    position, norm_bias = opened.position, gradient.new_zeros(len(gradient))
    terms = {"feed_forward": norm_bias}
    if layer.second_norm is not None:
        norm_bias = norm_bias + _bias_term(layer.second_norm, gradient)
        gradient = _pulled_back(opened, layer.second_norm, gradient)
    if layer.fed_forward is not None:
        terms["feed_forward"] = (layer.at_cls("fed_forward", position) * gradient).sum(-1)
    if layer.norm is not None:
        norm_bias = norm_bias + _bias_term(layer.norm, gradient)
        gradient = _pulled_back(opened, layer.norm, gradient)
    terms["norm_bias"] = norm_bias
    terms["attention_bias"] = (layer.output_bias * gradient).sum(-1)
    with torch.no_grad(), torch.autocast(gradient.device.type, enabled=False):
        call = layer.call
        row = weight_rows(call, position.index[:, None])[:, :, 0].to(gradient.dtype)
        per_head = split(gradient @ layer.found("projection"), 1, call.heads)  # [sample, head, value_dim]
        value = per_query_head(call.value, call.heads).to(gradient.dtype)
        terms["attention"] = row * (value @ per_head[..., None])[..., 0]
    return terms, gradient


def _bias_term(norm: Norm, gradient: Tensor) -> Tensor:
    """Return β · g, `[sample]`."""
    if norm.bias is None:
        return gradient.new_zeros(len(gradient))
    return (norm.bias.to(gradient.dtype) * gradient).sum(-1)


def _pulled_back(opened: Opened, norm: Norm, gradient: Tensor) -> Tensor:
    return norm.pulled_back(gradient, opened.position.in_sequence(norm.states).to(gradient.dtype))


def _readout(opened: Opened, target: Tensor) -> tuple[Tensor, Tensor, Norm | None]:
    """Return what the readout reads at CLS and the gradient there, `[sample, channel]`; the final norm."""
    leaving = opened.layers[-1].at_cls("leaving", opened.position)
    norms = [event for event in opened.after if isinstance(event, Normalization)]
    for norm in norms:
        read = _read_at_cls(opened, target, held=norm.features, tensor=norm.result)
        if read is not None:
            return *read, norm_of(norm, leaving)
    results = [event.result for event in opened.after if isinstance(event, Normalization | Sum)]
    for result in results:
        read = _read_at_cls(opened, target, held=result, tensor=result)
        if read is not None:
            return *read, None
    raise CaptureError(
        "target",
        expected="a target that is read off what leaves the last layer at CLS",
        got="one that does not depend on it through a graph",
        next_step="Choose a target that the answer is read off, and check cls_index=",
    )


def _read_at_cls(
    opened: Opened, target: Tensor, *, held: Tensor, tensor: Tensor
) -> tuple[Tensor, Tensor] | None:
    """Return a tensor of the graph and ∂Σtarget/∂tensor at CLS, `[sample, channel]`.

    Args:
        opened: The forward pass.
        target: `[sample]`.
        held: What must hold the stream behind the last layer at CLS.
        tensor: Laid out as `held`.

    Returns:
        None where `held` does not hold it, or the target does not reach the tensor.
    """
    last = opened.layers[-1]
    leaving = last.at_cls("leaving", opened.position)

    def at_cls(one: Tensor) -> list[Tensor]:
        return list(cls_rows(one.detach(), opened.position.index, tokens=last.call.tokens))

    matching = [
        row.shape == leaving.shape and torch.equal(row.to(leaving.dtype), leaving) for row in at_cls(held)
    ]
    if True not in matching or not (target.requires_grad and tensor.requires_grad):
        return None
    with torch.enable_grad():
        total = target.sum()
    [gradient] = torch.autograd.grad(total, [tensor], retain_graph=True, allow_unused=True)
    if gradient is None:
        return None
    place = matching.index(True)
    return at_cls(tensor)[place].to(leaving.dtype), at_cls(gradient)[place].to(leaving.dtype)


def _checked_error(opened: Opened, layers: list[dict[str, Tensor]], terms: dict[str, Tensor]) -> Tensor:
    """Return by how much the terms miss the target, relative to the sum of their sizes: `[sample]`.

    Raises:
        CaptureError: If it is more than rounding.
    """
    summands = [terms["entering"], terms["final_norm_bias"], terms["rest"]]
    summands += [term for layer in layers for term in layer.values()]
    flat = torch.cat([term.flatten(1) if term.dim() > 1 else term[:, None] for term in summands], dim=1)
    size = flat.abs().sum(1).clamp_min(torch.finfo(flat.dtype).tiny)
    error = (flat.sum(1) - terms["target"]).abs() / size
    allowed = rounding_of(opened.layers[-1])
    if not bool((error <= allowed).all()):
        raise CaptureError(
            "direct_logit_attribution",
            expected=f"terms that sum to the target within {allowed:.1g} of their sizes",
            got=f"a difference of {float(error.max()):.1g}",
            where="Along the residual stream the model does something that was not seen",
            next_step="Ask for norm_weighted_residual, which looks at each layer alone",
        )
    return error


def _labeled_terms(opened: Opened, layers: list[dict[str, Tensor]], terms: dict[str, Tensor]) -> xr.Dataset:
    words = {"units": "target", "paper": PAPER}
    variables = {}
    for name in layers[0]:
        dims = ("sample", "layer", "head", "token") if name == "attention" else ("sample", "layer")
        stacked = torch.stack([layer[name] for layer in layers], dim=1)
        variables[name] = labeled(opened, dims, stacked, long_name=name.replace("_", " "), **words)
    for name, values in terms.items():
        variables[name] = labeled(opened, ("sample",), values, long_name=name.replace("_", " "), **words)
    return described(opened, "direct_logit_attribution", variables, paper=PAPER)
