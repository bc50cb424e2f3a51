"""All that a study found as plain values: one nested mapping, and one row per run."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import xarray as xr

from clsight.statistics import bootstrap
from clsight.study.answer_sentences import sentence
from clsight.study.answers import Answer, late_answers, primary_answers
from clsight.study.contrasts import Change, Condition, Contrast, changes_of, conditions_of, contrasts_of
from clsight.study.origins import Origin, origin_of
from clsight.study.questions import QuestionAnswer, question_answers
from clsight.study.result_tables import progress_sentence
from clsight.study.results import ArmResults, StudyResults


@dataclass(frozen=True)
class Findings:
    """What a study found, each part computed when it is asked for.

    Attributes:
        results: Of the study.
        metric: What contrasts and their changes compare.
    """

    results: StudyResults
    metric: str = "accuracy"

    @cached_property
    def primaries(self) -> list[Answer]:
        """Declared before the study had results."""
        return primary_answers(self.results)

    @cached_property
    def late(self) -> list[Answer]:
        """Declared when results were there: exploratory."""
        return late_answers(self.results)

    @cached_property
    def conditions(self) -> list[Condition]:
        """Arms that differ in their strategy alone."""
        return conditions_of(self.results)

    @cached_property
    def contrasts(self) -> list[Contrast]:
        """Every arm beside its counterpart: exploratory."""
        return contrasts_of(self.results, self.metric)

    @cached_property
    def changes(self) -> list[Change]:
        """How contrasts change where one setting does: exploratory, the clear ones first, largest first."""
        return sorted(
            changes_of(self.contrasts),
            key=lambda one: (not one.is_clear, -abs(float(one.interval["estimate"]))),
        )

    @cached_property
    def questions(self) -> list[QuestionAnswer]:
        """The three questions of the thread."""
        return question_answers(self.results, self.primaries, self.contrasts)

    @cached_property
    def origin(self) -> Origin:
        """Where the numbers come from."""
        return origin_of(self.results)

    @property
    def progress(self) -> str:
        """How many runs there are, and what became of the others."""
        return progress_sentence(self.results)


def as_values(findings: Findings) -> dict[str, Any]:
    """Return all findings as plain values for JSON."""
    results, origin = findings.results, findings.origin
    return {
        "format": "clsight study report",
        "name": results.name,
        "question": results.question,
        "level": results.level,
        "progress": findings.progress,
        "questions": [asdict(one) for one in findings.questions],
        "declared": [_answer(one) for one in findings.primaries],
        "exploratory": {
            "declared_late": [_answer(one) for one in findings.late],
            "contrasts": [_contrast(one) for one in findings.contrasts],
            "changes": [_change(one) for one in findings.changes],
            "arms": [_arm(one) for one in results.arms],
        },
        "origin": {**asdict(origin), "sentence": origin.sentence},
    }


def run_rows(results: StudyResults) -> list[dict[str, Any]]:
    """Return one row per planned run of each arm, failed and missing ones with it.

    A row has block, arm, seed, state (`finished`, `diverged`, `failed` or `missing`), learning rate, key,
    seconds and error, then what tells arms apart, then every number of the outcome. A run of two blocks has
    two rows.
    """
    labels = list(dict.fromkeys(name for arm in results.arms for name in arm.labels))
    names = outcome_names(results.arms)
    return [row for arm in results.arms for row in _rows(arm, labels, names)]


def outcome_names(arms: Iterable[ArmResults]) -> list[str]:
    """Return the names of all numbers of the outcome of some arms, in the order they are measured."""
    return list(dict.fromkeys(name for arm in arms for run in arm.runs.values() for name in run.outcome))


def arm_mean(arm: ArmResults, metric: str) -> xr.Dataset:
    """Return the mean of a metric over the seeds of an arm, with its 95 % bootstrap interval."""
    return bootstrap(arm.values(metric), over="seed", skipna=True)


def _rows(arm: ArmResults, labels: Iterable[str], names: Iterable[str]) -> Iterator[dict[str, Any]]:
    for seed in arm.seeds:
        run = arm.runs.get(seed)
        state = "failed" if seed in arm.failed else "missing"
        if run is not None:
            state = "diverged" if run.diverged else "finished"
        yield {
            "block": arm.block,
            "arm": arm.words(),
            "seed": seed,
            "state": state,
            "learning_rate": arm.learning_rate,
            "key": run.key if run else "",
            "seconds": run.seconds if run else math.nan,
            "error": arm.failed.get(seed, ""),
            **{f"setting.{name}": arm.labels.get(name, "") for name in labels},
            **{name: run.outcome.get(name, math.nan) if run else math.nan for name in names},
        }


def _answer(answer: Answer) -> dict[str, Any]:
    pair = answer.pair
    return {
        "name": pair.name,
        "a": pair.words[0],
        "b": pair.words[1],
        "where": pair.where,
        "metric": pair.metric,
        "test": pair.test,
        "margin": pair.margin,
        "declared_after": pair.declared_after,
        **_interval(answer.interval),
        "p_value": answer.p_value,
        "adjusted": answer.adjusted,
        "family": answer.family,
        "power_of_equivalence": answer.power,
        "verdict": answer.verdict,
        "sentence": sentence(answer),
    }


def _contrast(contrast: Contrast) -> dict[str, Any]:
    return {
        "block": contrast.condition.block,
        "labels": dict(contrast.condition.labels),
        "a": contrast.arm.strategy_label,
        "b": contrast.reference.strategy_label,
        "metric": contrast.metric,
        **_interval(contrast.interval),
        "reading": contrast.reading,
    }


def _change(change: Change) -> dict[str, Any]:
    labels = [one.condition.labels[change.name] for one in (change.first, change.second)]
    return {
        "block": change.first.condition.block,
        "a": change.first.arm.strategy_label,
        "b": change.first.reference.strategy_label,
        "setting": change.name,
        "values": labels,
        "shared": change.shared,
        "first": _interval(change.first.interval),
        "second": _interval(change.second.interval),
        "change": _interval(change.interval),
        "is_clear": change.is_clear,
    }


def _arm(arm: ArmResults) -> dict[str, Any]:
    numbers = {name: _interval(arm_mean(arm, name)) for name in outcome_names([arm])}
    return {
        "block": arm.block,
        "labels": dict(arm.labels),
        "settings": dict(arm.settings),
        "learning_rate": arm.learning_rate,
        "tuned": arm.tuned,
        "seeds": list(arm.seeds),
        "finished": sorted(arm.runs),
        "diverged": sorted(seed for seed, run in arm.runs.items() if run.diverged),
        "failed": {str(seed): error for seed, error in arm.failed.items()},
        "numbers": numbers,
    }


def _interval(result: xr.Dataset) -> Mapping[str, Any]:
    numbers = {name: float(result[name]) for name in ("estimate", "low", "high")}
    return {**numbers, "n": int(result["n"])}
