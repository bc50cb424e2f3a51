"""One head over its image: the patches' weights on the picture, [CLS]'s own weight beside it."""

import base64
import struct
import zlib
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from clsight.errors import FigureError
from clsight.figures.color_limits import checked_limit
from clsight.figures.labels import TITLES
from clsight.figures.theme import SEQUENTIAL, color_bar, styled, translucent
from clsight.figures.tiles import tile_of
from clsight.figures.view import View, view_of
from clsight.schema import Direction

_HEIGHT = 420


def patch_overlay(
    record: xr.Dataset,
    image: ArrayLike,
    *,
    sample: int,
    layer: int,
    head: int,
    direction: Direction = "attends_to",
    strategy: Any = None,
    zmax: float | None = None,
    dark: bool = False,
) -> go.Figure:
    """Return the weights of one head over the image it looked at, and beside it those of the prefix tokens.

    Args:
        record: A record with patches.
        image: [row, column] gray or [row, column, 3] RGB; floats from 0 to 1 or uint8 from 0 to 255.
        sample: Label on the `sample` dim.
        layer: Label on the `layer` dim.
        head: Label on the `head` dim.
        direction: `attends_to` (the CLS row) or `attended_by` (the CLS column).
        strategy: Which member of a stacked record.
        zmax: Upper end of the color scale, from 0; see `color_limit`. Default: the largest patch weight.
        dark: For a dark page.

    Returns:
        Data 0: the patches, `z` [row, column]. Data 1: the prefix tokens, [CLS] first. Data 2: the image.

    Raises:
        FigureError: If the record has no patches, the image no such form, or a label is not there.
        RecordError: If the record lacks the weights.
    """
    view = view_of(record, sample=sample, direction=direction, strategy=strategy, asked_by="patch_overlay")
    weights = view.of(layer, head, asked_by="patch_overlay")
    if view.cells is None:
        raise FigureError(
            "patch_overlay",
            expected="a record with patches",
            got="one whose tokens have no row and column",
            next_step="Use clsight.figures.token_strip instead",
        )
    tile = tile_of(view)
    patches = tile.filled(weights)[tile.prefix_rows :]
    pixels = _pixels(image, patches.shape)
    largest = float(np.nanmax(patches, initial=1e-6))
    limit = checked_limit(zmax, asked_by="patch_overlay") or largest
    prefix = np.flatnonzero((view.cells < 0).any(axis=1))
    clipped = bool(np.nanmax(weights, initial=0.0) > limit * 1.0001)
    scale = color_bar("weight", limit=limit, clipped=clipped)
    fig = go.Figure(_patches(patches, pixels.shape, limit))
    fig.add_trace(_prefix(view, weights, prefix, pixels.shape))
    fig.add_trace(_picture(pixels))
    fig.update_layout(coloraxis={"colorscale": SEQUENTIAL, "cmin": 0, "cmax": limit, "colorbar": scale})
    _frame(fig, pixels.shape)
    _name_prefix(fig, view, weights, prefix, pixels.shape)
    title = f"{TITLES[direction]}: layer {layer}, head {head}"
    return styled(fig, title=title, height=_HEIGHT, dark=dark)


def _pixels(image: ArrayLike, patches: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the image as uint8 [row, column, 3]."""
    array = np.asarray(image)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    is_image = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)
    if not is_image or array.shape[0] < patches[0] or array.shape[1] < patches[1]:
        raise FigureError(
            "patch_overlay",
            expected=f"[row, column] or [row, column, 3] of at least {patches[0]} × {patches[1]} pixels",
            got=f"an image of shape {array.shape}",
            next_step="Give one image, its channels last: image.transpose(1, 2, 0)",
        )
    if array.dtype != np.uint8:
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise FigureError(
                "patch_overlay",
                expected="finite values from 0 to 1, or uint8",
                got=f"{array.dtype} from {array.min():.3g} to {array.max():.3g}",
                next_step="Undo the normalization: image * std + mean",
            )
        array = np.round(array * 255).astype(np.uint8)
    gray_or_rgb = array[:, :, None] if array.ndim == 2 else array
    return np.ascontiguousarray(np.broadcast_to(gray_or_rgb, (*array.shape[:2], 3)))


def _patches(patches: NDArray[np.float32], shape: tuple[int, ...], limit: float) -> go.Heatmap:
    rows, columns = patches.shape
    places = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1)
    return go.Heatmap(
        z=patches,
        x=np.linspace(0, shape[1], columns + 1),
        y=np.linspace(0, shape[0], rows + 1),
        customdata=places,
        zmin=0,
        zmax=limit,
        colorscale=translucent(),
        showscale=False,
        hoverongaps=False,
        hovertemplate="patch row %{customdata[0]}, column %{customdata[1]}<br>weight %{z:.4f}<extra></extra>",
    )


def _prefix(
    view: View, weights: NDArray[np.float32], prefix: NDArray[np.int64], shape: tuple[int, ...]
) -> go.Heatmap:
    """Return the squares left of the image, one per prefix token, with gaps between."""
    side, tops = _square(shape, len(prefix))
    gapped = np.repeat(prefix, 2)[:-1]
    is_token = np.arange(len(gapped)) % 2 == 0
    return go.Heatmap(
        z=np.where(is_token, weights[gapped], np.float32(np.nan))[:, None],
        x=[-2 * side, -side],
        y=[border for top in tops for border in (top, top + side)],
        text=[[view.tokens[position]] for position in gapped],
        coloraxis="coloraxis",
        hoverongaps=False,
        hovertemplate="%{text}<br>weight %{z:.4f}<extra></extra>",
    )


def _square(shape: tuple[int, ...], count: int) -> tuple[float, list[float]]:
    """Return the side of the prefix squares, in pixels of the image, and where each begins."""
    side = max(shape[:2]) / max(9.0, 2.0 * count)
    return side, [2 * side * place for place in range(count)]


def _name_prefix(
    fig: go.Figure,
    view: View,
    weights: NDArray[np.float32],
    prefix: NDArray[np.int64],
    shape: tuple[int, ...],
) -> None:
    side, tops = _square(shape, len(prefix))
    for position, top in zip(prefix, tops, strict=True):
        fig.add_annotation(
            x=-2.2 * side,
            y=top + side / 2,
            text=f"{view.tokens[position]}<br><b>{weights[position]:.2f}</b>",
            showarrow=False,
            xanchor="right",
            align="right",
        )


def _picture(pixels: NDArray[np.uint8]) -> go.Image:
    """Return the image as a PNG inside the figure, its pixels drawn as sharp squares."""
    source = "data:image/png;base64," + base64.b64encode(_png(pixels)).decode("ascii")
    return go.Image(source=source, x0=0.5, y0=0.5, dx=1, dy=1, hoverinfo="skip")


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """Return uint8 [row, column, 3] as a PNG file (ISO/IEC 15948): header, one compressed data chunk, end."""
    height, width, _ = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes())), (b"IEND", b""))
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _frame(fig: go.Figure, shape: tuple[int, ...]) -> None:
    height, width = shape[:2]
    hidden = {"visible": False, "constrain": "domain"}
    fig.update_xaxes(range=[-0.5 * max(height, width), width], constraintoward="left", **hidden)
    fig.update_yaxes(range=[height, 0], scaleanchor="x", scaleratio=1, constraintoward="top", **hidden)
