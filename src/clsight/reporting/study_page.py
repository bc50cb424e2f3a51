"""The page of a study: its answers first, then all else, marked exploratory, then how it was made."""

import math
from collections.abc import Iterator, Sequence

import xarray as xr

from clsight.reporting.page import Page, element
from clsight.reporting.study_figures import condition_figures, contrast_rows, declared_rows, drawn_forest
from clsight.study.answer_sentences import sentence
from clsight.study.contrasts import Change, Condition
from clsight.study.questions import QuestionAnswer
from clsight.study.report_values import Findings, arm_mean, outcome_names
from clsight.study.results import ArmResults, setting_word

_MOST_CHANGES = 40
_MEASURES = {
    "accuracy": "accuracy",
    "loss": "loss",
    "steps_to_90": "steps to 90 %",
    "flip_rate": "flip rate",
    "icc": "ICC",
    "probability_spread": "spread of p",
    "vote_accuracy": "vote of 16",
    "accuracy_with_zeros": "accuracy if zeros",
    "accuracy_with_fixed_random": "accuracy if redrawn once",
    "accuracy_with_random_per_forward": "accuracy if random",
    "initial_share": "share of init in scores",
    "cut_mask_changed": "changed if masked",
    "cut_zero_changed": "changed if value zero",
    "cls_norm": "norm of CLS",
    "cls_drift": "drift of CLS",
    "gradient_at_start": "first gradient",
    "gradient_at_start_float16": "first gradient, float16",
}
_LIMITS = (
    "The unit is the training run: intervals are 95 % bootstrap intervals over seeds, differences are paired "
    "by seed (same data, same order, same weights outside [CLS]).",
    "Only the declared comparisons are tested, and adjusted by Holm. All else is exploratory: many are "
    "shown, none is adjusted, and some leave out 0 by chance.",
    "Where no difference was found none is claimed: equivalence needs its own test and a margin declared "
    "beforehand.",
    "A run that diverged stays in every mean of accuracy as guessing; a failed or missing run leaves its arm "
    "without an answer to declared comparisons.",
    "The answers hold for these tasks, sizes and settings. Attention and cuts are measured on the first 256 "
    "test samples of each run; heatmaps show 16 samples of one seed.",
)


def study_page(findings: Findings) -> Page:
    """Return the page of a study that has finished runs."""
    results = findings.results
    page = Page(results.name)
    page.add("h1", results.name)
    if results.question:
        page.add("p", results.question)
    page.add("p", findings.progress, name="muted")
    page.raw('<div class="cards">' + "".join(_card(one) for one in findings.questions) + "</div>")
    _add_declared(page, findings)
    _add_contrasts(page, findings)
    _add_changes(page, findings.changes)
    _add_conditions(page, findings.conditions)
    _add_measures(page, findings)
    _add_failures(page, results.arms)
    _add_limits(page, findings)
    _add_origin(page, findings)
    return page


def _card(answer: QuestionAnswer) -> str:
    name = "badge " + answer.verdict.replace(" ", "-")
    badge = element("span", answer.verdict, name=name)
    notes = "".join(element("p", f"Exploratory: {note}", name="muted") for note in answer.notes)
    head = f"<h3>{element('span', answer.question)}{badge}</h3>"
    return f'<section class="card">{head}{element("p", answer.sentence)}{notes}</section>'


def _add_declared(page: Page, findings: Findings) -> None:
    page.add("h2", "Declared beforehand")
    if not findings.primaries:
        page.add(
            "p", "This study declared no comparison before it had results: everything below is exploratory."
        )
        return
    level = findings.results.level
    page.add("p", f"Tested at level {level:g}, adjusted by Holm for the whole family.", name="muted")
    for metric, rows in declared_rows(findings.primaries).groupby("metric", sort=False):
        drawn_forest(page, rows, str(metric), "Declared comparisons")
    page.raw("<ul>" + "".join(element("li", sentence(one)) for one in findings.primaries) + "</ul>")


def _add_contrasts(page: Page, findings: Findings) -> None:
    page.add("h2", "Exploratory: every difference to the first strategy")
    if findings.late:
        count = findings.late[0].pair.declared_after
        page.add("p", f"Declared after {count} compared runs were finished, and so exploratory:")
        page.raw("<ul>" + "".join(element("li", sentence(one)) for one in findings.late) + "</ul>")
    if not findings.contrasts:
        page.add("p", "No two arms differ by their strategy alone.")
        return
    page.add("p", "Paired by seed, with 95 % intervals that are not adjusted for their number.", name="muted")
    for block, rows in contrast_rows(findings.contrasts).groupby("block", sort=False):
        drawn_forest(page, rows, findings.metric, str(block))


