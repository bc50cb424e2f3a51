"""Does [CLS] enter the encoder? Shown by changing it, and by drawing other random numbers."""

from collections.abc import Iterator
from typing import Final

from clsight.doctor.changes import NOTHING, Effect, change_between
from clsight.doctor.cls_places import instead_of, places
from clsight.doctor.cls_tensors import ClsTensor
from clsight.doctor.examination import Examination, NotApplicableError
from clsight.doctor.findings import Finding, error, ok, warning
from clsight.doctor.registry import check

_WHY: Final = "What the map calls [CLS] is then an ordinary token, and [CLS] cannot learn or tell anything."
_NEXT: Final = "Pass the sequence with [CLS] in front to the encoder, not the input without it."


@check(
    asks="Does the vector of [CLS] enter the encoder, and does the output depend on it?",
    finds={
        "error": "changing [CLS], or drawing another one, changes no output",
        "warning": "random numbers, or a parameter that [CLS] may be, are without effect: something else "
        "enters in its place",
    },
)
def cls_enters_encoder(examination: Examination) -> Iterator[Finding]:
    """Change what may be [CLS] and see whether the output follows."""
    drawn = _idle_draw(examination)
    if drawn is not None:
        yield drawn
    stands_for_cls = []
    for candidate in examination.cls_tensors:
        effect = Effect.between(examination.first, examination.with_shifted(candidate), examination.noise)
        instead = instead_of(examination, candidate) if effect.enters is False else ""
        stands_for_cls.append(effect.enters is not False or (candidate.is_named and not instead))
        if stands_for_cls[-1] or candidate.is_named or not effect.follows:
            yield _told(examination, candidate, effect, instead)
    if drawn is None and not any(stands_for_cls):
        yield _effect_of_position(examination)


def _idle_draw(examination: Examination) -> Finding | None:
    """Tell if random numbers are drawn of which no output knows."""
    first, second = examination.first.result, examination.second.result
    if not first.draws or change_between(first, second) > NOTHING:
        return None
    drawn = _of_token_size(examination, first.draws)
    if drawn is None:
        return warning(
            f"Random numbers are drawn at each forward pass ({first.draws[0]}), but other draws change no "
            "output.",
            why="They are either left over, or meant for something that they never reach.",
            next_step="Use them or remove them.",
        )
    if examination.first.states.entering is not None and examination.is_redrawn:
        return _without_answer(f"{drawn} enters the encoder as [CLS], but another draw changes no output.")
    return error(
        f"[CLS] never enters the encoder: {drawn} is drawn at each forward pass, but another draw changes no "
        f"output{_length(examination)}.",
        why=_WHY,
        next_step=_NEXT,
    )


def _of_token_size(examination: Examination, draws: list[str]) -> str | None:
    """Return the first draw whose last dimension is that of a token."""
    ending = f"{examination.width})"
    return next((drawn for drawn in draws if drawn.endswith((f" {ending}", f"({ending[:-1]},)"))), None)


def _told(examination: Examination, candidate: ClsTensor, effect: Effect, instead: str) -> Finding:
    """Tell what changing a tensor does, and what enters instead of it.

    Raises:
        NotApplicableError: If noise hides it.
    """
    name = f"`{candidate.shown}`"
    if effect.follows and effect.enters is not False:
        return ok(
            f"[CLS] enters the encoder: noise on {name} changes the output by {effect.change:.2g} times its "
            "typical size."
        )
    if effect.follows is None and effect.enters is True:
        return ok(
            f"[CLS] enters the encoder: noise on {name} changes it. Of the output, {_noise(examination)}."
        )
    if effect.enters is None and not (effect.follows is False and examination.first.states.entering is None):
        raise NotApplicableError(_noise(examination))
    if not candidate.is_named:
        return warning(
            f"{name} has the size of one token, but changing it changes {_unchanged(effect)}"
            f"{_length(examination)}.",
            why="It is left over, or meant for a [CLS] that never gets it.",
            next_step="Use it or remove it.",
        )
    return _told_of_named(examination, candidate, effect, instead)


def _told_of_named(examination: Examination, candidate: ClsTensor, effect: Effect, instead: str) -> Finding:
    """Tell that a tensor that is [CLS] by its name or loader does not enter, or that nothing follows it."""
    name = f"`{candidate.shown}`"
    if effect.enters is None:
        return _without_answer(
            f"No output depends on [CLS]: changing {name} changes none{_length(examination)}."
        )
    if effect.enters:
        return _without_answer(f"{name} enters the encoder, but no output depends on it.")
    if effect.follows:
        sentence = f"{name} does not enter the first layer: changing it changes {_unchanged(effect)} there"
    elif instead:
        return warning(
            f"{name} is without effect: changing it changes {_unchanged(effect)}. What enters at position "
            f"{places(examination)} {instead}.",
            why="It is left over, or meant to be the [CLS] that something else stands for.",
            next_step="Remove it, or put it into the sequence.",
        )
    else:
        sentence = f"[CLS] never enters the encoder: changing {name} changes {_unchanged(effect)}"
    return error(f"{sentence}{_length(examination)}.", why=_WHY, next_step=_NEXT)


def _unchanged(effect: Effect) -> str:
    """Return what a change of something that does not enter the first layer leaves as it is."""
    if effect.follows is None:
        return "nothing of what enters the first layer"
    return "the output, but not what enters" if effect.follows else "no output"


def _without_answer(sentence: str) -> Finding:
    return error(
        sentence,
        why="Neither the answer nor any other token that counts reads [CLS], so its map explains nothing.",
        next_step="Look for a mask that hides [CLS], saturated scores, or an answer read off elsewhere.",
    )


def _noise(examination: Examination) -> str:
    return examination.noise.told


def _length(examination: Examination) -> str:
    """Return the rest of a sentence: whether the sequence grew, where that is known."""
    given, seen = examination.input_tokens, examination.tokens
    if given is None or (examination.question.subject and examination.question.subject.takes == "text"):
        return ""
    if given == seen:
        return f"; the attention sees {seen} tokens, as many as the input has"
    return f"; the attention sees {seen} tokens for {given} of the input"


def _effect_of_position(examination: Examination) -> Finding:
    """Change the state at the position of [CLS], where no tensor of [CLS] was found."""
    if examination.first.states.entering is None:
        return _effect_of_draws(examination)
    effect = Effect.between(examination.first, examination.with_other_cls_state(), examination.noise)
    if effect.follows:
        return ok(
            f"The output depends on what enters at position {places(examination)}: noise there changes it by "
            f"{effect.change:.2g} times its typical size."
        )
    if effect.follows is None:
        raise NotApplicableError(_noise(examination))
    return error(
        f"No output depends on the position of [CLS]: noise on what enters the first layer at position "
        f"{places(examination)} changes nothing.",
        why="Neither the answer nor any other token reads that position, so its map explains nothing.",
        next_step="Pass the position that the answer is read off as cls_index (--cls-index).",
    )


def _effect_of_draws(examination: Examination) -> Finding:
    """Tell whether random numbers reach the output, where no tensor and no sequence can be changed."""
    change = change_between(examination.first.result, examination.second.result)
    if not examination.first.result.draws or change <= NOTHING:
        raise NotApplicableError("no tensor of [CLS] and no sequence to change was found")
    return ok(
        f"What is drawn at each forward pass ({examination.first.result.draws[0]}) enters: another draw "
        f"changes the output by {change:.2g} times its typical size."
    )
