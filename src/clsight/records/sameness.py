"""Do records speak of the same thing? What must be equal in records that are compared or joined."""

from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np
import xarray as xr

from clsight.errors import RecordError
from clsight.records.checking import check_is_record

_SAME_INPUTS: Final = (
    "token_text",
    "token_kind",
    "token_mask",
    "label",
    "cls_position",
    "row",
    "column",
    "class_name",
)
Same = Literal["inputs", "model"]
_NEXT_STEPS: Final[dict[Same, str]] = {
    "inputs": "Capture them again with the same inputs",
    "model": "Join only records of one model",
}


def check_same_inputs(records: Mapping[Any, xr.Dataset], *, asked_by: str) -> None:
    """Raise unless all records are of the same inputs, as far as records tell: tokens, masks and labels.

    Selections pass if the same was selected. The inputs themselves are not in a record: two pictures of the
    same size and label cannot be told apart.

    Args:
        records: Records by the name that a message calls them.
        asked_by: The function that compares them; the subject of messages.

    Raises:
        RecordError: If one is no record, or two differ; names what, where, and both values.
    """
    for record in records.values():
        check_is_record(record, asked_by)
    first_name, first = next(iter(records.items()))
    for name, record in records.items():
        for dim in ("sample", "token"):
            here, there = first.sizes.get(dim), record.sizes.get(dim)
            if here != there:
                raise differ(asked_by, dim, (first_name, here), (name, there), same="inputs")
        here, there = first.attrs.get("cls_index"), record.attrs.get("cls_index")
        if here != there:
            raise differ(asked_by, "cls_index", (first_name, here), (name, there), same="inputs")
        for variable in _SAME_INPUTS:
            _check_same_values(variable, (first_name, first), (name, record), asked_by=asked_by)


def differ(
    subject: str,
    what: str,
    here: tuple[Any, Any],
    there: tuple[Any, Any],
    *,
    same: Same,
) -> RecordError:
    """Return the error that names what differs, and both members with their values.

    Args:
        subject: The function that compares.
        what: What differs.
        here: Name and value of one record.
        there: Name and value of the other.
        same: What they should have in common.
    """
    return RecordError(
        subject,
        expected=f"records of the same {same}, with equal `{what}`",
        got=f"{_short(here[1])} in {here[0]!r} and {_short(there[1])} in {there[0]!r}",
        next_step=_NEXT_STEPS[same],
    )


def _check_same_values(
    variable: str, first: tuple[Any, xr.Dataset], other: tuple[Any, xr.Dataset], *, asked_by: str
) -> None:
    present = [variable in record.variables for _, record in (first, other)]
    if not any(present):
        return
    words = ["present" if here else "absent" for here in present]
    if not all(present):
        raise differ(asked_by, variable, (first[0], words[0]), (other[0], words[1]), same="inputs")
    here, there = first[1][variable], other[1][variable]
    unequal = np.argwhere(here.values != there.values)
    if len(unequal):
        at = tuple(int(i) for i in unequal[0])
        place = ", ".join(f"{dim}={i}" for dim, i in zip(here.dims, at, strict=True))
        values = (first[0], here.values[at]), (other[0], there.values[at])
        raise differ(asked_by, f"{variable} at {place}", *values, same="inputs")


def _short(value: Any) -> str:
    text = str(value) if not isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
