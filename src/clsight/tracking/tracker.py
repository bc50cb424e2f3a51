"""Track a training loop: `clsight.tracking.Tracker`."""

import os
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import torch
import xarray as xr
from torch import nn

from clsight.errors import ClsightError, TrackingError
from clsight.hooks.calls import LogitsOf
from clsight.hooks.forward import ClsIndex
from clsight.hooks.model_call import model_call
from clsight.hooks.recorder import TokenMask
from clsight.records import check_same_inputs, open_record
from clsight.tracking import tensorboard_scalars
from clsight.tracking.pieces import Piece, steps_in
from clsight.tracking.probe import Probe, looked_at
from clsight.tracking.scalars import Scalars
from clsight.tracking.training_folder import (
    INPUTS,
    add_step,
    drop_steps_after,
    is_training,
    piece_of,
    start_training,
)

if TYPE_CHECKING:
    from clsight.loading import Subject


class TrackingWarning(UserWarning):
    """A step of a training that goes on is not in its record."""


class Tracker:
    """Record what CLS sees while a model is trained, every so many steps, on the same inputs.

    The training goes on as if nobody looked: weights, gradients, mode and random streams stay as they are.
    The state before training is recorded at once, so that inputs which do not fit fail before training. Later
    a step that cannot be captured or written is told by a `TrackingWarning`, and the training goes on.

    Args:
        module_or_subject: The module that is trained, or a subject with it. One process alone tracks.
        probe_inputs: As for `clsight.capture`: a fixed batch of few samples.
        every: Record each step whose number is a multiple of this.
        path: Folder of the record; must hold none yet, unless `resume_at` is given.
        keep: What else to keep, as for `clsight.capture`; by default the weights alone.
        cls_index: Likewise, and `token_mask`, `within` and `output`.
        tensorboard: Write scalars for TensorBoard too; by default if it is installed.
        resume_at: Number of steps done before, where a training goes on from a checkpoint: later steps in
            the record are dropped.

    Raises:
        TrackingError: If `every` or `path` does not fit, or the module is sharded over processes.
        CaptureError: If the model cannot be captured on these inputs.

    Example:
        >>> with Tracker(model, x[:4], every=100, path="training") as tracker:  # doctest: +SKIP
        ...     for batch in batches:
        ...         loss = train_one_step(model, batch)
        ...         tracker.step(loss=loss)
    """

    def __init__(
        self,
        module_or_subject: "nn.Module | Subject",
        probe_inputs: Any,
        *,
        every: int = 100,
        path: str | os.PathLike[str] = "training",
        keep: str | Iterable[str] = (),
        cls_index: ClsIndex | None = None,
        token_mask: TokenMask | None = None,
        within: str | None = None,
        output: LogitsOf = None,
        tensorboard: bool | None = None,
        resume_at: int | None = None,
    ) -> None:
        self.path = Path(path)
        self.steps = resume_at or 0
        self._every = _checked(every, resume_at)
        _check_free(self.path, resume_at)
        asked = (
            looked_at(module_or_subject) if isinstance(module_or_subject, nn.Module) else module_or_subject
        )
        call = model_call(asked, probe_inputs, cls_index=cls_index, token_mask=token_mask, within=within)
        self._probe = Probe(replace(call, module=looked_at(call.module)), keep=keep, output=output)
        self._scalars = Scalars()
        self._last_recorded: int | None = None
        self._is_open = True
        now = self._probe.record()
        self._first = _begin(self.path, now, resume_at)
        wanted = tensorboard_scalars.is_installed() if tensorboard is None else tensorboard
        self._board = tensorboard_scalars.TensorBoard(self.path, purge_after=resume_at) if wanted else None
        if self.steps not in steps_in(self.path):
            self._write(now, {})
        self._last_recorded = self.steps

    def step(self, /, **scalars: Any) -> None:
        """Count one step of the training; call it after the optimizer's.

        Args:
            scalars: What to keep beside the maps, such as `loss=loss`: a number or a tensor with one. A
                tracked step gets the last value told since the tracked step before it.

        Raises:
            TrackingError: If a scalar is no number, or has a name that a record has already.
        """
        self._scalars.tell(scalars)
        self.steps += 1
        if self.steps % self._every == 0:
            self._record()

    def record_now(self, /, **scalars: Any) -> None:
        """Record the present step whatever its number, unless it is recorded already.

        Args:
            scalars: As for `step`.

        Raises:
            TrackingError: As `step`.
        """
        self._scalars.tell(scalars)
        if self._last_recorded != self.steps:
            self._record()

    def tell(self, /, **scalars: Any) -> None:
        """Note scalars without counting a step; otherwise as `step`."""
        self._scalars.tell(scalars)

    def close(self, *, record_last: bool = True) -> None:
        """Record the last step, and close; further calls do nothing. The `with` block calls it.

        Args:
            record_last: False where the model is not in the state after its last step any more.
        """
        if not self._is_open:
            return
        if record_last:
            self.record_now()
        self._is_open = False
        if self._board is not None:
            self._board.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(record_last=error is None)  # else the training stopped in the middle of a step

    def _record(self) -> None:
        """Record the present step, or warn that it cannot be."""
        scalars = self._scalars.take()
        self._last_recorded = self.steps
        try:
            try:
                record = self._probe.record()
            except (ClsightError, torch.OutOfMemoryError) as error:
                self._warn(error)
                add_step(self.path, self.steps, Piece(scalars=scalars, failure=str(error)))
            else:
                self._write(record, scalars)
        except ClsightError as error:
            self._warn(error)

    def _write(self, record: xr.Dataset, scalars: dict[str, float]) -> None:
        add_step(self.path, self.steps, piece_of(record, self._first, scalars))
        if self._board is not None:
            try:
                self._board.write(self.steps, record, scalars)
            except OSError as error:
                self._board = None
                told = f"TensorBoard gets no scalars from step {self.steps} on: {error}"
                warnings.warn(told, TrackingWarning, stacklevel=5)

    def _warn(self, error: Exception) -> None:
        told = f"Step {self.steps} has no maps in the training record {self.path}: {error}"
        warnings.warn(told, TrackingWarning, stacklevel=4)


def _checked(every: int, resume_at: int | None) -> int:
    for name, value, least in (("every", every, 1), ("resume_at", resume_at, 0)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise TrackingError(
                name,
                expected=f"a whole number of steps, {least} or more",
                got=repr(value),
                next_step="Use every=100, or less for a short training"
                if name == "every"
                else "Pass the number of steps that the checkpoint has behind it",
            )
    return every


def _check_free(path: Path, resume_at: int | None) -> None:
    if path.exists() and not path.is_dir():
        raise TrackingError(
            str(path),
            expected="a folder, or a free name",
            got="a file of that name",
            next_step="Choose another path",
        )
    if resume_at is None and is_training(path) and steps_in(path):
        raise TrackingError(
            str(path),
            expected="a folder without a training record",
            got=f"one with {len(steps_in(path))} steps",
            next_step="Choose another path; or, where that training goes on, pass resume_at=, the number of "
            "steps that its checkpoint has behind it",
        )


def _begin(path: Path, now: xr.Dataset, resume_at: int | None) -> xr.Dataset:
    """Return the first record of the training, written where there is none yet."""
    if resume_at is None or not is_training(path):
        start_training(path, now)
        return now
    first = open_record(path / INPUTS)
    check_same_inputs({"the training so far": first, "the one that goes on": now}, asked_by="Tracker")
    piece_of(now, first, {})  # layers and heads, too
    drop_steps_after(path, resume_at)
    return first
