"""The three questions of the thread, and what a study says to each: a sentence, never more than it shows."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import xarray as xr

from clsight.study.answers import DIFFERENT, EQUIVALENT, INCONCLUSIVE, Answer
from clsight.study.contrasts import HIGHER, LOWER, UNCLEAR, Contrast
from clsight.study.results import ArmResults, StudyResults

DEPENDS: Final = "depends"
NOT_ASKED: Final = "not asked"


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question of the thread.

    Attributes:
        text: As it was asked.
        strategies: Arms of these answer it, compared with arms of others.
        leads: For each verdict how the sentence begins.
    """

    text: str
    strategies: frozenset[str]
    leads: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class QuestionAnswer:
    """What a study says to a question.

    Attributes:
        question: As it was asked.
        verdict: `different`, `equivalent`, `inconclusive`, `depends` (declared comparisons disagree) or
            `not asked` (none was declared).
        sentence: The answer, from declared comparisons alone.
        notes: Exploratory sentences beside it.
    """

    question: str
    verdict: str
    sentence: str
    notes: tuple[str, ...]


_ALWAYS: Final = {
    DEPENDS: "It depends",
    INCONCLUSIVE: "Inconclusive",
    NOT_ASKED: "Not answered: this study declared no comparison on it beforehand",
}
QUESTIONS: Final = (
    Question(
        text="Can [CLS] be random at every forward pass?",
        strategies=frozenset({"random_per_forward"}),
        leads={DIFFERENT: "Not without a difference", EQUIVALENT: "Yes, within the margin", **_ALWAYS},
    ),
    Question(
        text="Does its value matter?",
        strategies=frozenset({"fixed_random", "zeros"}),
        leads={DIFFERENT: "Yes", EQUIVALENT: "Not beyond the margin", **_ALWAYS},
    ),
    Question(
        text="Are zeros bad?",
        strategies=frozenset({"zeros", "learned_zeros"}),
        leads={DIFFERENT: "They make a difference", EQUIVALENT: "Not beyond the margin", **_ALWAYS},
    ),
)


def question_answers(
    results: StudyResults, primaries: Sequence[Answer], contrasts: Sequence[Contrast]
) -> list[QuestionAnswer]:
    """Return what a study says to each question of the thread.

    Args:
        results: Of the study.
        primaries: The answers to its declared comparisons: the sentences rest on these alone.
        contrasts: Every arm beside its counterpart: what the notes count.
    """
    return [_answered(question, results, primaries, contrasts) for question in QUESTIONS]


def _answered(
    question: Question, results: StudyResults, primaries: Sequence[Answer], contrasts: Sequence[Contrast]
) -> QuestionAnswer:
    declared = [one for one in primaries if _asks(question, one.pair.strategies)]
    verdicts = {one.verdict for one in declared}
    verdict = NOT_ASKED if not verdicts else verdicts.pop() if len(verdicts) == 1 else DEPENDS
    clauses = "; ".join(_clauses(declared, question))
    return QuestionAnswer(
        question=question.text,
        verdict=verdict,
        sentence=f"{question.leads[verdict]}{': ' if clauses else ''}{clauses}.",
        notes=tuple(_notes(question, results, contrasts)),
    )


def _asks(question: Question, strategies: tuple[str, str]) -> bool:
    """Tell whether exactly one side is of a strategy that the question is about."""
    return (strategies[0] in question.strategies) != (strategies[1] in question.strategies)


def _clauses(declared: Sequence[Answer], question: Question) -> Iterator[str]:
    """Yield what was found of each two strategies, comparisons that ended alike counted together."""
    groups: dict[tuple[str, ...], list[tuple[Answer, float, float, float]]] = {}
    for one in declared:
        is_first = one.pair.strategies[0] in question.strategies
        words = one.pair.words if is_first else one.pair.words[::-1]
        numbers = _turned(one.interval, sign=1 if is_first else -1)
        side = one.verdict if one.verdict != DIFFERENT else LOWER if numbers[0] < 0 else HIGHER
        groups.setdefault((*words, one.pair.metric, side), []).append((one, *numbers))
    for (a, b, metric, side), members in groups.items():
        yield _clause(a, b, metric.replace("_", " "), side, members)


