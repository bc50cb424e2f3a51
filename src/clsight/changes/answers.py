"""Do two checkpoints give the same answers? And how many of each are right, where labels are known?"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray


@dataclass(frozen=True)
class Answers:
    """What became of the answers: the class with the largest score in each sample.

    Attributes:
        samples: How many were asked.
        changed: In how many the answer is another one; None where answers cannot be compared.
        right_before: How many answers were right; None without labels.
        right_after: Likewise.
        reason: Why answers cannot be compared; empty if they are.
    """

    samples: int
    changed: int | None = None
    right_before: int | None = None
    right_after: int | None = None
    reason: str = ""

    @property
    def sentence(self) -> str:
        """What became of the answers, in words."""
        if self.changed is None:
            return f"Answers cannot be compared: {self.reason}."
        told = f"The answer changed in {self.changed} of {_samples(self.samples)}"
        if self.right_before is None:
            return f"{told}."
        return f"{told}; {self.right_before} were right before, {self.right_after} after."


def answers_of(before: xr.Dataset, after: xr.Dataset) -> Answers:
    """Return how the answers of two records of the same inputs compare."""
    samples = before.sizes["sample"]
    if reason := _why_not(before, after):
        return Answers(samples, reason=reason)
    first, second = _classes(before), _classes(after)
    right: list[int | None] = [None, None]
    if "label" in before.coords:
        label = before["label"].values
        right = [int((answers == label).sum()) for answers in (first, second)]
    return Answers(samples, int((first != second).sum()), right[0], right[1])


def _why_not(before: xr.Dataset, after: xr.Dataset) -> str:
    """Return why there is no answer to compare; empty if there is one."""
    for name, record in (("first", before), ("second", after)):
        if "logits" not in record:
            return f"the {name} gives no scores of classes"
    sizes = [record.sizes["class"] for record in (before, after)]
    if sizes[0] != sizes[1]:
        return f"the first has {sizes[0]} classes, the second {sizes[1]}"
    if sizes[0] < 2:
        return "there is one score, and no classes to choose from"
    names = [record["class_name"].values.tolist() for record in (before, after) if "class_name" in record]
    if len(names) == 2 and names[0] != names[1]:
        return "their classes have different names"
    return ""


def _classes(record: xr.Dataset) -> NDArray[np.int64]:
    found: NDArray[np.int64] = record["logits"].argmax("class").values
    return found


def _samples(count: int) -> str:
    return f"{count} sample{'' if count == 1 else 's'}"
