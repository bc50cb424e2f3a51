"""Which entries of a tensor belong to one sample? Relevance is normalized per sample, in whatever layout."""

import math
from collections.abc import Callable, Iterable, Sequence

from torch import Tensor

from clsight.errors import CaptureError
from clsight.interventions.sequences import Layout, layout_of


class Samples:
    """The samples of a batch, and where tensors of a model hold them.

    Args:
        count: Size of the batch.
        tokens: Length of the sequence.
        layout: Gives the order of samples and tokens in the model, or None; asked where sizes do not tell.
        asked_by: The subject of messages.
    """

    def __init__(
        self, count: int, tokens: int, layout: Callable[[], Layout | None], *, asked_by: str
    ) -> None:
        self._count, self._tokens = count, tokens
        self._layout, self._asked_by = layout, asked_by

    def totals(self, tensor: Tensor) -> Tensor:
        """Return the sum over all entries of each sample, `[1, sample, 1]`."""
        return self._apart(tensor).sum((0, 2), keepdim=True)

    def scaled(self, tensor: Tensor, factor: Tensor) -> Tensor:
        """Return a tensor times one factor per sample, `[1, sample, 1]`."""
        return (self._apart(tensor) * factor).reshape(tensor.shape)

    def _apart(self, tensor: Tensor) -> Tensor:
        """Return a tensor as `[before, sample, behind]`."""
        before = self._sizes_before(tuple(tensor.shape))
        return tensor.reshape(before, self._count, tensor.numel() // (before * self._count))

    def _sizes_before(self, shape: tuple[int, ...]) -> int:
        """Return the product of the sizes before the dimension of samples.

        Raises:
            CaptureError: If neither sizes nor the model's layout tell.
        """
        count = self._count
        places = [place for place, size in enumerate(shape) if size == count]
        is_flat = len(shape) == 2 and shape[0] == count * self._tokens
        if count == 1 or (not is_flat and (places == [0] or (len(shape) == 2 and shape[0] == count))):
            return 1
        if len(shape) == 4 and places[:1] == [0] and shape[2:] == (self._tokens, self._tokens):  # scores
            return 1
        if len(places) == 1 and not is_flat:
            return math.prod(shape[: places[0]])
        if not places and not is_flat and shape and shape[0] % count == 0:  # heads behind samples
            return 1
        layout = self._layout()
        if layout == "sample, token" and (is_flat or places[:1] == [0]):
            return 1
        if layout == "token, sample" and (is_flat or (len(shape) == 3 and shape[1] == count)):
            return self._tokens if is_flat else shape[0]
        raise CaptureError(
            self._asked_by,
            expected="sums that show which entries belong to one sample",
            got=f"one of shape {shape} for {count} samples of {self._tokens} tokens",
            next_step="Pass one sample at a time, or one more",
        )


def layout_in(sums: Iterable[Sequence[Tensor]], residuals: Sequence[Tensor]) -> Layout | None:
    """Return the order of samples and tokens in sums that hold the residual stream of a layer, or None.

    Args:
        sums: The summands of each sum.
        residuals: `[sample, token, channel]`, of each layer in which it was found.
    """
    for summands in sums:
        for summand in summands:
            for residual in residuals:
                layout = layout_of(summand, residual) if summand.dim() in (2, 3) else None
                if layout is not None:
                    return layout
    return None
