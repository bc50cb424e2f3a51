"""How much does each token of the first layer add to the target, from a baseline to what it is?"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
import xarray as xr
from torch import Tensor

from clsight.errors import CaptureError, did_you_mean
from clsight.hooks.forward import ClsIndex
from clsight.hooks.gradient import Target, target_of
from clsight.interventions.averaging import over_draws
from clsight.interventions.labeling import described, labeled
from clsight.interventions.opening import Opened, need_gradients, open_model
from clsight.interventions.registry import intervention
from clsight.interventions.sequence_swaps import entering_changed, rerun
from clsight.loading.optional_libraries import needing

if TYPE_CHECKING:
    from clsight.interventions.opening import Model, Raw

PAPER = "Sundararajan et al. 2017, Axiomatic Attribution for Deep Networks, arXiv 1703.01365; Captum"
Baseline = Literal["zeros", "mean", "kept"] | Tensor
BASELINES = ("zeros", "mean", "kept")
CLOSED = 0.02
"""The largest completeness gap at which an integral is taken for done, as a share of the target's change."""
FIRST_STEPS, MOST_STEPS = 50, 1600


@intervention(
    question="How much does each token that enters the encoder add to the answer?",
    definition="(x − x′) · ∫ gradient from the baseline x′ to x, per channel, summed over channels.",
    unit="target",
    range="any number; the sum is target(x) − target(x′) but for the completeness gap",
    cost="two forward passes, and one with a backward pass per step: 50 to 3,150",
    paper=PAPER,
    trust=(
        "It depends on the baseline, that of CLS most of all: a token that is kept in the baseline gets "
        "exactly 0 by construction, whatever the model makes of it."
    ),
    dims=("sample", "token"),
)
def integrated_gradients(
    model: "Model",
    inputs: "Raw",
    *,
    target: Target | None = None,
    cls_baseline: Baseline = "zeros",
    baseline: Baseline = "zeros",
    steps: int | None = None,
    cls_index: ClsIndex | None = None,
    token_mask: Any = None,
    within: str | None = None,
    draws: int = 10,
    seed: int = 0,
    output: Callable[[Any], Tensor] | None = None,
) -> xr.Dataset:
    """Return integrated gradients of what enters the first layer, per token, by Captum.

    Gauss-Legendre, whose points Captum holds in float32. Near zeros a LayerNorm makes the integrand steep:
    50 points can miss most of it, so they are doubled until the gap is closed. Needs the extra `captum`.

    Args:
        model: A module, or what `clsight.load` returned.
        inputs: As for `clsight.capture`; `cls_index`, `token_mask`, `within` and `output` too.
        target: A class, one per sample, or a function from the output to `[sample]`; default the predicted
            class.
        cls_baseline: Of CLS: "zeros", "mean" (of the sample's real tokens), "kept", or a tensor `[channel]`.
        baseline: Of all other tokens, likewise.
        steps: Points of the integral; None doubles them for each sample, from 50 to 1,600, until its gap is
            at most 2 % of its `target_change`.
        cls_index: Position of CLS.
        token_mask: `[sample, token]`, True = real.
        within: Name of the submodule to look at.
        draws: Passes of a model that draws at random; the means are returned, with their spread as `…_std`.
        seed: Start of the random streams in the first draw.
        output: From the module's output to its logits.

    Returns:
        `integrated_gradients` [sample, token]; `target_change` [sample], target(x) − target(x′);
        `completeness_gap` [sample], by how much the sum over tokens misses it. Attributes: `baselines`, with
        the most steps (of each draw, where they differ); `notes`, where a gap stayed open.

    Raises:
        CaptureError: If the first layer takes no sequence, or target or baseline do not fit.
        CheckpointError: If Captum is not installed.
    """
    with needing("captum", extra="captum"):
        from captum.attr import IntegratedGradients
    need_gradients()
    _check_steps(steps)
    opening = partial(
        open_model,
        model,
        inputs,
        cls_index=cls_index,
        token_mask=token_mask,
        within=within,
        output=output,
    )
    measured = partial(
        _integrated,
        method=IntegratedGradients,
        target=target,
        cls_baseline=cls_baseline,
        baseline=baseline,
        steps=steps,
    )
    return over_draws(opening, measured, draws=draws, seed=seed, of_class=True)


def _integrated(
    opened: Opened,
    *,
    method: Any,
    target: Target | None,
    cls_baseline: Baseline,
    baseline: Baseline,
    steps: int | None,
) -> xr.Dataset:
    """Return the result of one draw."""
    states, logits = _entering(opened, target)
    chosen = opened.predicted if target is None else target
    if chosen is None and logits is not None:
        chosen = logits.argmax(dim=1)
    start = _baseline_of(opened, states, cls_baseline, baseline)

    def answer(sequence: Tensor) -> Tensor:
        with entering_changed(opened, 0, lambda _: sequence):
            return _target(opened, chosen)

    def integrated(count: int) -> tuple[Tensor, Tensor]:
        options = {"n_steps": count, "internal_batch_size": len(states), "return_convergence_delta": True}
        with rerun(opened, gradients=True):
            found, gap = method(answer).attribute(states, baselines=start, **options)
        return found, gap

    found, gap, count = _until_closed(integrated) if steps is None else (*integrated(steps), steps)
    used = {"cls": _name_of(cls_baseline), "others": _name_of(baseline), "steps": count}
    return _labeled_results(opened, found, gap, used)


