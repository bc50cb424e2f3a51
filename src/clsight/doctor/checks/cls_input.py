"""What enters the first layer at [CLS]: one vector for all samples, a token, new numbers, zero, a copy?"""

from collections.abc import Iterator

import torch
from torch import Tensor

from clsight.doctor.examination import Examination, NotApplicableError, change_between, known_entering
from clsight.doctor.findings import Finding, error, note, ok, warning
from clsight.doctor.registry import check
from clsight.doctor.repeats import redrawn
from clsight.doctor.wording import percent


@check(
    asks="Is what stands at the position of [CLS] the same for all samples, as a [CLS] is?",
    finds={
        "error": "it differs, and the sequence is no longer than the input: an ordinary token",
        "warning": "it differs between samples",
    },
)
def input_at_cls(examination: Examination) -> Iterator[Finding]:
    """Compare what enters at [CLS] over samples; positions may differ, so only equal ones are compared."""
    entering = examination.entering
    if _is_redrawn(examination):
        raise NotApplicableError("what enters at [CLS] is redrawn at each forward pass")
    pairs = _pairs(examination)
    at_cls = _at(entering, examination.positions)
    largest = max(float((at_cls[one] - at_cls[other]).abs().max()) for one, other in pairs)
    if largest == 0:
        yield ok(f"What enters at [CLS] is the same in all {len(entering)} samples.")
        return
    size = float(at_cls.abs().max())
    differs = (
        f"What enters at position {_places(examination)} differs between samples, by up to {largest:.2g}"
    )
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
        "warning": "it is: with the share of the output's variance that this causes, and the flip rate; or "
        "something else is random"
    },
)
def cls_is_fixed(examination: Examination) -> Iterator[Finding]:
    """Repeat the forward pass with other random draws."""
    if not _is_redrawn(examination):
        yield _other_randomness(examination)
        return
    cost = redrawn(examination)
    yield warning(
        f"[CLS] is redrawn at each forward pass: over {cost.draws} passes that is "
        f"{percent(cost.share, 1)} of the "
        f"output's variance between {examination.samples} samples (ICC {cost.icc:.3f}){cost.flips}.",
        why="The same input can get two answers, and each map is of one draw.",
        next_step="Make [CLS] a parameter, or fix one draw; else average the answers of several passes.",
    )


def _other_randomness(examination: Examination) -> Finding:
    """Tell whether the output of a model with a fixed [CLS] follows its random draws."""
    change = change_between(examination.first.result, examination.second.result)
    if change == 0 or examination.first.result.dropouts:  # dropout has a check of its own
        return ok("What enters at [CLS] does not follow random draws.")
    return warning(
        f"[CLS] is fixed, but other random draws change the output by {change:.2g} times its typical size.",
        why="The same input can get two answers, and each map is of one draw.",
        next_step="Look for random numbers in forward, and draw them in training alone.",
    )


@check(asks="Is [CLS] zero where it enters?", finds={"note": "all its channels are 0"})
def cls_is_not_zero(examination: Examination) -> Iterator[Finding]:
    """Look for a vector of zeros."""
    size = float(_at(examination.entering, examination.positions).abs().max())
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
    twins = [pair for pair in _candidates(examination, int(positions[0])) if _equal(entering, real, *pair)]
    if not twins:
        yield ok("No other token enters with the vector of [CLS].")
        return
    one, other = twins[0]
    yield warning(
        f"Positions {one} and {other} enter the first layer as equal vectors in all {len(entering)} samples.",
        why="Attention cannot tell them apart: they stay copies of each other in every layer.",
        next_step="Start them from different values, or give each its own position embedding.",
    )


def _candidates(examination: Examination, position: int) -> list[tuple[int, int]]:
    """Return the pairs of positions that must differ: [CLS] and each other token, and all prefix tokens."""
    kinds = examination.question.token_kind
    prefix = [position]
    if kinds is not None:
        own = [str(kind) for kind in kinds[0]]
        prefix = [place for place, kind in enumerate(own) if kind in {"cls", "register", "distillation"}]
    others = range(examination.entering.shape[1])
    return sorted({(min(one, two), max(one, two)) for one in prefix for two in others if one != two})


def _equal(entering: Tensor, real: Tensor, one: int, other: int) -> bool:
    both = real[:, one] & real[:, other]
    return bool(both.any()) and torch.equal(entering[both, one], entering[both, other])


def _is_redrawn(examination: Examination) -> bool:
    positions = examination.positions
    first, second = examination.entering, known_entering(examination.second)
    return not torch.equal(_at(first, positions), _at(second, positions))


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


def _pairs(examination: Examination) -> list[tuple[int, int]]:
    """Return samples with [CLS] at one place whose other tokens differ, so that a constant says something."""
    entering, positions = examination.entering, examination.positions
    pairs = [
        (0, other)
        for other in range(1, len(entering))
        if positions[other] == positions[0] and not torch.equal(entering[0], entering[other])
    ]
    if not pairs:
        raise NotApplicableError("it takes two different samples with [CLS] at one place")
    return pairs


def _at(states: Tensor, positions: Tensor) -> Tensor:
    return states[torch.arange(len(states)), positions]


def _places(examination: Examination) -> str:
    return ", ".join(str(place) for place in sorted(set(examination.positions.tolist())))
