"""The maps of a head over words: a strip for each direction, sentences apart, two versions side by side."""

from collections.abc import Sequence
from typing import Any, Final

import dash_mantine_components as dmc
import numpy as np
import xarray as xr
from dash import html

from clsight.figures.theme import SEQUENTIAL
from clsight.schema import Direction
from clsight_app import ids
from clsight_app.components.controls import DIRECTION_LABELS
from clsight_app.components.labels import labeled
from clsight_app.components.token_strip import token_strip
from clsight_app.state import LONGEST_TEXT, Selection
from clsight_app.views.head import answer_sentence
from clsight_app.views.segments import segments

_IDS: Final = {"attends_to": ids.ATTENDS_TO, "attended_by": ids.ATTENDED_BY}
_SENTENCES: Final = ("First sentence", "Second sentence")


def text_maps(
    record: xr.Dataset, selection: Selection, directions: Sequence[Direction], *, limit: float
) -> list[html.Figure]:
    """Return a strip for each direction, which a click can choose a token in.

    Args:
        record: The record of one example.
        selection: Which layer, head and token.
        directions: Those that are in the record.
        limit: The weight at the end of the color scale.
    """
    return [
        _map(record, selection, direction, limit=limit, component_id=_IDS[direction])
        for direction in directions
    ]


def side_by_side(
    versions: dict[str, xr.Dataset], selection: Selection, directions: Sequence[Direction], *, limit: float
) -> html.Div:
    """Return the strips of two versions of a text beside each other, with the answers, on one color scale."""
    (own, record), (other, edited) = versions.items()
    return html.Div(
        [
            html.Div(
                [
                    html.H3(own),
                    *text_maps(record, selection, directions, limit=limit),
                    html.P(answer_sentence(record), className="remark"),
                ]
            ),
            html.Div(
                [
                    html.H3(other),
                    *[_map(edited, selection, direction, limit=limit) for direction in directions],
                    html.P(answer_sentence(edited), className="remark"),
                ],
                id=ids.EDITED_MAPS,
            ),
        ],
        className="pair",
    )


def edit_field(text: str) -> dmc.TextInput:
    """Return the field in which a second version of a text is typed."""
    return dmc.TextInput(
        id=ids.EDITED,
        label="Change a word, and see both maps",
        value=text,
        debounce=True,
        inputProps={"maxLength": LONGEST_TEXT},
        className="edit",
    )


def words_switch(merged: bool) -> dmc.Checkbox:
    """Return the switch that merges subwords to words."""
    return dmc.Checkbox(
        id=ids.WORDS,
        label="Merge subwords to words: the row summed, the column averaged",
        checked=merged,
        size="xs",
        className="words",
    )


def _map(
    record: xr.Dataset,
    selection: Selection,
    direction: Direction,
    *,
    limit: float,
    component_id: str | None = None,
) -> html.Figure:
    parts = segments(record)
    can_choose = component_id is not None and not selection.words  # a word is no one token
    strips: list[Any] = []
    for number, part in enumerate(parts):
        if len(parts) == len(_SENTENCES):
            strips.append(html.Div(_SENTENCES[number], className="segment"))
        strips.append(_strip(record, part, selection, direction, limit=limit, can_choose=can_choose))
    title = DIRECTION_LABELS[direction]
    named: dict[str, Any] = {} if component_id is None else {"id": component_id}
    return html.Figure(
        [html.Figcaption(title, className="caption"), *strips],
        className="text-map",
        **named,
        **labeled(title),
    )


def _strip(
    record: xr.Dataset,
    part: list[int],
    selection: Selection,
    direction: Direction,
    *,
    limit: float,
    can_choose: bool,
) -> html.Div:
    one = record.isel(sample=0)
    weights = one[direction].sel(layer=selection.layer, head=selection.head).values[part]
    return token_strip(
        [str(text) for text in one["token_text"].values[part]],
        np.asarray(weights),
        colorscale=SEQUENTIAL,
        maximum=limit,
        positions=part if can_choose else None,
        chosen=int(selection.token) if selection.token else None,
    )
