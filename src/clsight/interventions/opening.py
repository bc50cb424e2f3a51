"""One forward pass of a model, captured as ever, with the parts of each layer."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from clsight.errors import CaptureError
from clsight.hooks.assembly import ForwardPass, Layer
from clsight.hooks.calls import LogitsOf, logits_of
from clsight.hooks.forward import ClsIndex, Forward, Settings
from clsight.hooks.gradient import Target, tap, target_of
from clsight.hooks.model_call import ModelCall, model_call
from clsight.hooks.operations import AttentionCall, Skipped
from clsight.hooks.positions import Position
from clsight.hooks.random_streams import stream_states, undisturbed
from clsight.hooks.recorder import Recorder, TokenMask
from clsight.hooks.watching import original_of
from clsight.interventions.events import Event, Trace
from clsight.interventions.part_finder import LayerFinder, Readings
from clsight.interventions.parts import LayerParts

if TYPE_CHECKING:
    from clsight.loading import Examples, Subject

    Model = nn.Module | Subject
    Raw = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any] | Examples | np.ndarray[Any, Any]


@dataclass
class Opened:
    """A forward pass and its parts.

    Attributes:
        call: What ran.
        record: Its record.
        layers: The parts of each layer, in the order of the record.
        position: Where CLS stands.
        token_mask: `[sample, token]`, True = real token; extra keys included.
        output: What the module returned, with its graph where gradients were on.
        logits: `[sample, class]` with its graph, or None.
        seen: The layers as the capture saw them.
        before: What happened before the first attention call.
        after: What happened after the last one.
        seed: Start of every random stream in the pass.
        has_drawn: Whether the module drew random numbers.
        predicted: `[sample]`, the class that is explained if none is named; None for that of this pass.
    """

    call: ModelCall
    record: xr.Dataset
    layers: list[LayerParts]
    position: Position
    token_mask: Tensor
    output: Any
    logits: Tensor | None
    seen: list[Layer]
    before: list[Event]
    after: list[Event]
    seed: int
    has_drawn: bool
    predicted: Tensor | None = None

    @property
    def name(self) -> str:
        """What to call the model in a message."""
        return str(self.record.attrs["model"])

    def logits_in(self, output: Any) -> Tensor | None:
        """Return the logits `[sample, class]` in what another pass returned, found as in this one."""
        return logits_of(output, len(self.position.index), self.call.output)[0]

    def run(self, *, seed: int | None = None) -> Any:
        """Run the module once more, in eval mode and by default on the same draw, and return its output."""
        with undisturbed(original_of(self.call.module), self.seed if seed is None else seed):
            return self.call.run()

    def target_in(self, output: Any, logits: Tensor | None, target: Target | None) -> Tensor:
        """Return the target `[sample]` in an output; what is None is the predicted class."""
        return target_of(output, logits, self.predicted if target is None else target)


def open_model(
    model: "Model",
    inputs: "Raw",
    *,
    cls_index: ClsIndex | None = None,
    token_mask: TokenMask | None = None,
    within: str | None = None,
    keep: tuple[str, ...] = (),
    output: LogitsOf = None,
    graph: bool = False,
    seed: int = 0,
) -> Opened:
    """Run a model once in eval mode, and return its record with the parts of each layer.

    Every random stream starts at the seed, and afterwards goes on where it was.

    Args:
        model: A module, or what `clsight.load` returned.
        inputs: As for `clsight.capture`.
        cls_index: As for `clsight.capture`.
        token_mask: As for `clsight.capture`.
        within: As for `clsight.capture`.
        keep: As for `clsight.capture`.
        output: As for `clsight.capture`; None also stands for what is known of a subject.
        graph: Make the pass part of a graph that reaches every attention call.
        seed: Start of every random stream.

    Raises:
        CaptureError: As `clsight.capture`; if CLS is padding in a sample; if a graph is asked for where none
            can be built.
    """
    if graph:
        need_gradients()
    call = model_call(model, inputs, cls_index=cls_index, token_mask=token_mask, within=within)
    if output is not None:
        call = replace(call, output=output)
    recorder = PartsRecorder(call.module, graph=graph, keep=keep, output=call.output, **call.recording)
    gradients = torch.set_grad_enabled(recorder.needs_gradients)
    with undisturbed(recorder.module, seed), recorder, gradients:
        before = stream_states(recorder.module)
        call.run()
        has_drawn = stream_states(recorder.module) != before
    record = call.described(recorder.record)
    pass_, finished = recorder.finished
    position = Position(finished.cls_index)
    _need_cls(str(record.attrs["model"]), position, finished.token_mask)
    return Opened(
        call=call,
        record=record,
        layers=pass_.parts_of(finished.layers, finished.names),
        position=position,
        token_mask=finished.token_mask,
        output=pass_.output,
        logits=finished.logits,
        seen=finished.layers,
        before=pass_.before,
        after=pass_.after,
        seed=seed,
        has_drawn=has_drawn,
    )


def need_gradients() -> None:
    """Refuse to look for gradients where torch builds no graph at all.

    Raises:
        CaptureError: Inside `torch.inference_mode`.
    """
    if torch.is_inference_mode_enabled():
        raise CaptureError(
            "torch.inference_mode",
            expected="a place where gradients can be computed",
            got="a call inside torch.inference_mode()",
            next_step="Call it outside that block; torch.no_grad() does no harm",
        )


def _need_cls(name: str, position: Position, token_mask: Tensor) -> None:
    """Refuse a sample in which CLS is padding."""
    order = torch.arange(len(token_mask), device=token_mask.device)
    padded = (~token_mask[order, position.index]).nonzero()[:, 0].tolist()
    if padded:
        raise CaptureError(
            name,
            expected="CLS to be a real token in every sample",
            got=f"padding there in sample {padded[0]}",
            next_step="Check cls_index= and token_mask=, and leave out samples that are padding alone",
        )


class PartsForward(Forward):
    """A forward pass whose attention calls are followed to the parts of their layers.

    Args:
        settings: As for `Forward`.
        root: As for `Forward`.
        sizes: As for `Forward`.
        graph: Whether a gradient is to reach every attention call.
    """

    def __init__(self, settings: Settings, *, root: str, sizes: tuple[int, ...], graph: bool = False) -> None:
        super().__init__(settings, root=root, sizes=sizes)
        self.output: Any = None
        self.before: list[Event] = []
        self.after: list[Event] = []
        self._graph = graph
        self._readings = Readings()
        self._finders: dict[int, LayerFinder] = {}

    def on_attention(self, call: AttentionCall | Skipped, path: tuple[str, ...]) -> None:
        """Look at one attention call, and begin to look for the parts of its layer."""
        seen = len(self._layers)
        super().on_attention(call, path)
        if len(self._layers) == seen or not isinstance(call, AttentionCall):
            return
        layer = self._layers[-1]
        for finder in self._finders.values():
            finder.on_next_attention()
        finder = LayerFinder(call, self._readings)
        self._finders[id(layer)] = finder
        layer.call, layer.versions = finder.parts.call, finder.parts.call.versions
        if self._graph:
            layer.tap = tap(call, self._positions[call.tokens])
        self.after = []

    def on_event(self, event: Event) -> None:
        """Look at what happens between attention calls."""
        with torch._C.DisableTorchFunction(), torch.no_grad():
            self._readings.on_event(event)
            for finder in [*self._finders.values()][-2:]:
                finder.on_event(event)
        (self.after if self._finders else self.before).append(event)

    def finish(self, stated_mask: Tensor | None, output: Any) -> ForwardPass:
        """Check and gather the layers, as `Forward.finish` does."""
        self.output = output
        return super().finish(stated_mask, output)

    def parts_of(self, layers: list[Layer], names: list[str]) -> list[LayerParts]:
        """Return the parts of some of the layers."""
        finders = [self._finders[id(layer)] for layer in layers]
        above = [finder.parts.residual for finder in finders[1:]]
        found: list[LayerParts] = []
        for finder, following, name in zip(finders, [*above, None], names, strict=True):
            parts = finder.finish(found[-1] if found else None, following, self.output)
            parts.name = name
            found.append(parts)
        return found


class PartsRecorder(Recorder):
    """A recorder that also finds the parts of each layer; for one forward pass.

    Args:
        module: As for `Recorder`.
        graph: Whether a gradient is to reach every attention call.
        options: As for `Recorder`.
    """

    def __init__(self, module: nn.Module, *, graph: bool = False, **options: Any) -> None:
        self._graph = graph
        self._trace_exit = ExitStack()
        self._done: list[tuple[PartsForward, ForwardPass]] = []
        super().__init__(module, **options)

    @property
    def needs_gradients(self) -> bool:
        """Whether the pass is to be part of a graph."""
        return self._graph or super().needs_gradients

    @property
    def finished(self) -> tuple[PartsForward, ForwardPass]:
        """The forward pass that ran, and what the capture made of it."""
        return self._done[-1]

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(Trace(self._on_event))
            super().__enter__()
            self._trace_exit = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._trace_exit.close()

    def _new_forward(self, sizes: tuple[int, ...] = ()) -> Forward:
        done = self._done.append
        return _ReportingForward(self._settings, root=self._name, sizes=sizes, graph=self._graph, done=done)

    def _on_event(self, event: Event) -> None:
        forward = self._forward
        assert isinstance(forward, PartsForward)
        forward.on_event(event)


class _ReportingForward(PartsForward):
    """A forward pass that hands itself on when it has been gathered."""

    def __init__(self, *args: Any, done: Callable[[tuple[PartsForward, ForwardPass]], None], **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._report = done

    def finish(self, stated_mask: Tensor | None, output: Any) -> ForwardPass:
        finished = super().finish(stated_mask, output)
        self._report((self, finished))
        return finished
