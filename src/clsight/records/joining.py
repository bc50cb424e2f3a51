"""Several records as one: `concat` puts more samples behind each other, `stack` puts models side by side."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.dtypes import StringDType

from clsight.errors import RecordError, did_you_mean
from clsight.records.checking import STACK_DIMS, check
from clsight.records.sameness import Same, check_same_inputs, differ
from clsight.schema import DIMS

_SAME_MODEL: Final = ("model", "checkpoint_sha256", "strategy", "schema_version")
_PAD_VALUES: Final[dict[str, Any]] = {
    "attends_to": 0.0,
    "token_mask": False,
    "token_kind": "pad",
    "token_text": "",
    "row": -1,
    "column": -1,
}


def concat(records: Sequence[xr.Dataset]) -> xr.Dataset:
    """Return one record with the samples of all, numbered from 0, shorter sequences padded.

    Padding has weight 0 in `attends_to`, NaN in `attended_by` and other measured variables, mask False, kind
    `pad`, empty text, row and column -1. Variables that some record lacks are left out and named in
    `attrs["absent"]`; attributes that differ are kept per record in `attrs["members"]`.

    Args:
        records: Records of one model, with the same layers, heads and head size.

    Raises:
        RecordError: If there is no record, or they differ in model, layers, heads or head size.
    """
    if isinstance(records, xr.Dataset | Mapping | str) or not isinstance(records, Iterable):
        raise _no_collection("clsight.concat", "a list of records", records, "[first, second]")
    named = {str(position): record for position, record in enumerate(records)}
    _check_members(named, "clsight.concat")
    _same_model(named)
    named = _with_positions(named)
    length = max(record.sizes["token"] for record in named.values())
    _, dropped = _common_variables(named)
    parts = [_padded(record.drop_vars(dropped, errors="ignore"), length) for record in named.values()]
    joined: xr.Dataset = xr.concat(
        parts, "sample", data_vars="minimal", coords="minimal", compat="override", join="exact"
    )
    joined = joined.assign_coords(sample=np.arange(joined.sizes["sample"]))
    return _finish(joined, named, dropped, "not in every record that was joined")


def stack(records: Mapping[Any, xr.Dataset], dim: str = "strategy") -> xr.Dataset:
    """Return one record in which several models that saw the same inputs stand side by side.

    Measured variables get `dim` in front; what must be equal (tokens, masks, labels) stays without it.
    Attributes that differ are kept per model in `attrs["members"][name]`.

    Args:
        records: Records by name, such as `{"learned": a, "zeros": b}`; integers for `seed` and `step`.
        dim: The new dimension: `strategy`, `seed` or `step`.

    Raises:
        RecordError: If inputs, layers, heads or head size differ, or `dim` is unknown or already there.

    Example:
        >>> stacked = clsight.stack({"learned": a, "zeros": b})           # doctest: +SKIP
        >>> clsight.analysis.difference(clsight.analysis.entropy(stacked))  # doctest: +SKIP
    """
    if dim not in STACK_DIMS:
        raise RecordError(
            "clsight.stack", expected="a known `dim`", got=repr(dim), next_step=did_you_mean(dim, STACK_DIMS)
        )
    if isinstance(records, xr.Dataset) or not isinstance(records, Mapping):
        raise _no_collection(
            "clsight.stack", "records by name", records, '{"learned": first, "zeros": second}'
        )
    _check_members(records, "clsight.stack")
    _check_free(records, dim)
    check_same_inputs(records, asked_by="clsight.stack")
    common, dropped = _common_variables(records)
    stacked_names = [
        name for name in common if name in next(iter(records.values())).data_vars and name != "token_mask"
    ]
    first = next(iter(records.values())).drop_vars(dropped, errors="ignore")
    joined = first.assign({name: _side_by_side(records, name, dim) for name in stacked_names})
    joined = joined.assign_coords({dim: _names(list(records))})
    return _finish(joined, records, dropped, "not in every record that was stacked")


def _no_collection(subject: str, expected: str, got: object, example: str) -> RecordError:
    word = "a single record" if isinstance(got, xr.Dataset) else f"an object of type {type(got).__name__}"
    return RecordError(subject, expected=expected, got=word, next_step=f"Call {subject}({example})")


def _check_members(records: Mapping[Any, xr.Dataset], subject: str) -> None:
    if not records:
        raise RecordError(
            subject,
            expected="at least one record",
            got="none",
            next_step="Capture one: `clsight.capture(...)`",
        )
    same: Same = "inputs" if subject == "clsight.stack" else "model"
    first_name, first = next(iter(records.items()))
    for name, record in records.items():
        check(record, where=f"Record {name!r}")
        for dim in ("layer", "head", "head_dim", "depth", "channel", "class"):
            if dim in first.sizes and dim in record.sizes and first.sizes[dim] != record.sizes[dim]:
                here, there = (first_name, first.sizes[dim]), (name, record.sizes[dim])
                raise differ(subject, dim, here, there, same=same)
        for coordinate in ("layer", "head", "layer_name"):
            here, there = first[coordinate].values.tolist(), record[coordinate].values.tolist()
            if here != there:
                raise differ(subject, coordinate, (first_name, here), (name, there), same=same)


def _same_model(records: Mapping[Any, xr.Dataset]) -> None:
    first_name, first = next(iter(records.items()))
    for name, record in records.items():
        for attribute in _SAME_MODEL:
            here, there = first.attrs.get(attribute), record.attrs.get(attribute)
            if here != there:
                raise differ("clsight.concat", attribute, (first_name, here), (name, there), same="model")


def _with_positions(records: dict[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Return the records, where [CLS] stands at different places with its position in each sample."""
    if len({record.attrs["cls_index"] for record in records.values()}) == 1:
        return records
    return {
        name: record
        if record.attrs["cls_index"] is None
        else record.assign_coords(
            cls_position=("sample", np.full(record.sizes["sample"], record.attrs["cls_index"]))
        ).assign_attrs(cls_index=None)
        for name, record in records.items()
    }


