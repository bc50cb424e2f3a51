"""What a decomposition needs of a model that was opened, each refused in a sentence where it is missing."""

import numpy as np
import torch
from torch import Tensor

from clsight.errors import CaptureError
from clsight.interventions.opening import Opened
from clsight.interventions.part_finder import CLASS_ATTENTION
from clsight.interventions.parts import LayerParts

MOST_TOKENS = 512
"""Longest sequence that is decomposed for each pair of tokens, unless the caller allows more."""

_PARTS = {
    "projection": "an output projection, found by what it is fed",
    "attended": "an output projection and a residual sum, found by what they are fed",
    "leaving": "an output projection and a residual sum, found by what they are fed",
}


def refuse_long(opened: Opened, most: int, *, asked_by: str) -> None:
    """Refuse a sequence for which a decomposition of each pair of tokens would take too long.

    Raises:
        CaptureError: If there are more tokens than `most`, or that is no number.
    """
    if isinstance(most, bool) or not isinstance(most, int | np.integer) or most < 1:
        raise CaptureError(
            asked_by,
            expected="`max_tokens` as a whole number, 1 or more",
            got=repr(most),
            next_step="Leave it out for the usual limit",
        )
    tokens = opened.record.sizes["token"]
    if tokens > most:
        raise CaptureError(
            asked_by,
            expected=f"at most {most} tokens, as its cost grows with their square",
            got=f"{tokens}",
            next_step=f"Pass shorter inputs, or max_tokens={tokens} if you have the time and memory",
        )


def need_some(opened: Opened, part: str, *, asked_by: str) -> str:
    """Return why a part is missing in some layers, and refuse a model in which no layer has it.

    Raises:
        CaptureError: If no layer has the part.
    """
    lacking = [layer for layer in opened.layers if part in layer.absent]
    if len(lacking) == len(opened.layers):
        raise _missing(lacking[0], part, asked_by)
    return "; ".join(f"layer `{layer.name}`: {layer.absent[part]}" for layer in lacking)


def need_all(opened: Opened, part: str, *, asked_by: str) -> None:
    """Refuse a model in which a layer lacks a part.

    Raises:
        CaptureError: With the first such layer.
    """
    for layer in opened.layers:
        if part in layer.absent:
            raise _missing(layer, part, asked_by)


def need_all_to_ask(opened: Opened, *, asked_by: str, next_step: str) -> None:
    """Refuse a model with a layer in which not every key is a token that asks too.

    Raises:
        CaptureError: With the first such layer.
    """
    for layer in opened.layers:
        if layer.call.is_class_attention or layer.call.extra_keys:
            raise CaptureError(
                asked_by,
                expected="layers in which every token asks and is asked",
                got=CLASS_ATTENTION if layer.call.is_class_attention else "keys that are no tokens (bias_k)",
                where=f"Layer `{layer.name}`",
                next_step=next_step,
            )


def need_stream(opened: Opened, *, asked_by: str, at_cls: bool = False) -> None:
    """Refuse a model that does something to its tokens, or to CLS, between two layers.

    Raises:
        CaptureError: With the first layer that takes something else than what left the one before.
    """
    for below, above in zip(opened.layers, opened.layers[1:], strict=False):
        left, entered = below.found("leaving"), above.found("residual")
        if at_cls:
            left, entered = opened.position.in_sequence(left), opened.position.in_sequence(entered)
        else:
            real = opened.token_mask[:, : left.shape[1]]
            left, entered = left[real], entered[real]
        if not torch.equal(left, entered):
            raise CaptureError(
                asked_by,
                expected=f"layers that hand on {'CLS' if at_cls else 'their tokens'} unchanged",
                got=f"another state in what enters `{above.name}` than in what leaves `{below.name}`",
                next_step="Ask for norm_weighted_residual, which looks at each layer alone",
            )


def need_order(opened: Opened, *, asked_by: str) -> None:
    """Refuse a model that moves its tokens to other places between two layers, where the states show it.

    A state that only changes, as by a position embedding in each layer, keeps its place.

    Raises:
        CaptureError: With the first layer whose tokens stood elsewhere in the layer before.
    """
    for below, above in zip(opened.layers, opened.layers[1:], strict=False):
        if below.leaving is None or above.residual is None:
            continue
        left, entered = below.found("leaving"), above.found("residual")
        if left.shape == entered.shape and _some_moved(left, entered):
            raise CaptureError(
                asked_by,
                expected="layers whose tokens keep their places",
                got=f"tokens in `{above.name}` that stood elsewhere in `{below.name}`",
                next_step="Look at each layer alone: no attribution through layers holds for this model",
            )


def _some_moved(left: Tensor, entered: Tensor) -> bool:
    """Tell whether a state `[sample, token, channel]` equals that of another token, and not its own."""
    sample, token = (left != entered).any(-1).nonzero(as_tuple=True)
    elsewhere = left[sample, :, 0] == entered[sample, token, :1]
    changed, other = elsewhere.nonzero(as_tuple=True)
    there = left[sample[changed], other] == entered[sample[changed], token[changed]]
    return bool(there.all(-1).any())


def _missing(layer: LayerParts, part: str, asked_by: str) -> CaptureError:
    return CaptureError(
        asked_by,
        expected=_PARTS[part],
        got=f"none in layer `{layer.name}`: {layer.absent[part]}",
        next_step="Merge adapters, if the model has some, or ask for a measure that needs the record alone",
    )
