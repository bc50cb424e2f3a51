"""Find-digit: a digit somewhere on a photograph is to be read, so that [CLS] has to look for it."""

import torch

from clsight.study.tasks.digits import all_digits
from clsight.study.tasks.folds import fold
from clsight.study.tasks.scenes import PATCH, SIZE, photograph, scenes
from clsight.study.tasks.task import Data, Part, Task, stream, task

FOR_TRAINING = 480
"""Columns of china.jpg that crops of the training part come from; validation has the other 160."""


@task("find-digit")
def find_digit(*, train: int = 8, test: int = 4) -> Task:
    """Return the task of reading a digit on a photograph, 36 patches of 16 pixels: 10 classes.

    Digits are split as in the task `digits`, so that five seeds test each once. What is behind them differs
    too: training and validation have crops of two sides of one photograph, the test has the other photograph.

    Args:
        train: On how many scenes each digit of the training part stands.
        test: On how many each digit of the validation and of the test part stands.
    """

    def data(seed: int) -> Data:
        images, labels = all_digits()
        chosen = fold(labels.numpy(), seed)
        china, generator = photograph("china.jpg"), stream(seed, purpose=1)
        parts = []
        backgrounds = (china[:, :FOR_TRAINING], china[:, FOR_TRAINING:], photograph("flower.jpg"))
        for rows, copies, background in zip(chosen, (train, test, test), backgrounds, strict=True):
            which = torch.from_numpy(rows).repeat(copies)
            made = scenes(images[which], labels[which], background, generator)
            parts.append(Part(made.images, made.labels))
        return Data(*parts)

    model = {"classes": 10, "embedding": "patch", "image_size": (SIZE, SIZE), "patch_size": (PATCH, PATCH)}
    return Task("find-digit", model, data)
