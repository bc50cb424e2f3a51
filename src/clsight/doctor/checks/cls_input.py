"""What enters the first layer at [CLS]: one vector for all samples, a token, new numbers, zero, a copy?"""

from collections.abc import Iterator

import torch
from torch import Tensor

from clsight.doctor.changes import NOTHING, change_between
from clsight.doctor.cls_places import added_places, differing_pairs, places
from clsight.doctor.examination import Examination, NotApplicableError
from clsight.doctor.findings import Finding, error, note, ok, warning
from clsight.doctor.registry import check
from clsight.doctor.repeats import redrawn
from clsight.doctor.wording import percent


@check(
    asks="Is what stands at the position of [CLS] the same for all samples, as a [CLS] is?",
    finds={
        "error": "it differs, and the sequence is no longer than the input: an ordinary token",
        "warning": "it differs between samples: [CLS] is made from the input, or pictures have none",
    },
)
def input_at_cls(examination: Examination) -> Iterator[Finding]:
    """Compare what enters at [CLS] over samples; positions may differ, so only equal ones are compared."""
    at_cls = examination.at_cls
    if examination.is_redrawn:
        raise NotApplicableError("what enters at [CLS] is redrawn at each forward pass")
    pairs = differing_pairs(examination)
    if not pairs:
        raise NotApplicableError("it takes two different samples with [CLS] at one place")
    largest = max(float((at_cls[one] - at_cls[other]).abs().max()) for one, other in pairs)
    if largest == 0:
        yield ok(f"What enters at [CLS] is the same in all {len(at_cls)} samples.")
        return
    size = float(at_cls.abs().max())
    differs = f"What enters at position {places(examination)} differs between samples, by up to {largest:.2g}"
    if _is_token(examination):
        yield error(
            f"{differs} (values up to {size:.2g}), and the sequence is no longer than the input: it is an "
            "ordinary token, not a [CLS].",
            why="The map shows what that token attends to, and the answer is read off a token of the input.",
            next_step="Put [CLS] in front of what the encoder gets, or pass its position as cls_index "
            "(--cls-index).",
        )
    elif examination.question.subject and examination.question.subject.strategy == "input_mean":
        yield ok(f"{differs}: [CLS] starts from the mean of the input, as its strategy says.")
    elif examination.input_tokens is None and not examination.cls_tensors:
        yield warning(
            f"No [CLS] was found: no parameter or buffer holds one. {differs} (values up to {size:.2g}).",
            why="The map is then of an ordinary token, such as a patch, or of one made from the input.",
            next_step="If the model has a [CLS], pass its position as cls_index (--cls-index).",
        )
    else:
        yield warning(
            f"{differs} (values up to {size:.2g}): it is made from the input, unlike the usual [CLS].",
            why="Its query then depends on the sample from the first layer on.",
            next_step="If a constant [CLS] was meant, look for what is added to it, or for a wrong "
            "cls_index.",
        )


@check(
    asks="Is [CLS] redrawn at each forward pass, and what does that cost?",
    finds={
        "warning": "it is: with the share of the output's variance that this causes, and how often the class "
        "flips, or how far the output moves where it is not known to be logits; or something else is random"
    },
)
def cls_is_fixed(examination: Examination) -> Iterator[Finding]:
    """Repeat the forward pass with other random draws."""
    if examination.first.states.entering is None:
        yield _randomness_of_output(examination)
        return
    if not examination.is_redrawn:
        yield _other_randomness(examination)
        return
    cost = redrawn(examination)
    yield warning(
        f"[CLS] is redrawn at each forward pass: over {cost.draws} passes that is "
        f"{percent(cost.share, 1)} of the "
        f"output's variance between {examination.samples} samples (ICC {cost.icc:.3f}){cost.told}.",
        why="The same input can get two answers, and each map is of one draw.",
        next_step="Make [CLS] a parameter, or fix one draw; else average the answers of several passes.",
    )


