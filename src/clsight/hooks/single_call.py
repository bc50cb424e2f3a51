"""Record what CLS sees in one call of a module or a loaded model: `clsight.capture`."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from clsight.hooks.calls import Inputs, LogitsOf
from clsight.hooks.forward import ClsIndex
from clsight.hooks.gradient import Target
from clsight.hooks.model_call import ModelCall, mode_of, model_call
from clsight.hooks.recorder import Recorder, TokenMask

if TYPE_CHECKING:
    from clsight.loading import Examples, Subject


def capture(
    module_or_subject: "nn.Module | Subject",
    inputs: "Inputs | Examples | np.ndarray[Any, Any]",
    *,
    cls_index: ClsIndex | None = None,
    token_mask: TokenMask | None = None,
    within: str | None = None,
    keep: str | Iterable[str] = "vectors",
    output: LogitsOf = None,
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
        output: From the module's output to its logits; by default found as `clsight.Recorder` does; False
            where the model does not classify, as a subject may say itself.
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
    call = model_call(module_or_subject, inputs, cls_index=cls_index, token_mask=token_mask, within=within)
    return record_of(call, keep=keep, output=output, target=target, eval_mode=eval_mode)


def record_of(
    call: ModelCall,
    *,
    keep: str | Iterable[str] = "vectors",
    output: LogitsOf = None,
    target: Target | None = None,
    eval_mode: bool = True,
) -> xr.Dataset:
    """Return the record of one call that is ready to run; the options are those of `capture`.

    Raises:
        CaptureError: As `capture`.
    """
    logits = call.output if output is None else output
    recorder = Recorder(call.module, keep=keep, output=logits, target=target, **call.recording)
    gradients = torch.set_grad_enabled(recorder.needs_gradients)
    with recorder, mode_of(recorder.module, eval_mode=eval_mode), gradients:  # the recorder holds the lock
        call.run()
    return call.described(recorder.record)
