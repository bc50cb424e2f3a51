"""Tiles: the tokens of one example laid out as a small map, and many maps laid side by side in one matrix."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clsight.figures.view import View

GAP = 0.1
"""The share of a tile's pitch that is left empty between neighbors."""
_ONE_ROW = 24


@dataclass(frozen=True)
class Tile:
    """Where each token of an example sits in its tile.

    Args:
        order: int [row, column], the position of the token in the view, -1 where there is none.
        prefix_rows: How many rows at the top hold [CLS] and other tokens that are no patch.
        is_map: True if the other rows are the patches of an image.
    """

    order: NDArray[np.int64]
    prefix_rows: int
    is_map: bool

    @property
    def aspect(self) -> float:
        """Return height over width when each token is a square."""
        return float(self.order.shape[0] / self.order.shape[1])

    def filled(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return values [..., token] as [..., row, column], NaN where there is no token."""
        laid: NDArray[Any] = np.where(self.order >= 0, values[..., self.order], np.float32(np.nan))
        return laid


def tile_of(view: View) -> Tile:
    """Return the tile of an example: patches as a map below the prefix tokens, or tokens in reading order."""
    if view.cells is None:
        return in_reading_order(len(view.tokens))
    is_patch = (view.cells >= 0).all(axis=1)
    height, width = view.cells.max(axis=0) + 1
    prefix = _in_rows(np.flatnonzero(~is_patch), int(width))
    patches = np.full((height, width), -1)
    patches[view.cells[is_patch, 0], view.cells[is_patch, 1]] = np.flatnonzero(is_patch)
    return Tile(np.concatenate([prefix, patches]), prefix_rows=len(prefix), is_map=True)


def in_reading_order(count: int) -> Tile:
    """Return a tile of so many tokens in reading order: one row, or several when they are many."""
    width = count if count <= _ONE_ROW else math.ceil(math.sqrt(2 * count))
    return Tile(_in_rows(np.arange(count), width), prefix_rows=0, is_map=False)


def mosaic(tiles: NDArray[Any]) -> NDArray[Any]:
    """Return tiles [down, across, row, column] as one matrix, a line of NaN (or "") between neighbors."""
    down, across, height, width = tiles.shape
    gap: Any = "" if tiles.dtype == object else np.nan
    if tiles.dtype.kind == "i":
        gap = -1
    framed = np.full((down, height + 1, across, width + 1), gap, dtype=tiles.dtype)
    framed[:, :height, :, :width] = tiles.transpose(0, 2, 1, 3)
    matrix: NDArray[Any] = framed.reshape(down * (height + 1), across * (width + 1))[:-1, :-1]
    return matrix


def edges(centers: list[int], cells: int) -> NDArray[np.float64]:
    """Return the borders of all cells along one axis, for tiles of pitch 1 around their centers."""
    inside = np.linspace(-0.5 + GAP / 2, 0.5 - GAP / 2, cells + 1)
    return (np.array(centers, dtype=np.float64)[:, None] + inside).ravel()


def centers(labels: list[Any]) -> list[int]:
    """Return where the tiles of these labels stand: at labels that count on by one, else at 0, 1, 2, ..."""
    places = list(range(len(labels)))
    if isinstance(labels[0], int) and labels == [labels[0] + place for place in places]:
        return labels
    return places


def _in_rows(positions: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    rows = math.ceil(len(positions) / width)
    filled = np.full(rows * width, -1)
    filled[: len(positions)] = positions
    return filled.reshape(rows, width)
