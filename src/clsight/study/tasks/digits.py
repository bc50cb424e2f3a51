"""Digits: scikit-learn's handwritten digits as 16 patches of 4 pixels; repeated cross-validation by seed."""

from functools import cache

import torch
from torch import Generator, Tensor

from clsight.study.tasks.folds import fold
from clsight.study.tasks.task import Data, Part, Task, needing, task


@task("digits")
def digits(*, shift: bool = True) -> Task:
    """Return the task of reading a digit: 10 classes.

    Seed s is fold s mod 5 of the (s div 5)-th shuffle into five: 1,437 or 1,438 images to learn from, a fifth
    of these for validation, and the other 359 or 360 to test on. Over five seeds each image is tested once.

    Args:
        shift: Move training images by up to one pixel.
    """
    model = {"classes": 10, "embedding": "patch", "image_size": (8, 8), "patch_size": (2, 2)}
    return Task("digits", model, _fold, augment=shifted if shift else None)


def _fold(seed: int) -> Data:
    images, labels = all_digits()
    chosen = fold(labels.numpy(), seed)
    return Data(*(Part(images[rows], labels[rows]) for rows in chosen))


@cache
def all_digits() -> tuple[Tensor, Tensor]:
    """Return images `[sample, 8, 8]`, ink in 0 to 1, and labels `[sample]`."""
    with needing("sklearn", extra="samples"):
        from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return torch.from_numpy(images).float().reshape(-1, 8, 8) / 16, torch.from_numpy(labels).long()


def shifted(images: Tensor, generator: Generator) -> Tensor:
    """Move each image by −1, 0 or 1 pixel along both axes, filling with background."""
    samples, height, width = images.shape
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
    down, right = torch.randint(0, 3, (2, samples, 1, 1), generator=generator)
    rows = down + torch.arange(height).view(1, -1, 1)
    columns = right + torch.arange(width).view(1, 1, -1)
    return padded[torch.arange(samples).view(-1, 1, 1), rows, columns]
