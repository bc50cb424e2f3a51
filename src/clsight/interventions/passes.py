"""Forward passes of one model in which a listener may put something else in place of what attention gave.

The first pass is a survey: it makes the capture's own checks and tells which attention calls are layers. All
further passes hook the module in the same way, run in eval mode and without gradients, start every random
stream where they are told, and leave the module as it was.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from clsight.errors import CaptureError
from clsight.hooks.calls import (
    arguments_of,
    batch_sizes,
    logits_of,
    resolve_cls_index,
    stated_token_mask,
    with_tensors,
)
from clsight.hooks.forward import Forward, Settings
from clsight.hooks.layers import named_parts
from clsight.hooks.model_call import ModelCall
from clsight.hooks.moving import sequence_in
from clsight.hooks.operations import AttentionCall, Skipped
from clsight.hooks.positions import Position
from clsight.hooks.random_streams import stream_states, undisturbed
from clsight.hooks.selection import is_inside
from clsight.hooks.watching import Listeners, Watching, original_of
from clsight.interventions.plan import Plan, Site, Where, plan_of, sites_of

Listener = Callable[[int, AttentionCall], Tensor | None]
"""Told which attention call of a pass this is, from 0; a tensor laid out as its `raw_output` replaces it."""

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""What a module is called with, by position and by name."""


@dataclass(frozen=True)
class Answer:
    """What a forward pass said.

    Attributes:
        logits: `[sample, class]` in float64; None if there are none.
        why_no_logits: The reason then.
        state: `[sample, channel]` in float64, CLS as it leaves the last layer; None if it was not found.
    """

    logits: Tensor | None
    why_no_logits: str
    state: Tensor | None


