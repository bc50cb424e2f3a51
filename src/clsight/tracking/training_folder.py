"""A training record: a folder with what stays the same in one record, and a piece for each tracked step."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

from clsight.errors import RecordError
from clsight.records import check, open_record, save_record
from clsight.tracking.pieces import (
    Piece,
    damaged,
    piece_path,
    read_piece,
    remove_unfinished,
    steps_in,
    write_piece,
)

INPUTS: Final = "inputs.zarr.zip"
"""The first record: its tokens, labels and attributes hold for every step."""

_RUN_RECORD: Final = "record.zarr.zip"
"""Where a run of a study keeps its own: `clsight.study.packing.RECORD_FILE`, which needs torch to import."""

_HALF: Final = (
    "The weights of each step were stored in half precision: errors up to 0.05 %, of weights below 0.00006 "
    "up to 0.00000003"
)
_CONSTANT: Final = ("token_mask",)


def open_training(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read a training record: all whole steps that are there now, also while the training goes on.

    Args:
        path: The folder that a `Tracker` or a callback writes, or that of a run of a study.

    Returns:
        A record (docs/record.md) with the dim `step` in front of what was measured, as `clsight.stack` makes
        it, and a variable with the dim `step` for each scalar that was given, such as `loss`; NaN at steps
        where it was not. Steps that could not be captured are told in `attrs["notes"]`. The run of a study
        has its scalars in `history.csv`.

    Raises:
        RecordError: If there is no training record, none of its steps is whole, or a file is damaged.

    Example:
        >>> training = clsight.tracking.open_training("training")  # doctest: +SKIP
        >>> clsight.analysis.entropy(training).mean(["sample", "head"])  # doctest: +SKIP
    """
    folder = Path(path)
    if not is_training(folder):
        if (folder / _RUN_RECORD).is_file() and "step" in (run := open_record(folder / _RUN_RECORD)).dims:
            return run
        got = "a folder without it" if folder.is_dir() else "no folder of that name"
        raise RecordError(
            str(folder),
            expected=f"the folder of a training record, with {INPUTS!r} in it",
            got=got,
            next_step="Make one: clsight.tracking.Tracker(module, probe_inputs, path=...)",
        )
    first, pieces = open_record(folder / INPUTS), _pieces(folder)
    whole = {step: piece for step, piece in pieces.items() if piece.arrays}
    if not whole:
        raise RecordError(
            str(folder),
            expected="at least one step of a training",
            got="none that could be captured" if pieces else "none yet",
            next_step="Open it again after the first tracked step",
        )
    for step, piece in whole.items():
        _check_fits(first, piece, piece_path(folder, step))
    record = _with_steps(first, whole).assign_attrs(_attributes(first, pieces))
    check(record, where=f"In {folder}")
    return record


def is_training(folder: Path) -> bool:
    """Tell whether a folder is a training record."""
    return (folder / INPUTS).is_file()


def start_training(folder: Path, first: xr.Dataset) -> None:
    """Write what holds for every step, from the first record, into a new or existing folder.

    Raises:
        RecordError: If the disk refuses.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refused(folder, error) from error
    remove_unfinished(folder)
    save_record(first, folder / INPUTS)


def add_step(folder: Path, step: int, piece: Piece) -> None:
    """Append one step; whole or not at all.

    Raises:
        RecordError: If the disk refuses.
    """
    try:
        write_piece(folder, step, piece)
    except OSError as error:
        raise _refused(piece_path(folder, step), error) from error


def drop_steps_after(folder: Path, step: int) -> None:
    """Remove the steps of a training that went on from an earlier one."""
    remove_unfinished(folder)
    for later in steps_in(folder):
        if later > step:
            piece_path(folder, later).unlink()


def piece_of(record: xr.Dataset, first: xr.Dataset, scalars: Mapping[str, float]) -> Piece:
    """Return what a record says that the first one of its training does not.

    Raises:
        RecordError: If its layers, heads or tokens are not those of the first.
    """
    measured = [str(name) for name in record.data_vars if name not in _CONSTANT]
    known = first.attrs.get("absent", {})
    absent = {name: why for name, why in record.attrs.get("absent", {}).items() if known.get(name) != why}
    notes = tuple(note for note in record.attrs.get("notes", []) if note not in first.attrs.get("notes", []))
    piece = Piece({name: record[name].values for name in measured}, scalars, absent, notes)
    _check_fits(first, piece, None)
    return piece


def _pieces(folder: Path) -> dict[int, Piece]:
    """Return each step that is there; one that a restarted training just took back is not."""
    found = {}
    for step in steps_in(folder):
        try:
            found[step] = read_piece(piece_path(folder, step))
        except FileNotFoundError:
            continue
    return found


def _check_fits(first: xr.Dataset, piece: Piece, path: Path | None) -> None:
    """Raise unless the arrays of a step have the sizes of the first record's."""
    for name, array in piece.arrays.items():
        if name in first.data_vars and array.shape != first[name].shape:
            got = f"{name} of {array.shape}, where the first step has {first[name].shape}"
            if path is not None:
                raise damaged(path, got)
            raise RecordError(
                "training record",
                expected="the layers, heads and tokens of the first step",
                got=got,
                next_step="Track a model whose layers stay the same",
            )


def _with_steps(first: xr.Dataset, pieces: Mapping[int, Piece]) -> xr.Dataset:
    """Return the first record with `step` in front of all that every piece holds, and the scalars."""
    common = [
        str(name)
        for name in first.data_vars
        if name not in _CONSTANT and all(name in piece.arrays for piece in pieces.values())
    ]
    rest = first.drop_vars([name for name in first.data_vars if name not in (*common, *_CONSTANT)])
    stacked = {
        name: (("step", *first[name].dims), np.stack([piece.arrays[name] for piece in pieces.values()]))
        for name in common
    }
    told = dict.fromkeys(name for piece in pieces.values() for name in piece.scalars)
    scalars = {
        name: ("step", np.array([piece.scalars.get(name, np.nan) for piece in pieces.values()]))
        for name in told
    }
    return rest.assign({**stacked, **scalars}).assign_coords(step=np.array(list(pieces), dtype=np.int64))


def _attributes(first: xr.Dataset, pieces: Mapping[int, Piece]) -> dict[str, Any]:
    """Return the attributes that hold for all steps together."""
    absent = {name: why for piece in pieces.values() for name, why in piece.absent.items()}
    own = dict.fromkeys(note for piece in pieces.values() for note in piece.notes)
    failed = [_failure(step, piece) for step, piece in pieces.items() if piece.failure]
    return {
        "absent": {**first.attrs.get("absent", {}), **absent},
        "notes": [*first.attrs.get("notes", []), *own, *failed, _HALF],
    }


def _failure(step: int, piece: Piece) -> str:
    told = ", ".join(f"{name} {value:.6g}" for name, value in piece.scalars.items())
    return f"Step {step} has no maps{f' ({told})' if told else ''}: {piece.failure}"


def _refused(path: Path, error: OSError) -> RecordError:
    return RecordError(
        str(path),
        expected="a place that can be written",
        got=str(error),
        next_step="Free disk space or choose another folder",
    )
