"""Repeated cross-validation by seed: five seeds in a row test every sample of a data set once."""

from typing import NamedTuple

import numpy as np

from clsight.study.tasks.task import needing

FOLDS = 5


class Fold(NamedTuple):
    """Which samples of a data set are for what; none is in two of them, and together they are all.

    Attributes:
        train: Indices to learn from: 64 % of the samples.
        validation: To choose learning rates by: 16 %.
        test: To look at once: 20 %.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def fold(labels: np.ndarray, seed: int) -> Fold:
    """Return fold s mod 5 of the (s div 5)-th shuffle into five, for seed s; each part has all classes.

    Args:
        labels: `[sample]`, one class per sample, each class five times at least.
        seed: 0 or more.

    Raises:
        StudyError: If scikit-learn is missing.
    """
    with needing("sklearn", extra="samples"):
        from sklearn.model_selection import StratifiedKFold, train_test_split
    splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=seed // FOLDS)
    known, test = list(splitter.split(labels, labels))[seed % FOLDS]
    train, validation = train_test_split(known, test_size=0.2, random_state=seed, stratify=labels[known])
    return Fold(train, validation, test)
