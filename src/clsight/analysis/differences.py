"""What does the init strategy change? Differences of any measure to one member of a stack."""

from typing import Any

import xarray as xr

from clsight.errors import RecordError, did_you_mean


def difference(array: xr.DataArray, to: Any = "learned", *, dim: str = "strategy") -> xr.DataArray:
    """Return every other member of a stack minus the one named `to`.

    Args:
        array: A measure of a stacked record, or one of its variables; any dims beside `dim`.
        to: The member to compare with: a label of `dim`.
        dim: The stacked dim: `strategy`, `seed` or `step`.

    Returns:
        The dims of `array`, with `to` left out of `dim`; the unit of `array`. Positive: larger than in `to`.

    Raises:
        RecordError: If the array has no such dim, or the dim no such member.

    Example:
        >>> entropies = xr.DataArray([1.0, 3.0], coords={"strategy": ["learned", "zeros"]})
        >>> difference(entropies, to="learned").item()
        2.0
    """
    if not isinstance(array, xr.DataArray):
        raise RecordError(
            "difference",
            expected="a measure, an xarray.DataArray",
            got=f"an object of type {type(array).__name__}",
            next_step="Measure the stacked record first: clsight.analysis.entropy(stacked)",
        )
    if dim not in array.dims:
        raise RecordError(
            "difference",
            expected=f"an array with a `{dim}` dimension",
            got=f"dims ({', '.join(map(str, array.dims))})",
            next_step='Stack records first: clsight.stack({"learned": a, "zeros": b})',
        )
    members = array[dim].values.tolist()
    if to not in members:
        raise RecordError(
            "difference",
            expected=f"`to` among the members of `{dim}`",
            got=repr(to),
            next_step=did_you_mean(str(to), map(str, members)),
        )
    others = array.sel({dim: [member for member in members if member != to]})
    change = others - array.sel({dim: to}, drop=True)
    label = array.attrs.get("long_name", array.name or "value")
    return change.rename(array.name).assign_attrs({**array.attrs, "long_name": f"{label}, minus {to}"})
