"""Compare two checkpoints on the same inputs: `clsight.compare`."""

from typing import TYPE_CHECKING, Any, Final

import xarray as xr

from clsight.changes.answers import answers_of
from clsight.changes.measuring import head_changes
from clsight.changes.report import Changes
from clsight.errors import RecordError
from clsight.records import check, check_same_inputs
from clsight.records.checking import STACK_DIMS

if TYPE_CHECKING:
    from clsight.loading import Subject

_OF_CLASSES: Final = ("logits", "class", "class_name")


def compare(before: "xr.Dataset | Subject", after: "xr.Dataset | Subject", inputs: Any = None) -> Changes:
    """Return what changed in what CLS sees between two checkpoints of one architecture.

    Args:
        before: What `clsight.load` returned; or a plain record, such as one step of a tracked training.
        after: The same.
        inputs: What both models read, as `Subject.read` takes it; by default the examples of `before`, else
            those of `after`. None for records.

    Returns:
        Distances of each head to itself, the head that it is most like, attention of CLS to itself, answers.
        Means over samples; a random CLS draws the same numbers in both.

    Raises:
        RecordError: If layers, heads, tokens or samples differ, or there is nothing to ask.
        ClsightError: If the inputs do not fit, or a model cannot be captured.

    Example:
        >>> before, after = clsight.load("base"), clsight.load("fine-tuned")  # doctest: +SKIP
        >>> print(clsight.compare(before, after))  # doctest: +SKIP
    """
    if isinstance(before, xr.Dataset) and isinstance(after, xr.Dataset):
        if inputs is not None:
            raise _refused(
                "no inputs beside two records", "some", "Leave `inputs` out: a record holds its own"
            )
        return _compared(_plain(before, "before"), _plain(after, "after"))
    if isinstance(before, xr.Dataset) or isinstance(after, xr.Dataset):
        step = "Capture the model on the same inputs: clsight.capture(subject, subject.examples)"
        raise _refused("two records or two models", "one of each", step)
    shown = _shown(before, after) if inputs is None else inputs
    return _compared(_captured(before, shown), _captured(after, shown))


def _compared(before: xr.Dataset, after: xr.Dataset) -> Changes:
    for dim in ("layer", "head"):
        here, there = before.sizes[dim], after.sizes[dim]
        if here != there:
            step = "Compare two checkpoints of one architecture"
            raise _refused(f"as many {dim}s in both", f"{here} and {there}", step)
    # A head for other classes, put on for fine-tuning, changes nothing of what both read.
    first, second = (record.drop_vars(_OF_CLASSES, errors="ignore") for record in (before, after))
    check_same_inputs({"before": first, "after": second}, asked_by="compare")
    return Changes(
        head_changes(first, second),
        answers_of(before, after),
        {name: dict(record.attrs) for name, record in (("before", before), ("after", after))},
    )


def _captured(subject: "Subject", inputs: Any) -> xr.Dataset:
    """Return the record of a model, its draws beginning at the same start as those of the other."""
    from clsight.hooks import capture
    from clsight.hooks.random_streams import undisturbed

    with undisturbed(subject.module, 0):
        return capture(subject, inputs, keep=())


def _shown(before: "Subject", after: "Subject") -> Any:
    """Return the examples of one of the models."""
    for subject in (before, after):
        if subject.examples is not None and len(subject.examples):
            return subject.examples
    step = "Give both the same: inputs=, or --input in the terminal"
    raise _refused("inputs, as neither model has examples of its own", "none", step)


def _plain(record: xr.Dataset, name: str) -> xr.Dataset:
    """Return a record without the labels of the stack that it was selected from."""
    check(record, where=name)
    for dim in STACK_DIMS:
        if dim in record.dims:
            step = f"Select one first: record.sel({dim}=...)"
            raise _refused("two plain records", f"a stack along `{dim}`", step)
    return record.drop_vars(STACK_DIMS, errors="ignore")


def _refused(expected: str, got: str, next_step: str) -> RecordError:
    return RecordError("compare", expected=expected, got=got, next_step=next_step)
