"""What a task is: labeled data in three parts, and what a model needs to read it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Generator, Tensor

from clsight.errors import StudyError

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


def stream(seed: int, purpose: int) -> Generator:
    """Return a generator for one purpose of one seed, independent of the others."""
    return torch.Generator().manual_seed((seed + 1) * 1_000_003 + purpose)


@contextmanager
def needing(package: str, *, extra: str) -> Iterator[None]:
    """Import a library that a task needs inside the block; one that is missing is told in one sentence.

    Args:
        package: The name under which it is imported.
        extra: The extra of clsight that brings it.

    Raises:
        StudyError: If it, or what it needs in turn, is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise StudyError(
            package,
            expected="an installed package",
            got=" ".join(str(error).split()),
            next_step=f"Run pip install 'clsight[{extra}]'",
        ) from error
