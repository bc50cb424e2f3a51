"""Retrieval: one token carries a mark, and its content is the answer. [CLS] has to look at that token.

What is asked is content-based: the mark stands anywhere, and the mean over tokens does not tell which content
went with it. So the query of [CLS] has to work, which is what the thread is about.
"""

import torch
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from clsight.study.tasks.task import Data, Part, Task, stream, task


@task("retrieval")
def retrieval(
    *, time: int = 24, classes: int = 4, noise: float = 0.1, train: int = 4096, test: int = 5000
) -> Task:
    """Return the task of naming the content of the marked token; chance is 1 / classes.

    Args:
        time: Tokens of a sample.
        classes: Contents.
        noise: Standard deviation of what is added to each number.
        train: Samples to train on.
        test: Samples to test on.
    """

    def data(seed: int) -> Data:
        generator = stream(seed, purpose=1)
        parts = [
            _samples(count, time, classes, noise, generator) for count in (train, max(train // 4, 1), test)
        ]
        return Data(*parts)

    return Task("retrieval", {"classes": classes, "embedding": "linear", "features": classes + 1}, data)


def _samples(count: int, time: int, classes: int, noise: float, generator: Generator) -> Part:
    """Return samples `[sample, time, feature]`: the content one-hot, then the mark."""
    contents = torch.randint(classes, (count, time), generator=generator)
    marked = torch.randint(time, (count, 1), generator=generator)
    marks: Tensor = (torch.arange(time) == marked).float()
    inputs = torch.cat((one_hot(contents, classes).float(), marks[..., None]), dim=-1)
    inputs = inputs + noise * torch.randn(inputs.shape, generator=generator)
    return Part(inputs, contents.gather(1, marked)[:, 0])
