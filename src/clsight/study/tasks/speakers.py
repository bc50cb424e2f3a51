"""Speakers: who says two Japanese vowels? Series of different lengths with padding, as in the thread.

M. Kudo, J. Toyama, M. Shimbo, "Multidimensional curve classification using passing-through regions", Pattern
Recognition Letters 20, 1999, doi 10.1016/S0167-8655(99)00077-X; read by aeon, which ships it.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch

from clsight.study.tasks.task import Data, Part, Task, needing, task

CLASSES, FEATURES, LONGEST = 9, 12, 29


@task("speakers")
def speakers() -> Task:
    """Return the task of telling one of nine men from 7 to 29 steps of 12 cepstral coefficients.

    The test part is that of the data set, 370 series, for every seed. The seed splits the other 270 into 216
    to learn from and 54 for validation, speakers equally frequent in both.
    """
    model = {"classes": CLASSES, "embedding": "linear", "features": FEATURES, "max_time": LONGEST}
    return Task("speakers", model, _data)


def _data(seed: int) -> Data:
    known, test = _read("train"), _read("test")
    with needing("sklearn", extra="samples"):
        from sklearn.model_selection import train_test_split
    rows = np.arange(len(known))
    train, validation = train_test_split(rows, test_size=0.2, random_state=seed, stratify=known.labels)
    return Data(known.of(torch.from_numpy(train)), known.of(torch.from_numpy(validation)), test)


@cache
def _read(split: str) -> Part:
    """Return one of the two parts of the data set, train or test."""
    with needing("aeon", extra="speakers"):
        from aeon.datasets import load_japanese_vowels
    series, names = load_japanese_vowels(split=split)
    return padded(series, names)


def padded(series: Sequence[np.ndarray], names: Sequence[str]) -> Part:
    """Return series of different lengths as one part, zeros after the end of each.

    Args:
        series: Per sample `[feature, time]`, as aeon has it.
        names: Per sample its class, "1" to "9"; the labels are 0 to 8.
    """
    inputs = torch.zeros(len(series), max(one.shape[1] for one in series), len(series[0]))
    mask = torch.zeros(inputs.shape[:2], dtype=torch.bool)
    for sample, one in enumerate(series):
        inputs[sample, : one.shape[1]] = torch.from_numpy(one.T.astype(np.float32))
        mask[sample, : one.shape[1]] = True
    return Part(inputs, torch.tensor([int(name) - 1 for name in names]), mask)
