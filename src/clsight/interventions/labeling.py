"""From tensors to labeled arrays: the coordinates of the record, and in words what the numbers are."""

from collections.abc import Sequence
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from clsight.interventions.opening import Opened
from clsight.interventions.results import result_attributes, with_token_mask


def labeled(
    opened: Opened, dims: tuple[str, ...], values: Tensor, *, long_name: str, units: str = "", **words: str
) -> xr.DataArray:
    """Return values with the coordinates that the record has on their dims, NaN at padding.

    Args:
        opened: The forward pass they belong to.
        dims: Their dims.
        values: On any device.
        long_name: What a figure puts on its axis.
        units: Empty for a pure number.
        words: Further attributes, such as `paper` and `reason`; empty ones are left out.
    """
    coordinates = {
        name: coordinate
        for name, coordinate in opened.record.coords.items()
        if set(coordinate.dims) <= set(dims) and coordinate.dims
    }
    attributes = {
        "long_name": long_name,
        "units": units,
        **{key: word for key, word in words.items() if word},
    }
    values = values.detach()
    if values.dtype in (torch.bfloat16, torch.float16):  # as in a record
        values = values.float()
    array = xr.DataArray(values.cpu().numpy(), dims=dims, coords=coordinates, attrs=attributes)
    return array.where(opened.record["token_mask"]) if "token" in dims else array


def described(
    opened: Opened, name: str, variables: dict[str, xr.DataArray], *, notes: Sequence[str] = (), **words: Any
) -> xr.Dataset:
    """Return variables as one data set that says which model, which CLS and which tokens it is about.

    Args:
        opened: The forward pass they belong to.
        name: The intervention.
        variables: By name.
        notes: What a reader must know of the numbers.
        words: Further attributes, such as `paper` and `variant`; empty ones are left out.
    """
    stated = {key: word for key, word in words.items() if word}
    about = result_attributes(opened.record, name, absent={}, notes=notes, **stated)
    return xr.Dataset(with_token_mask(variables, opened.record), attrs=about)
