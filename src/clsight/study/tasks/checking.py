"""Can a model be trained on this data? Else it is refused before the first step: what is wrong, and where."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from clsight.errors import StudyError
from clsight.study.tasks.task import Data, Part, Task


def checked(task: Task, seed: int, *, batch: int) -> Data:
    """Return the three parts of a task for a seed, checked.

    Args:
        task: The task.
        seed: Of the parts.
        batch: Samples per step of the training.

    Raises:
        StudyError: If `data` gives something else, a part has no samples or labels that are no classes, a
            mask does not fit, a number is not finite, or training samples do not fill a batch.
    """
    data = task.data(seed)
    if not isinstance(data, Data):
        _refuse(task.name, "`data` to return a `Data`", f"an object of type {type(data).__name__}")
    for name in ("train", "validation", "test"):
        _check_part(getattr(data, name), task.model, f"In the {name} part of task {task.name}, seed {seed}")
    if len(data.train) < batch:
        step = "Set a smaller `batch`, or take more samples"
        got = f"{len(data.train)}"
        _refuse(f"task {task.name}", f"at least one batch of {batch} training samples", got, step=step)
    return data


def _check_part(part: Part, model: Mapping[str, Any], where: str) -> None:
    classes, labels = model["classes"], part.labels
    if labels.dtype != torch.int64 or labels.dim() != 1 or len(labels) == 0:
        _refuse("labels", "one label per sample as int64 [sample]", _shape(labels), where)
    if not (int(labels.min()) >= 0 and int(labels.max()) < classes):
        _refuse("labels", f"classes 0 to {classes - 1}", f"{int(labels.min())} to {int(labels.max())}", where)
    if len(part.inputs) != len(labels):
        _refuse("inputs", f"as many samples as labels, {len(labels)}", _shape(part.inputs), where)
    if part.inputs.is_floating_point() and not bool(part.inputs.isfinite().all()):
        _refuse("inputs", "finite numbers", f"{int((~part.inputs.isfinite()).sum())} that are not", where)
    _check_mask(part, where)


def _check_mask(part: Part, where: str) -> None:
    mask = part.token_mask
    if mask is None:
        return
    if mask.dtype != torch.bool or mask.dim() != 2 or len(mask) != len(part):
        _refuse("token_mask", f"torch.bool [sample={len(part)}, time]", _shape(mask), where)
    if empty := int((~mask.any(1)).sum()):
        got = f"{empty} samples of padding alone"
        _refuse("token_mask", "at least one real token per sample", got, where)


def _shape(tensor: Tensor) -> str:
    return f"{tensor.dtype} [{', '.join(str(size) for size in tensor.shape)}]"


def _refuse(
    subject: str, expected: str, got: str, where: str = "", *, step: str = "Correct what the task gives"
) -> None:
    raise StudyError(subject, expected=expected, got=got, where=where, next_step=step)
