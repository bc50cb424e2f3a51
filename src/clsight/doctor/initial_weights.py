"""Does a layer look as its initialization left it? Exact constants first, then the shape of the draw."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

_ENOUGH = 256
"""Entries below which the draw of a matrix cannot be told."""


def looks_untouched(layer: nn.Module) -> str:
    """Return why a layer looks untouched since initialization, or "" if it does not.

    One step of any optimizer moves a norm's gain away from 1 and an attention bias away from 0. So where a
    layer has such constants, all of them still exact means untouched and one moved means trained. Only where
    it has none does the distribution of its matrices decide.
    """
    constants = list(_constants(layer))
    if constants:
        exact = all(bool((tensor == value).all()) for tensor, value in constants)
        return "every norm and attention bias is exactly at its start" if exact else ""
    matrices = [weight.detach() for weight in layer.parameters() if weight.dim() == 2]
    matrices = [weight for weight in matrices if weight.numel() >= _ENOUGH]
    draws = {_draw_of(weight) for weight in matrices}
    if not matrices or "" in draws:
        return ""
    return f"every matrix is distributed as {' or '.join(sorted(draws))} draws it"


def _constants(layer: nn.Module) -> Iterator[tuple[Tensor, float]]:
    """Yield the tensors that every common initialization sets to a constant, with that constant."""
    for part in layer.modules():
        if "norm" in type(part).__name__.lower():
            yield from _if_any(getattr(part, "weight", None), 1.0)
            yield from _if_any(getattr(part, "bias", None), 0.0)
        if isinstance(part, nn.MultiheadAttention):
            yield from _if_any(part.in_proj_bias, 0.0)
            yield from _if_any(part.out_proj.bias, 0.0)


def _if_any(tensor: object, value: float) -> Iterator[tuple[Tensor, float]]:
    if isinstance(tensor, Tensor):
        yield tensor.detach(), value


def _draw_of(weight: Tensor) -> str:
    """Return the initialization that a matrix looks like, or "".

    Uniform draws fill their interval evenly up to an exact bound; a normal draw of the usual 0.02 has that
    standard deviation and a normal's kurtosis, both within four standard errors.
    """
    weight = weight.double()
    rows, columns = weight.shape
    count = weight.numel()
    largest, spread = float(weight.abs().max()), float(weight.square().mean().sqrt())
    bounds = {
        "nn.Linear": 1 / math.sqrt(columns),
        "xavier_uniform_": math.sqrt(6 / (rows + columns)),
    }
    tolerance = 4 / math.sqrt(2 * count)
    for name, bound in bounds.items():
        even = abs(spread * math.sqrt(3) / bound - 1) < tolerance
        if even and bound * (1 - 20 / count) <= largest <= bound * (1 + 1e-6):
            return name
    if abs(spread / 0.02 - 1) < tolerance:
        kurtosis = float((weight / spread).pow(4).mean())
        if abs(kurtosis - 3) < 4 * math.sqrt(24 / count) and torch.isfinite(weight).all():
            return "normal_(std=0.02)"
    return ""
