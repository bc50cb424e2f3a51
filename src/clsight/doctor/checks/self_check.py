"""Does the map give the model's own attention output back? The error, layer by layer."""

from collections.abc import Iterator

import numpy as np

from clsight.doctor.examination import Examination, NotApplicableError
from clsight.doctor.findings import Finding, note, ok
from clsight.doctor.registry import check


@check(
    asks="Does the map give the attention's own output back, in each layer?",
    finds={
        "note": "the check could not be made, as dropout was active (above its tolerance the capture fails)"
    },
)
def self_check_error(examination: Examination) -> Iterator[Finding]:
    """Tell the self-check's error of each layer."""
    record = examination.record
    errors = record["attention_error"].max("sample").values
    if not errors.size:
        raise NotApplicableError("the record holds no self-check")
    names = [str(name) for name in record["layer_name"].values]
    if bool(np.isnan(errors).any()):
        dropped = [name for name, value in zip(names, errors, strict=True) if np.isnan(value)]
        yield note(
            f"The self-check could not be made in {len(dropped)} of {len(names)} layers: dropout was active.",
            why="Whether the map is the model's own is then unproven.",
            next_step="Turn dropout off.",
        )
        return
    told = ", ".join(f"{value:.0e}" for value in errors)
    yield ok(
        f"The map gives the attention's own output back; error from layer "
        f"`{names[0]}` to `{names[-1]}`: {told}."
    )
