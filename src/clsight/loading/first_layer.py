"""What does a module take? Guessed from its first layer, and believed only where a forward pass runs."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from math import isqrt
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from clsight.errors import ClsightError
from clsight.loading.plain_input import PlainInput
from clsight.loading.tensor_names import is_position_name
from clsight.preparation import Examples

FORWARD_ERRORS: Final = (
    RuntimeError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    AssertionError,
    ClsightError,
)
"""What a forward pass raises on input that does not fit."""

_ENCODERS: Final = (nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.MultiheadAttention)
_TRIALS: Final = 24
_LAYERS: Final = 3
_SIDES: Final = (32, 28, 64, 224)
_SOFTMAXES: Final = frozenset({functional.softmax, torch.softmax, Tensor.softmax})


def find_input(module: nn.Module) -> PlainInput | None:
    """Return the first input that runs through the module, one that reaches its attention before others."""
    runs = None
    for taken in islice(_candidates(module), _TRIALS):
        has_run, length = _try(module, taken)
        if length is not None:
            return _bounded(module, taken)
        runs = runs or (taken if has_run else None)
    return runs


def _try(module: nn.Module, taken: PlainInput) -> tuple[bool, int | None]:
    """Return whether a made-up input runs through, and the tokens of the first attention it reaches."""
    weight = next(iter(module.parameters()), torch.empty(0))
    x = taken.tensor(taken.examples()[0][:1], weight)
    try:
        return True, sequence_length(module, x)
    except FORWARD_ERRORS:
        return False, None


def _bounded(module: nn.Module, taken: PlainInput) -> PlainInput:
    """Return what a module takes, told apart: this many steps exactly, or at most."""
    if taken.exact is None or taken.exact == 1 or not _try(module, replace(taken, exact=taken.exact - 1))[0]:
        return taken
    return replace(taken, exact=None, longest=taken.exact)


def input_like(module: nn.Module, examples: Examples) -> PlainInput:
    """Return the input that these examples are, with what the module's first layer tells of it."""
    inputs = examples.inputs
    if inputs.ndim == 2:
        takes, one = "token_ids", PlainInput(takes="token_ids", vocabulary=int(inputs.max()) + 1)
    elif inputs.ndim == 3:
        takes, one = "series", PlainInput(takes="series", features=inputs.shape[2])
    else:
        takes, one = "image", PlainInput(takes="image", channels=3)
    same = (taken for taken in _first_layers(module) if taken.takes == takes)
    return next(same, one)


def sequence_length(module: nn.Module, x: Tensor) -> int | None:
    """Return the tokens of the first self-attention in a forward pass on `x`; None if none is seen.

    Weights, modes of submodules and torch's random state stay as they are.
    """
    seen = _Lengths()
    with torch.no_grad(), torch.random.fork_rng(devices=[]), seen:
        module(x)
    return seen.lengths[0] if seen.lengths else None


class _Lengths(TorchFunctionMode):
    """Notes how many tokens each self-attention has."""

    def __init__(self) -> None:
        super().__init__()
        self.lengths: list[int] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is functional.multi_head_attention_forward:
            self._note(args[0].shape[0], args[1].shape[0])
        elif func is functional.scaled_dot_product_attention and len(args) > 1:
            self._note(args[0].shape[-2], args[1].shape[-2])
        elif func in _SOFTMAXES and args and args[0].dim() > 2:
            self._note(args[0].shape[-2], args[0].shape[-1])
        return func(*args, **(kwargs or {}))

    def _note(self, queries: int, keys: int) -> None:
        if queries == keys:
            self.lengths.append(queries)


def _candidates(module: nn.Module) -> Iterator[PlainInput]:
    """Yield what the module may take, the likeliest first."""
    for taken in [*islice(_first_layers(module), _LAYERS), *_encoder_width(module)]:
        yield from _sizes(module, taken)


def _first_layers(module: nn.Module) -> Iterator[PlainInput]:
    """Yield the input of each layer outside the encoder, in the order they were made."""
    inside = {id(part) for each in module.modules() if isinstance(each, _ENCODERS) for part in each.modules()}
    for name, layer in module.named_modules():
        if id(layer) in inside:
            continue
        if isinstance(layer, nn.Embedding) and not is_position_name(name):
            yield PlainInput(takes="token_ids", vocabulary=layer.num_embeddings)
        elif isinstance(layer, nn.Linear):
            yield PlainInput(takes="series", features=layer.in_features)
        elif isinstance(layer, nn.Conv2d) and layer.in_channels in (1, 3):
            patch, stride = _pair(layer.kernel_size), _pair(layer.stride)
            yield PlainInput(takes="image", channels=layer.in_channels, patch=patch, stride=stride)


def _encoder_width(module: nn.Module) -> Iterator[PlainInput]:
    """Yield tokens that enter the encoder as they are."""
    widths = (part.embed_dim for part in module.modules() if isinstance(part, nn.MultiheadAttention))
    yield from (PlainInput(takes="series", features=width) for width in islice(widths, 1))


def _sizes(module: nn.Module, taken: PlainInput) -> Iterator[PlainInput]:
    """Yield an input in the sizes that the module's positions suggest."""
    positions = list(_position_counts(module))
    if taken.takes == "image":
        for size in [*_stated_sizes(module), *_grid_sizes(positions, taken), *((n, n) for n in _SIDES)]:
            if size[0] >= taken.patch[0] and size[1] >= taken.patch[1]:
                yield replace(taken, size=size)
        return
    yield taken
    for count in positions:
        for time in (count - 1, count):
            if time > 0:
                yield replace(taken, exact=time)


def _position_counts(module: nn.Module) -> Iterator[int]:
    """Yield the rows of tensors whose name says that they are positions."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if is_position_name(name) and tensor.dim() > 1 and tensor.shape[-1]:
            yield tensor.numel() // tensor.shape[-1]


def _stated_sizes(module: nn.Module) -> Iterator[tuple[int, int]]:
    for part in module.modules():
        for name in ("image_size", "img_size"):
            value = getattr(part, name, None)
            if isinstance(value, int) or (isinstance(value, tuple | list) and len(value) == 2):
                yield _pair(value)


def _grid_sizes(positions: list[int], taken: PlainInput) -> Iterator[tuple[int, int]]:
    for count in positions:
        for patches in (count - 1, count):
            side = isqrt(max(patches, 0))
            if side and side * side == patches:
                rows, columns = ((side - 1) * stride + patch for stride, patch in _along(taken))
                yield rows, columns


def _along(taken: PlainInput) -> Iterator[tuple[int, int]]:
    yield from zip(taken.stride, taken.patch, strict=True)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))
