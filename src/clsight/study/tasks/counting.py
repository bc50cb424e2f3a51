"""Counting: the answer is how often a content occurs, which a mean over tokens tells.

The documented example of a useless benchmark: uniform attention, the start of training and what zeros without
any query are left with, is all that it takes, so that every strategy gets it right, the thread's bug too.
"""

import torch
from torch import Generator
from torch.nn.functional import one_hot

from clsight.study.tasks.task import Data, Part, Task, stream, task


@task("count")
def count(*, time: int = 8, contents: int = 3, train: int = 4096, test: int = 5000) -> Task:
    """Return the task of telling how many tokens hold content 0: `time` + 1 classes.

    Args:
        time: Tokens of a sample.
        contents: How many different ones.
        train: Samples to train on.
        test: Samples to test on.
    """

    def data(seed: int) -> Data:
        generator = stream(seed, purpose=1)
        return Data(
            *(_samples(size, time, contents, generator) for size in (train, max(train // 4, 1), test))
        )

    return Task("count", {"classes": time + 1, "embedding": "linear", "features": contents}, data)


def _samples(size: int, time: int, contents: int, generator: Generator) -> Part:
    """Return samples `[sample, time, feature]` in which every count is equally frequent."""
    labels = torch.randint(time + 1, (size,), generator=generator)
    others = torch.randint(1, contents, (size, time), generator=generator)
    order = torch.rand(size, time, generator=generator).argsort(1)
    held = torch.where(order < labels[:, None], torch.zeros_like(others), others)
    return Part(one_hot(held, contents).float(), labels)
