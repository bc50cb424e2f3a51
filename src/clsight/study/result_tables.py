"""The results of a study as lines for the terminal: what is done, its answers, and every arm in a table."""

import math
import textwrap
from collections.abc import Iterator, Sequence

import xarray as xr

from clsight.statistics import bootstrap
from clsight.study.answer_sentences import sentence
from clsight.study.answers import late_answers, primary_answers
from clsight.study.contrasts import counterpart
from clsight.study.results import ArmResults, StudyResults


def result_lines(results: StudyResults, *, metric: str = "accuracy", width: int = 100) -> Iterator[str]:
    """Yield the results of a study, finished or not.

    Args:
        results: Of the study.
        metric: What the tables show, a name of the outcome.
        width: Of the longest line of text; tables may be wider.

    Raises:
        StudyError: If no run has such a metric.
    """
    results.check_metric(metric)
    yield f"{results.name}: {results.question}" if results.question else results.name
    yield from textwrap.wrap(progress_sentence(results), width)
    primaries, late = primary_answers(results), late_answers(results)
    if primaries:
        yield ""
        yield f"Declared beforehand, at level {results.level:g}:"
        for answer in primaries:
            yield from _item(sentence(answer), width)
    if late:
        yield ""
        yield f"Exploratory, declared after {late[0].pair.declared_after} compared runs were finished:"
        for answer in late:
            yield from _item(sentence(answer), width)
    for block in dict.fromkeys(arm.block for arm in results.arms):
        yield ""
        arms = [arm for arm in results.arms if arm.block == block]
        yield from _aligned(_rows(results, arms, metric))
    yield ""
    yield from textwrap.wrap(
        "Intervals are 95 % bootstrap intervals over seeds. Differences are paired by seed, exploratory, "
        "and not "
        "adjusted for how many there are.",
        width,
    )


def progress_sentence(results: StudyResults) -> str:
    """Return how many runs there are, and what became of the others."""
    total = sum(len(arm.seeds) for arm in results.arms)
    there = sum(len(arm.runs) for arm in results.arms)
    diverged = sum(arm.diverged for arm in results.arms)
    errors = [error for arm in results.arms for error in arm.failed.values()]
    told = f"{there} of {total} compared runs are finished; {len(errors)} failed, {diverged} diverged."
    if diverged:
        told += " A run that diverged counts as one that guesses."
    return f"{told} First error: {errors[0]}" if errors else told


def _rows(results: StudyResults, arms: Sequence[ArmResults], metric: str) -> Iterator[tuple[str, ...]]:
    """Yield the header of a block's table and a row per arm."""
    reference = arms[0].labels.get("strategy")
    to_reference = (f"to {reference}", "interval") if reference else ()
    yield (arms[0].block, "runs", "diverged", "rate", metric.replace("_", " "), "interval", *to_reference)
    for arm in arms:
        values = arm.values(metric)
        other = counterpart(arm, results)
        compared = _difference(arm, other, metric) if other else ("", "")
        yield (
            arm.words() or "all runs",
            f"{len(arm.runs)}/{len(arm.seeds)}",
            str(arm.diverged),
            f"{arm.learning_rate:g}",
            *_with_interval(bootstrap(values, over="seed", skipna=True), sign=""),
            *(compared if reference else ()),
        )


def _difference(arm: ArmResults, other: ArmResults, metric: str) -> tuple[str, str]:
    difference = arm.values(metric) - other.values(metric)
    return _with_interval(bootstrap(difference, over="seed", skipna=True), sign="+")


def _with_interval(result: xr.Dataset, *, sign: str) -> tuple[str, str]:
    low, high, estimate = (float(result[name]) for name in ("low", "high", "estimate"))
    if math.isnan(estimate):
        return "–", ""
    shown = "" if math.isnan(low) else f"{low:{sign}.3f} to {high:{sign}.3f}"
    return f"{estimate:{sign}.3f}", shown


def _aligned(rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    """Yield rows with columns of equal width, the first to the left, numbers to the right."""
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        others = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        yield "  ".join([row[0].ljust(widths[0]), *others]).rstrip()


def _item(text: str, width: int) -> Iterator[str]:
    yield from textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="  ")
