"""What a score before softmax is made of in one head, in one sentence with its numbers."""

import math
from typing import Final

import xarray as xr

from clsight.analysis.query_key import score_scale

_SMALL: Final = 0.01
"""Nats: the misfit up to which a score is called scale × q·k; float32 weights give less."""


def scale_sentence(record: xr.Dataset, *, layer: int, head: int) -> str:
    """Return whether the scores of a head are a multiple of q·k, and which.

    Args:
        record: The record of one example, kept with "keys_values".
        layer: Index of the layer.
        head: Index of the head.
    """
    found = score_scale(record.isel(layer=[layer], head=[head])).isel(sample=0, layer=0, head=0)
    scale, misfit = float(found["scale"]), float(found["misfit"])
    if math.isnan(scale):
        return "Too few tokens to tell how scores follow from q·k."
    if misfit <= _SMALL:
        return f"The score is {scale:.4g} × q·k (measured; off by {misfit:.1g} nats at most)."
    return f"The score is not q·k alone: off by up to {misfit:.2g} nats, so the model adds something to it."
