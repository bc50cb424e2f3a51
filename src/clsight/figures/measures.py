"""The overview of a measure: one number, or one small map, for each layer and head of one example."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from numpy.typing import NDArray

from clsight.errors import FigureError
from clsight.figures.labels import literal
from clsight.figures.theme import SEQUENTIAL, bar, color_bar, palette, styled
from clsight.figures.tiles import GAP, Tile, centers, edges, in_reading_order, mosaic, tile_of
from clsight.figures.view import one_of, view_of

_ROWS, _COLUMNS, _CELLS = ("layer", "depth"), ("head", "other_depth"), ("token", "distance", "channel")
_FEW = 200
_QUANTILE = 0.995
_CELLS_WITH_TEXT = 12_000


def measure_grid(
    record: xr.Dataset,
    values: xr.DataArray,
    *,
    sample: int = 0,
    selected: tuple[int, int] | None = None,
    dark: bool = False,
) -> go.Figure:
    """Return a measure of one example as a grid: a row per layer, a column per head, a tile in each.

    A measure without heads has one column, one without layers one row; where it says something of each token
    the tiles are those of `layer_head_grid`. Values of both signs get colors around 0, others from 0 on.

    Args:
        record: The record that was measured; tells what the tokens are.
        values: What a measure returned for it: dims among `sample`, `layer` or `depth`, `head` or
            `other_depth`, and `token`, `distance` or `channel`.
        sample: Label on the `sample` dim.
        selected: Labels of the layer and head to outline, where there are both.
        dark: For a dark page.

    Returns:
        Data 0: a heatmap, NaN where the measure is undefined. `layout.meta` names the dims of its axes.

    Raises:
        FigureError: If another dim is left, or the sample or the selection is not there.
    """
    one = _example(values, sample)
    row, column, cell = (next((dim for dim in dims if dim in one.dims), None) for dims in _AXES)
    left = [str(dim) for dim in one.dims if dim not in (row, column, cell)]
    if left:
        raise FigureError(
            "measure_grid",
            expected="values with dims among sample, " + ", ".join(dim for dims in _AXES for dim in dims),
            got=f"also {', '.join(left)}",
            next_step=f"Average or select first: values.mean({left[0]!r}) or values.sel({left[0]}=...)",
        )
    tile, names = _tile(record, one, cell, sample)
    array = _cube(one, (row, column, cell), record, sample)
    rows, columns = _labels(one, row), _labels(one, column)
    fig = go.Figure(_heatmap(array, tile, (rows, columns), names))
    told = f"{_where(row, column)}%{{text}}<br>" if fig.data[0].text is not None else _where(row, column)
    unit = literal(str(values.attrs.get("units", "")))
    fig.update_traces(hovertemplate=f"{told}%{{z:.4g}} {unit}<extra></extra>")
    _axis(fig.update_xaxes, column, columns)
    _axis(fig.update_yaxes, row, rows)
    fig.update_yaxes(range=_ends(rows)[::-1])
    if tile.is_map:
        fig.update_yaxes(scaleanchor="x", scaleratio=tile.aspect, constrain="domain", constraintoward="top")
        fig.update_xaxes(constrain="domain", constraintoward="left")
    _color(fig, array, values, dark=dark)
    if selected is not None and row == "layer":
        _outline(fig, rows, columns if column == "head" else None, selected, palette(dark=dark).accent)
    fig.update_layout(meta={"row": row or "", "column": column or ""})
    height = int(min(1400, max(260, 110 + _row_height(tile, len(columns)) * len(rows))))
    return styled(fig, title=_title(values), height=height, dark=dark)


_AXES = (_ROWS, _COLUMNS, _CELLS)


def _example(values: xr.DataArray, sample: int) -> xr.DataArray:
    if "sample" not in values.dims:
        return values
    labels = values["sample"].values.tolist()
    return values.isel(sample=one_of(labels, sample, "sample", asked_by="measure_grid"))


def _tile(record: xr.Dataset, one: xr.DataArray, cell: str | None, sample: int) -> tuple[Tile, list[str]]:
    """Return where the cells of a tile stand, and what each is called."""
    if cell == "token":
        view = view_of(record, sample=sample, direction="attends_to", asked_by="measure_grid")
        return tile_of(view), view.tokens
    if cell is None:
        return Tile(np.zeros((1, 1), np.int64), prefix_rows=0, is_map=False), [""]
    labels = one[cell].values.tolist() if cell in one.coords else list(range(one.sizes[cell]))
    return in_reading_order(len(labels)), [f"{cell} {label}" for label in labels]


def _cube(
    one: xr.DataArray, dims: tuple[str | None, ...], record: xr.Dataset, sample: int
) -> NDArray[np.float32]:
    """Return the values as float32 [row, column, cell]; of tokens only the real ones."""
    if dims[2] == "token":
        mask = _example(record["token_mask"], sample)
        one = one.isel(token=np.flatnonzero(mask.values))
    there = [dim for dim in dims if dim is not None]
    array = one.transpose(*there).values.astype(np.float32)
    shape = iter(array.shape)
    return array.reshape([next(shape) if dim is not None else 1 for dim in dims])


def _labels(one: xr.DataArray, dim: str | None) -> list[int]:
    if dim is None:
        return [0]
    labels: list[int] = one[dim].values.tolist() if dim in one.coords else list(range(one.sizes[dim]))
    return labels


def _heatmap(
    array: NDArray[np.float32],
    tile: Tile,
    labels: tuple[list[int], list[int]],
    names: list[str],
) -> go.Heatmap:
    rows, columns = labels
    height, width = tile.order.shape
    told: dict[str, Any] = {}
    if len(names) > 1 and array.size <= _CELLS_WITH_TEXT:
        texts = np.array([*names, ""], dtype=object)[tile.order]
        told = {"text": mosaic(np.broadcast_to(texts, (*array.shape[:2], *texts.shape))).tolist()}
    return go.Heatmap(
        z=mosaic(tile.filled(array)),
        x=edges(centers(columns), width),
        y=edges(centers(rows), height),
        coloraxis="coloraxis",
        hoverongaps=False,
        **told,
    )


def _where(row: str | None, column: str | None) -> str:
    """Return how a hover names the row and the column."""
    named = [f"{dim} %{{{axis}:.0f}}" for dim, axis in ((row, "y"), (column, "x")) if dim is not None]
    return f"{', '.join(named)}<br>" if named else ""


def _color(fig: go.Figure, array: NDArray[np.float32], values: xr.DataArray, *, dark: bool) -> None:
    """Set the scale of the colors: around 0 where there are both signs, else from 0."""
    finite = array[np.isfinite(array)]
    sizes = np.abs(finite)
    largest = np.quantile(sizes, _QUANTILE) if sizes.size > _FEW else sizes.max(initial=0.0)
    limit = max(float(largest), 1e-6)
    clipped = bool(sizes.max(initial=0.0) > limit * 1.0001)
    unit = literal(str(values.attrs.get("units", ""))) or "value"
    if finite.min(initial=0.0) < 0:
        scale = {"colorscale": palette(dark=dark).diverging, "cmin": -limit, "cmax": limit}
        ticks = {"tickvals": [-limit, 0, limit], "ticktext": [f"{-limit:.2g}", "0", f"{limit:.2g}"]}
        fig.update_layout(coloraxis={**scale, "colorbar": {**bar(unit), **ticks}})
    else:
        scale = {"colorscale": SEQUENTIAL, "cmin": 0, "cmax": limit}
        fig.update_layout(coloraxis={**scale, "colorbar": color_bar(unit, limit=limit, clipped=clipped)})


def _axis(update: Any, dim: str | None, labels: list[int]) -> None:
    if dim is None:
        update(title_text="", tickvals=[], range=[-0.5, 0.5], showline=False)
        return
    step = max(1, len(labels) // 24)
    places = centers(labels)
    update(
        title_text=literal(dim.replace("_", " ")),
        tickvals=places[::step],
        ticktext=[str(label) for label in labels[::step]],
        range=_ends(labels),
        showline=False,
    )


def _ends(labels: list[int]) -> list[float]:
    places = centers(labels)
    return [places[0] - 0.5, places[-1] + 0.5]


def _outline(
    fig: go.Figure, layers: list[int], heads: list[int] | None, selected: tuple[int, int], color: str
) -> None:
    reach = 0.5 - GAP / 5
    layer = centers(layers)[one_of(layers, selected[0], "layer", asked_by="measure_grid")]
    head = 0
    if heads is not None:
        head = centers(heads)[one_of(heads, selected[1], "head", asked_by="measure_grid")]
    place = {"x0": head - reach, "x1": head + reach, "y0": layer - reach, "y1": layer + reach}
    fig.add_shape(type="rect", line={"color": color, "width": 2.5}, name="selected", **place)


def _row_height(tile: Tile, columns: int) -> float:
    """Return the pixels of a row that leave each tile readable on a page about 900 pixels wide."""
    if tile.is_map:
        return min(150.0, 820 / columns) * tile.aspect
    return max(30.0, min(90.0, 7.0 * len(tile.order)))


def _title(values: xr.DataArray) -> str:
    name = literal(str(values.attrs.get("long_name", values.name or "value")))
    return f"{name[:1].upper()}{name[1:]}"