def _add_changes(page: Page, changes: Sequence[Change]) -> None:
    page.add("h2", "Exploratory: conditions under which the answer changes")
    clear = [one for one in changes if one.is_clear]
    if not changes:
        page.add("p", "The study varies nothing but the strategy, so it cannot tell.")
        return
    told = (
        f"In {len(clear)} of {len(changes)} pairs of conditions that differ in one setting, the difference "
        "between strategies changes: the interval of the change leaves out 0."
    )
    if len(clear) > _MOST_CHANGES:
        told += f" The {_MOST_CHANGES} largest are shown; all are in the JSON file."
    page.add("p", told)
    if clear:
        header = ("difference", "setting", "from", "to", "before", "after", "change", "interval", "shared")
        page.table(header, (_change_row(one) for one in clear[:_MOST_CHANGES]))


def _change_row(change: Change) -> tuple[str, ...]:
    first, second = change.first, change.second
    values = [setting_word(one.condition.labels[change.name]) for one in (first, second)]
    return (
        f"{first.arm.strategy_label} − {first.reference.strategy_label}",
        change.name,
        *values,
        *(f"{float(one.interval['estimate']):+.3f}" for one in (first, second)),
        f"{float(change.interval['estimate']):+.3f}",
        _range(change.interval, sign="+"),
        change.shared or "–",
    )


def _add_conditions(page: Page, conditions: Sequence[Condition]) -> None:
    page.add("h2", "Exploratory: training, depth and attention")
    for number, condition in enumerate(conditions):
        name = " · ".join(part for part in (condition.block, condition.words) if part)
        page.raw(f"<details{'' if number else ' open'}>{element('summary', name)}")
        if not condition_figures(page, condition):
            page.add("p", "No finished run of this condition has anything to draw.", name="muted")
        page.raw("</details>")


def _add_measures(page: Page, findings: Findings) -> None:
    page.add("h2", "Exploratory: what was measured of each arm")
    page.add(
        "p",
        "Means over seeds, with 95 % bootstrap intervals; – where it is not defined. The CSV file has every "
        "number of every run.",
        name="muted",
    )
    arms = findings.results.arms
    there = [name for name in _MEASURES if name in outcome_names(arms)]
    header = ("arm", "runs", "diverged", "rate", *(_MEASURES[name] for name in there))
    for block in dict.fromkeys(arm.block for arm in arms):
        page.add("h3", block)
        page.table(header, (_measure_row(arm, there) for arm in arms if arm.block == block))


def _measure_row(arm: ArmResults, names: Sequence[str]) -> Iterator[str]:
    yield arm.words() or "all runs"
    yield f"{len(arm.runs)}/{len(arm.seeds)}"
    yield str(arm.diverged)
    yield f"{arm.learning_rate:g}{' (tuned)' if arm.tuned else ''}"
    for name in names:
        yield _shown(arm_mean(arm, name), len(arm.runs))


def _shown(mean: xr.Dataset, runs: int) -> str:
    """Return a mean with its interval, and of how many runs it is if some have no such number."""
    estimate, interval = float(mean["estimate"]), _range(mean)
    if math.isnan(estimate):
        return "–"
    few = f" in {int(mean['n'])} of {runs}" if int(mean["n"]) < runs else ""
    return f"{estimate:.3g}{f' ({interval})' if interval else ''}{few}"


def _range(result: xr.Dataset, *, sign: str = "") -> str:
    low, high = float(result["low"]), float(result["high"])
    return "" if math.isnan(low) else f"{low:{sign}.3g} to {high:{sign}.3g}"


def _add_failures(page: Page, arms: Sequence[ArmResults]) -> None:
    failed = [(arm, seed, error) for arm in arms for seed, error in arm.failed.items()]
    diverged = [(arm, seed) for arm in arms for seed, run in arm.runs.items() if run.diverged]
    if not failed and not diverged:
        return
    page.add("h2", "Runs that failed or diverged")
    rows = [(f"{arm.block} · {arm.words()}", str(seed), "failed", error) for arm, seed, error in failed]
    rows += [
        (f"{arm.block} · {arm.words()}", str(seed), "diverged", "counts as guessing")
        for arm, seed in diverged
    ]
    page.table(("arm", "seed", "state", "what happened"), rows)


def _add_limits(page: Page, findings: Findings) -> None:
    page.add("h2", "Limits")
    tuned = {arm.tuned for arm in findings.results.arms}
    rates = {
        frozenset(
            {True}
        ): "Learning rates were chosen for each arm on validation data, with seeds of their own.",
        frozenset(
            {False}
        ): "Learning rates were not tuned: an arm may do worse only because its rate does not suit.",
    }.get(frozenset(tuned), "Learning rates were tuned for some arms only, as the tables say.")
    page.raw("<ul>" + "".join(element("li", one) for one in (*_LIMITS, rates)) + "</ul>")


def _add_origin(page: Page, findings: Findings) -> None:
    origin = findings.origin
    page.add("h2", "How it was made")
    page.add("p", "Save the study file below as study.toml, then:")
    page.add("pre", origin.command)
    page.add("p", origin.sentence)
    versions = ", ".join(f"{name} {number}" for name, number in origin.versions.items())
    page.add("p", f"Versions: {versions}. Code that makes runs: {origin.code[:16]}.", name="muted")
    summary = element("summary", "The study file, every default included")
    page.raw(f"<details>{summary}{element('pre', origin.file)}</details>")