def _clause(
    a: str, b: str, metric: str, side: str, members: Sequence[tuple[Answer, float, float, float]]
) -> str:
    answer, estimate, low, high = members[0]
    where = f" ({answer.pair.where})" if answer.pair.where else ""
    if len(members) > 1:
        estimates = [member[1] for member in members]
        where = f" in {len(members)} comparisons"
        shown = f"differences from {min(estimates):+.3f} to {max(estimates):+.3f}"
    elif math.isnan(low):  # NaN: all differences are the same
        shown = f"{estimate:+.3f} for every seed"
    else:
        shown = f"{estimate:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"
    margins = {member[0].pair.margin for member in members}
    margin = f" within ±{margins.pop():g}" if len(margins) == 1 and None not in margins else ""
    if side == EQUIVALENT:
        return f"{a} and {b} are equivalent in {metric}{margin}{where}: {shown}"
    if side == INCONCLUSIVE:
        asked = f"are equivalent{margin}" if margin else "differ"
        return f"whether {a} and {b} {asked} in {metric} stays open{where}: {shown}"
    return f"{a} has {'less' if side == LOWER else 'more'} {metric} than {b}{where}: {shown}"


def _turned(interval: xr.Dataset, *, sign: int) -> tuple[float, float, float]:
    """Return estimate, low and high of a difference, or of the opposite one."""
    estimate, low, high = (float(interval[name]) * sign + 0.0 for name in ("estimate", "low", "high"))
    return (estimate, low, high) if sign > 0 else (estimate, high, low)


def _notes(question: Question, results: StudyResults, contrasts: Sequence[Contrast]) -> Iterator[str]:
    asked = [one for one in contrasts if _asks(question, (one.arm.strategy, one.reference.strategy))]
    if len(asked) > 1:
        readings = [one.reading for one in asked]
        yield (
            f"{len(asked)} differences to the first strategy, over all conditions: interval below 0 for "
            f"{readings.count(LOWER)}, above 0 for {readings.count(HIGHER)}, unclear for "
            f"{readings.count(UNCLEAR)}."
        )
    arms = [arm for arm in results.arms if arm.strategy in question.strategies]
    for name, words in _TOLD.items():
        found = [number for arm in arms if (number := _mean(arm, name)) is not None]
        if found:
            yield words.format(_range(found))
    if any(arm.strategy == "learned_zeros" for arm in arms):
        yield from _bad_gradients([arm for arm in arms if arm.strategy == "learned_zeros"])
    if diverged := sum(arm.diverged for arm in arms):
        yield f"{diverged} of {sum(len(arm.runs) for arm in arms)} runs of these strategies diverged."


_TOLD: Final = {
    "flip_rate": "Between two draws of [CLS] {} of predictions change.",
    "vote_accuracy": "The class that most of 16 draws name is right for {} of samples.",
}


def _mean(arm: ArmResults, metric: str) -> float | None:
    mean = float(arm.values(metric).mean())
    return None if math.isnan(mean) else mean


def _range(found: Sequence[float]) -> str:
    low, high = f"{min(found):.1%}", f"{max(found):.1%}"
    low, high = low.replace("%", " %"), high.replace("%", " %")
    return low if low == high else f"{low} to {high}, by condition,"


def _bad_gradients(arms: Sequence[ArmResults]) -> Iterator[str]:
    """Yield in how many runs the first gradient at a trained vector of zeros is not finite."""
    for name, dtype in (("gradient_at_start", "float32"), ("gradient_at_start_float16", "float16")):
        known = [run for arm in arms for run in arm.runs.values() if name in run.outcome]
        bad = sum(not abs(run.outcome[name]) < float("inf") for run in known)
        if known:
            runs = f"{bad} of {len(known)} runs"
            yield f"At zero the first gradient at [CLS] is not finite in {runs} in {dtype}."
