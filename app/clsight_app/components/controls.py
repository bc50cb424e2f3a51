"""The labeled controls above a view: which model, which example, which direction of attention."""

from collections.abc import Sequence
from typing import Final

import dash_mantine_components as dmc
from dash import dcc, html

from clsight.analysis import MEASURES
from clsight_app import ids
from clsight_app.components.labels import labeled
from clsight_app.state import LONGEST_TEXT, Selection
from clsight_app.uploads import MOST_BYTES, SUFFIXES

DIRECTION_LABELS: Final = {"attends_to": "CLS attends to", "attended_by": "CLS is attended by"}

WEIGHTS: Final = "weights"
"""What the grid shows where no measure is chosen."""

_LAYERS_SIDE_BY_SIDE: Final = 12


def controls(selection: Selection, *, models: Sequence[str], samples: int) -> html.Div:
    """Return the controls, set to a selection.

    Args:
        selection: What they show.
        models: The models to choose from.
        samples: How many examples the selected model has.
    """
    return html.Div(
        [_model(selection, models), _example(selection, samples), _direction(selection), _own_input()],
        className="controls",
    )


def example_label(samples: int) -> str:
    """Return the label of the example control, with the range it takes."""
    return f"Example, 0 to {samples - 1}"


def _model(selection: Selection, models: Sequence[str]) -> dmc.Select:
    return dmc.Select(
        id=ids.MODEL,
        label="Model",
        data=[{"value": name, "label": name} for name in models],
        value=selection.model,
        allowDeselect=False,
        className="model-control",
    )


def _example(selection: Selection, samples: int) -> html.Div:
    return html.Div(
        [
            _step(ids.PREVIOUS, "‹", "Previous example"),
            dmc.NumberInput(
                id=ids.SAMPLE,
                label=example_label(samples),
                value=selection.sample,
                min=0,
                max=samples - 1,
                allowDecimal=False,
                allowNegative=False,
                clampBehavior="strict",
                hideControls=True,
                debounce=300,
                className="example-control",
            ),
            _step(ids.NEXT, "›", "Next example"),
        ],
        className="example",
    )


def _step(component_id: str, sign: str, label: str) -> dmc.ActionIcon:
    return dmc.ActionIcon(sign, id=component_id, variant="default", size=36, **labeled(label))


def _direction(selection: Selection) -> html.Div:
    return html.Div(
        [
            html.Div("Direction", className="control-label", id="direction-label"),
            dmc.SegmentedControl(
                id=ids.DIRECTION,
                data=[{"value": value, "label": label} for value, label in DIRECTION_LABELS.items()],
                value=selection.direction,
                attributes={"root": {"aria-labelledby": "direction-label"}},
            ),
        ]
    )


def measure_control() -> dmc.Select:
    """Return the control that chooses what the grid shows: the weights themselves, or a measure."""
    measures = [{"value": name, "label": measure_label(name)} for name in MEASURES]
    return dmc.Select(
        id=ids.MEASURE,
        label="Shown in the grid",
        data=[
            {"value": WEIGHTS, "label": "Attention weights"},
            *sorted(measures, key=lambda one: one["label"]),
        ],
        value=WEIGHTS,
        allowDeselect=False,
        searchable=True,
        nothingFoundMessage="No such measure",
        className="measure-control",
    )


def measure_label(name: str) -> str:
    """Return the name of a measure as people write it."""
    words = name.replace("_", " ").replace("cls", "CLS")
    return words[:1].upper() + words[1:]


def _own_input() -> html.Div:
    """Return the fields for an input of the user's own; the style sheet shows those that the model reads."""
    typed = {"debounce": True, "inputProps": {"maxLength": LONGEST_TEXT}, "value": ""}
    return html.Div(
        [
            dmc.TextInput(id=ids.TEXT, label="Your own text", placeholder="Type, then press Enter", **typed),
            dmc.TextInput(id=ids.SECOND, label="Second sentence", placeholder="For a pair", **typed),
            html.Div(
                [
                    html.Div("Your own file", className="control-label"),
                    dcc.Upload(
                        f"Drop or choose one, up to {MOST_BYTES // 1_000_000} MB",
                        id=ids.UPLOAD,
                        max_size=MOST_BYTES,
                        accept=",".join(SUFFIXES),
                        className="upload",
                        style={},
                    ),
                ]
            ),
        ],
        id=ids.OWN_INPUT,
        className="own-input",
    )


def layer_control(layers: Sequence[int], selected: int) -> html.Div:
    """Return the control that chooses a layer: all side by side when they are few, else a list."""
    data = [{"value": str(layer), "label": str(layer)} for layer in layers]
    if len(layers) > _LAYERS_SIDE_BY_SIDE:
        listed = dmc.Select(id=ids.LAYER, data=data, value=str(selected), label="Layer", allowDeselect=False)
        return html.Div(listed, className="layer-control")
    return html.Div(
        [
            html.Div("Layer", className="control-label", id="layer-label"),
            dmc.SegmentedControl(
                id=ids.LAYER,
                data=data,
                value=str(selected),
                attributes={"root": {"aria-labelledby": "layer-label"}},
            ),
        ],
        className="layer-control",
    )
