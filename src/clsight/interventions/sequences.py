"""In which order does a tensor hold samples and tokens? Models use four layouts; the rest here uses one."""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from clsight.hooks.operations import split

Layout = Literal["sample, token", "token, sample"]
LAYOUTS: tuple[Layout, ...] = ("sample, token", "token, sample")


def as_sequence(tensor: Tensor, layout: Layout, *, samples: int, tokens: int) -> Tensor | None:
    """Return a tensor as `[sample, token, channel]`, or None if it is not laid out so.

    Args:
        tensor: `[sample, token, channel]`, `[token, sample, channel]`, or the same with the first two as one.
        layout: Which of the two stands first.
        samples: Size of the batch.
        tokens: Length of the sequence.
    """
    sizes = (samples, tokens) if layout == "sample, token" else (tokens, samples)
    if tensor.dim() == 2 and tensor.shape[0] == samples * tokens:
        tensor = split(tensor, 0, sizes[0])
    if tensor.dim() != 3 or tensor.shape[:2] != sizes:
        return None
    return tensor if layout == "sample, token" else tensor.transpose(0, 1)


def sequences_of(tensor: Tensor, *, samples: int, tokens: int) -> Iterator[tuple[Layout, Tensor]]:
    """Yield the layouts a tensor may have, each with the tensor as `[sample, token, channel]`."""
    for layout in LAYOUTS:
        sequence = as_sequence(tensor, layout, samples=samples, tokens=tokens)
        if sequence is not None:
            yield layout, sequence


def layout_of(tensor: Tensor, expected: Tensor) -> Layout | None:
    """Return the layout in which a tensor holds exactly the expected values, or None.

    Args:
        tensor: Two or three dimensions.
        expected: `[sample, token, channel]`.
    """
    samples, tokens, channels = expected.shape
    if tensor.dim() not in (2, 3) or tensor.shape[-1] != channels:
        return None
    for layout, sequence in sequences_of(tensor.detach(), samples=samples, tokens=tokens):
        if torch.equal(sequence.to(expected.dtype), expected):
            return layout
    return None


def holds(tensor: Tensor, states: Tensor) -> bool:
    """Tell whether a tensor holds exactly these states, of all tokens or of one: `[sample, channel]`.

    Args:
        tensor: Any.
        states: `[sample, token, channel]`.
    """
    if layout_of(tensor, states):
        return True
    if tensor.shape != states[:, 0].shape:
        return False
    return bool((states == tensor.detach()[:, None]).all(2).all(0).any())


def cls_rows(tensor: Tensor, index: Tensor, *, tokens: int) -> Iterator[Tensor]:
    """Yield what a tensor holds at CLS, `[sample, channel]`, in each layout that it may have.

    Args:
        tensor: A whole sequence in any layout, or CLS alone: `[sample, channel]`, `[sample, 1, channel]`.
        index: `[sample]`, position of CLS.
        tokens: Length of the sequence.
    """
    samples = len(index)
    order = torch.arange(samples, device=index.device)
    if tensor.dim() == 3 and tensor.shape[0] == samples and tensor.shape[1] == 1:
        yield tensor[:, 0]
    if tensor.dim() == 2 and tensor.shape[0] == samples:
        yield tensor
    for _, sequence in sequences_of(tensor, samples=samples, tokens=tokens):
        yield sequence[order, index]
