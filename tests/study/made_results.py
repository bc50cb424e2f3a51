"""Results of a made-up study with known numbers: two strategies under two settings of bias and two norms."""

import math
from pathlib import Path

from clsight.study import RunSettings
from clsight.study.planned_runs import PlannedRun
from clsight.study.results import ArmResults, StudyResults
from clsight.study.store import StoredRun

SEEDS = 8
SHARED = [0.90, 0.93, 0.91, 0.95, 0.92, 0.94, 0.96, 0.90]
NOISE = [0.004, -0.003, 0.001, -0.002, 0.003, -0.001, 0.002, -0.004]


def made_run(seed, outcome, *, diverged=False, **settings):
    planned = PlannedRun(
        settings=RunSettings(task="count", seed=seed, **settings), evaluate="test", probe_steps=0
    )
    return StoredRun(f"k{seed}", Path("none"), planned, outcome, diverged, 1.0)


def made_arm(labels, numbers, *, strategy=None, block="main", missing=(), **metrics):
    """Return an arm with an accuracy per seed, other metrics beside it, and failures at some seeds."""
    strategy = strategy or labels["strategy"]
    runs = {}
    for seed, number in enumerate(numbers):
        outcome = {"accuracy": number, **{name: values[seed] for name, values in metrics.items()}}
        if seed not in missing:
            runs[seed] = made_run(seed, outcome, diverged=math.isnan(number), strategy=strategy)
    return ArmResults(
        block=block,
        labels=labels,
        settings={"strategy": strategy, "task": "count"},
        learning_rate=0.01,
        tuned=False,
        seeds=tuple(range(len(numbers))),
        runs=runs,
        failed={seed: "ValueError: no" for seed in missing},
    )


def made_study(effects, primaries=(), *, other="zeros"):
    """Return a study whose second strategy is worse by an effect for each (bias, norm)."""
    arms = []
    for (bias, norm), effect in effects.items():
        shared = {"bias": bias, "norm": norm}
        worse = [value - effect + noise for value, noise in zip(SHARED, NOISE, strict=True)]
        arms.append(made_arm({**shared, "strategy": "learned"}, SHARED))
        arms.append(made_arm({**shared, "strategy": other}, worse))
    return StudyResults(name="made", question="", level=0.05, arms=tuple(arms), primaries=tuple(primaries))


def declared(a, b, *, bias, norm, test="difference", **more):
    """Return the declaration of a comparison in one condition."""
    sides = [{"bias": bias, "norm": norm, "strategy": name} for name in (a, b)]
    told = {"name": f"{a} {bias} {norm}", "block": "main", "a": sides[0], "b": sides[1]}
    return {**told, "metric": "accuracy", "test": test, "declared_after": 0, **more}
