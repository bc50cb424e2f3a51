"""Answers in words: what was found, its numbers, and what it does not show."""

import math

from clsight.study.answers import DIFFERENT, EQUIVALENT, INCONCLUSIVE, WANTED_POWER, Answer, Pair
from clsight.study.primaries import DIFFERENCE


def sentence(answer: Answer) -> str:
    """Return an answer in words, with its numbers, and what it does not show."""
    pair = answer.pair
    if math.isnan(answer.p_value):
        why = answer.reason or "its runs are not all there"
        return f"{pair.name}: no answer yet, for {why}."
    parts = [f"{pair.name}: {_found(answer)}", _numbers(answer)]
    if answer.verdict == INCONCLUSIVE and not _excludes_zero(answer):
        parts.append(_limits(answer))
    if answer.reason:
        parts.append(answer.reason[0].upper() + answer.reason[1:])
    return " ".join(f"{part}." for part in parts if part)


def _found(answer: Answer) -> str:
    pair = answer.pair
    a, b = pair.words
    where = f" ({pair.where})" if pair.where else ""
    within = "" if pair.margin is None else f" within ±{pair.margin:g}"
    if answer.verdict == DIFFERENT:
        more = "more" if float(answer.interval["estimate"]) > 0 else "less"
        return f"{a} has {more} {_metric(pair)} than {b}{where}"
    if answer.verdict == EQUIVALENT:
        return f"{a} and {b} are equivalent{within}{where}"
    if pair.test == DIFFERENCE:
        return f"inconclusive whether {a} and {b} differ{where}"
    return f"{a} and {b} are not shown to be equivalent{within}{where}: inconclusive"


def _excludes_zero(answer: Answer) -> bool:
    return bool(float(answer.interval["low"]) > 0 or float(answer.interval["high"]) < 0)


def _numbers(answer: Answer) -> str:
    low, high, estimate = (float(answer.interval[name]) for name in ("low", "high", "estimate"))
    interval = f"95 % interval {low:+.4f} to {high:+.4f}"
    if math.isnan(low):
        interval = "no interval, since all are the same"
    family = f"{answer.family} comparison{'' if answer.family == 1 else 's'}"
    return (
        f"The difference is {estimate:+.4f} ({interval}, n = {int(answer.interval['n'])} seeds); "
        f"p = {answer.p_value:.2g}, {answer.adjusted:.2g} after Holm over {family}"
    )


def _limits(answer: Answer) -> str:
    """Return what an inconclusive answer does not show."""
    text = "This does not show that there is no difference"
    if math.isnan(answer.power):
        return text
    seeds = f"{answer.seeds_needed}" if answer.seeds_needed > 0 else "more than 10,000"
    needed = f"; {WANTED_POWER:g} takes {seeds} seeds" if answer.power < WANTED_POWER else ""
    shown = f"to show equivalence within ±{answer.pair.margin:g}"
    return f"{text}: with this spread the power {shown} is {answer.power:.2f}{needed}"


def _metric(pair: Pair) -> str:
    return pair.metric.replace("_", " ")
