"""The selected head: where its attention goes and comes from, side by side, and its numbers."""

from typing import Any, Final

import numpy as np
import xarray as xr
from dash import html
from numpy.typing import ArrayLike

from clsight import figures
from clsight.figures.theme import SEQUENTIAL
from clsight.schema import DIRECTIONS, Direction
from clsight_app import ids
from clsight_app.components.controls import DIRECTION_LABELS
from clsight_app.components.graph import color_legend, graph
from clsight_app.components.labels import labeled
from clsight_app.components.numbers import number_table
from clsight_app.components.token_strip import token_strip
from clsight_app.state import Selection
from clsight_app.views.head import head_numbers, top_tokens

_IDS: Final = {"attends_to": ids.ATTENDS_TO, "attended_by": ids.ATTENDED_BY}


def head_detail(
    record: xr.Dataset, image: ArrayLike | None, selection: Selection, *, dark: bool
) -> list[Any]:
    """Return the maps and the numbers of the selected head.

    Args:
        record: The record of one example.
        image: The picture that was cut into patches, None where tokens are no patches.
        selection: Which layer and head.
        dark: Draw for the dark color scheme.
    """
    layer, head = selection.layer, selection.head
    there = [direction for direction in DIRECTIONS if direction in record]
    return [
        html.H2(f"Layer {layer}, head {head}"),
        *_maps(record, image, selection, there, dark=dark),
        number_table("This head", head_numbers(record, layer=layer, head=head)),
        html.Div(
            [
                number_table(
                    f"{DIRECTION_LABELS[direction]} most",
                    top_tokens(record, layer=layer, head=head, direction=direction),
                )
                for direction in there
            ],
            className="pair",
        ),
    ]


def _maps(
    record: xr.Dataset,
    image: ArrayLike | None,
    selection: Selection,
    directions: list[Direction],
    *,
    dark: bool,
) -> list[Any]:
    """Return a map for each direction, on one color scale: over the image, or along the tokens."""
    limit = max(_limit(record, selection, direction) for direction in directions)
    if image is None:
        return [_strip(record, selection, direction, limit=limit) for direction in directions]
    overlays = {
        direction: figures.patch_overlay(
            record,
            image,
            sample=0,
            layer=selection.layer,
            head=selection.head,
            direction=direction,
            zmax=limit,
            dark=dark,
        ).update_layout(margin={"l": 4, "r": 4, "b": 4})
        for direction in directions
    }
    legends = [color_legend(figure) for figure in overlays.values()]
    drawn = [
        graph(
            figure,
            component_id=_IDS[direction],
            title=DIRECTION_LABELS[direction],
            style={"aspectRatio": "3 / 2.1"},
        )
        for direction, figure in overlays.items()
    ]
    return [html.Div(drawn, className="pair"), legends[0]]


def _strip(record: xr.Dataset, selection: Selection, direction: Direction, *, limit: float) -> html.Figure:
    example = record.isel(sample=0)
    real = np.flatnonzero(example["token_mask"].values)
    weights = example[direction].sel(layer=selection.layer, head=selection.head).values[real]
    texts = [str(text) for text in example["token_text"].values[real]]
    strip = token_strip(texts, weights, colorscale=SEQUENTIAL, maximum=limit)
    title = DIRECTION_LABELS[direction]
    return html.Figure(
        [html.Figcaption(title, className="caption"), strip], id=_IDS[direction], **labeled(title)
    )


def _limit(record: xr.Dataset, selection: Selection, direction: Direction) -> float:
    head = record.sel(layer=[selection.layer], head=[selection.head])
    return figures.color_limit(head, direction=direction)