def _other_randomness(examination: Examination) -> Finding:
    """Tell whether the output of a model with a fixed [CLS] follows its random draws."""
    change = change_between(examination.first.result, examination.second.result)
    if change <= NOTHING or examination.first.result.dropouts:  # dropout has a check of its own
        return ok("What enters at [CLS] does not follow random draws.")
    return warning(
        f"[CLS] is fixed, but other random draws change the output by {change:.2g} times its typical size.",
        why="The same input can get two answers, and each map is of one draw.",
        next_step="Look for random numbers in forward, and draw them in training alone.",
    )


def _randomness_of_output(examination: Examination) -> Finding:
    """Tell whether the output follows random draws, where what enters at [CLS] was not found."""
    change = change_between(examination.first.result, examination.second.result)
    if change <= NOTHING or examination.first.result.dropouts:
        return ok("The output does not follow random draws of [CLS].")
    return warning(
        f"The output follows random draws: two passes differ by {change:.2g} times its typical size. Whether "
        "[CLS] is drawn was not seen.",
        why="The same input can get two answers, and each map is of one draw.",
        next_step="If [CLS] is drawn in forward, make it a parameter, or fix one draw.",
    )


@check(asks="Is [CLS] zero where it enters?", finds={"note": "all its channels are 0"})
def cls_is_not_zero(examination: Examination) -> Iterator[Finding]:
    """Look for a vector of zeros."""
    size = float(examination.at_cls.abs().max())
    if size > 0:
        yield ok(f"[CLS] is not zero where it enters: values up to {size:.2g}.")
        return
    yield note(
        "[CLS] is zero in all channels where it enters the first layer.",
        why="Only biases can then give it a query, a key and a value in that layer.",
        next_step="Keep biases or a position embedding on [CLS], or make it a parameter that starts small.",
    )


@check(
    asks="Is [CLS] told apart from every other token, and are registers told apart from each other?",
    finds={"warning": "two of them enter as equal vectors"},
)
def cls_is_unique(examination: Examination) -> Iterator[Finding]:
    """Look for a token that enters with the same vector in every sample."""
    entering, positions = examination.entering, examination.positions
    if bool((positions != positions[0]).any()) or entering.shape[1] < 2:
        raise NotApplicableError("[CLS] stands at several positions, or alone")
    real = torch.as_tensor(examination.record["token_mask"].values)[:, : entering.shape[1]]
    twins = [pair for pair in _candidates(examination) if _equal(entering, real, *pair)]
    if not twins:
        yield ok("No other token enters with the vector of [CLS].")
        return
    one, other = twins[0]
    yield warning(
        f"Positions {one} and {other} enter the first layer as equal vectors in all {len(entering)} samples.",
        why="Attention cannot tell them apart: they stay copies of each other in every layer.",
        next_step="Start them from different values, or give each its own position embedding.",
    )


def _candidates(examination: Examination) -> list[tuple[int, int]]:
    """Return the pairs of positions that must differ: [CLS] and what is added beside it, and each token."""
    own = {int(examination.positions[0]), *added_places(examination)}
    others = range(examination.entering.shape[1])
    return sorted({(min(one, two), max(one, two)) for one in own for two in others if one != two})


def _equal(entering: Tensor, real: Tensor, one: int, other: int) -> bool:
    both = real[:, one] & real[:, other]
    return bool(both.any()) and torch.equal(entering[both, one], entering[both, other])


def _is_token(examination: Examination) -> bool:
    """Tell whether a token of the input stands where [CLS] should."""
    question = examination.question
    is_as_long = examination.input_tokens == examination.tokens
    if question.subject is None or question.token_kind is None:
        return is_as_long
    kinds, place = question.token_kind[0], int(examination.positions[0])
    # [CLS] is part of the input of text models, so that its length says nothing there.
    is_text = question.subject.takes in {"text", "token_ids"}
    return place >= len(kinds) or str(kinds[place]) != "cls" or (is_as_long and not is_text)
