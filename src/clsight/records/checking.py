"""What a record must hold: the schema as data, `check` that compares with it, `need` that fetches."""

import os
from typing import Any, Final

import numpy as np
import xarray as xr

from clsight.errors import RecordError, did_you_mean
from clsight.schema import DIMS, DIRECTIONS, KEPT_BY, SCHEMA_VERSION, TOKEN_KINDS

STACK_DIMS: Final = ("strategy", "seed", "step")
"""Dimensions that `clsight.stack` puts in front of what one capture gives."""

_PER_TOKEN: Final = ("sample", "layer", "head", "token")
_PER_HEAD: Final = ("sample", "layer", "head", "head_dim")

VARIABLE_DIMS: Final[dict[str, tuple[str, ...]]] = {
    "attends_to": _PER_TOKEN,
    "attended_by": _PER_TOKEN,
    "query": _PER_HEAD,
    "key": _PER_HEAD,
    "value": _PER_HEAD,
    "value_norm": _PER_TOKEN,
    "attention_error": ("sample", "layer"),
    "keys": (*_PER_TOKEN, "head_dim"),
    "values": (*_PER_TOKEN, "head_dim"),
    "hidden": ("sample", "depth", "channel"),
    "contribution_norm": ("sample", "layer", "token"),
    "rollout": ("sample", "token"),
    "received": _PER_TOKEN,
    "attends_to_gradient": _PER_TOKEN,
    "logits": ("sample", "class"),
    "token_mask": ("sample", "token"),
    "layer_name": ("layer",),
    "token_text": ("sample", "token"),
    "token_kind": ("sample", "token"),
    "row": ("sample", "token"),
    "column": ("sample", "token"),
    "label": ("sample",),
    "cls_position": ("sample",),
    "class_name": ("class",),
}
"""The dims of every variable and coordinate the schema knows; a stacked record puts `STACK_DIMS` in front."""

_ROUNDING: Final = 1e-3
"""How far weights may be off: above what rounding to half precision does, below any mistake that shows."""

_WEIGHTS: Final = {
    "attends_to": "floating weights in [0, 1] that sum to 1 over `token`, or to 0 where CLS may see no token",
    "attended_by": "floating weights in [0, 1], or NaN where a token is padding or has no query",
}

_REQUIRED: Final = ("attends_to", "token_mask", "layer_name", "token_text", "token_kind", *_PER_TOKEN)
_REQUIRED_ATTRIBUTES: Final = ("schema_version", "cls_index")


def check(record: xr.Dataset, *, where: str = "") -> None:
    """Raise unless the record follows the schema: version, variables, dims, values, attributes.

    Variables the schema does not know are allowed, so that a new measure can be stored beside the others.

    Args:
        record: The dataset to look at, plain or stacked.
        where: Where it came from, such as a file name, for the message.

    Raises:
        RecordError: At the first thing that is missing or has another form than the schema says.
    """
    check_is_record(record, "record", where=where)
    _check_version(record, where)
    _check_present(record, where)
    for name in map(str, record.variables):
        if name in VARIABLE_DIMS:
            _check_dims(name, record[name].dims, where)
    _check_cls_index(record, where)
    _check_kinds(record, where)
    _check_row_sums(record["attends_to"], where)
    for name in DIRECTIONS:
        if name in record.variables:
            _check_bounds(record[name], where)
    _check_attributes(dict(record.attrs), where)


def need(record: xr.Dataset, name: str, *, asked_by: str) -> xr.DataArray:
    """Return a variable of the record, or say why it is not there and how to get it.

    Args:
        record: A plain, stacked or partly selected record.
        name: Name of a variable or coordinate.
        asked_by: The function that needs it; the subject of the message.

    Raises:
        RecordError: If the variable is absent; gives the record's own reason when it has one.
    """
    check_is_record(record, asked_by)
    if name in record.variables:
        return record[name]
    reason = dict(record.attrs.get("absent", {})).get(name, "")
    raise RecordError(
        asked_by,
        expected=f"a record with `{name}`",
        got="one without it",
        where=f"The record says: {reason}" if reason else "",
        next_step=_how_to_get(name, record, has_reason=bool(reason)),
    )


def _how_to_get(name: str, record: xr.Dataset, *, has_reason: bool) -> str:
    """Return how a record comes to hold a variable."""
    if name in KEPT_BY:
        when = "Where that can be helped, capture again" if has_reason else "Capture again"
        return f"{when} with keep={KEPT_BY[name]!r}"
    if name in VARIABLE_DIMS:
        return f"Capture again so that the record holds `{name}`"
    return did_you_mean(name, map(str, record.variables))


def check_is_record(record: object, subject: str, *, where: str = "") -> None:
    """Raise unless this is a data set at all, and not, say, the path of one."""
    if not isinstance(record, xr.Dataset):
        is_path = isinstance(record, str | os.PathLike)
        raise RecordError(
            subject,
            expected="a record, an xarray.Dataset",
            got=f"{record!r}" if record is None or is_path else f"an object of type {type(record).__name__}",
            where=where,
            next_step="Open it first: clsight.open_record(path)"
            if is_path
            else "Pass what `clsight.capture` returns",
        )


def _check_version(record: xr.Dataset, where: str) -> None:
    version = record.attrs.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool):
        raise RecordError(
            "schema_version",
            expected=f"a clsight record, whose attributes hold an integer of at most {SCHEMA_VERSION}",
            got="a data set without it" if version is None else repr(version),
            where=where,
            next_step="Give a data set made by `clsight.capture`, or a file made by `clsight.save_record`",
        )
    if version > SCHEMA_VERSION:
        raise RecordError(
            "schema_version",
            expected=f"at most {SCHEMA_VERSION}, which this clsight reads",
            got=f"{version}",
            where=where,
            next_step="Install a newer clsight: pip install --upgrade clsight",
        )


