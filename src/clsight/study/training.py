"""One run of a study: train a model as its settings say, and measure it."""

import math
import time
from dataclasses import asdict, dataclass
from functools import cache
from typing import Literal

import numpy as np
import pandas as pd
import torch
import xarray as xr

from clsight.models import ClassificationTransformer
from clsight.records import stack
from clsight.study.fitting import Training, accuracy, fit, logits_on
from clsight.study.measurements import (
    accuracy_after_swaps,
    attention_at_cls,
    effect_of_cutting_cls,
    gradient_at_start,
    share_of_initial_vector,
    spread_over_draws,
)
from clsight.study.measurements.attending import record_of
from clsight.study.run_settings import RunSettings
from clsight.study.tasks import Part, Task
from clsight.study.tasks.checking import checked

PROBES = 16
"""How many samples the record of a run holds: the first of the validation part."""
_MEASURED = 256
"""How many test samples the measurements look at, which cost several passes each."""
_ENOUGH = 0.9


@dataclass(frozen=True)
class RunResult:
    """What came out of a run.

    Attributes:
        settings: What was asked.
        model: The trained model, in eval mode.
        history: Table with a row per epoch, the first before training: step, loss, accuracy (validation),
            learning rate, gradient, norm and drift of the vector of CLS.
        record: A record of the probe samples with the dim `step`; None where no CLS is in the sequence.
        outcome: Numbers by name; what is undefined is NaN.
        diverged: Whether the loss stopped being finite.
        seconds: It took.
    """

    settings: RunSettings
    model: ClassificationTransformer
    history: pd.DataFrame
    record: xr.Dataset | None
    outcome: dict[str, float]
    diverged: bool
    seconds: float


def train(
    settings: RunSettings,
    task: Task,
    *,
    evaluate: Literal["validation", "test"] = "test",
    probe_steps: int = 0,
) -> RunResult:
    """Train and measure one model. The same settings give the same numbers, bit for bit.

    Torch must have one thread: with more, the order of additions may differ from run to run.

    Args:
        settings: What to train.
        task: The task of the settings.
        evaluate: "test" looks at the test part and measures the model; "validation", for choosing a learning
            rate, gives the accuracy on the validation part alone.
        probe_steps: At how many steps a record is kept: before training, after the last step, and in between
            ever further apart.

    Raises:
        StudyError: If the data of the task cannot be trained on.
    """
    start = time.perf_counter()
    data = checked(task, settings.seed, batch=settings.batch)
    probe = data.validation.of(slice(0, PROBES))
    records: dict[int, xr.Dataset] = {}
    at_start: dict[str, float] = {}
    training = None
    for training in fit(settings, task, data):
        if training.step == 0:
            at_start = gradient_at_start(training.model, data.train.of(slice(0, settings.batch)))
        if training.model.cls_token.in_sequence and training.step in probed(training.steps, probe_steps):
            records[training.step] = record_of(training.model.eval(), probe)
    assert training is not None
    outcome = {**at_start, **_learned(training)}
    if evaluate == "test":
        outcome |= _tested(training.model, data.test)
        outcome |= {} if training.diverged else _measured(training.model.eval(), data.test)
    return RunResult(
        settings,
        training.model.eval(),
        pd.DataFrame([asdict(one) for one in training.history]),
        stack(records, dim="step") if records else None,
        outcome,
        training.diverged,
        time.perf_counter() - start,
    )


@cache
def probed(steps: int, count: int) -> frozenset[int]:
    """Return at which of so many steps a record is kept: 0, then in equal ratios up to the last.

    Example:
        >>> sorted(probed(100, 4))
        [0, 1, 10, 100]
    """
    if count < 2 or steps < 1:
        return frozenset(range(min(count, 1)))
    return frozenset({0, *np.geomspace(steps, 1, count - 1).round().astype(int).tolist()})


def _learned(training: Training) -> dict[str, float]:
    """Return how training went: validation accuracy, steps to 90 % of it, norm and drift of CLS."""
    enough = [one.step for one in training.history if one.accuracy >= _ENOUGH]
    last = training.history[-1]
    return {
        "validation_accuracy": last.accuracy,
        "steps_to_90": float(enough[0]) if enough else math.nan,
        "cls_norm": last.norm,
        "cls_drift": last.drift,
    }


def _tested(model: ClassificationTransformer, test: Part) -> dict[str, float]:
    """Return accuracy and loss on the test part; a model of NaN, which diverged, is as good as class 0."""
    loss = torch.nn.functional.cross_entropy(logits_on(model, test), test.labels)
    return {"accuracy": accuracy(model, test), "loss": float(loss)}


def _measured(model: ClassificationTransformer, test: Part) -> dict[str, float]:
    """Return what is measured of a model."""
    some = test.of(slice(0, _MEASURED))
    return {
        **spread_over_draws(model, test),
        **accuracy_after_swaps(model, test),
        **attention_at_cls(model, some),
        **share_of_initial_vector(model, some),
        **effect_of_cutting_cls(model, some),
    }
