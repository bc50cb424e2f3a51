"""What is each token of the sequence that the encoder sees? Told by who prepared the inputs, or numbered."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clsight.errors import CaptureError

_TEXT = np.dtypes.StringDType()


@dataclass
class TokenMap:
    """What each token of the encoder's sequence is; every array is `[sample, token]`.

    Attributes:
        text: What to show for the token.
        kind: One of `clsight.schema.TOKEN_KINDS`.
        row: Patch row, −1 elsewhere; None without patches.
        column: Patch column, −1 elsewhere; None without patches.
        label: `[sample]`, class index; None if unknown.
    """

    text: NDArray[Any]
    kind: NDArray[Any]
    row: NDArray[np.int16] | None = None
    column: NDArray[np.int16] | None = None
    label: NDArray[np.int64] | None = None

    def check(self, sizes: tuple[int, ...], layers: Sequence[str]) -> None:
        """Refuse a map of another sequence than the one that the layers see.

        Args:
            sizes: Of that sequence, `[sample, token]`.
            layers: Names of the layers.

        Raises:
            CaptureError: With the first array of another size.
        """
        given = (
            *(("token_text", self.text, 2), ("token_kind", self.kind, 2)),
            *(("row", self.row, 2), ("column", self.column, 2), ("label", self.label, 1)),
        )
        for name, array, dimensions in given:
            if array is not None and np.shape(array) != sizes[:dimensions]:
                raise CaptureError(
                    name,
                    expected=f"{_named(sizes[:dimensions])}, as layer `{layers[0]}` sees them",
                    got=_named(np.shape(array)),
                    next_step="Prepare a token map of this sequence; of a module in memory with several "
                    "encoders clsight.subject_of(module, within=NAME) does",
                )


def numbered(mask: NDArray[np.bool_], cls_index: NDArray[np.int64], extra_keys: int) -> TokenMap:
    """Return names of tokens by their position, where nothing is known of them."""
    samples, count = mask.shape
    text = np.empty((samples, count), dtype=_TEXT)
    text[:] = _numbers(count)
    kind = np.full((samples, count), "step", dtype=_TEXT)
    kind[~mask] = "pad"
    for sample, position in enumerate(cls_index):
        text[sample, position], kind[sample, position] = "[CLS]", "cls"
    for extra in range(extra_keys):
        text[:, count - extra_keys + extra], kind[:, count - extra_keys + extra] = "[extra key]", "special"
    return TokenMap(text, kind)


@lru_cache(maxsize=4)
def _numbers(count: int) -> NDArray[Any]:
    numbers = np.array([str(number) for number in range(count)], dtype=_TEXT)
    numbers.flags.writeable = False
    return numbers


def _named(sizes: Sequence[int]) -> str:
    """Return sizes with the names of their dimensions."""
    if len(sizes) > 2 or not sizes:
        return f"an array of {len(sizes)} dimensions"
    return f"[{', '.join(f'{dim}={size}' for dim, size in zip(('sample', 'token'), sizes, strict=False))}]"