def _until_closed(integrated: Callable[[int], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, int]:
    """Return what each sample gives at the first count of steps that closes its gap, and the largest count.

    So a sample gives the same numbers in every batch.
    """
    count = FIRST_STEPS
    found, gap = integrated(count)
    while count < MOST_STEPS and not bool((closed := is_closed(found, gap)).all()):
        count *= 2
        again, gap_again = integrated(count)
        found = torch.where(closed[:, None, None], found, again)
        gap = torch.where(closed, gap, gap_again)
    return found, gap, count


def is_closed(found: Tensor, gap: Tensor) -> Tensor:
    """Return for each sample whether its integral is done: attributions `[sample, …]` and gaps `[sample]`."""
    return gap.abs() <= CLOSED * (found.flatten(1).sum(1) - gap).abs()


def _check_steps(steps: Any) -> None:
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or steps < 1):
        raise CaptureError(
            "integrated_gradients",
            expected="`steps` as a whole number, 1 or more",
            got=repr(steps),
            next_step="Leave it out to take as many as it needs",
        )


def _labeled_results(opened: Opened, found: Tensor, gap: Tensor, used: dict[str, Any]) -> xr.Dataset:
    """Return attributions `[sample, token, channel]` summed over channels, and the gap `[sample]`."""
    open_gaps = (~is_closed(found, gap)).sum().item()
    note = f"the completeness gap of {open_gaps} of {len(gap)} samples is over 2 % of the target's change"
    words = {"units": "target", "paper": PAPER}
    totals = found.sum(-1)
    extra = opened.record.sizes["token"] - totals.shape[1]  # keys that are no tokens: nothing enters there
    totals = torch.nn.functional.pad(totals, (0, extra))
    variables = {
        "integrated_gradients": labeled(
            opened, ("sample", "token"), totals, long_name="integrated gradients", **words
        ),
        "target_change": labeled(
            opened, ("sample",), found.flatten(1).sum(1) - gap, long_name="change of the target", **words
        ),
        "completeness_gap": labeled(opened, ("sample",), gap, long_name="completeness gap", **words),
    }
    return described(
        opened,
        "integrated_gradients",
        variables,
        paper=PAPER,
        baselines=used,
        notes=[note] if open_gaps else [],
    )


def _entering(opened: Opened, target: Target | None) -> tuple[Tensor, Tensor | None]:
    """Return what enters the first layer, `[sample, token, channel]`, and the logits of that same pass.

    Refuses a target that does not fit before any work.
    """
    seen: list[Tensor] = []

    def keep(sequence: Tensor) -> Tensor:
        seen.append(sequence.detach().clone())
        return sequence

    with rerun(opened, gradients=False), entering_changed(opened, 0, keep):
        returned = opened.run()
    logits = None if callable(target) else opened.logits_in(returned)
    target_of(returned, logits, target)
    return seen[0], logits


def _target(opened: Opened, target: Target | None) -> Tensor:
    """Run the model and return the target, `[sample]`."""
    returned = opened.run()
    logits = None if callable(target) else opened.logits_in(returned)
    return target_of(returned, logits, target)


def _baseline_of(opened: Opened, states: Tensor, of_cls: Baseline, of_others: Baseline) -> Tensor:
    """Return where the integral starts, `[sample, token, channel]`."""
    start = _filled(opened, states, of_others, "baseline")
    cls = _filled(opened, states, of_cls, "cls_baseline")
    order = torch.arange(len(states), device=states.device)
    start[order, opened.position.index] = cls[order, opened.position.index]
    return start


def _filled(opened: Opened, states: Tensor, baseline: Baseline, name: str) -> Tensor:
    """Return one kind of baseline for every token."""
    if not isinstance(baseline, str | Tensor):
        raise CaptureError(
            name,
            expected="zeros, mean, kept, or a tensor",
            got=f"an object of type {type(baseline).__name__}",
            next_step="Pass one vector as a tensor: torch.as_tensor(array)",
        )
    if isinstance(baseline, Tensor):
        if baseline.shape != states.shape[-1:]:
            raise CaptureError(
                name,
                expected=f"a tensor of shape (channel={states.shape[-1]})",
                got=f"shape {tuple(baseline.shape)}",
                next_step="Pass one vector, or one of the names: zeros, mean, kept",
            )
        return baseline.to(states).expand_as(states).clone()
    if baseline == "zeros":
        return torch.zeros_like(states)
    if baseline == "kept":
        return states.clone()
    if baseline == "mean":
        real = opened.token_mask[:, : states.shape[1], None].to(states)
        return ((states * real).sum(1, keepdim=True) / real.sum(1, keepdim=True)).expand_as(states).clone()
    raise CaptureError(
        name,
        expected="zeros, mean, kept, or a tensor",
        got=repr(baseline),
        next_step=did_you_mean(str(baseline), BASELINES),
    )


def _name_of(baseline: Baseline) -> str:
    return "a vector" if isinstance(baseline, Tensor) else baseline
