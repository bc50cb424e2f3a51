"""A view as lines of Python that make it again in a notebook."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clsight.analysis import MEASURES
from clsight.schema import Direction
from clsight_app.state import Selection


@dataclass(frozen=True)
class Origin:
    """What the lines must know of a view beyond its address.

    Args:
        load: The lines that make `subject`.
        takes: What the model takes.
        has_patches: Whether its tokens are the patches of a picture.
        draws: Whether its [CLS] is redrawn at each forward pass.
        options: Further arguments of the measure.
    """

    load: str
    takes: str
    has_patches: bool
    draws: bool
    options: Mapping[str, Any]


def as_python(selection: Selection, origin: Origin) -> str:
    """Return lines that draw the grid and the selected head of a view, with the library alone.

    Args:
        selection: The view.
        origin: Where its model comes from.
    """
    place = f"layer={selection.layer}, head={selection.head}, direction={selection.direction!r}"
    parts = [
        "import clsight\nfrom clsight import analysis, figures",
        f"{origin.load}\n{_capture(selection, origin)}",
        f"{_grid(selection, origin)}\ngrid.show(config=figures.CONFIG)",
    ]
    if origin.has_patches:
        seen = "from clsight_app.own_input import picture_seen"
        parts[0] = f"{parts[0]}\n{seen}"
        drawn = f"figures.patch_overlay(record, picture_seen(subject, shown), sample=0, {place})"
    else:
        drawn = f"figures.token_strip(record, sample=0, {place})"
    parts.append(f"head = {drawn}\nhead.show(config=figures.CONFIG)")
    return "\n\n".join(parts) + "\n"


def loading_code(path: Path, options: Mapping[str, Any]) -> str:
    """Return the lines that load a model with these options as `subject`."""
    lines, given = [], [repr(str(path))]
    for name, value in options.items():
        if callable(value):
            lines.append(f"from {value.__module__} import {value.__qualname__}")
            given.append(f"{name}={value.__qualname__}")
        else:
            given.append(f"{name}={value!r}")
    return "\n".join([*lines, f"subject = clsight.load({', '.join(given)})"])


def _capture(selection: Selection, origin: Origin) -> str:
    keep = MEASURES[selection.measure].keep if selection.measure else ()
    lines = [f"shown = {_input(selection, origin)}"]
    if origin.draws:
        lines.append(f"subject.reseed({selection.sample})  # its [CLS] is redrawn at each forward pass")
    kept = f", keep={['vectors', *keep]!r}" if keep else ""
    return "\n".join([*lines, f"record = clsight.capture(subject, shown{kept})"])


def _input(selection: Selection, origin: Origin) -> str:
    asked = selection.asked
    if asked.is_example:
        return f"subject.examples[{asked.sample}]"
    if asked.given:
        name = f"your file{Path(asked.given).suffix}"
        return f"subject.read({name!r})  # the file that was dropped"
    is_pair = asked.second and origin.takes == "text"
    return f"subject.read({(asked.text, asked.second) if is_pair else asked.text!r})"


def _grid(selection: Selection, origin: Origin) -> str:
    selected = f"selected=({selection.layer}, {selection.head})"
    if not selection.measure:
        direction: Direction = selection.direction
        return f"grid = figures.layer_head_grid(record, direction={direction!r}, {selected})"
    options = "".join(f", {name}={value!r}" for name, value in origin.options.items())
    values = f"values = analysis.{selection.measure}(record{options})"
    return f"{values}\ngrid = figures.measure_grid(record, values, {selected})"
