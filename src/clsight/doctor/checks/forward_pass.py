"""Does the forward pass run and can its map be trusted? Is it the model's own?"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from clsight.doctor.examination import Examination, NotApplicableError, RefusedError
from clsight.doctor.findings import Finding, error, ok, warning
from clsight.doctor.registry import check

if TYPE_CHECKING:
    from clsight.loading import Subject


@check(
    asks="Can what [CLS] sees be captured at all?",
    finds={
        "error": "the capture is refused: non-finite scores, no attention, a failed self-check, a forward "
        "pass that does not run"
    },
)
def capture_runs(examination: Examination) -> Iterator[Finding]:
    """Tell why a capture is refused; else what it holds."""
    try:
        record = examination.record
    except RefusedError as refused:
        yield error(
            f"The capture was refused. {refused.refusal}",
            why="A map that failed its own check, or was never made, is not shown.",
            next_step=f"{refused.refusal.next_step.rstrip('.')}.",
        )
        return
    sizes = record.sizes
    yield ok(
        f"Attention was found in {sizes['layer']} layers of {sizes['head']} heads over {sizes['token']} "
        "tokens."
    )


@check(
    asks="Is the forward pass the model's own?",
    finds={"warning": "a file of weights alone: forward was rebuilt from names and shapes"},
)
def forward_is_own(examination: Examination) -> Iterator[Finding]:
    """Tell if the forward pass was rebuilt, and whether a tensor of [CLS] was in the file."""
    subject = examination.question.subject
    if subject is None:
        raise NotApplicableError("the module was given with its own forward")
    if subject.provenance.get("forward") != "reconstructed":
        yield ok("The forward pass is the model's own.")
        return
    if subject.cls_vector is None:
        held = "holds no tensor for [CLS], so what stands at its position is a guess"
    else:
        held = "holds a tensor for [CLS], but whether the real forward uses it is not in the file"
    yield warning(
        f"The forward pass is unknown: the file holds weights alone, and the maps are of a reconstructed "
        f"forward. It {held}.",
        why="Code that builds [CLS] and then encodes something else has the same weights."
        + _assumed(subject),
        next_step="Pass the model's class: --model package.module:factory, in Python "
        "clsight.load(path, factory=...).",
    )


def _assumed(subject: "Subject") -> str:
    """Return a sentence on what the reconstruction assumed, with a space before it, or nothing."""
    assumed = subject.provenance.get("assumed", {})
    return f" Assumed: {'; '.join(map(str, assumed.values()))}." if assumed else ""
