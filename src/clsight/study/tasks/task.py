"""What a task is: labeled data in three parts, and what a model needs to read it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Generator, Tensor

from clsight.errors import StudyError, did_you_mean

TaskMaker = Callable[..., "Task"]

TASKS: Final[dict[str, TaskMaker]] = {}
"""Every task by name: a function of its options; `task` below adds to it."""


@dataclass(frozen=True)
class Part:
    """Labeled samples.

    Attributes:
        inputs: `[sample, ...]`, what `ClassificationTransformer` takes.
        labels: `[sample]`, int64.
        token_mask: `[sample, time]`, True = a real token, [CLS] not counted; None if all are real.
    """

    inputs: Tensor
    labels: Tensor
    token_mask: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, which: Any) -> "Part":
        """Return some of the samples: a slice, or indices `[chosen]`."""
        mask = None if self.token_mask is None else self.token_mask[which]
        return Part(self.inputs[which], self.labels[which], mask)


@dataclass(frozen=True)
class Data:
    """The three parts for one seed; no sample is in two of them.

    Attributes:
        train: What is learned from.
        validation: What learning rates are chosen by.
        test: Looked at once, at the end.
    """

    train: Part
    validation: Part
    test: Part


@dataclass(frozen=True)
class Task:
    """A task with its options.

    Attributes:
        name: Its name in `TASKS`.
        model: The settings of `ModelConfig` that follow from the data: classes, embedding, sizes.
        data: From a seed to the three parts.
        augment: From a batch of training inputs and a generator to changed ones; None to take them as is.
    """

    name: str
    model: Mapping[str, Any]
    data: Callable[[int], Data]
    augment: Callable[[Tensor, Generator], Tensor] | None = field(default=None)


def task(name: str) -> Callable[[TaskMaker], TaskMaker]:
    """Return a decorator that lists a function from options to a `Task`, and leaves it as it is."""

    def register(maker: TaskMaker) -> TaskMaker:
        TASKS[name] = maker
        return maker

    return register


def task_named(name: str, options: Mapping[str, Any] | None = None) -> Task:
    """Return a task by its name.

    Raises:
        StudyError: If there is no such task, or it does not take an option.
    """
    if name not in TASKS:
        raise StudyError("task", expected="a known task", got=repr(name), next_step=did_you_mean(name, TASKS))
    try:
        return TASKS[name](**(options or {}))
    except TypeError as error:
        raise StudyError(
            f"task {name}",
            expected="options that it takes",
            got=str(error),
            next_step="Correct `task_options`",
        ) from error


def stream(seed: int, purpose: int) -> Generator:
    """Return a generator for one purpose of one seed, independent of the others."""
    return torch.Generator().manual_seed((seed + 1) * 1_000_003 + purpose)
