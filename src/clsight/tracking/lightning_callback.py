"""Track a training of Lightning's `Trainer`: `clsight.tracking.LightningCallback`."""

import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from torch import nn

from clsight.loading.optional_libraries import needing
from clsight.tracking.scalars import is_number, plain_name
from clsight.tracking.tracker import Tracker

LightningCallback: type["LightningHooks"]
"""Made on first use, as its other base needs lightning."""


class LightningHooks:
    """A callback for Lightning's `Trainer` that records what CLS sees, as `Tracker` does.

    It writes in the main process alone. What the module logs with `self.log` goes with the tracked steps. A
    training that goes on from a checkpoint goes on with its record.

    Args:
        probe_inputs: As the module's `forward` takes them, or the examples of `subject`.
        every: Record each step of the optimizer whose number is a multiple of this.
        path: Folder of the record.
        module: From the LightningModule to the module to look at, such as `lambda own: own.encoder`; by
            default the LightningModule itself, by its `forward`.
        subject: What `clsight.load` returned, where its `module` is what is trained: it knows the tokens.
        options: Further options of `Tracker`.

    Example:
        >>> callback = LightningCallback(x[:4], every=100, path="training")  # doctest: +SKIP
        >>> Trainer(max_epochs=3, callbacks=[callback]).fit(model, loader)  # doctest: +SKIP
    """

    def __init__(
        self,
        probe_inputs: Any,
        *,
        every: int = 100,
        path: str | os.PathLike[str] = "training",
        module: Callable[[Any], nn.Module] | None = None,
        subject: Any = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self._probe_inputs, self._module, self._subject = probe_inputs, module, subject
        self._options = {"every": every, "path": path, **options}
        self._every = every
        self._tracker: Tracker | None = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Record the state before the first step."""
        if not trainer.is_global_zero:
            return
        module = pl_module if self._module is None else self._module(pl_module)
        looked_at = module if self._subject is None else self._subject
        resume = {"resume_at": trainer.global_step} if trainer.global_step else {}
        self._tracker = Tracker(looked_at, self._probe_inputs, **{**self._options, **resume})

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record a step that the optimizer has just made."""
        tracker = self._tracker
        if tracker is not None and trainer.global_step > tracker.steps:
            tracker.steps = trainer.global_step
            if tracker.steps % self._every == 0:
                self._tell(trainer)
                tracker.record_now()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Record the last step."""
        if self._tracker is not None:
            self._tell(trainer)
            self._tracker.close()
            self._tracker = None

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Close without a record: the training stopped in the middle of a step."""
        if self._tracker is not None:
            self._tracker.close(record_last=False)
            self._tracker = None

    def _tell(self, trainer: Any) -> None:
        logged = trainer.callback_metrics.items()
        told = {plain_name(name): value for name, value in logged if is_number(value)}
        if self._tracker is not None:
            self._tracker.tell(**told)


def __getattr__(name: str) -> Any:
    """Make the callback's class, whose other base is the library's (PEP 562)."""
    if name != "LightningCallback":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with needing("lightning", extra="lightning"):
        # Two packages hold the same classes; a trainer takes the callbacks of its own.
        if "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules:
            library = import_module("pytorch_lightning")
        else:
            library = import_module("lightning.pytorch")
    words = {"__doc__": LightningHooks.__doc__, "__module__": __name__}
    globals()[name] = type(name, (LightningHooks, library.Callback), words)
    return globals()[name]
