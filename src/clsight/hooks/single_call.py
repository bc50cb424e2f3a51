"""Record what CLS sees in one call of a module or a loaded model: `clsight.capture`."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from clsight.errors import CaptureError, ClsightError
from clsight.hooks.assembly import TokenMap
from clsight.hooks.calls import Inputs, call_module, check_inputs
from clsight.hooks.forward import ClsIndex
from clsight.hooks.gradient import Target
from clsight.hooks.layers import where_raised
from clsight.hooks.recorder import Recorder, TokenMask

if TYPE_CHECKING:
    from clsight.loading import Examples, Prepared, Subject

_RECONSTRUCTED = (
    "Reconstructed forward: the file holds weights alone, and what is computed with them is assumed"
)


def capture(
    module_or_subject: "nn.Module | Subject",
    inputs: "Inputs | Examples | np.ndarray[Any, Any]",
    *,
    cls_index: ClsIndex | None = None,
    token_mask: TokenMask | None = None,
    within: str | None = None,
    keep: str | Iterable[str] = "vectors",
    output: Callable[[Any], Tensor] | None = None,
    target: Target | None = None,
    eval_mode: bool = True,
) -> xr.Dataset:
    """Return what CLS attends to and who attends to CLS in one forward pass, per layer and head.

    The weights are those of the attention operation that really ran, before dropout. The module is left as it
    was.

    Args:
        module_or_subject: Any module with self-attention inside, or what `clsight.load` returned.
        inputs: For a module a tensor (`module(x)`), a tuple (`module(*inputs)`) or a mapping
            (`module(**inputs)`); for a subject raw examples, which it prepares.
        cls_index: Position of CLS in the sequence the encoder sees; negative from the end; or one per sample.
            Default 0, or the subject's own.
        token_mask: `[sample, token]`, True = real token; by default found as `clsight.Recorder` does.
        within: Name of the submodule to look at, where a module runs several towers.
        keep: What else to keep, names from `clsight.hooks.KEEP`; () for the weights alone, a little faster.
        output: From the module's output to its logits; by default found as `clsight.Recorder` does.
        target: What `keep="gradient"` differentiates; by default the logit of the predicted class.
        eval_mode: Run in eval mode and restore each submodule's mode afterwards; False runs it as it is.

    Returns:
        A record (docs/record.md) with `attends_to` and `attended_by` as
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
    options: dict[str, Any] = {
        "token_mask": token_mask,
        "within": within,
        "keep": keep,
        "output": output,
        "target": target,
    }
    if isinstance(module_or_subject, nn.Module):
        recorder = Recorder(module_or_subject, cls_index=0 if cls_index is None else cls_index, **options)
        return _record_call(recorder, inputs, eval_mode=eval_mode)
    if not hasattr(module_or_subject, "prepare"):
        raise CaptureError(
            "module_or_subject",
            expected="a torch module, or what clsight.load returned",
            got=f"a {type(module_or_subject).__name__}",
            next_step="Pass the nn.Module itself; load a saved model with clsight.load",
        )
    return _capture_subject(module_or_subject, inputs, cls_index, options, eval_mode=eval_mode)


def _capture_subject(
    subject: "Subject", raw: Any, cls_index: ClsIndex | None, options: dict[str, Any], *, eval_mode: bool
) -> xr.Dataset:
    prepared = subject.prepare(raw)
    position = _position(subject, prepared) if cls_index is None else cls_index
    if options["token_mask"] is None:
        options = {**options, "token_mask": prepared.token_mask}
    if options["within"] is None:
        options = {**options, "within": subject.within}
    recorder = Recorder(
        subject.module,
        cls_index=position,
        tokens=TokenMap(
            prepared.token_text, prepared.token_kind, prepared.row, prepared.column, prepared.label
        ),
        attributes={
            "model": subject.name,
            "strategy": subject.strategy,
            "seed": subject.seed,
            "checkpoint_sha256": subject.provenance.get("sha256", ""),
        },
        **options,
    )
    record = _record_call(recorder, prepared.inputs, eval_mode=eval_mode)
    if subject.provenance.get("forward") == "reconstructed":
        record.attrs["notes"] = [_RECONSTRUCTED, *record.attrs["notes"]]
    if "class" in record.dims and len(subject.classes) == record.sizes["class"]:
        names = np.array(subject.classes, dtype=np.dtypes.StringDType())
        record = record.assign_coords(class_name=("class", names))
    return record


def _position(subject: "Subject", prepared: "Prepared") -> ClsIndex:
    """Return where CLS stands, for all samples or for each."""
    if subject.cls_index is not None:
        return subject.cls_index
    if prepared.cls_index is None:
        raise CaptureError(
            subject.name,
            expected="a model with a CLS position",
            got=f"strategy {subject.strategy}, which has none" if subject.strategy else "one without",
            where=str(subject.provenance.get("cls", "")),
            next_step="Pass cls_index= to look at an ordinary token as if it were CLS",
        )
    positions: list[int] = prepared.cls_index.tolist()
    return positions


def _record_call(recorder: Recorder, inputs: Any, *, eval_mode: bool) -> xr.Dataset:
    """Run one forward pass under the recorder, and tell in one sentence where it failed."""
    check_inputs(inputs)
    gradients = torch.set_grad_enabled(recorder.needs_gradients)
    with recorder, _mode(recorder.module, eval_mode=eval_mode), gradients:  # the recorder holds the lock
        try:
            call_module(recorder.module, inputs)
        except ClsightError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())
            raise CaptureError(
                where_raised(error, recorder.module) or type(recorder.module).__name__,
                expected="a forward pass that runs",
                got=f"{type(error).__name__}: {reason}",
                next_step="Check the shape and dtype of the inputs, and that the module runs without clsight",
            ) from error
    return recorder.record


@contextmanager
def _mode(module: nn.Module, *, eval_mode: bool) -> Iterator[None]:
    """Set eval mode if asked, and give every submodule its own mode back."""
    trained = [submodule for submodule in module.modules() if submodule.training] if eval_mode else []
    if trained:
        module.eval()
    try:
        yield
    finally:
        for submodule in trained:
            submodule.training = True
