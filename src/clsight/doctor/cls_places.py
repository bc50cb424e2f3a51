"""What stands at the position of [CLS], and which tokens are added to the input beside it?"""

import torch

from clsight.doctor.cls_tensors import ClsTensor
from clsight.doctor.examination import Examination
from clsight.hooks.calls import first_tensor


def places(examination: Examination) -> str:
    """Return the positions of [CLS] in words."""
    return ", ".join(str(place) for place in sorted(set(examination.positions.tolist())))


def differing_pairs(examination: Examination) -> list[tuple[int, int]]:
    """Return samples with [CLS] at one place whose other tokens differ, so that a constant says something."""
    entering, positions = examination.entering, examination.positions
    return [
        (0, other)
        for other in range(1, len(entering))
        if positions[other] == positions[0] and not torch.equal(entering[0], entering[other])
    ]


def instead_of(examination: Examination, candidate: ClsTensor) -> str:
    """Return what enters at the position of [CLS] though it is not this tensor, as the end of a sentence.

    "" where an ordinary token of the input may stand there, or nothing is known.
    """
    if examination.first.states.entering is None or _is_ordinary(examination, candidate):
        return ""
    at_cls = examination.at_cls
    if examination.is_redrawn:
        return "is redrawn at each forward pass"
    if not bool(at_cls.any()):
        return "is zero in all channels"
    pairs = differing_pairs(examination)
    if any(not torch.equal(at_cls[one], at_cls[other]) for one, other in pairs):
        # Of pictures nobody knows how many patches they have: it may be one of them.
        return "is made from the input" if examination.input_tokens is not None else ""
    return f"is another vector{', the same in all samples' if pairs else ''}"


def _is_ordinary(examination: Examination, candidate: ClsTensor) -> bool:
    """Tell whether a token of the input stands at the position of [CLS], as far as its length says."""
    if candidate.row is None:
        return examination.input_tokens is not None and examination.input_tokens >= examination.tokens
    ids = first_tensor(examination.question.inputs)
    if ids is None or ids.is_floating_point() or ids.shape != (examination.samples, examination.tokens):
        return True
    return bool((ids.cpu()[torch.arange(len(ids)), examination.positions.cpu()] != candidate.row).any())


def added_places(examination: Examination) -> list[int]:
    """Return the positions of [CLS] and of what a model puts beside it, such as registers.

    By the kinds of tokens, else by the length of the input. Where neither is known, what is next to [CLS]
    and the same in samples that differ. All samples have [CLS] at one place.
    """
    position, tokens = int(examination.positions[0]), examination.entering.shape[1]
    kinds = examination.question.token_kind
    if kinds is not None:
        own = [str(kind) for kind in kinds[0]]
        return [place for place, kind in enumerate(own) if kind in {"cls", "register", "distillation"}]
    if examination.input_tokens is None:
        return _constant_beside(examination, position)
    added = tokens - examination.input_tokens
    for run in (range(added), range(tokens - added, tokens)):
        if position in run:
            return list(run)
    return [position]


def _constant_beside(examination: Examination, position: int) -> list[int]:
    entering = examination.entering
    if not differing_pairs(examination):
        return [position]
    constant = (entering == entering[:1]).all(dim=2).all(dim=0).tolist()
    first = last = position
    while first > 0 and constant[first - 1]:
        first -= 1
    while last + 1 < len(constant) and constant[last + 1]:
        last += 1
    return list(range(first, last + 1))