def _check_present(record: xr.Dataset, where: str) -> None:
    absent = set(record.attrs.get("absent", {}))
    required = [*_REQUIRED, *([] if "attended_by" in absent else ["attended_by"])]
    missing = [name for name in required if name not in record.variables]
    missing += [f"attrs[{name!r}]" for name in _REQUIRED_ATTRIBUTES if name not in record.attrs]
    if missing:
        raise RecordError(
            "record",
            expected=f"{len(required)} variables and coordinates that every record has",
            got=f"one without {', '.join(missing)}",
            where=where,
            next_step="Make the record with `clsight.capture`",
        )


def _check_dims(name: str, dims: tuple[Any, ...], where: str) -> None:
    expected = VARIABLE_DIMS[name]
    leading = tuple(dim for dim in dims if dim in STACK_DIMS)
    in_order = tuple(sorted(leading, key=DIMS.index))
    if tuple(dims) != in_order + expected:
        raise RecordError(
            name,
            expected=f"dims ({', '.join(expected)}), after {', '.join(STACK_DIMS)} in a stacked record",
            got=f"({', '.join(map(str, dims))})",
            where=where,
            next_step=f"Reorder with record[{name!r}].transpose(...)",
        )


def _check_cls_index(record: xr.Dataset, where: str) -> None:
    index, tokens = record.attrs["cls_index"], record.sizes["token"]
    if index is None and "cls_position" in record.variables:
        found = record["cls_position"].values
        is_there = found.dtype.kind == "i" and bool(((found >= 0) & (found < tokens)).all())
    else:
        found = index
        is_there = isinstance(index, int) and not isinstance(index, bool) and 0 <= index < tokens
    if not is_there:
        raise RecordError(
            "cls_index",
            expected=f"the position of [CLS], an integer from 0 to {tokens - 1}",
            got=repr(found.tolist() if isinstance(found, np.ndarray) else found),
            where=where,
            next_step="Set record.attrs['cls_index'] to the position [CLS] has; where samples differ, to "
            "None, and give the coordinate `cls_position` (sample)",
        )


def _check_kinds(record: xr.Dataset, where: str) -> None:
    unknown = sorted({str(kind) for kind in record["token_kind"].values.ravel()} - set(TOKEN_KINDS))
    if unknown:
        raise RecordError(
            "token_kind",
            expected=f"one of {', '.join(TOKEN_KINDS)}",
            got=", ".join(repr(kind) for kind in unknown),
            where=where,
            next_step=did_you_mean(unknown[0], TOKEN_KINDS),
        )


def _check_row_sums(row: xr.DataArray, where: str) -> None:
    if row.dtype.kind != "f":
        raise _wrong_weights(row, {}, f"dtype {row.dtype}", where)
    with np.errstate(invalid="ignore"):  # inf − inf is NaN, which is told below
        sums = row.sum("token", dtype=np.float64, skipna=False)
    wrong = (abs(sums - 1) > _ROUNDING) & (sums != 0) | sums.isnull()
    if bool(wrong.any()):
        at = _first(wrong)
        raise _wrong_weights(row, at, f"a sum of {float(sums.isel(at)):.4g}", where)


def _check_bounds(weights: xr.DataArray, where: str) -> None:
    if weights.dtype.kind != "f":
        raise _wrong_weights(weights, {}, f"dtype {weights.dtype}", where)
    wrong = (weights < 0) | (weights > 1 + _ROUNDING)  # both are False for NaN
    if bool(wrong.any()):
        at = _first(wrong)
        raise _wrong_weights(weights, at, f"{float(weights.isel(at)):.4g}", where)


def _first(wrong: xr.DataArray) -> dict[Any, int]:
    """Return the first place that is True, as a position along each dim."""
    return dict(zip(wrong.dims, map(int, np.argwhere(wrong.values)[0]), strict=True))


def _wrong_weights(weights: xr.DataArray, at: dict[Any, int], got: str, where: str) -> RecordError:
    place = ", ".join(f"{dim}={position}" for dim, position in at.items())
    return RecordError(
        f"{weights.name} at {place}" if place else str(weights.name),
        expected=_WEIGHTS[str(weights.name)],
        got=got,
        where=where,
        next_step="Capture again, and keep what you compute from the weights under another name",
    )


def _check_attributes(attributes: dict[Any, Any], where: str) -> None:
    for path, value in _leaves(attributes, "attrs"):
        if not (value is None or type(value) in (str, int, float, bool)):
            raise RecordError(
                path,
                expected="plain values that JSON can hold (text, numbers, booleans, None, lists, dicts)",
                got=f"{type(value).__module__}.{type(value).__qualname__}",
                where=where,
                next_step="Convert it first, for example with `.item()`, `str()` or `list()`",
            )


def _leaves(value: Any, path: str) -> list[tuple[str, Any]]:
    """Return each value inside nested lists and dicts that is neither, with its path."""
    if type(value) is list:
        return [leaf for i, item in enumerate(value) for leaf in _leaves(item, f"{path}[{i}]")]
    if type(value) is dict and all(type(key) is str for key in value):
        return [leaf for key, item in value.items() for leaf in _leaves(item, f"{path}[{key!r}]")]
    return [(path, value)]
