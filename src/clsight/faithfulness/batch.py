"""One call of a model whose tokens are to be removed: what each token is, and where it stands."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor, nn

from clsight.errors import CaptureError
from clsight.faithfulness.attributed import Kinds, Text, checked_kinds, removable_in
from clsight.faithfulness.unknown_kinds import are_numbered, with_special_ids
from clsight.hooks import capture
from clsight.hooks.calls import arguments_of
from clsight.hooks.forward import ClsIndex
from clsight.hooks.model_call import ModelCall, model_call
from clsight.hooks.random_streams import undisturbed
from clsight.hooks.recorder import TokenMask
from clsight.preparation import Examples

if TYPE_CHECKING:
    from clsight.loading import Subject

EXTRA_KEY = "[extra key]"
"""What a record calls a key at the end that is no token of the sequence."""


class Asked(TypedDict, total=False):
    """What may be stated of a call, as for `clsight.capture`; `token_kind` as in a record."""

    cls_index: ClsIndex | None
    token_mask: TokenMask | None
    within: str | None
    token_kind: Any


@dataclass(frozen=True)
class Batch:
    """A call and its tokens.

    Attributes:
        call: The module and its inputs.
        kind: `[sample, token]`, kind of each token of the sequence that the encoder sees.
        row: `[sample, token]`, row of each patch, −1 where there is none; None if the input is no picture.
        column: Likewise.
        extra_keys: How many tokens at the end are no tokens of the sequence.
        notes: What a reader should know of the tokens.
    """

    call: ModelCall
    kind: Kinds
    row: NDArray[np.int16] | None = None
    column: NDArray[np.int16] | None = None
    extra_keys: int = 0
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What to call the model in a message."""
        return str(self.call.attributes.get("model") or type(self.call.module).__name__)

    @property
    def sizes(self) -> tuple[int, int]:
        """Number of samples and of tokens."""
        return self.kind.shape[0], self.kind.shape[1]

    @cached_property
    def removable(self) -> NDArray[np.bool_]:
        """Which tokens may be removed, `[sample, token]`."""
        return removable_in(self.kind)

    @cached_property
    def arguments(self) -> dict[str, Any] | None:
        """What the module is called with, by name; None where arguments have no names."""
        args, kwargs = arguments_of(self.call.inputs)
        if not args:
            return kwargs
        try:
            bound = inspect.signature(self.call.module.forward).bind_partial(*args, **kwargs)
        except (TypeError, ValueError):
            return None
        kinds = [bound.signature.parameters[name].kind for name in bound.arguments]
        if any(kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD) for kind in kinds):
            return None
        return dict(bound.arguments)

    @property
    def accepted(self) -> frozenset[str]:
        """The names of arguments that the module has, or is called with."""
        return frozenset(inspect.signature(self.call.module.forward).parameters) | frozenset(
            self.arguments or ()
        )

    @property
    def leading(self) -> int:
        """How many tokens in front may not be removed in any sample."""
        fixed = ~self.removable.any(0)
        return self.sizes[1] if fixed.all() else int(fixed.argmin())

    def added(self, length: int) -> int | None:
        """Return how many tokens the model puts in front of an input of this length; None if it cannot be.

        What a model adds is never removable: its [CLS], registers, a distillation token.
        """
        tokens = self.sizes[1] - self.extra_keys
        before = tokens - length
        return before if 0 <= before <= self.leading else None

    def with_inputs(self, inputs: Any) -> ModelCall:
        """Return the call with other inputs."""
        return replace(self.call, inputs=inputs)

    def coords(self) -> dict[str, Any]:
        """Return the coordinates of a result `[sample, token]`."""
        samples, tokens = self.sizes
        return {
            "sample": np.arange(samples),
            "token": np.arange(tokens),
            "token_kind": (("sample", "token"), self.kind),
        }


def batch_of(
    model: "Subject | nn.Module", inputs: Any, *, like: xr.DataArray | None = None, **asked: Any
) -> Batch:
    """Return a call of a model with the kinds of its tokens.

    Kinds are those stated, else those the subject knows, else those of the attribution `like`, else those of
    a capture, which tells [CLS] and padding from steps; what is not known then is told in `notes`.

    Raises:
        CaptureError: As `clsight.capture`.
        RecordError: If stated kinds do not fit.
    """
    stated = asked.pop("token_kind", None)
    call = model_call(model, inputs, **asked)
    known = call.tokens
    row, column = (None, None) if known is None else (known.row, known.column)
    extra = 0
    if known is not None:
        shape = known.kind.shape
        kinds = known.kind if stated is None else checked_kinds(stated, shape, asked_by="token_kind")
        extra = _extra_keys(known.text)
    elif stated is not None:
        kinds = checked_kinds(stated, None, asked_by="token_kind")
    elif like is not None and "token_kind" in like.coords:
        kinds = checked_kinds(like.coords["token_kind"], like.shape, asked_by="token_kind")
        row, column = (_place(like, name) for name in ("row", "column"))
        extra = _extra_keys(like.coords["token_text"].values) if "token_text" in like.coords else 0
    else:
        with undisturbed(call.module, seed=0):
            record = capture(model, inputs, keep=(), **asked)
        kinds, extra = record["token_kind"].values, _extra_keys(record["token_text"].values)
    batch = Batch(call, _with_padding(kinds, call.token_mask), row, column, extra)
    if (
        known is not None
        or stated is not None
        or not are_numbered(batch.kind[:, : batch.kind.shape[1] - extra])
    ):
        return batch
    kinds, note = with_special_ids(batch.kind, call.module, batch.arguments)
    return replace(batch, kind=kinds, notes=(note,))


def _place(like: xr.DataArray, name: str) -> NDArray[np.int16] | None:
    return like.coords[name].values if name in like.coords else None


def _extra_keys(text: NDArray[Any]) -> int:
    """Return how many tokens at the end are extra keys."""
    is_extra = np.asarray(text, dtype=Text)[0] == np.array(EXTRA_KEY, dtype=Text)
    return int(is_extra.sum())


def _with_padding(kinds: Kinds, token_mask: Any) -> Kinds:
    """Return the kinds with `pad` where a mask of the same shape says so."""
    if token_mask is None:
        return kinds
    mask = torch.as_tensor(token_mask).cpu().numpy().astype(bool)
    return np.where(mask, kinds, np.array("pad", dtype=Text)) if mask.shape == kinds.shape else kinds


def samples_in(inputs: Any) -> int:
    """Return the number of samples in what a module is called with: the first size of its first tensor.

    Raises:
        CaptureError: If there is no tensor of two dims or more.
    """
    args, kwargs = arguments_of(inputs)
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor) and value.dim() > 1:
            return value.shape[0]
    raise CaptureError(
        "inputs",
        expected="a tensor [sample, ...] among the inputs",
        got="none",
        next_step="Pass one batch as the module takes it, samples first",
    )


def rows_of(value: Any, rows: slice, samples: int) -> Any:
    """Return some samples of inputs: of every tensor, array or list that has one entry per sample."""
    if isinstance(value, Mapping):
        return {name: rows_of(item, rows, samples) for name, item in value.items()}
    if isinstance(value, tuple):
        return tuple(rows_of(item, rows, samples) for item in value)
    if isinstance(value, xr.DataArray):
        return value.isel(sample=rows) if value.sizes.get("sample") == samples else value
    if isinstance(value, Examples):
        return value[rows]
    if isinstance(value, Tensor | np.ndarray) and value.ndim > 0 and len(value) == samples:
        return value[rows]
    return value[rows] if isinstance(value, list) and len(value) == samples else value
