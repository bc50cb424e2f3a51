"""From the layers of one forward pass to a record: arrays at once, labels when the record is asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from clsight import __version__
from clsight.errors import CaptureError
from clsight.hooks.cls_view import ClsView
from clsight.hooks.gradient import Tap
from clsight.hooks.operations import AttentionCall
from clsight.hooks.products import rounding_of_products
from clsight.hooks.shelf import stacked
from clsight.hooks.token_map import TokenMap, numbered
from clsight.schema import SCHEMA_VERSION

_TEXT = np.dtypes.StringDType()
_LARGE = 2**20
_NOT_ASKED_FOR = "not asked for: keep=() keeps the weights alone"


@dataclass(eq=False)
class Layer:
    """One captured attention call on its way into the record.

    Attributes:
        path: Names of the modules that were running, outermost first.
        view: What CLS sees; set when the call was looked at.
        dtype: The dtype the operation ran in.
        coarsest_dtype: The dtype that rounded its result most.
        rounding: How far the operation may have rounded each factor of its float32 products, relatively.
        tokens: Number of tokens of its sequence.
        extra_keys: Keys at the end that are no tokens of the sequence.
        is_class_attention: Whether CLS was the only query.
        has_dropout: Whether weights were dropped after the softmax.
        is_folded: Whether the model's own code folded heads into the batch.
        is_misread: Whether it turned out that it put heads before samples.
        is_overwritten: Whether its values were changed in place before they were measured.
        gram: What makes `value_norm` of the values, as long as the call waits to be looked at.
        value_norm: `[sample, head, key]`, ‖v W_O‖, once the output projection was found.
        contribution_norm: `[sample, key]`, ‖Σ_h row_h v_h W_O‖, likewise, if asked for.
        call: The call itself, if what was asked for is computed when the forward pass has ended.
        versions: Its `versions` when it ran.
        tap: Where the gradient is read, if asked for.
    """

    path: tuple[str, ...]
    view: ClsView = field(init=False)
    dtype: torch.dtype
    coarsest_dtype: torch.dtype
    rounding: float
    tokens: int
    extra_keys: int
    is_class_attention: bool
    has_dropout: bool
    is_folded: bool
    is_misread: bool = False
    is_overwritten: bool = False
    gram: Tensor | None = None
    value_norm: Tensor | None = None
    contribution_norm: Tensor | None = None
    call: AttentionCall | None = None
    versions: tuple[int, ...] = ()
    tap: Tap | None = None

    @classmethod
    def of(cls, call: AttentionCall, path: tuple[str, ...]) -> Self:
        """Return the layer of one call, without a view and without holding on to the call."""
        return cls(
            path,
            dtype=call.query.dtype,
            coarsest_dtype=call.coarsest_dtype,
            rounding=rounding_of_products(call.query.device.type)
            if call.query.dtype == torch.float32
            else 0.0,
            tokens=call.tokens,
            extra_keys=call.extra_keys,
            is_class_attention=call.is_class_attention,
            has_dropout=call.has_dropout,
            is_folded=call.is_folded,
        )


@dataclass
class ForwardPass:
    """Everything one forward pass of the module gave.

    Attributes:
        layers: Captured attention calls in order, at least one.
        names: A unique name per layer.
        with_vectors: Whether CLS's own vectors and the norms of values were asked for.
        cls_index: `[sample]`, position of CLS.
        token_mask: `[sample, token]`, True = real token, extra keys included.
        logits: `[sample, class]` or None.
        extras: Name to dimensions and tensor of what else was asked for.
        absent: Variable name to the reason why the record lacks it.
        notes: Sentences about the capture that a reader of the maps should know.
    """

    layers: list[Layer]
    names: list[str]
    with_vectors: bool
    cls_index: Tensor
    token_mask: Tensor
    logits: Tensor | None
    extras: Mapping[str, tuple[tuple[str, ...], Tensor]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Arrays:
    """What a forward pass gave, off its device and out of its graph; labels are added in `labeled`.

    Attributes:
        names: A unique name per layer.
        variables: Name to dimensions and array.
        cls_index: `[sample]`, position of CLS.
        extra_keys: Keys at the end that are no tokens of the sequence.
        attributes: What the record says of the capture.
    """

    names: list[str]
    variables: dict[str, tuple[tuple[str, ...], NDArray[Any]]]
    cls_index: NDArray[np.int64]
    extra_keys: int
    attributes: dict[str, Any]

    def labeled(self, tokens: TokenMap | None, attributes: Mapping[str, Any]) -> xr.Dataset:
        """Return the record (docs/record.md).

        Args:
            tokens: What each token is; None numbers them.
            attributes: Further attributes, such as the model's name.

        Raises:
            CaptureError: If the tokens are not those of the sequence that was captured.
        """
        mask = self.variables["token_mask"][1]
        if tokens is None:
            tokens = numbered(mask, self.cls_index, self.extra_keys)
        tokens.check(mask.shape, self.names)
        return xr.Dataset(
            self.variables,
            coords=_coordinates(self, mask, tokens),
            attrs={**self.attributes, **attributes},
        )


def assemble(forward: ForwardPass) -> Arrays:
    """Return the arrays of one forward pass, whose layers have one shape."""
    mask = _numpy(forward.token_mask).copy()  # what the user gave may change later
    cls_index = _numpy(forward.cls_index)
    variables = _layer_variables(forward, mask)
    variables["token_mask"] = (("sample", "token"), mask)
    if forward.logits is not None:
        variables["logits"] = (("sample", "class"), _numpy(forward.logits).copy())
    variables.update({name: (dims, _numpy(tensor)) for name, (dims, tensor) in forward.extras.items()})
    extra_keys = forward.layers[0].extra_keys
    return Arrays(forward.names, variables, cls_index, extra_keys, _attributes(forward, cls_index))


def _layer_variables(forward: ForwardPass, mask: NDArray[np.bool_]) -> dict[str, Any]:
    layers = forward.layers

    def stack(name: str) -> NDArray[Any]:
        return _numpy(stacked([getattr(layer.view, name) for layer in layers]))

    weights = ("sample", "layer", "head", "token")
    attended_by = stack("column")
    if not mask.all():
        np.copyto(attended_by, np.nan, where=~mask[:, None, None])
    variables: dict[str, Any] = {
        "attends_to": (weights, stack("row")),
        "attended_by": (weights, attended_by),
        "attention_error": (("sample", "layer"), np.maximum(stack("output_error"), stack("column_error"))),
    }
    if forward.with_vectors:
        _add_vectors(variables, forward, stack)
    else:
        forward.absent.update(dict.fromkeys(("query", "key", "value", "value_norm"), _NOT_ASKED_FOR))
    return variables


def _add_vectors(
    variables: dict[str, Any], forward: ForwardPass, stack: Callable[[str], NDArray[Any]]
) -> None:
    """Add CLS's own vectors and the norms of values, or the reason why they are missing."""
    layers = forward.layers
    for name in ("query", "key", "value"):
        if getattr(layers[0].view, name).shape[-1] != layers[0].view.query.shape[-1]:
            forward.absent[name] = "its head width differs from the query's"
            continue
        variables[name] = (("sample", "layer", "head", "head_dim"), stack(name))
    missing = [name for name, layer in zip(forward.names, layers, strict=True) if layer.value_norm is None]
    if any(layer.is_overwritten for layer in layers):
        forward.absent["value_norm"] = (
            "the model overwrites values before the next layer, such as in one buffer"
        )
    elif missing:
        forward.absent["value_norm"] = (
            f"no linear map was fed the merged heads of {', '.join(missing)}: "
            "a norm, a gate or dropout in an adapter may stand between"
        )
    else:
        norms = stacked([layer.value_norm for layer in layers if layer.value_norm is not None])
        variables["value_norm"] = (("sample", "layer", "head", "token"), _numpy(norms))