def _check_free(records: Mapping[Any, xr.Dataset], dim: str) -> None:
    taken = [name for name, record in records.items() if dim in record.dims]
    if taken:
        raise RecordError(
            "clsight.stack",
            expected=f"records without a `{dim}` dimension",
            got=f"{taken[0]!r} with one",
            next_step=f"Select one first: record.sel({dim}=...)",
        )


def _common_variables(records: Mapping[Any, xr.Dataset]) -> tuple[list[Hashable], list[str]]:
    """Return the variables that all records have, and the names of those that only some have."""
    every = list(dict.fromkeys(name for record in records.values() for name in record.variables))
    common = [name for name in every if all(name in record.variables for record in records.values())]
    return common, [str(name) for name in every if name not in common]


def _padded(record: xr.Dataset, length: int) -> xr.Dataset:
    missing = length - record.sizes["token"]
    if not missing:
        return record.assign_coords(token=np.arange(length))
    padded = {
        name: record[name].variable.pad(token=(0, missing), constant_values=_pad_value(record, name))
        for name in record.variables
        if "token" in record[name].dims and name != "token"
    }
    rest = record.drop_vars([*padded, "token"])
    coordinates = {name: padded.pop(name) for name in list(padded) if name in record.coords}
    return rest.assign(padded).assign_coords(coordinates).assign_coords(token=np.arange(length))


def _pad_value(record: xr.Dataset, name: Hashable) -> Any:
    """Return what padding holds: the schema's value, else NaN, or -1 for integers, False and empty text."""
    kind = record[name].dtype.kind
    return _PAD_VALUES.get(str(name), {"f": np.nan, "i": -1, "b": False, "T": ""}.get(kind, 0))


def _side_by_side(records: Mapping[Any, xr.Dataset], name: Hashable, dim: str) -> xr.Variable:
    arrays = [record[name] for record in records.values()]
    joined = xr.Variable(
        (dim, *arrays[0].dims), np.stack([array.values for array in arrays]), arrays[0].attrs
    )
    order = [known for known in DIMS if known in joined.dims]
    return joined.transpose(*order, *(other for other in joined.dims if other not in order))


def _names(names: list[Any]) -> Any:
    return np.array(names, dtype=StringDType() if isinstance(names[0], str) else None)


def _finish(
    joined: xr.Dataset, records: Mapping[Any, xr.Dataset], dropped: list[str], reason: str
) -> xr.Dataset:
    """Return the joined record with merged attributes, in the schema's form."""
    members = {str(name): dict(record.attrs) for name, record in records.items()}
    first = next(iter(members.values()))
    merged = {
        key: value
        for key, value in first.items()
        if key != "members" and all(other.get(key, _MISSING) == value for other in members.values())
    }
    merged["sequence_length"] = joined.sizes["token"]
    merged["notes"] = list(dict.fromkeys(n for each in members.values() for n in each.get("notes", [])))
    absent = {name: why for each in members.values() for name, why in each.get("absent", {}).items()}
    merged["absent"] = {**dict.fromkeys(dropped, reason), **absent}
    merged["members"] = {
        name: {key: value for key, value in each.items() if merged.get(key, _MISSING) != value}
        for name, each in members.items()
    }
    joined.attrs = merged
    check(joined)
    return joined


_MISSING: Final = object()
