"""What would the model answer if CLS left the last layer as it left this one? The logit lens of CLS."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import xarray as xr
from torch import Tensor

from clsight.errors import CaptureError
from clsight.hooks.forward import ClsIndex
from clsight.hooks.watching import original_of
from clsight.interventions.averaging import over_draws
from clsight.interventions.labeling import described, labeled
from clsight.interventions.opening import Opened, open_model
from clsight.interventions.registry import intervention
from clsight.interventions.sequence_swaps import leaving_changed, rerun

if TYPE_CHECKING:
    from clsight.interventions.opening import Model, Raw

PAPER = "nostalgebraist 2020, interpreting GPT: the logit lens; Belrose et al. 2023, arXiv 2303.08112"

_ULPS = 32


@intervention(
    question="From which layer on does CLS hold the answer?",
    definition="The logits if CLS left the last layer as it enters the first or leaves each one.",
    unit="logit",
    range="any number; at the last depth the model's own logits",
    cost="two forward passes, and one per layer",
    paper=PAPER,
    trust=(
        "The readout was trained on what leaves the last layer: earlier states may hold the answer in a form "
        "that it cannot read."
    ),
    dims=("sample", "depth", "class"),
)
def logit_lens(
    model: "Model",
    inputs: "Raw",
    *,
    cls_index: ClsIndex | None = None,
    token_mask: Any = None,
    within: str | None = None,
    draws: int = 10,
    seed: int = 0,
    output: Callable[[Any], Tensor] | None = None,
) -> xr.Dataset:
    """Return the model's logits if CLS left the last layer as it enters the first, or leaves each layer.

    All that follows the last layer runs as it is, the final norm of a pre-norm model included, with the other
    tokens as they were. The state that really left must give the model's own logits; this is checked.

    Args:
        model: A module, or what `clsight.load` returned.
        inputs: As for `clsight.capture`; `cls_index`, `token_mask`, `within` and `output` too.
        cls_index: Position of CLS.
        token_mask: `[sample, token]`, True = real.
        within: Name of the submodule to look at.
        draws: Passes of a model that draws at random; the means are returned, with their spread as `…_std`.
        seed: Start of the random streams in the first draw.
        output: From the module's output to its logits.

    Returns:
        `logit_lens` [sample, depth, class], depth 0 before the first layer.

    Raises:
        CaptureError: If there are no logits, or CLS cannot be followed from layer to layer.
    """
    opening = partial(
        open_model,
        model,
        inputs,
        cls_index=cls_index,
        token_mask=token_mask,
        within=within,
        output=output,
        keep=("hidden",),
    )
    return over_draws(opening, _lens, draws=draws, seed=seed)


def _lens(opened: Opened) -> xr.Dataset:
    """Return the result of one draw."""
    _check_followed(opened)
    hidden = torch.from_numpy(opened.record["hidden"].values)
    found = [_answer(opened, states) for states in hidden.unbind(1)]
    _check_last(opened, found[-1])
    lens = labeled(
        opened,
        ("sample", "depth", "class"),
        torch.stack(found, dim=1),
        long_name="logit lens",
        units="logit",
        paper=PAPER,
    )
    return described(opened, "logit_lens", {"logit_lens": lens}, paper=PAPER)


def _check_followed(opened: Opened) -> None:
    """Refuse a model without logits, or whose CLS cannot be followed from layer to layer."""
    absent = opened.record.attrs["absent"]
    for name, next_step in (
        ("logits", "Pass output=, a function from the module's output to its logits"),
        ("hidden", "Ask for direct_logit_attribution, which follows CLS from sum to sum"),
    ):
        if name in absent:
            raise CaptureError(
                "logit_lens", expected=f"a model with `{name}`", got=absent[name], next_step=next_step
            )


def _answer(opened: Opened, states: Tensor) -> Tensor:
    """Return the logits `[sample, class]` with CLS leaving the last layer in the given states."""

    def with_cls(sequence: Tensor) -> Tensor:
        changed = sequence.clone()
        order = torch.arange(len(changed), device=changed.device)
        changed[order, opened.position.index] = states.to(changed)
        return changed

    with rerun(opened, gradients=False), leaving_changed(opened, -1, with_cls):
        returned = opened.run()
    logits = opened.logits_in(returned)
    assert logits is not None
    return logits.detach()


def _check_last(opened: Opened, last: Tensor) -> None:
    """Refuse a lens that does not give the model's own logits at the last depth."""
    own = opened.record["logits"].values
    error = float(abs(last.cpu().double().numpy() - own.astype("float64")).max())
    allowed = _ULPS * torch.finfo(last.dtype).eps * (1.0 + float(abs(own).max()))
    if not error <= allowed:
        raise CaptureError(
            type(original_of(opened.call.module)).__name__,
            expected="the same logits in a second forward pass with CLS as it was",
            got=f"logits that differ by {error:.2g}",
            where="It keeps a state between passes, or draws from a stream that cannot be started anew",
            next_step="Draw from torch's own generator, or one that the module holds as an attribute",
        )
