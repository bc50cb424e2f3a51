"""Pictures with patches painted over: with zero, or with the mean patch of the same picture."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from clsight.faithfulness.attributed import Flags
from clsight.faithfulness.batch import Batch


class Painting:
    """The picture of a call, cut into the patches that its tokens stand for.

    Args:
        batch: A call whose tokens have places, `row` and `column`.
        is_zero: Paint with zero, the input that says nothing to the first layer but its bias; else with the
            mean over the picture's own patches, pixel by pixel.

    Raises:
        ValueError: If there is no picture among the inputs, or its patches do not tile it.
    """

    def __init__(self, batch: Batch, *, is_zero: bool) -> None:
        assert batch.row is not None
        assert batch.column is not None
        self._call, self._batch = batch.call, batch
        self._rows, self._columns = batch.row, batch.column
        self._name, self._picture = self._found()
        self._grid = (int(batch.row.max()) + 1, int(batch.column.max()) + 1)
        height, width = self._picture.shape[-2:]
        if height % self._grid[0] or width % self._grid[1]:
            raise ValueError(
                f"its {self._grid[0]} × {self._grid[1]} patches do not tile a picture of {height} × {width}"
            )
        self._patch = (height // self._grid[0], width // self._grid[1])
        self._paint = torch.zeros_like(self._picture) if is_zero else self._mean_patches()

    def painted(self, removed: Flags) -> Any:
        """Return the inputs with the patches of removed tokens, `[sample, token]`, painted over."""
        over = np.zeros((len(removed), *self._grid), dtype=bool)
        samples, tokens = np.nonzero(removed)
        over[samples, self._rows[samples, tokens], self._columns[samples, tokens]] = True
        pixels = over.repeat(self._patch[0], axis=1).repeat(self._patch[1], axis=2)
        flags = torch.as_tensor(pixels).to(self._picture.device)
        while flags.dim() < self._picture.dim():
            flags = flags.unsqueeze(1)  # [sample, 1, height, width]
        changed = torch.where(flags, self._paint, self._picture)
        inputs = self._call.inputs
        if isinstance(inputs, Tensor):
            return changed
        if isinstance(self._name, int):
            return tuple(changed if place == self._name else one for place, one in enumerate(inputs))
        return {**inputs, self._name: changed}

    def _found(self) -> tuple[Any, Tensor]:
        """Return the picture among the inputs, and its name or place."""
        inputs = self._call.inputs
        if isinstance(inputs, Tensor):
            named: list[tuple[Any, Any]] = [(0, inputs)]
        else:
            named = list(inputs.items() if hasattr(inputs, "items") else enumerate(inputs))
        for name, value in named:
            is_numbers = isinstance(value, Tensor) and value.is_floating_point()
            if is_numbers and value.dim() in (3, 4) and len(value) == self._batch.sizes[0]:
                return name, value
        raise ValueError("there is no picture [sample, ..., height, width] of numbers among its inputs")

    def _mean_patches(self) -> Tensor:
        """Return pictures whose every patch is the mean patch of that picture."""
        height, width = self._patch
        shape = self._picture.shape
        tiles = self._picture.reshape(*shape[:-2], self._grid[0], height, self._grid[1], width)
        mean = tiles.mean(dim=(-4, -2), keepdim=True)  # [sample, ..., 1, height, 1, width]
        return mean.expand_as(tiles).reshape(shape)
