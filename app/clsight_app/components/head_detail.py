"""The selected head: where its attention goes and comes from, side by side, and its numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import xarray as xr
from dash import html
from numpy.typing import ArrayLike
from plotly.colors import get_colorscale

from clsight import figures
from clsight.analysis.words import merge_words
from clsight.figures.theme import SEQUENTIAL
from clsight.schema import DIRECTIONS, Direction
from clsight_app import ids
from clsight_app.components.controls import DIRECTION_LABELS
from clsight_app.components.graph import color_legend, graph, scale_legend
from clsight_app.components.inside_head import inside_switch
from clsight_app.components.numbers import number_table
from clsight_app.components.text_maps import edit_field, side_by_side, text_maps, words_switch
from clsight_app.state import Selection
from clsight_app.views.head import class_numbers, head_numbers, top_tokens

_IDS: Final = {"attends_to": ids.ATTENDS_TO, "attended_by": ids.ATTENDED_BY}
_NEEDED: Final = (*DIRECTIONS, "token_mask", "logits")


@dataclass(frozen=True)
class Shown:
    """What a head is shown on.

    Args:
        record: The record of one example.
        image: The picture that was cut into patches, None where tokens are no patches.
        text: The text, empty where the model takes none.
        edited: The record of a second version of the text, None without.
    """

    record: xr.Dataset
    image: ArrayLike | None = None
    text: str = ""
    edited: xr.Dataset | None = None


def head_detail(shown: Shown, selection: Selection, *, dark: bool) -> list[Any]:
    """Return the maps and the numbers of the selected head.

    Args:
        shown: What it is shown on.
        selection: Which layer and head.
        dark: Draw for the dark color scheme.
    """
    layer, head = selection.layer, selection.head
    shown = _of_head(shown, selection)
    there = [direction for direction in DIRECTIONS if direction in shown.record]
    merged = merge_words(shown.record) if shown.text else shown.record
    has_pieces = merged.sizes["token"] < shown.record.sizes["token"]
    listed = merged if selection.words else shown.record
    return [
        html.H2(f"Layer {layer}, head {head}"),
        *_head_maps(shown, selection, there, dark=dark),
        *([words_switch(bool(selection.words))] if has_pieces else []),
        *([edit_field(selection.edited or shown.text)] if shown.text else []),
        number_table("This head", head_numbers(shown.record, layer=layer, head=head)),
        html.Div(
            [
                number_table(
                    f"{DIRECTION_LABELS[direction]} most",
                    top_tokens(listed, layer=layer, head=head, direction=direction),
                )
                for direction in there
            ],
            className="pair",
        ),
        *([number_table("Answer", class_numbers(shown.record))] if "logits" in shown.record else []),
        inside_switch(bool(selection.inside)),
    ]


def _of_head(shown: Shown, selection: Selection) -> Shown:
    """Return what is shown, cut down to the selected head: the whole record makes each step slower."""
    records = [shown.record] if shown.edited is None else [shown.record, shown.edited]
    cut = [
        record[[name for name in _NEEDED if name in record]].sel(
            layer=[selection.layer], head=[selection.head]
        )
        for record in records
    ]
    return Shown(cut[0], shown.image, shown.text, cut[1] if len(cut) > 1 else None)


def _head_maps(
    shown: Shown, selection: Selection, directions: Sequence[Direction], *, dark: bool
) -> list[Any]:
    """Return the maps over the picture where there is one, else over the tokens."""
    if shown.image is None:
        return _words(shown, selection, directions)
    return _maps(shown.record, shown.image, selection, directions, dark=dark)


def _words(shown: Shown, selection: Selection, directions: Sequence[Direction]) -> list[Any]:
    """Return the maps over words, those of an edited text beside them on the same color scale."""
    given = [shown.record] if shown.edited is None else [shown.record, shown.edited]
    records = [merge_words(record) for record in given] if selection.words else given
    limit = max(_limit(record, selection, direction) for record in records for direction in directions)
    legend = scale_legend(get_colorscale(SEQUENTIAL), limit)
    if shown.edited is None:
        return [*text_maps(records[0], selection, directions, limit=limit), legend]
    versions = dict(zip(("As it was", "Edited"), records, strict=True))
    return [side_by_side(versions, selection, directions, limit=limit), legend]


def _maps(
    record: xr.Dataset,
    image: ArrayLike,
    selection: Selection,
    directions: Sequence[Direction],
    *,
    dark: bool,
) -> list[Any]:
    """Return a map over the image for each direction, on one color scale."""
    limit = max(_limit(record, selection, direction) for direction in directions)
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


def _limit(record: xr.Dataset, selection: Selection, direction: Direction) -> float:
    head = record.sel(layer=[selection.layer], head=[selection.head])
    return figures.color_limit(head, direction=direction)