def _coordinates(arrays: Arrays, mask: NDArray[np.bool_], tokens: TokenMap) -> dict[str, Any]:
    per_token = ("sample", "token")
    coordinates: dict[str, Any] = {
        "sample": np.arange(mask.shape[0]),
        "layer": np.arange(len(arrays.names)),
        "head": np.arange(arrays.variables["attends_to"][1].shape[2]),
        "token": np.arange(mask.shape[1]),
        "layer_name": ("layer", np.array(arrays.names, dtype=_TEXT)),
        "token_text": (per_token, np.asarray(tokens.text, dtype=_TEXT)),
        "token_kind": (per_token, np.asarray(tokens.kind, dtype=_TEXT)),
    }
    if tokens.row is not None and tokens.column is not None:
        coordinates["row"] = (per_token, np.asarray(tokens.row, dtype=np.int16))
        coordinates["column"] = (per_token, np.asarray(tokens.column, dtype=np.int16))
    if tokens.label is not None:
        coordinates["label"] = ("sample", np.asarray(tokens.label, dtype=np.int64))
    if len(set(arrays.cls_index.tolist())) > 1:
        coordinates["cls_position"] = ("sample", arrays.cls_index.astype(np.int64))
    return coordinates


def _attributes(forward: ForwardPass, cls_index: NDArray[np.int64]) -> dict[str, Any]:
    first = forward.layers[0]
    positions = sorted(set(cls_index.tolist()))
    return {
        "schema_version": SCHEMA_VERSION,
        "clsight_version": __version__,
        "cls_index": positions[0] if len(positions) == 1 else None,  # else the coordinate cls_position
        "dtype": str(first.dtype).removeprefix("torch."),
        "device": first.view.row.device.type,
        "kernel": [layer.view.kernel for layer in forward.layers],
        "sequence_length": int(first.view.row.shape[-1]),
        "versions": {"torch": str(torch.__version__), "numpy": np.__version__, "xarray": xr.__version__},
        "absent": dict(forward.absent),
        "notes": list(forward.notes),
    }


def check_same_shape(layers: Sequence[Layer], names: Sequence[str]) -> None:
    """Refuse layers that cannot stand in one array.

    Raises:
        CaptureError: With the first layer that differs, and both shapes.
    """
    shapes = [tuple(layer.view.row.shape) for layer in layers]
    widths = [layer.view.query.shape[-1] for layer in layers]
    for name, shape, width in zip(names, shapes, widths, strict=True):
        if (shape, width) != (shapes[0], widths[0]):
            raise CaptureError(
                name,
                expected=f"the shape of layer {names[0]}, {_shape(shapes[0], widths[0])}",
                got=_shape(shape, width),
                next_step="Capture one tower, or the layers that share a sequence, by passing that submodule",
            )


def _shape(row: Sequence[int], width: int) -> str:
    samples, heads, tokens = row
    return f"(sample={samples}, head={heads}, token={tokens}, head_dim={width})"


def _numpy(tensor: Tensor) -> NDArray[Any]:
    tensor = tensor.detach()
    if tensor.dtype in (torch.bfloat16, torch.float16):
        tensor = tensor.float()
    if tensor.device.type != "cuda" or tensor.nbytes < _LARGE:
        array: NDArray[Any] = tensor.cpu().numpy()
        return array
    # Into pageable memory a GPU writes at a fraction of its speed; torch keeps the pinned piece for the next.
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor)
    array = np.empty(tensor.shape, dtype=pinned.numpy().dtype)
    torch.from_numpy(array).copy_(pinned)
    return array
