"""Is a row a distribution over real tokens, and does the output ignore what the mask hides?"""

from collections.abc import Iterator
from typing import Final

from clsight.doctor.examination import Examination, Look, NotApplicableError
from clsight.doctor.findings import Finding, error, ok, warning
from clsight.doctor.mask_probe import mask_probe
from clsight.doctor.registry import check

_ROUNDING: Final = {"float64": 1e-9, "float32": 1e-5}
_HALF: Final = 2e-3
_MASKED: Final = 1e-6
_OUTPUT: Final = 1e-4


@check(
    asks="Does each CLS row sum to 1?",
    finds={"error": "a row does not: [CLS] may attend to nothing, its whole row is masked"},
)
def rows_sum_to_one(examination: Examination) -> Iterator[Finding]:
    """Sum every CLS row."""
    record = examination.record
    off = abs(record["attends_to"].sum("token") - 1.0)
    largest = float(off.max())
    if largest <= _ROUNDING.get(record.attrs["dtype"], _HALF):
        yield ok(f"Every CLS row sums to 1, within {largest:.0e}.")
        return
    at = off.where(off == off.max(), drop=True)
    layer = str(at["layer_name"].values[0])
    yield error(
        f"A CLS row sums to {1 - largest:.3g} in `{layer}`, not to 1.",
        why="A row of zeros means that everything is masked for [CLS]: it learns nothing from the sequence.",
        next_step="Check the attention mask: [CLS] must be allowed to see at least one token.",
    )


@check(
    asks="Does padding receive no attention from [CLS]?",
    finds={"error": "a token that the mask calls padding receives some"},
)
def padding_gets_nothing(examination: Examination) -> Iterator[Finding]:
    """Look at the weights of padded tokens in the examined samples."""
    record = examination.record
    padding = ~record["token_mask"]
    if not bool(padding.any()):
        raise NotApplicableError("the examined samples have no padding")
    largest = float(record["attends_to"].where(padding).max())
    if largest <= _MASKED:
        yield ok(f"The {int(padding.sum())} padded tokens receive no attention from [CLS].")
        return
    yield error(
        f"The mask calls {int(padding.sum())} tokens padding, but [CLS] puts up to {largest:.2g} on one of "
        "them: the mask is dropped.",
        why="The answer depends on how much padding a batch happens to have.",
        next_step="Hand the mask on to the encoder: src_key_padding_mask (True = padding) in torch.",
    )


@check(
    asks="Is the mask of the call honored?",
    finds={
        "error": "a token masked on trial still receives attention: the mask is silently dropped",
        "warning": "it receives none, but changing it changes the answer",
    },
)
def mask_is_honored(examination: Examination) -> Iterator[Finding]:
    """Mask the last token of each sample on trial, then change what is masked."""
    probe = mask_probe(examination)
    record = examination.captured(inputs=probe.inputs)
    padding = ~record["token_mask"]
    received = float(record["attends_to"].where(padding).max()) if bool(padding.any()) else 0.0
    if received > _MASKED:
        yield error(
            f"`{probe.name}` is silently dropped: tokens masked on trial still receive up to {received:.2g} "
            "of the attention of [CLS].",
            why="Padding then changes the answers, and no map shows that it was padding.",
            next_step="Hand the mask on to the encoder inside forward.",
        )
        return
    change = _change(examination.look(inputs=probe.inputs), examination.look(inputs=probe.changed))
    if change > _OUTPUT:
        yield warning(
            f"Masked tokens receive no attention, but changing them changes the answer by {change:.2g} times "
            "its size.",
            why="They reach the answer on another way than attention: a convolution, a mean over all tokens.",
            next_step="Set masked tokens to zero before they are mixed, and leave them out of means.",
        )
    else:
        changes = f"change the answer by {change:.0e} of its size" if change else "change nothing"
        yield ok(f"`{probe.name}` is honored: masked tokens receive 0, and other values there {changes}.")


def _change(one: Look, other: Look) -> float:
    """Return how far logits, and [CLS] after the last layer, differ, over the size of the first."""
    changes = [0.0]
    for before, after in (
        (one.result.logits, other.result.logits),
        (one.states.cls_leaving, other.states.cls_leaving),
    ):
        if before is not None and after is not None:
            size = float(before.double().square().mean().sqrt()) or 1.0
            changes.append(float((before - after).double().abs().max()) / size)
    return max(changes)
