"""What does a module take? Guessed from its first layer, and believed only where a forward pass runs."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from math import isqrt
from typing import Any, Final

import torch
from torch import nn

from clsight.loading.first_attention import FORWARD_ERRORS, look
from clsight.loading.further_arguments import further_arguments
from clsight.loading.plain_input import PlainInput
from clsight.loading.tensor_names import is_position_name
from clsight.loading.token_origins import hears_input
from clsight.preparation import Examples

_ENCODERS: Final = (nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.MultiheadAttention)
_TRIALS: Final = 24
_LAYERS: Final = 3
_SIDES: Final = (32, 28, 64, 224)


def find_input(module: nn.Module) -> PlainInput | None:
    """Return the first input that runs through the module, one that reaches its attention before others."""
    runs = None
    ways = list(further_arguments(module))
    for taken in islice(_candidates(module), _TRIALS):
        for beside in ways:
            called = replace(taken, beside=beside)
            has_run, sees_attention = _try(module, called)
            if sees_attention:
                return _bounded(module, called)
            runs = runs or (called if has_run else None)
    return runs


def inputs_like(module: nn.Module, examples: Examples) -> Iterator[PlainInput]:
    """Yield what the module may take if it takes these examples: as its first layers tell, else as is."""
    for taken in _shaped_like(module, examples):
        for beside in further_arguments(module):
            yield replace(taken, beside=beside)


def _shaped_like(module: nn.Module, examples: Examples) -> Iterator[PlainInput]:
    inputs, layers = examples.inputs, list(_first_layers(module))
    is_whole, is_number = inputs.dtype.kind in "iu", inputs.dtype.kind in "iuf"
    if inputs.ndim == 2 and is_whole:
        words = [taken for taken in layers if taken.takes == "token_ids"]
        yield from words or [PlainInput(takes="token_ids", vocabulary=int(inputs.max(initial=0)) + 1)]
    elif inputs.ndim == 3 and is_number:
        yield from (taken for taken in layers if taken.takes == "series")
        yield PlainInput(takes="series", features=inputs.shape[2])
        yield PlainInput(takes="series", features=inputs.shape[1], features_first=True)
    elif inputs.ndim == 4 and is_number:
        yield from (taken for taken in layers if taken.takes == "image")
        colors = (3, 1) if inputs.dtype.kind == "u" else (inputs.shape[1],)
        yield from (PlainInput(takes="image", channels=channels) for channels in colors)


def _try(module: nn.Module, taken: PlainInput) -> tuple[bool, bool]:
    """Return whether a made-up input runs through, and whether it reaches an attention on its way."""
    weight = next(iter(module.parameters()), torch.empty(0))
    examples = taken.examples()[:1]
    try:
        inputs = taken.inputs(examples, taken.tensor(examples, weight))
        seen = look(module, inputs)
        is_right = seen is None or not taken.beside or hears_input(module, taken, inputs, seen)
    except FORWARD_ERRORS:
        return False, False
    return is_right, is_right and seen is not None


def _bounded(module: nn.Module, taken: PlainInput) -> PlainInput:
    """Return what a module takes, told apart: this many steps exactly, or at most."""
    if taken.exact is None or taken.exact == 1 or not _try(module, replace(taken, exact=taken.exact - 1))[0]:
        return taken
    return replace(taken, exact=None, longest=taken.exact)


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
        elif isinstance(layer, nn.Conv1d):
            for features_first in (False, True):
                yield PlainInput(takes="series", features=layer.in_channels, features_first=features_first)
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
    """Yield the sizes of pictures with as many patches as there are positions: squares before others."""
    counts = [patches for count in positions for patches in (count - 1, count) if patches > 0]
    squares = [(isqrt(patches),) * 2 for patches in counts if isqrt(patches) ** 2 == patches]
    others = [(rows, patches // rows) for patches in counts for rows in _divisors(patches)]
    for rows, columns in [*squares, *((a, b) for a, b in others if a != b)]:
        (down, height), (across, width) = _along(taken)
        yield (rows - 1) * down + height, (columns - 1) * across + width


def _divisors(patches: int) -> list[int]:
    """Return the numbers of rows that patches can stand in, the nearest to a square first."""
    found = [rows for rows in range(1, patches + 1) if patches % rows == 0]
    return sorted(found, key=lambda rows: (abs(rows - patches // rows), rows))


def _along(taken: PlainInput) -> Iterator[tuple[int, int]]:
    yield from zip(taken.stride, taken.patch, strict=True)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))
