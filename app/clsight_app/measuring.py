"""A measure of the selected input: captured with what it needs, and computed."""

import inspect
from typing import Any

import xarray as xr

from clsight.analysis import MEASURES, Measure
from clsight.errors import AppError
from clsight_app.catalog import Catalog
from clsight_app.state import Selection


def measured(catalog: Catalog, selection: Selection) -> tuple[xr.Dataset, xr.DataArray]:
    """Return the record of the selected input with all that its measure needs, and the measure of it.

    Args:
        catalog: The models and their records.
        selection: Names a measure.

    Raises:
        AppError: The model gives no such thing, and why.
        ClsightError: The model cannot be captured, or the measure does not apply.
    """
    measure = MEASURES[selection.measure]
    record = catalog.record(selection.model, selection.asked, measure.keep)
    missing = measure.missing_from(record)
    if missing:
        raise _lacking(measure, missing, record)
    return record, measure.function(record, **options_of(measure, selection))


def options_of(measure: Measure, selection: Selection) -> dict[str, Any]:
    """Return the arguments of a measure that the address tells: the direction, where it has one."""
    takes_direction = "direction" in inspect.signature(measure.function).parameters
    return {"direction": selection.direction} if takes_direction else {}


def _lacking(measure: Measure, missing: tuple[str, ...], record: xr.Dataset) -> AppError:
    absent = dict(record.attrs.get("absent", {}))
    reasons = [f"{name}: {absent[name]}" for name in missing if name in absent]
    return AppError(
        measure.name,
        expected=f"a record with {', '.join(f'`{name}`' for name in missing)}",
        got="one without",
        where="; ".join(reasons),
        next_step="Choose another measure",
    )
