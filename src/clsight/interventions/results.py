"""How the result of an intervention is labeled: coordinates and attributes, taken from the record."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from clsight.interventions.draws import NO_DRAW, ONE_DRAW

_KEPT: Final = ("clsight_version", "cls_index", "dtype", "device", "kernel", "versions", "model", "strategy")
_ALSO: Final = ("seed", "checkpoint_sha256", "notes")


def coordinates(
    record: xr.Dataset, chosen: Mapping[str, Sequence[int]], dims: Sequence[str]
) -> dict[str, xr.DataArray]:
    """Return the coordinates of a result along `sample` and further dims, those of the record.

    Args:
        record: The record of the survey.
        chosen: Per dim the indices that were asked for; a dim that is not named is whole.
        dims: Dims of the result beside `sample`.
    """
    part = record.isel({dim: list(chosen[dim]) for dim in dims if dim in chosen})
    kept = {"sample", *dims}
    return {str(name): array for name, array in part.coords.items() if set(array.dims) <= kept}


def with_token_mask(variables: Mapping[str, Any], record: xr.Dataset) -> dict[str, Any]:
    """Return variables of a result, and beside those of tokens which tokens are real: they are NaN elsewhere.

    Args:
        variables: By name, as for `xarray.Dataset`.
        record: The record of the same pass.
    """
    dims = [getattr(one, "dims", one[0]) for one in variables.values()]
    mask = {"token_mask": record["token_mask"].variable} if any("token" in of_one for of_one in dims) else {}
    return {**variables, **mask}


def result_attributes(
    record: xr.Dataset, name: str, *, absent: Mapping[str, str], notes: Sequence[str], **settings: Any
) -> dict[str, Any]:
    """Return the attributes of a result: what made it, what is not there and why, and what to know of it.

    Args:
        record: The record of the survey.
        name: The intervention.
        absent: What the result lacks, with the reasons.
        notes: Sentences beside those of the record.
        settings: What was asked for.
    """
    own = {key: record.attrs[key] for key in (*_KEPT, *_ALSO) if key in record.attrs}
    return {
        **own,
        "intervention": name,
        **settings,
        "absent": dict(absent),
        "notes": [*own["notes"], *notes],
    }


def variables_of(
    drawn: Mapping[str, NDArray[np.float64]],
    dims: tuple[str, ...],
    words: Mapping[str, tuple[str, str]],
    *,
    has_drawn: bool,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return means over draws and their spread as variables of a data set, and what is not there.

    Args:
        drawn: `[draw, *dims]` by name.
        dims: The dims after the first.
        words: Per name its long name and unit.
        has_drawn: Whether the model draws at random.
    """
    variables, absent = {}, {}
    for name, values in drawn.items():
        long_name, units = words[name]
        variables[name] = (dims, values.mean(0), {"long_name": long_name, "units": units})
        if len(values) > 1:
            spread = {"long_name": f"{long_name}, std over draws", "units": units}
            variables[f"{name}_std"] = (dims, values.std(0, ddof=1), spread)
        else:
            absent[f"{name}_std"] = ONE_DRAW if has_drawn else NO_DRAW
    return variables, absent
