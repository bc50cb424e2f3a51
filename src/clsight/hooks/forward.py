"""One forward pass while it runs: each attention call is looked at when it happens, and then let go."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from clsight.errors import CaptureError
from clsight.hooks.assembly import ForwardPass, Layer, check_same_shape
from clsight.hooks.calls import LogitsOf, attended_keys, fit_token_mask, logits_of, resolve_cls_index
from clsight.hooks.cls_view import ClsView, view_cls
from clsight.hooks.extras import Finished, make_extras
from clsight.hooks.gradient import Target, tap
from clsight.hooks.layers import layer_names
from clsight.hooks.mixing import for_later
from clsight.hooks.moving import Move, Stays
from clsight.hooks.open_layer import OpenLayer
from clsight.hooks.operations import AttentionCall, Skipped
from clsight.hooks.positions import Position
from clsight.hooks.projection import ProjectionFinder
from clsight.hooks.residual import ResidualStream
from clsight.hooks.selection import is_inside, no_such_module, select_layers, sentences_on
from clsight.hooks.self_check import (
    check_layers,
    check_logits,
    check_unchanged,
    dropout_notes,
    folded_notes,
    mask_notes,
)
from clsight.hooks.shelf import Shelf
from clsight.hooks.small_calls import SmallCalls

_AFTERWARDS = frozenset(["keys_values", "rollout", "received", "gradient"])
"""What is computed when the forward pass has ended, from queries, keys and values as they were before."""

ClsIndex = int | Sequence[int] | Tensor


@dataclass(frozen=True)
class Settings:
    """What a recorder is asked for.

    Attributes:
        cls_index: Position of CLS, for all samples or one per sample.
        token_mask: `[sample, token]`, True = real token, or None to find it.
        within: Name of the submodule to look at, or None for all.
        keep: Names from `clsight.hooks.keeping.KEEP`.
        output: From the module's output to its logits; None for the stated rule, False where it has none.
        target: What `keep="gradient"` differentiates; None: the logit of the predicted class.
    """

    cls_index: ClsIndex = 0
    token_mask: Tensor | None = None
    within: str | None = None
    keep: frozenset[str] = frozenset(["vectors"])
    output: LogitsOf = None
    target: Target | None = None


class Forward:
    """The attention calls of one forward pass, seen in order.

    Args:
        settings: What to look at.
        root: Name of the whole module.
        sizes: The sizes that the batch may have, from the inputs; empty if unknown.
    """

    def __init__(self, settings: Settings, *, root: str, sizes: tuple[int, ...]) -> None:
        self.sizes = sizes
        self._settings = settings
        self._root = root
        self._layers: list[Layer] = []
        self._skipped: list[tuple[tuple[str, ...], Skipped]] = []
        self._outside: set[str] = set()
        self._positions: dict[int, Position] = {}
        self._attended: dict[int, Tensor] = {}
        self._finder: ProjectionFinder | None = None
        self._open: OpenLayer | None = None
        self._stream = ResidualStream()
        self._stays = Stays()
        self._shelf = Shelf()
        self._small = SmallCalls()

    @property
    def layers(self) -> tuple[Layer, ...]:
        """One layer per attention call so far, in order, those that `finish` leaves out too."""
        return tuple(self._layers)

    @property
    def paths(self) -> list[tuple[str, ...]]:
        """The modules that were running at each attention call, shown or left out, outermost first."""
        return [layer.path for layer in self._layers] + [path for path, _ in self._skipped]

    def on_attention(self, call: AttentionCall | Skipped, path: tuple[str, ...]) -> None:
        """Look at one attention call that ran inside the modules of `path`."""
        if not is_inside(path, self._settings.within):
            self._outside.update(path)
            return
        if isinstance(call, Skipped):
            self._skipped.append((path, call))
            return
        if call.tokens not in self._positions:
            self._positions[call.tokens] = Position(resolve_cls_index(self._settings.cls_index, call))
            self._attended[call.tokens] = attended_keys(call)
        position = self._positions[call.tokens].on(call.query.device)
        self._settle()
        layer = Layer.of(call, path)
        if "contributions" in self._settings.keep or not self._small.take(layer, call, position):
            layer.view = self._view(layer, call, position).on(self._shelf)
        self._keep_more(layer, call, position)
        self._layers.append(layer)
        if self._settings.keep or call.is_folded:  # the projection tells whether samples come first
            self._finder = ProjectionFinder(call, position)
        if self._open is not None:
            self._open.finder = self._finder

    def _view(self, layer: Layer, call: AttentionCall, position: Position) -> ClsView:
        """Return what CLS sees; of a large call on a GPU, something is left open."""
        if not call.is_far or call.query.is_inference() or "contributions" in self._settings.keep:
            return view_cls(call, position)
        self._open = OpenLayer(layer, call, position)
        return self._open.glimpse()

    def _settle(self) -> None:
        """Close the last layer, if it was left open."""
        last, self._open, self._finder = self._open, None, None
        if last is not None:
            with torch._C.DisableTorchFunction():
                last.settle(self._shelf)

    def _keep_more(self, layer: Layer, call: AttentionCall, position: Position) -> None:
        """Hold on to what `keep` asks for."""
        keep = self._settings.keep
        if keep & _AFTERWARDS:
            layer.call = for_later(call, with_values=bool(keep & {"keys_values", "gradient"}))
            layer.versions = layer.call.versions
        if "gradient" in keep:
            layer.tap = tap(call, position)

    def on_leave(self, name: str, inputs: Any, output: Any) -> None:
        """Look at a module that just ran: if it held the last attention call, CLS went through it."""
        if not self._layers or name not in self._layers[-1].path:
            return
        tokens = self._layers[-1].tokens
        position = self._positions[tokens]
        may_wait = self._open is None
        self._stays.on_leave(name, inputs, output, tokens=tokens, position=position, may_wait=may_wait)
        if "hidden" in self._settings.keep:
            self._stream.on_leave(name, inputs, output, tokens=tokens, position=position)

    def on_linear(self, features: Tensor, weight: Tensor, receivers: Callable[[], list[nn.Module]]) -> None:
        """Look at one linear map: it may be the output projection of the last attention call.

        Args:
            features: Its input.
            weight: `[channel, feature]`.
            receivers: Gives the running modules that were called with `features` and nothing else.
        """
        if self._finder is None:
            return
        layer = self._layers[-1]
        layer.is_misread = layer.is_misread or self._finder.is_read_the_other_way(features)
        if self._open is not None:
            self._finder.note(features, weight, receivers())
        elif self._finder.is_projection(features, weight):
            effective = self._finder.effective_weight(weight, receivers())
            if effective is not None:
                self._measure_values(layer, self._finder, self._finder.gram(effective))
            if effective is not None and "contributions" in self._settings.keep:
                layer.contribution_norm = self._finder.contribution_norm(effective, layer.view.row)
        if not self._finder.is_waiting:
            self._finder = None

    def _measure_values(self, layer: Layer, finder: ProjectionFinder, gram: Tensor) -> None:
        """Give a layer the norms of its values, now or when it is looked at."""
        if self._small.is_waiting(layer):
            layer.gram = gram
        else:
            layer.value_norm = self._shelf.keep(finder.value_norm(gram))

    def finish(self, stated_mask: Tensor | None, output: Any) -> ForwardPass:
        """Check the layers of the forward pass that just ended, and gather them.

        Args:
            stated_mask: The token mask that the call gave to the module, or None.
            output: What the module returned.

        Raises:
            CaptureError: If there is no attention to show, or a map would be wrong.
        """
        with torch._C.DisableTorchFunction():  # no need for the mode to see what is computed here
            self._settle()
            self._small.look()
        layers, notes = select_layers(self._layers, skipped=self._skipped, root=self._root)
        skipped = sentences_on(self._skipped, layers, root=self._root)
        if not layers:
            raise self._nothing_seen([*skipped, *notes])
        names = [name or self._root for name in layer_names([layer.path for layer in layers])]
        views = [layer.view for layer in layers]
        move = self._stays.first_move()
        if move is not None:
            raise _cls_moved(move, self._positions[layers[0].tokens])
        check_same_shape(layers, names)
        with torch._C.DisableTorchFunction():
            check_layers(layers, names)
        position = self._positions[layers[0].tokens]
        mask, of_mask = self._token_mask(layers[0], stated_mask)
        logits, why_no_logits = logits_of(output, len(position.index), self._settings.output)
        check_logits(logits)
        check_unchanged(layers, names)
        finished = Finished(
            layers, names, position, mask, self._stream, output, logits, self._settings.target
        )
        extras = make_extras(finished, self._settings.keep)
        return ForwardPass(
            layers=layers,
            names=names,
            with_vectors="vectors" in self._settings.keep,
            cls_index=position.index,
            token_mask=mask,
            logits=logits,
            extras=extras.variables,
            absent={**({"logits": why_no_logits} if why_no_logits else {}), **extras.absent},
            notes=[
                *skipped,
                *notes,
                *of_mask,
                *dropout_notes(layers, names),
                *folded_notes(layers, names),
                *mask_notes(views, names, mask),
            ],
        )

    def _token_mask(self, layer: Layer, stated: Tensor | None) -> tuple[Tensor, list[str]]:
        """Return which tokens are real, `[sample, token]`, and a sentence on those taken for real unasked.

        The mask is the one given to the recorder, else the one stated in the call, else what the attention
        masks. A mask given to the recorder must fit; one in the call may leave out what the model adds.
        """
        attended = self._attended[layer.tokens]
        given = self._settings.token_mask
        mask = stated if given is None else given
        if mask is None or (given is None and _is_between_tokens(mask, layer.tokens, len(attended))):
            return attended, []
        fitted = fit_token_mask(
            mask.to(attended.device, torch.bool),
            samples=len(attended),
            tokens=layer.tokens,
            cls_index=self._positions[layer.tokens].index if given is None else None,
        )
        added = layer.tokens - mask.shape[1]
        notes = (
            [f"The mask in the call leaves out {added} of {layer.tokens} tokens, taken for real"]
            if added > 1
            else []
        )
        return torch.nn.functional.pad(fitted, (0, layer.extra_keys), value=True), notes

    def _nothing_seen(self, skipped: list[str]) -> CaptureError:
        if self._outside and self._settings.within is not None:
            return no_such_module(self._settings.within, [name for name in self._outside if name])
        return CaptureError(
            self._root,
            expected="self-attention through scaled_dot_product_attention or a softmax of query-key products",
            got="; ".join(skipped) if skipped else "no attention call at all",
            next_step="Check that the module runs attention in Python, outside compiled or scripted code",
        )


def _is_between_tokens(mask: Tensor, tokens: int, samples: int) -> bool:
    """Tell whether a mask in the call says which token may see which, such as a causal one."""
    return mask.shape == (tokens, tokens) and samples != tokens


def _cls_moved(move: Move, position: Position) -> CaptureError:
    """Return the error for a model that moves CLS between two layers."""
    stands, found = position.index.tolist(), move.found
    return CaptureError(
        move.module,
        expected=f"CLS at position {_alike(stands)}, as before",
        got=f"what left `{move.before}` as CLS at position {_alike(found)}",
        where="The model changes the order of its tokens between layers",
        next_step=f"Capture layer by layer with within=, such as '{move.module}', each with its cls_index",
    )


def _alike(positions: list[int]) -> int | list[int]:
    """Return the position that all samples share, or all positions."""
    return positions[0] if len(set(positions)) == 1 else positions
