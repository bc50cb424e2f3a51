"""Conduct a study: choose the learning rate of each arm, then make every run that is not there yet."""

import statistics
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm.auto import tqdm

from clsight.study.blocks import Arm
from clsight.study.engine import Engine
from clsight.study.jobs import Job
from clsight.study.run_settings import RunSettings
from clsight.study.store import Store
from clsight.study.study_file import Study


@dataclass(frozen=True)
class Tally:
    """What a call of `conduct` did.

    Attributes:
        made: Runs it made.
        there: Runs that were there before.
        failed: Runs that failed, now or before.
    """

    made: int
    there: int
    failed: int


def conduct(study: Study, folder: str | Path, engine: Engine, *, progress: bool = True) -> Tally:
    """Make all runs of a study that its folder does not hold; stopped at any moment, the same call goes on.

    Args:
        study: The study.
        folder: Where its runs are kept.
        engine: What carries them out, such as `clsight.study.engine.local(2)`.
        progress: Show a progress bar on the error stream.

    Raises:
        StudyError: If the folder is of another study or in use, or a run cannot be written.
    """
    store = Store(folder)
    with store.locked():
        store.describe(study.name, list(study.lines()))
        first = _make(tuning_jobs(study), store, engine, "choosing rates", progress=progress)
        then = _make(result_jobs(study, store), store, engine, "training", progress=progress)
    return Tally(first.made + then.made, first.there + then.there, first.failed + then.failed)


def tuning_jobs(study: Study) -> list[Job]:
    """Return the runs that choose learning rates, each once."""
    jobs = [
        job
        for arm in all_arms(study)
        if arm.tuned
        for jobs in trials(study, arm.settings).values()
        for job in jobs
    ]
    return list({job.key: job for job in jobs}.values())


def result_jobs(study: Study, store: Store) -> list[Job]:
    """Return the runs that are compared, each once, with the learning rates that were chosen."""
    jobs = [job for arm in all_arms(study) for job in jobs_of(study, arm, store)]
    return list({job.key: job for job in jobs}.values())


def jobs_of(study: Study, arm: Arm, store: Store) -> list[Job]:
    """Return the runs of one arm, a seed each."""
    rate = chosen_rate(study, arm, store)
    settings = [replace(arm.settings, learning_rate=rate, seed=seed) for seed in arm.seeds]
    return [Job(one, probe_steps=study.probe_steps) for one in settings]


def chosen_rate(study: Study, arm: Arm, store: Store) -> float:
    """Return the learning rate of an arm: the best mean validation accuracy, the smaller one of equals.

    A trial that diverged or failed counts as 0.
    """
    if not arm.tuned:
        return arm.settings.learning_rate

    def mean_accuracy(jobs: Sequence[Job]) -> float:
        found = [store.find(job) for job in jobs]
        return statistics.fmean(
            0.0 if run is None or run.error or run.diverged else run.outcome["validation_accuracy"]
            for run in found
        )

    means = {rate: mean_accuracy(jobs) for rate, jobs in trials(study, arm.settings).items()}
    return max(sorted(means), key=lambda rate: means[rate])


def trials(study: Study, settings: RunSettings) -> dict[float, list[Job]]:
    """Return the runs that try each learning rate for an arm."""
    assert study.tuning is not None  # checked with the study file
    return {
        rate: [
            Job(replace(settings, learning_rate=rate, seed=seed), "validation") for seed in study.tuning.seeds
        ]
        for rate in study.tuning.learning_rates
    }


def all_arms(study: Study) -> list[Arm]:
    """Return the arms of all blocks."""
    return [arm for arms in study.arms.values() for arm in arms]


def count_of(study: Study) -> int:
    """Return how many runs the study takes at the most: arms that two blocks share are made once."""
    tries = len(tuning_jobs(study))
    return tries + len({(repr(arm.settings), seed) for arm in all_arms(study) for seed in arm.seeds})


def _make(jobs: list[Job], store: Store, engine: Engine, title: str, *, progress: bool) -> Tally:
    found = {job.key: store.find(job) for job in jobs}
    missing = [job for job in jobs if found[job.key] is None]
    failed = sum(bool(run.error) for run in found.values() if run is not None)
    bar = tqdm(
        total=len(jobs), initial=len(jobs) - len(missing), desc=title, unit="run", disable=not progress
    )
    with closing(bar), closing(engine(missing, store.folder)) as ended:  # type: ignore[type-var]
        for done in ended:
            failed += bool(done.error)
            if failed:
                bar.set_postfix(failed=failed)
            bar.update()
    return Tally(len(missing), len(jobs) - len(missing), failed)