class Passes:
    """Forward passes of one call. Use as a context manager: hooks and lock are held inside the block.

    Args:
        call: The module and its inputs.
        output: From the module's output to its logits; None to find them.

    Attributes:
        module: The module whose Python code runs.
        parts: Every submodule by name; "" is the module itself.
        runs: How often each submodule has run to its end in the last pass.
        states: `[sample, channel]`, CLS as it left each run of a layer's submodule in the last pass, by name
            and run.
    """

    def __init__(self, call: ModelCall, *, output: Callable[[Any], Tensor] | None = None) -> None:
        self.module = original_of(call.module)
        self.parts = named_parts(self.module)
        self._call, self._output = call, call.output if output is None else output
        self._sizes = batch_sizes(call.inputs)
        self._exit = ExitStack()
        self._hear: Callable[[AttentionCall, tuple[str, ...]], Tensor | None] = lambda *_: None
        self._forward: Forward | None = None
        self._paths: list[tuple[str, ...]] = []
        self.runs: Counter[str] = Counter()
        self._tokens = 0
        self._position: Position | None = None
        self.states: dict[tuple[str, int], Tensor] = {}
        self._sites: tuple[Site, ...] = ()

    def __enter__(self) -> Self:
        listeners = Listeners(
            on_attention=self._on_attention,
            on_linear=self._on_linear,
            on_leave=self._on_leave,
            sizes=lambda: self._sizes,
        )
        with ExitStack() as stack:
            self._watching = stack.enter_context(Watching(self.module, listeners))
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    @property
    def position(self) -> Position:
        """Where CLS stands in the attention call that runs, or ran last."""
        assert self._position is not None
        return self._position

    def survey(self, seed: int, listener: Listener = lambda *_: None) -> tuple[Plan, Answer]:
        """Run the module once with all checks of a capture, and find out which attention calls are layers.

        Args:
            seed: Start of every random stream.
            listener: Told of each attention call; it replaces nothing here.

        Raises:
            CaptureError: As `clsight.capture`.
        """
        call, name = self._call, type(self.module).__name__
        mask = None if call.token_mask is None else torch.as_tensor(call.token_mask)
        settings = Settings(call.cls_index, mask, call.within, frozenset(), self._output)
        self._forward = Forward(settings, root=name, sizes=self._sizes)
        where: list[Where] = []
        seen: Counter[tuple[str, int]] = Counter()

        def hear(attention: AttentionCall, path: tuple[str, ...]) -> None:
            where.append({part: (self.runs[part], seen[part, self.runs[part]]) for part in path})
            seen.update((part, self.runs[part]) for part in path)
            listener(len(where) - 1, attention)

        try:
            output, has_drawn = self._run(hear, seed)
            layers, paths = self._forward.layers, self._forward.paths
            args, kwargs = arguments_of(call.inputs)
            finished = self._forward.finish(stated_token_mask(self.module, args, kwargs), output)
        finally:
            self._forward = None
        sites = sites_of(layers, finished, where)
        self._paths = [layer.path for layer in layers]
        self._sites = sites
        finished.notes.extend(self._watching.notes_on(paths))
        return plan_of(call, finished, sites, has_drawn=has_drawn), self._answer(output)

    def run(self, seed: int, listener: Listener = lambda *_: None) -> Answer:
        """Run the module once more, after the survey, with what the listener puts in place.

        Args:
            seed: Start of every random stream.
            listener: Told of each attention call; what it returns is what the module goes on with.

        Raises:
            CaptureError: If the module does not call the same attention as in the survey.
        """
        place = 0

        def hear(attention: AttentionCall, path: tuple[str, ...]) -> Tensor | None:
            nonlocal place
            if place >= len(self._paths) or path != self._paths[place]:
                raise self._other_calls(f"another one inside `{path[-1]}`")
            place += 1
            return listener(place - 1, attention)

        output, _ = self._run(hear, seed)
        if place != len(self._paths):
            raise self._other_calls(f"{place} of {len(self._paths)}")
        return self._answer(output)

    def run_part(
        self,
        site: Site,
        arguments: Arguments,
        listener: Callable[[AttentionCall], Tensor | None],
        *,
        seed: int,
    ) -> Any:
        """Run the submodule of a layer alone, on copies, and return its output.

        Args:
            site: The layer.
            arguments: What it is called with.
            seed: Start of every random stream.
            listener: Told of the layer's own attention call; what it returns is gone on with.

        Raises:
            CaptureError: If the attention of the layer does not run.
        """
        count = 0

        def hear(attention: AttentionCall, path: tuple[str, ...]) -> Tensor | None:
            nonlocal count
            count += 1
            return listener(attention) if count - 1 == site.nth else None

        self._hear = hear
        args, kwargs = with_tensors(arguments, Tensor.clone)
        with undisturbed(self.module, seed), torch.no_grad():
            output = self.parts[site.module](*args, **kwargs)
        if count <= site.nth:
            raise self._other_calls(f"{count} inside `{site.name}`")
        return output

    def _run(
        self, hear: Callable[[AttentionCall, tuple[str, ...]], Tensor | None], seed: int
    ) -> tuple[Any, bool]:
        """Run the module once; return its output, and whether it drew random numbers."""
        self._hear = hear
        self.runs.clear()
        self.states.clear()
        self._tokens = 0
        with undisturbed(self.module, seed), torch.no_grad():
            before = stream_states(self.module) if self._forward is not None else []
            output = self._call.run(on_copies=True)
            return output, bool(before) and stream_states(self.module) != before

    def _on_attention(self, call: AttentionCall | Skipped, path: tuple[str, ...]) -> Tensor | None:
        if self._forward is not None:
            self._forward.on_attention(call, path)
        if isinstance(call, Skipped) or not is_inside(path, self._call.within):
            return None
        if self._tokens != call.tokens:
            self._tokens = call.tokens
            self._position = Position(resolve_cls_index(self._call.cls_index, call))
        return self._hear(call, path)

    def _on_linear(self, features: Tensor, weight: Tensor) -> None:
        if self._forward is not None:
            path = self._watching.path
            self._forward.on_linear(features, weight, lambda: path.receivers_of(features))

    def _on_leave(self, name: str, inputs: Any, output: Any) -> None:
        run = self.runs[name]
        self.runs[name] += 1
        with torch._C.DisableTorchFunction():
            if self._forward is not None:
                self._forward.on_leave(name, inputs, output)
            is_layer = self._forward is not None or any(name == site.module for site in self._sites)
            if self._position is None or not self._tokens or not is_layer:
                return
            states = sequence_in(output, self._tokens, len(self._position.index))
            if states is not None:
                self.states[name, run] = self._position.in_sequence(states).clone()

    def _answer(self, output: Any) -> Answer:
        assert self._position is not None
        logits, reason = logits_of(output, len(self._position.index), self._output)
        last = self._sites[-1]
        state = self.states.get((last.module, last.run))
        return Answer(
            None if logits is None else logits.detach().double(),
            reason,
            None if state is None else state.double(),
        )

    def _other_calls(self, got: str) -> CaptureError:
        return CaptureError(
            type(self.module).__name__,
            expected="the same attention calls in every forward pass of the same inputs",
            got=got,
            next_step="Capture it alone: passes can be compared only if the model takes the same way in each",
        )
