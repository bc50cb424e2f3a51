"""How long will a study take? Told before it starts, from its finished runs or from short ones."""

import json
from collections.abc import Mapping
from dataclasses import replace

from clsight.study.engines import Engine, Failure
from clsight.study.packing import TIME_FILE
from clsight.study.planned_runs import PlannedRun, Work
from clsight.study.store import Store

_Kind = tuple[str, str, int]


def estimated_seconds(
    runs: Mapping[str, PlannedRun], store: Store, engine: Engine, work: Work, *, try_some: bool
) -> float | None:
    """Return how long the runs that are not there would take one after the other.

    By kind of run (task, part, layers): the mean of the finished ones; for a kind without any, two short
    ones of one and two epochs tell what an epoch and all the rest take.

    Args:
        runs: Of the study, by key.
        store: Its folder.
        engine: What makes the short runs.
        work: The function that makes them.
        try_some: Whether short runs may be made.

    Returns:
        Seconds; None where some kind has no finished run and none may be made, or the short ones fail.
    """
    known: dict[_Kind, list[float]] = {}
    for key, run in runs.items():
        if store.has(key):
            known.setdefault(_kind(run), []).append(store.run(key).seconds)
    missing = [run for key, run in runs.items() if not store.has(key)]
    unknown = {_kind(run): run for run in missing if _kind(run) not in known}
    tried = _tried(unknown, engine, work) if unknown and try_some else {}
    total = 0.0
    for run in missing:
        kind = _kind(run)
        if kind in known:
            total += sum(known[kind]) / len(known[kind])
        elif kind in tried:
            start, epoch = tried[kind]
            total += start + epoch * run.settings.epochs
        else:
            return None
    return total


def duration(seconds: float) -> str:
    """Return a duration in words, such as `40 s`, `12 min` or `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _kind(run: PlannedRun) -> _Kind:
    return run.settings.task, run.evaluate, run.settings.layers


def _tried(
    unknown: Mapping[_Kind, PlannedRun], engine: Engine, work: Work
) -> dict[_Kind, tuple[float, float]]:
    """Return for each kind the seconds of all but training, and of an epoch."""
    asked = [
        (str(epochs), replace(run, settings=replace(run.settings, epochs=epochs)))
        for run in unknown.values()
        for epochs in (1, 2)
    ]
    seconds: dict[_Kind, dict[int, float]] = {}
    for ended in engine.finished(asked, work):
        if not isinstance(ended.result, Failure):
            took = float(json.loads(ended.result[TIME_FILE])["seconds"])
            seconds.setdefault(_kind(ended.run), {})[ended.run.settings.epochs] = took
    found = {}
    for kind, by_epochs in seconds.items():
        if len(by_epochs) == 2:
            epoch = max(by_epochs[2] - by_epochs[1], 0.0)
            found[kind] = (max(by_epochs[1] - epoch, 0.0), epoch)
    return found
