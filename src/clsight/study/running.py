"""Run a study: what is finished stays, what is not is made, and results are committed one by one."""

import sys
from collections.abc import Collection, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from tqdm.auto import tqdm

from clsight.errors import StudyError
from clsight.study.arm_runs import Maker
from clsight.study.engines import Engine, Failure
from clsight.study.planned_runs import PlannedRun, Work
from clsight.study.store import Store
from clsight.study.study_file import Study, declaration
from clsight.study.working import trained


@dataclass(frozen=True)
class Tally:
    """How far a study is.

    Attributes:
        runs: How many it has.
        finished: How many of them are stored.
        failed: How many ended in an error.
        errors: Each error, and in how many runs.
    """

    runs: int
    finished: int
    failed: int
    errors: Mapping[str, int]


def run_study(
    study: Study,
    store: Store,
    engine: Engine,
    *,
    work: Work = trained,
    allow_tasks: Collection[str] = (),
    progress: bool = True,
) -> Tally:
    """Make the runs of a study that its folder does not hold yet: first those that choose learning rates.

    A run that fails is recorded and does not stop the others; it is tried again the next time. After Ctrl-C
    or a kill the same call goes on, and gives the results that it would have given.

    Args:
        study: What to run.
        store: Its folder.
        engine: What makes the runs.
        work: The function that makes one.
        allow_tasks: Tasks of the user's own, `package.module:task`, that may be imported.
        progress: Whether a bar shows runs done, failed and the time left.

    Returns:
        How many runs there are, and how they ended.

    Raises:
        StudyError: If a task of the user's own is not allowed, another study writes the folder, or the disk
            refuses.
    """
    check_allowed(study, allow_tasks)
    maker = Maker(study, work.__module__, frozenset(allow_tasks))
    with store.writing():
        tuning = _tuning_runs(maker)
        total = len(tuning) + count_main_runs(maker)
        with tqdm(total=total, desc=study.name, unit="run", disable=not progress, file=sys.stderr) as bar:
            _write_plan(maker, store)
            _make(tuning, store, engine, work, bar)
            main = _write_plan(maker, store)
            _make(main, store, engine, work, bar)
    return _tally({**tuning, **main}, store)


def runs_of(study: Study, store: Store, module: str = trained.__module__) -> dict[str, PlannedRun]:
    """Return every run of a study by key; learning rates that are not chosen yet are as they stand now."""
    maker = Maker(study, module, frozenset())
    return {**_tuning_runs(maker), **_main_runs(maker, store)}


def count_main_runs(maker: Maker) -> int:
    """Return how many different runs are compared; learning rates yet to be chosen change no count."""
    settings = {
        repr((arm.settings, seed)) for arms in maker.study.arms.values() for arm in arms for seed in arm.seeds
    }
    return len(settings)


def check_allowed(study: Study, allowed: Collection[str]) -> None:
    """Raise StudyError if the study would import a task of the user's own that was not allowed."""
    for arms in study.arms.values():
        for task in (arm.settings.task for arm in arms):
            if ":" in task and task not in allowed:
                raise StudyError(
                    "task",
                    expected=f"leave to import and run {task!r}",
                    got="none",
                    next_step=f"If you trust that code, add: --allow-task {task}",
                )


def _make(runs: Mapping[str, PlannedRun], store: Store, engine: Engine, work: Work, bar: "tqdm[Any]") -> None:
    """Make those runs that are not there, and commit each as it ends."""
    missing = [(key, run) for key, run in runs.items() if not store.has(key)]
    bar.update(len(runs) - len(missing))
    failed = 0
    with closing(engine.finished(missing, work)) as all_ended:  # so that Ctrl-C ends the workers at once
        for ended in all_ended:
            if isinstance(ended.result, Failure):
                store.add_failure(ended.key, ended.run, ended.result.error, ended.result.details)
                failed += 1
                bar.set_postfix(failed=failed)
            else:
                store.add(ended.key, ended.result)
            bar.update()


def _tuning_runs(maker: Maker) -> dict[str, PlannedRun]:
    found: dict[str, PlannedRun] = {}
    for arms in maker.study.arms.values():
        for arm in arms:
            for runs in maker.tuning_runs(arm).values():
                found |= runs
    return found


def _main_runs(maker: Maker, store: Store) -> dict[str, PlannedRun]:
    found: dict[str, PlannedRun] = {}
    for arms in maker.study.arms.values():
        for arm in arms:
            found |= dict(maker.runs(arm, maker.rate(arm, store)).values())
    return found


def _write_plan(maker: Maker, store: Store) -> dict[str, PlannedRun]:
    """Write which results answer which question, so that they can be read without the study file."""
    study = maker.study
    before = store.plan()["primaries"] if store.has_plan() else []
    arms = [(arm, maker.rate(arm, store)) for arms in study.arms.values() for arm in arms]
    runs = [maker.runs(arm, rate) for arm, rate in arms]
    told = [
        {
            "block": arm.block,
            "labels": dict(arm.labels),
            "settings": arm.settings.to_dict(),
            "tuned": arm.tuned,
            "learning_rate": rate,
            "tuning": {str(tried): list(keys) for tried, keys in maker.tuning_runs(arm).items()},
            "keys": {str(seed): key for seed, (key, _) in of_arm.items()},
        }
        for (arm, rate), of_arm in zip(arms, runs, strict=True)
    ]
    there = sum(store.has(key) for of_arm in runs for key, _ in of_arm.values())
    store.write_plan(
        {
            "name": study.name,
            "question": study.question,
            "level": study.level,
            "study_file": list(study.lines()),
            "arms": told,
            "primaries": [_declared(declaration(one), before, there) for one in study.primaries],
        }
    )
    return {key: run for of_arm in runs for key, run in of_arm.values()}


def _declared(primary: Mapping[str, Any], before: Iterable[Mapping[str, Any]], there: int) -> dict[str, Any]:
    """Return a declaration and how many compared runs were finished when it was first made."""
    for known in before:
        if {name: value for name, value in known.items() if name != "declared_after"} == primary:
            return dict(known)
    return {**primary, "declared_after": there}


def _tally(runs: Mapping[str, PlannedRun], store: Store) -> Tally:
    errors: dict[str, int] = {}
    for key in runs:
        if error := store.failure(key):
            errors[error] = errors.get(error, 0) + 1
    return Tally(len(runs), sum(map(store.has, runs)), sum(errors.values()), errors)
