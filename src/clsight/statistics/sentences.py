"""Results in words: one sentence per cell, with its numbers, their n, and what is doubtful about them."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.dtypes import StringDType

from clsight.errors import StatisticsError

Cell = Mapping[str, Any]
"""The numbers and texts of one cell, by name of the variable."""


def in_words(result: xr.Dataset | xr.DataArray) -> xr.DataArray:
    """Return each cell of a result as a sentence.

    Args:
        result: What a function of `clsight.statistics` returned, or a selection of it.

    Returns:
        Text, in the dims of the result; `.item()` of a result without dims is its sentence.

    Raises:
        StatisticsError: If it is no such result.
    """
    kind = getattr(result, "attrs", {}).get("result")
    if kind not in _SENTENCES:
        raise StatisticsError(
            "in_words",
            expected="a result of clsight.statistics, with its attributes",
            got=f"an object of type {type(result).__name__}" + (f" with result={kind!r}" if kind else ""),
            next_step="Select cells with .sel or .isel, which keep the attributes",
        )
    table = result.to_dataset(name="value") if isinstance(result, xr.DataArray) else result
    first = table[next(iter(table.data_vars))]
    columns = {str(name): variable.values for name, variable in table.items()}
    texts = [
        _SENTENCES[kind]({name: column[index] for name, column in columns.items()}, result.attrs)
        for index in np.ndindex(first.shape)
    ]
    words = np.array(texts, dtype=StringDType()).reshape(first.shape)
    return xr.DataArray(words, dims=first.dims, coords=first.coords, name="sentence")


def _bootstrap(cell: Cell, told: Cell) -> str:
    subject = f"{_subject(told)}{told['statistic']} {_number(cell['estimate'], told)}"
    if math.isnan(cell["low"]):
        return _sentence(f"{subject}, without an interval", cell["reason"])
    interval = f"{_percent(told['confidence'])} interval {_interval(cell, told)}"
    units = f"n = {cell['n']} of {told['over'][0]}"
    then = f", then {told['over'][1]}" if len(told["over"]) == 2 else ""
    return _sentence(f"{subject}, {interval} ({told['method']} bootstrap, {units}{then})", cell["reason"])


def _paired_permutation(cell: Cell, told: Cell) -> str:
    if math.isnan(cell["p_value"]):
        return _sentence(f"{_subject(told)}no test", cell["reason"])
    exact = cell["flips"] == 2 ** int(cell["n"])
    flips = f"all {cell['flips']} sign flips" if exact else f"{cell['flips']} random sign flips"
    difference = f"{_subject(told)}a − b = {_number(cell['estimate'], told)}"
    test = f"p = {cell['p_value']:.3g} ({told['alternative']}, {flips}, n = {cell['n']} of {told['over'][0]})"
    return _sentence(f"{difference}, {test}", cell["reason"])


def _equivalence(cell: Cell, told: Cell) -> str:
    margin = f"±{_number(told['margin'], told)}"
    if math.isnan(cell["p_value"]):
        return _sentence(f"{_subject(told)}inconclusive within {margin}", cell["reason"])
    numbers = (
        f"a − b = {_number(cell['estimate'], told)}, {_percent(told['confidence'])} interval "
        f"{_interval(cell, told)} (n = {cell['n']} of {told['over'][0]})"
    )
    tests = f"p = {cell['p_value']:.3g} for within {margin}, p = {cell['p_difference']:.3g} for not zero"
    return _sentence(f"{_subject(told)}{cell['verdict']}: {numbers}; {tests}", cell["reason"])


def _spread(cell: Cell, told: Cell) -> str:
    if math.isnan(cell["estimate"]):
        return _sentence(f"{_subject(told)}no spread", cell["reason"])
    spread = f"{_subject(told)}differences spread by {_number(cell['estimate'], told)}"
    limit = f"at most {_number(cell['high'], told)} with confidence {_percent(told['confidence'])}"
    return _sentence(f"{spread}, {limit} (n = {cell['n']} of {told['over'][0]})", cell["reason"])


def _adjusted(cell: Cell, told: Cell) -> str:
    family = "test" if told["n"] == 1 else "tests"
    if math.isnan(cell["value"]):
        return "No p-value."
    return f"Adjusted p = {cell['value']:.3g} ({told['method']}, up to {told['n']} {family})."


def _power(cell: Cell, told: Cell) -> str:
    if math.isnan(cell["value"]):
        return _sentence("No power", "the spread is not above 0")
    where = f"within ±{told['margin']:g} at level {told['level']:g}"
    return f"Power {cell['value']:.3f} to show equivalence {where} at a difference of {told['difference']:g}."


def _seeds(cell: Cell, told: Cell) -> str:
    where = f"equivalence within ±{told['margin']:g} at level {told['level']:g}"
    if cell["n"] < 0:
        return _sentence(f"No number of pairs found for {where}", cell["reason"])
    at = f"with power {cell['power']:.3f} at a difference of {told['difference']:g}"
    return f"{cell['n']} pairs show {where} {at}."


def _running_mean(cell: Cell, told: Cell) -> str:
    if not cell["count"]:
        return _sentence(f"{_subject(told)}no mean", cell["reason"])
    mean = f"{_subject(told)}mean {_number(cell['mean'], told)}"
    if math.isnan(cell["variance"]):
        return _sentence(mean, cell["reason"])
    spread = _number(math.sqrt(cell["variance"]), told)
    return _sentence(f"{mean}, standard deviation {spread} (n = {cell['count']})", "")


_SENTENCES: Final[dict[str, Callable[[Cell, Cell], str]]] = {
    "bootstrap": _bootstrap,
    "paired_permutation": _paired_permutation,
    "equivalence": _equivalence,
    "spread_of_pairs": _spread,
    "holm": _adjusted,
    "benjamini_hochberg": _adjusted,
    "power_of_equivalence": _power,
    "seeds_for_equivalence": _seeds,
    "running_mean": _running_mean,
}
"""The writer of each kind of result, by its attribute `result`."""


def _subject(told: Cell) -> str:
    """Return what the numbers are of, with a colon; nothing if they have no name."""
    words = told.get("long_name") or str(told.get("name", "")).replace("_", " ")
    return f"{words}: " if words else ""


def _number(value: float, told: Cell) -> str:
    units = told.get("units", "")
    return f"{value:.4g} {units}" if units else f"{value:.4g}"


def _interval(cell: Cell, told: Cell) -> str:
    return f"{cell['low']:.4g} to {_number(cell['high'], told)}"


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _sentence(text: str, reason: str) -> str:
    """Return a text and its reason as one or two sentences."""
    start = f"{text[:1].upper()}{text[1:]}."
    return f"{start} {reason[:1].upper()}{reason[1:]}." if reason else start
