"""The controls of the page Data set: whose samples, and which measures, class and head are shown."""

from typing import Any, Final

import dash_mantine_components as dmc

from clsight_app import ids
from clsight_app.components.controls import measure_label
from clsight_app.dataset import PER_HEAD, DatasetView

EXAMPLES: Final = "examples"
"""The source that is no record file: the examples of the model."""
_NO_ROOT: Final = "Record files appear here when the app is started with --root FOLDER."


def source_control() -> dmc.Select:
    """Return the control that chooses the examples of the model or a record file."""
    return dmc.Select(
        id=ids.DATASET_SOURCE,
        label="Samples from",
        data=[{"value": EXAMPLES, "label": "Examples of the model"}],
        value=EXAMPLES,
        allowDeselect=False,
        searchable=True,
        nothingFoundMessage=_NO_ROOT,
        className="source-control",
    )


def samples_control() -> dmc.NumberInput:
    """Return the control that says how many samples."""
    return _number(ids.DATASET_SAMPLES, "Samples", least=1)


def job_buttons() -> list[dmc.Button]:
    """Return the buttons that start and cancel."""
    return [
        dmc.Button("Compute", id=ids.DATASET_START),
        dmc.Button("Cancel", id=ids.DATASET_CANCEL, variant="default", disabled=True),
    ]


def choices() -> list[Any]:
    """Return the controls of what is shown: two measures, a class, a head."""
    measures = [{"value": name, "label": measure_label(name)} for name in PER_HEAD]
    same = {"data": measures, "allowDeselect": False}
    return [
        dmc.Select(id=ids.DATASET_X, label="From left to right", value=DatasetView.x, **same),
        dmc.Select(id=ids.DATASET_Y, label="Upward, and extremes by", value=DatasetView.y, **same),
        dmc.Select(
            id=ids.DATASET_GROUP,
            label="Class",
            data=[{"value": "all", "label": "All"}],
            value="all",
            allowDeselect=False,
            searchable=True,
        ),
        _number(ids.DATASET_LAYER, "Layer"),
        _number(ids.DATASET_HEAD, "Head"),
    ]


def _number(component_id: str, label: str, *, least: int = 0) -> dmc.NumberInput:
    return dmc.NumberInput(
        id=component_id,
        label=label,
        value=least,
        min=least,
        allowDecimal=False,
        allowNegative=False,
        clampBehavior="strict",
        debounce=300,
        className="example-control",
    )
