"""Is a row a distribution over real tokens, and does the output ignore what the mask hides?"""

from collections.abc import Iterator
from typing import Final

from clsight.doctor.changes import Effect, largest_change, stands_out
from clsight.doctor.examination import Examination, Look, NotApplicableError
from clsight.doctor.findings import Finding, error, ok, warning
from clsight.doctor.mask_probe import VISIBLE, Probe, mask_probe, masks_of
from clsight.doctor.registry import check
from clsight.errors import ClsightError

_ROUNDING: Final = {"float64": 1e-9, "float32": 1e-5}
_HALF: Final = 2e-3
_REPEATS: Final = 3
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
    if largest <= VISIBLE:
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
        "warning": "it receives none, but changing it changes the answer; or the mask acts on the answer "
        "alone",
    },
)
def mask_is_honored(examination: Examination) -> Iterator[Finding]:
    """Mask a token of each sample on trial, then change what is masked."""
    masks = masks_of(examination)
    reasons = []
    for name, senses in masks.items():
        try:
            yield _judged(examination, name, senses)
        except (NotApplicableError, ClsightError) as reason:
            reasons.append(str(reason).rstrip("."))
    if len(reasons) == len(masks):
        raise NotApplicableError("; ".join(dict.fromkeys(reasons)))


def _judged(examination: Examination, name: str, senses: tuple[bool, ...]) -> Finding:
    """Tell what a mask does whose values may mean a real token in one or two senses.

    Raises:
        NotApplicableError: If no token can be masked, or what happens then has several explanations.
    """
    before = examination.record["attends_to"]
    largest, has_moved = 0.0, False
    probes = _probes(examination, name, senses)
    for probe in probes:
        weights = examination.captured(inputs=probe.inputs)["attends_to"]
        received = float(weights.where(probe.hidden).max())
        if received <= VISIBLE:
            return _behind(examination, probe)
        largest = max(largest, received)
        has_moved = has_moved or float(abs(weights - before).max()) > VISIBLE
    # A model may take a mask for a length, and then a token before the last cannot be masked alone.
    is_plain = len(senses) == 1 and not probes[0].is_between
    if has_moved and not is_plain:
        raise NotApplicableError(f"`{name}` changes what [CLS] attends to, but hides no token from it alone")
    if len(senses) > 1:
        look = examination.look(inputs=probes[0].inputs)
        effect = Effect.between(examination.first, look, examination.noise)
        if effect.follows is None:
            raise NotApplicableError(examination.noise.told)
        if effect.follows:
            return _beside_attention(name, effect.change)
    return error(
        f"`{name}` is silently dropped: tokens masked on trial still receive up to {largest:.2g} of the "
        "attention of [CLS].",
        why="Padding then changes the answers, and no map shows that it was padding.",
        next_step="Hand the mask on to the encoder inside forward.",
    )


def _probes(examination: Examination, name: str, senses: tuple[bool, ...]) -> list[Probe]:
    """Return a probe for each sense in which [CLS] sees a token that could be masked; at least one."""
    probes, reasons = [], []
    for means_real in senses:
        try:
            probes.append(mask_probe(examination, name, means_real=means_real))
        except NotApplicableError as reason:
            reasons.append(reason)
    if not probes:
        raise reasons[0]
    return probes


def _beside_attention(name: str, change: float) -> Finding:
    return warning(
        f"`{name}` hides no token from [CLS]: turning its value at a token changes no weight, but "
        f"the output by {change:.2g} times its typical size.",
        why="It acts behind the attention alone, as in a mean over tokens; padding takes part in every map.",
        next_step="If it marks padding, hand it on to the encoder too.",
    )


def _behind(examination: Examination, probe: Probe) -> Finding:
    """Change what a mask hides, and tell whether the answer follows."""
    look = examination.look(inputs=probe.inputs)
    change = _change(look, examination.look(inputs=probe.changed))
    told = f"`{probe.name}` is honored: masked tokens receive 0"
    if change > _OUTPUT and not examination.noise.is_silent:
        noise = max(_change(look, examination.look(inputs=probe.inputs)) for _ in range(_REPEATS))
        if not stands_out(change, noise, _OUTPUT):
            return ok(f"{told}. Of the answer, {examination.noise.told}.")
    if change > _OUTPUT:
        return warning(
            f"Masked tokens receive no attention, but changing them changes the answer by {change:.2g} times "
            "its size.",
            why="They reach the answer on another way than attention: a convolution, a mean over all tokens.",
            next_step="Set masked tokens to zero before they are mixed, and leave them out of means.",
        )
    changes = f"change the answer by {change:.0e} of its size" if change else "change nothing"
    return ok(f"{told}, and other values there {changes}.")


def _change(one: Look, other: Look) -> float:
    """Return how far logits, and [CLS] after the last layer, differ, over the size of the first."""
    return largest_change(
        (
            (one.result.logits, other.result.logits),
            (one.states.cls_leaving, other.states.cls_leaving),
        )
    )
