"""Track a training of transformers' `Trainer`: `clsight.tracking.TransformersCallback`."""

import os
from typing import Any

from clsight.loading.optional_libraries import needing
from clsight.tracking.scalars import is_number, plain_name
from clsight.tracking.tracker import Tracker

TransformersCallback: type["TransformersHooks"]
"""Made on first use, as its other base needs transformers."""


class TransformersHooks:
    """A callback for `transformers.Trainer` that records what CLS sees, as `Tracker` does.

    It writes in the main process alone. What the trainer logs (loss, learning rate, metrics of an evaluation)
    goes with the tracked steps. A training that goes on from a checkpoint goes on with its record.

    Args:
        probe_inputs: As the model takes them, a mapping from its tokenizer; or the examples of `subject`.
        every: Record each step whose number is a multiple of this.
        path: Folder of the record.
        subject: What `clsight.load` returned, where its `module` is what is trained: it knows the tokens.
        options: Further options of `Tracker`.

    Example:
        >>> inputs = tokenizer(texts, padding=True, return_tensors="pt")  # doctest: +SKIP
        >>> callback = TransformersCallback(inputs, every=100, path="training")  # doctest: +SKIP
        >>> Trainer(model, arguments, train_dataset=data, callbacks=[callback]).train()  # doctest: +SKIP
    """

    def __init__(
        self,
        probe_inputs: Any,
        *,
        every: int = 100,
        path: str | os.PathLike[str] = "training",
        subject: Any = None,
        **options: Any,
    ) -> None:
        self._probe_inputs, self._subject = probe_inputs, subject
        self._options = {"every": every, "path": path, **options}
        self._every = every
        self._tracker: Tracker | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record the state before the first step."""
        if state.is_world_process_zero:
            looked_at = kwargs["model"] if self._subject is None else self._subject
            resume = {"resume_at": state.global_step} if state.global_step else {}
            self._tracker = Tracker(looked_at, self._probe_inputs, **{**self._options, **resume})

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Note what the trainer logs; it does so after a step has ended, and before the next begins."""
        if self._tracker is not None:
            told = {plain_name(name): value for name, value in (logs or {}).items() if is_number(value)}
            self._tracker.tell(**told)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record the step that ended before, with what was logged of it."""
        if self._tracker is not None:
            self._tracker.steps = state.global_step
            if state.global_step % self._every == 0:
                self._tracker.record_now()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record the end of an epoch where the best weights come back after the last one."""
        if self._tracker is not None and args.load_best_model_at_end:
            self._tracker.steps = state.global_step
            self._tracker.record_now()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record the last step, unless the best weights are back in the model already."""
        if self._tracker is not None:
            self._tracker.steps = state.global_step
            self._tracker.close(record_last=not args.load_best_model_at_end)
            self._tracker = None


def __getattr__(name: str) -> Any:
    """Make the callback's class, whose other base is the library's (PEP 562)."""
    if name != "TransformersCallback":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with needing("transformers", extra="huggingface"):
        from transformers import TrainerCallback
    words = {"__doc__": TransformersHooks.__doc__, "__module__": __name__}
    globals()[name] = type(name, (TransformersHooks, TrainerCallback), words)
    return globals()[name]
