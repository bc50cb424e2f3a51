"""Scenes: a digit somewhere on a photograph. Where it stands is known: the evidence for what is read."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Generator, Tensor

from clsight.study.tasks.task import needing

SIZE, DIGIT, PATCH = 24, 8, 4
BACKGROUND = 0.6
"""Brightness of a photograph's lightest pixel, so that ink at 1 stands out everywhere."""


@dataclass(frozen=True)
class Scenes:
    """Digits on photographs.

    Attributes:
        images: `[sample, 24, 24]`, brightness in 0..1.
        labels: `[sample]`, the digit.
        evidence: `[sample, patch]`, True where a patch holds ink.
    """

    images: Tensor
    labels: Tensor
    evidence: Tensor


@cache
def photograph(name: str) -> Tensor:
    """Return one of scikit-learn's photographs as brightness `[427, 640]`, in 0..`BACKGROUND`.

    Args:
        name: china.jpg or flower.jpg.

    Raises:
        StudyError: If scikit-learn or Pillow, which reads it, is missing.
    """
    with needing("sklearn", extra="samples"):
        from sklearn.datasets import load_sample_image

        picture = load_sample_image(name)
    red, green, blue = np.moveaxis(picture.astype(np.float32) / 255, -1, 0)
    return torch.from_numpy(BACKGROUND * (0.299 * red + 0.587 * green + 0.114 * blue))


def scenes(digits: Tensor, labels: Tensor, background: Tensor, generator: Generator) -> Scenes:
    """Put each digit at a place of its own, on the grid of patches, on a crop of its own.

    Args:
        digits: `[sample, 8, 8]`, ink in 0..1.
        labels: `[sample]`.
        background: `[row, column]`, what crops are taken from.
        generator: Draws places and crops.
    """
    count, places = len(digits), (SIZE - DIGIT) // PATCH + 1
    tops, lefts = PATCH * torch.randint(0, places, (2, count), generator=generator)
    rows, columns = (
        torch.randint(0, edge - SIZE + 1, (count,), generator=generator) for edge in background.shape
    )
    ink = torch.zeros(count, SIZE, SIZE)
    ink[_pixels(tops, lefts, DIGIT)] = digits
    crops = background[_pixels(rows, columns, SIZE)[1:]]
    patches = ink.unfold(1, PATCH, PATCH).unfold(2, PATCH, PATCH)  # [sample, row, column, 4, 4]
    return Scenes(crops * (1 - ink) + ink, labels, (patches > 0).any(-1).any(-1).flatten(1))


def _pixels(tops: Tensor, lefts: Tensor, edge: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return indices of sample, row and column of a square per sample, `[sample, row, column]` together."""
    along = torch.arange(edge)
    return (
        torch.arange(len(tops)).view(-1, 1, 1),
        tops.view(-1, 1, 1) + along.view(-1, 1),
        lefts.view(-1, 1, 1) + along,
    )
