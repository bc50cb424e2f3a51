"""Does [CLS] enter the encoder? Shown by changing it, and by drawing other random numbers."""

from collections.abc import Iterator
from typing import Final

import torch

from clsight.doctor.cls_tensors import ClsTensor
from clsight.doctor.examination import Examination, NotApplicableError, change_between
from clsight.doctor.findings import Finding, error, ok, warning
from clsight.doctor.registry import check

_NOTHING: Final = 1e-7
"""Relative change of an output below which nothing changed."""
_WHY: Final = "What the map calls [CLS] is then an ordinary token, and [CLS] cannot learn or tell anything."
_NEXT: Final = "Pass the sequence with [CLS] in front to the encoder, not the input without it."


@check(
    asks="Does the vector of [CLS] enter the encoder, and does the output depend on it?",
    finds={
        "error": "changing [CLS], or drawing another one, changes no output",
        "warning": "random numbers, or a parameter of one token's size, are without effect",
    },
)
def cls_enters_encoder(examination: Examination) -> Iterator[Finding]:
    """Change what may be [CLS] and see whether the output follows."""
    drawn = _idle_draw(examination)
    if drawn is not None:
        yield drawn
    candidates = examination.cls_tensors
    for candidate in candidates:
        yield _effect_of(examination, candidate)
    if not candidates and drawn is None:
        yield _effect_of_position(examination)


def _idle_draw(examination: Examination) -> Finding | None:
    """Tell if random numbers are drawn of which no output knows."""
    first, second = examination.first.result, examination.second.result
    if not first.draws or change_between(first, second) > _NOTHING:
        return None
    drawn = _of_token_size(examination, first.draws)
    if drawn is None:
        return warning(
            f"Random numbers are drawn at each forward pass ({first.draws[0]}), but other draws change no "
            "output.",
            why="They are either left over, or meant for something that they never reach.",
            next_step="Use them or remove them.",
        )
    return error(
        f"[CLS] never enters the encoder: {drawn} is drawn at each forward pass, but another draw changes no "
        f"output{_not_longer(examination)}.",
        why=_WHY,
        next_step=_NEXT,
    )


def _of_token_size(examination: Examination, draws: list[str]) -> str | None:
    """Return the first draw whose last dimension is that of a token."""
    ending = f"{examination.width})"
    return next((drawn for drawn in draws if drawn.endswith((f" {ending}", f"({ending[:-1]},)"))), None)


def _effect_of(examination: Examination, candidate: ClsTensor) -> Finding:
    changed = examination.with_shifted(candidate)
    effect = change_between(examination.first.result, changed.result)
    before, after = examination.first.states.entering, changed.states.entering
    enters = before is not None and after is not None and not torch.equal(before, after)
    if effect > _NOTHING and (enters or before is None):
        return ok(
            f"[CLS] enters the encoder: noise on `{candidate.shown}` changes the output by {effect:.2g} "
            "times "
            "its typical size."
        )
    told = warning if not candidate.is_named else error
    nothing = "no output" if effect <= _NOTHING else "the output, but not what enters the first layer"
    if enters:
        sentence = f"`{candidate.shown}` enters the encoder, but no output depends on it"
    elif candidate.is_named:
        sentence = f"[CLS] never enters the encoder: changing `{candidate.shown}` changes {nothing}"
    else:
        sentence = f"`{candidate.shown}` has the size of one token, but changing it changes {nothing}"
    return told(f"{sentence}{_not_longer(examination)}.", why=_WHY, next_step=_NEXT)


def _not_longer(examination: Examination) -> str:
    """Return the rest of a sentence: that the sequence did not grow, where that is so."""
    if examination.input_tokens != examination.tokens:
        return ""
    return f"; the attention sees {examination.tokens} tokens, as many as the input has"


def _effect_of_position(examination: Examination) -> Finding:
    """Change the state at the position of [CLS], where no tensor of [CLS] was found."""
    if examination.first.states.entering is None:
        raise NotApplicableError("no tensor of [CLS] and no sequence to change was found")
    effect = change_between(examination.first.result, examination.with_other_cls_state().result)
    if effect > _NOTHING:
        return ok(
            f"The output depends on the position of [CLS]: noise there changes it by {effect:.2g} times its "
            "typical size."
        )
    return error(
        "No output depends on the position of [CLS]: noise on what enters the first layer there changes "
        "nothing.",
        why="Neither the answer nor any other token reads that position, so its map explains nothing.",
        next_step="Pass the position that the answer is read off as cls_index (--cls-index).",
    )
