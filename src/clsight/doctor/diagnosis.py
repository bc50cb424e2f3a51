"""Ask a model every question of the doctor's list: `clsight.diagnose`."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from torch import Tensor, nn

from clsight.doctor.examination import Examination, NotApplicableError
from clsight.doctor.findings import Finding, Findings
from clsight.doctor.passes import FAILURES
from clsight.doctor.question import Question
from clsight.doctor.registry import CHECKS, Check
from clsight.errors import CaptureError, ClsightError
from clsight.hooks.calls import Inputs, check_inputs
from clsight.hooks.forward import ClsIndex
from clsight.hooks.recorder import TokenMask

if TYPE_CHECKING:
    from clsight.loading import Examples, Subject

FAILED: Final = "the check itself failed"
"""How the reason of a check begins that raised what it should not."""
_EXAMINED: Final = 32
"""How many of a model's own examples are looked at."""


def diagnose(
    subject_or_module: "Subject | nn.Module",
    inputs: "Inputs | Examples | np.ndarray[Any, Any] | None" = None,
    *,
    cls_index: ClsIndex | None = None,
    token_mask: TokenMask | None = None,
    within: str | None = None,
    output: Callable[[Any], Tensor] | None = None,
) -> Findings:
    """Return what is wrong with a model's [CLS] and its maps, each finding with its number and a next step.

    A handful of forward passes in eval mode; weights, modes and random streams are as before afterwards.

    Args:
        subject_or_module: What `clsight.load` returned, or any module with self-attention inside.
        inputs: As for `clsight.capture`; by default the first examples that came with a subject. Two samples
            or more: what is constant over samples cannot be told from one.
        cls_index: Position of [CLS] in the sequence the encoder sees; default 0, or the subject's own.
        token_mask: `[sample, token]`, True = real token; by default found as `clsight.Recorder` does.
        within: Name of the submodule to look at, where a module runs several towers.
        output: From the module's output to its logits; by default found as `clsight.Recorder` does.

    Returns:
        The findings, the worst first. What a capture refuses is an error among them, not raised.

    Raises:
        CaptureError: If there are no inputs, or they are of a kind that no model takes.
        ClsightError: If the inputs do not fit the subject.

    Example:
        >>> import torch
        >>> layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        >>> findings = diagnose(torch.nn.TransformerEncoder(layer, 3), torch.randn(4, 5, 8))
        >>> [finding.check for finding in findings.errors]
        ['input_at_cls']
    """
    question = _question(subject_or_module, inputs, cls_index)
    question = replace(
        question,
        token_mask=token_mask,
        within=question.within if within is None else within,
        output=output,
    )
    examination = Examination(question)
    found: list[Finding] = []
    not_applicable: dict[str, str] = {}
    for check in CHECKS.values():
        try:
            found += _made(check, examination)
        except (NotApplicableError, ClsightError) as reason:
            not_applicable[check.name] = str(reason).rstrip(".")
        except FAILURES as failure:  # one check that a strange model breaks must not hide the others
            not_applicable[check.name] = f"{FAILED}, {type(failure).__name__}: {failure}"
    return Findings(question.name, tuple(found), not_applicable, _labels(question))


def _question(subject_or_module: Any, inputs: Any, cls_index: ClsIndex | None) -> Question:
    """Return what is examined; a subject is asked for its inputs and token map."""
    if isinstance(subject_or_module, nn.Module):
        module = getattr(subject_or_module, "_orig_mod", subject_or_module)
        if inputs is None:
            raise _no_inputs(type(module).__name__, "Pass inputs, a batch of two samples or more")
        check_inputs(inputs)
        position = 0 if cls_index is None else cls_index
        return Question(module, type(module).__name__, inputs, cls_index=position)
    if not hasattr(subject_or_module, "prepare"):
        raise CaptureError(
            "subject_or_module",
            expected="a torch module, or what clsight.load returned",
            got=f"a {type(subject_or_module).__name__}",
            next_step="Pass the nn.Module itself; load a saved model with clsight.load",
        )
    return _question_of(subject_or_module, inputs, cls_index)


def _question_of(subject: "Subject", raw: Any, cls_index: ClsIndex | None) -> Question:
    if raw is None:
        if subject.examples is None or len(subject.examples) == 0:
            raise _no_inputs(subject.name, "Pass inputs; in the terminal with --input")
        raw = subject.examples[:_EXAMINED]
    raw = subject.read(raw)
    prepared = subject.prepare(raw)
    return Question(
        subject.module,
        subject.name,
        prepared.inputs,
        raw=raw,
        subject=subject,
        cls_index=subject.cls_index if cls_index is None else cls_index,
        token_kind=prepared.token_kind,
        within=subject.within,
    )


def _made(check: Check, examination: Examination) -> list[Finding]:
    return [replace(finding, check=check.name) for finding in check.function(examination)]


def _labels(question: Question) -> tuple[str, ...]:
    """Return what a reader must know of how it was looked."""
    provenance = {} if question.subject is None else question.subject.provenance
    labels = ["reconstructed forward"] if provenance.get("forward") == "reconstructed" else []
    made_up = provenance.get("examples")
    own = question.subject is not None and question.raw is not None
    if made_up and own and _is_own(question):
        labels.append(f"examined on {made_up}")
    return tuple(labels)


def _is_own(question: Question) -> bool:
    """Tell whether the inputs are the examples that came with the subject."""
    subject = question.subject
    assert subject is not None
    own = subject.examples
    return own is not None and np.array_equal(own.inputs[: len(question.raw)], question.raw.inputs)


def _no_inputs(name: str, next_step: str) -> CaptureError:
    return CaptureError(name, expected="inputs to look at", got="none", next_step=next_step)
