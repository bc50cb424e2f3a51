"""The states between layers: massive activations, tokens far longer than others, a norm at nearly nothing."""

from collections.abc import Iterator
from typing import Final

import torch

from clsight.doctor.examination import Examination, NotApplicableError
from clsight.doctor.findings import Finding, error, note, ok, warning
from clsight.doctor.layer_states import Extent, NormInput
from clsight.doctor.registry import check

_MASSIVE: Final = 100.0
_TIMES_MEDIAN: Final = 1000.0
_LONG: Final = 5.0
_BLOWN_UP: Final = 100.0
_SAFE_EPS: Final = 1e-6
_SMALLEST_HALF: Final = 6e-8


@check(
    asks="Are there massive activations, or tokens that stand out like registers?",
    finds={
        "note": "a state above 100 and 1,000 times the median (Sun et al. 2024), or a token 5 times as "
        "long as "
        "the median token (after Darcet et al. 2023)"
    },
)
def states_are_even(examination: Examination) -> Iterator[Finding]:
    """Look at the largest state and the longest token after each layer."""
    extents = examination.first.states.extents
    if not extents:
        raise NotApplicableError("the states between layers were not found")
    massive = [extent for extent in extents if _is_massive(extent)]
    longest = max(extents, key=lambda extent: extent.longest)
    if massive:
        worst = max(massive, key=lambda extent: extent.largest)
        sample, token, channel = worst.place
        yield note(
            f"Massive activations: {worst.largest:.0f} after `{worst.layer}` at token {token}, channel "
            f"{channel} "
            f"(sample {sample}), {worst.largest / max(worst.median, 1e-12):,.0f} times the median.",
            why="Such a token acts as a constant bias, and attention is drawn to it whatever the input is.",
            next_step="Compare the maps with and without that token before you read meaning into it.",
        )
    if longest.longest > _LONG:
        sample, token = longest.longest_at
        yield note(
            f"An outlier: token {token} (sample {sample}) is {longest.longest:.1f} times as long as the "
            "median "
            f"token after `{longest.layer}`.",
            why="Trained vision models use such tokens as registers: they hold no local content.",
            next_step="Do not read the map at that token as a place in the input.",
        )
    if not massive and longest.longest <= _LONG:
        yield ok(
            f"No massive activation: at most {max(extent.largest for extent in extents):.3g}; the longest "
            "token "
            f"is {longest.longest:.1f} times the median."
        )


@check(
    asks="Can a [CLS] that starts at zero be trained through the first norm?",
    finds={
        "error": "float16 with an epsilon that rounds to 0: the gradient is NaN",
        "warning": "a trained [CLS] near zero in front of a norm with an epsilon below 1e-6",
        "note": "the same with an ordinary epsilon",
    },
)
def norm_gradient(examination: Examination) -> Iterator[Finding]:
    """Compare 1/√(variance + eps), what a norm multiplies a gradient with, at [CLS] and elsewhere."""
    norms = examination.first.norms
    if not norms:
        raise NotApplicableError("no norm over the whole sequence was found")
    worst = max(norms, key=_ratio)
    if _ratio(worst) < _BLOWN_UP:
        yield ok(
            f"No norm blows up the gradient of [CLS]: `{worst.name}` multiplies it by {worst.at_cls:.3g}, "
            "other "
            f"tokens by {worst.elsewhere:.3g}."
        )
        return
    if not _is_trained(examination):
        yield ok(f"[CLS] is near zero in front of `{worst.name}`, but it is constant: no gradient passes.")
        return
    half = any(weight.dtype == torch.float16 for weight in examination.module.parameters())
    told = error if half and worst.eps < _SMALLEST_HALF else warning if worst.eps < _SAFE_EPS else note
    in_half = (
        f" In float16 an eps of {worst.eps:.0e} is 0, and the gradient NaN."
        if worst.eps < _SMALLEST_HALF
        else ""
    )
    yield told(
        f"`{worst.name}` multiplies the gradient of [CLS] by {worst.at_cls:,.0f}, of other tokens by "
        f"{worst.elsewhere:.3g}: [CLS] is near zero there, and eps is {worst.eps:.0e}.{in_half}",
        why="The gradient of a norm at zero is 1/√eps, so the first steps of training throw [CLS] far off.",
        next_step="Start [CLS] from N(0, 0.02²), or raise eps to 1e-5 and warm the learning rate up.",
    )


def _is_massive(extent: Extent) -> bool:
    return extent.largest > _MASSIVE and extent.largest >= _TIMES_MEDIAN * extent.median


def _ratio(norm: NormInput) -> float:
    return norm.at_cls / norm.elsewhere if norm.elsewhere > 0 else 0.0


def _is_trained(examination: Examination) -> bool:
    """Tell whether [CLS] is a parameter that training changes."""
    return any(candidate.tensor.requires_grad for candidate in examination.cls_tensors)
