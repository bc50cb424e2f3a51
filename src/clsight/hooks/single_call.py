"""Record what CLS sees in one call of a module or a loaded model: `clsight.capture`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from clsight.errors import CaptureError
from clsight.hooks.assembly import TokenMap
from clsight.hooks.calls import Inputs, call_module, check_inputs
from clsight.hooks.forward import ClsIndex
from clsight.hooks.recorder import Recorder, TokenMask

if TYPE_CHECKING:
    from clsight.loading import Examples, Subject


def capture(
    module_or_subject: "nn.Module | Subject",
    inputs: "Inputs | Examples | np.ndarray[Any, Any]",
    *,
    cls_index: ClsIndex | None = None,
    token_mask: TokenMask | None = None,
    eval_mode: bool = True,
) -> xr.Dataset:
    """Return what CLS attends to and who attends to CLS in one forward pass, per layer and head.

    The weights are those of the attention operation that really ran, before dropout. Gradients are off, and
    the module is left as it was.

    Args:
        module_or_subject: Any module with self-attention inside, or what `clsight.load` returned.
        inputs: For a module a tensor (`module(x)`), a tuple (`module(*inputs)`) or a mapping
            (`module(**inputs)`); for a subject raw examples, which it prepares.
        cls_index: Position of CLS in the sequence the encoder sees; negative from the end; or one per sample.
            Default 0, or the subject's own.
        token_mask: `[sample, token]`, True = real token; by default found as `clsight.Recorder` does.
        eval_mode: Run in eval mode and restore each submodule's mode afterwards; False runs it as it is.

    Returns:
        A record (DESIGN.md, section 4) with `attends_to` and `attended_by` as
        `[sample, layer, head, token]`, in [0, 1].

    Raises:
        CaptureError: If the inputs do not fit, no attention is found, or the self-check fails.

    Example:
        >>> import torch
        >>> layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        >>> record = capture(torch.nn.TransformerEncoder(layer, 3), torch.randn(4, 5, 8))
        >>> bool(abs(record.attends_to.sum("token") - 1).max() < 1e-6)
        True
    """
    if isinstance(module_or_subject, nn.Module):
        check_inputs(inputs)
        recorder = Recorder(
            module_or_subject, cls_index=0 if cls_index is None else cls_index, token_mask=token_mask
        )
        return _record_call(recorder, inputs, eval_mode=eval_mode)  # type: ignore[arg-type]
    return _capture_subject(
        module_or_subject, inputs, cls_index=cls_index, token_mask=token_mask, eval_mode=eval_mode
    )


def _capture_subject(
    subject: "Subject",
    raw: Any,
    *,
    cls_index: ClsIndex | None,
    token_mask: TokenMask | None,
    eval_mode: bool,
) -> xr.Dataset:
    position = subject.cls_index if cls_index is None else cls_index
    if position is None:
        raise CaptureError(
            subject.name,
            expected="a model with a CLS position",
            got=f"strategy {subject.strategy}, which has none",
            next_step="Pass cls_index= to look at an ordinary token as if it were CLS",
        )
    prepared = subject.prepare(raw)
    check_inputs(prepared.inputs)
    mask = prepared.token_mask if token_mask is None else token_mask
    recorder = Recorder(
        subject.module,
        cls_index=position,
        token_mask=mask,
        tokens=TokenMap(
            prepared.token_text, prepared.token_kind, prepared.row, prepared.column, prepared.label
        ),
        attributes={
            "model": subject.name,
            "strategy": subject.strategy,
            "seed": subject.seed,
            "checkpoint_sha256": subject.provenance.get("sha256", ""),
        },
    )
    record = _record_call(recorder, prepared.inputs, eval_mode=eval_mode)
    if "class" in record.dims and len(subject.classes) == record.sizes["class"]:
        names = np.array(subject.classes, dtype=np.dtypes.StringDType())
        record = record.assign_coords(class_name=("class", names))
    return record


def _record_call(recorder: Recorder, inputs: Inputs, *, eval_mode: bool) -> xr.Dataset:
    """Run one forward pass under the recorder, and tell in one sentence where it failed."""
    with _mode(recorder.module, eval_mode=eval_mode), recorder, torch.no_grad():
        try:
            call_module(recorder.module, inputs)
        except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AssertionError) as error:
            name = recorder._path.innermost
            raise CaptureError(
                name or type(recorder.module).__name__,
                expected="a forward pass that runs",
                got=f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
                if str(error)
                else repr(error),
                next_step="Check the shape and dtype of the inputs; the model fails without clsight too",
            ) from error
    return recorder.record


@contextmanager
def _mode(module: nn.Module, *, eval_mode: bool) -> Iterator[None]:
    """Set eval mode if asked, and give every submodule its own mode back."""
    modes = {submodule: submodule.training for submodule in module.modules()}
    if eval_mode:
        module.eval()
    try:
        yield
    finally:
        for submodule, training in modes.items():
            submodule.training = training
