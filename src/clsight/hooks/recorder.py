"""Record what CLS sees while a module runs, around any code: `clsight.Recorder`."""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from clsight.errors import CaptureError
from clsight.hooks.assembly import Arrays, assemble
from clsight.hooks.calls import LogitsOf, batch_sizes, stated_token_mask
from clsight.hooks.forward import ClsIndex, Forward, Settings
from clsight.hooks.gradient import Target
from clsight.hooks.keeping import parse_keep
from clsight.hooks.layers import OwnHook
from clsight.hooks.operations import AttentionCall, Skipped
from clsight.hooks.token_map import TokenMap
from clsight.hooks.watching import Listeners, Watching, original_of
from clsight.records import concat

TokenMask = Tensor | np.ndarray[Any, Any]

_UNWRAPPED = "The module inside torch.compile ran, uncompiled"


class Recorder:
    """Record every forward pass of a module inside a `with` block.

    The module runs as it always does, on its own attention kernel and in its own mode; gradients stay
    intact. Each forward pass becomes a part of `record`, along `sample`. Only the thread that entered the
    block is seen, and one recorder at a time works on one module.

    Args:
        module: Any module with self-attention inside.
        cls_index: Position of CLS in the sequence the encoder sees; negative from the end; or one per sample.
        token_mask: `[sample, token]`, True = real token. By default taken from the call's `token_mask`,
            `attention_mask` or `src_key_padding_mask`, else from what the attention itself masks.
        within: Name of the submodule to look at, where a module runs several towers (CLIP).
        keep: What else to keep, names from `clsight.hooks.KEEP`, or () for the weights alone; with "gradient"
            gradients must be on.
        output: From the module's output to its logits; by default `.logits`, else the output's single
            `[sample, class]` tensor; False where the model does not classify.
        target: What "gradient" differentiates: a class, one per sample, or a function from the module's
            output to `[sample]`; by default the logit of the predicted class.
        tokens: What each token is, if known; by default tokens are numbered.
        attributes: Attributes of the record: model, strategy, seed, checkpoint_sha256.

    Raises:
        CaptureError: On a scripted module; in a forward pass that cannot be captured or fails its self-check.

    Example:
        >>> import torch
        >>> layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        >>> encoder = torch.nn.TransformerEncoder(layer, 3, enable_nested_tensor=False).eval()
        >>> with Recorder(encoder) as recorder:
        ...     _ = encoder(torch.randn(4, 5, 8))
        >>> dict(recorder.record.attends_to.sizes)
        {'sample': 4, 'layer': 3, 'head': 2, 'token': 5}
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        cls_index: ClsIndex = 0,
        token_mask: TokenMask | None = None,
        within: str | None = None,
        keep: str | Iterable[str] = "vectors",
        output: LogitsOf = None,
        target: Target | None = None,
        tokens: TokenMap | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        self.module = original_of(module)
        self._unwrapped = [_UNWRAPPED] if self.module is not module else []
        self._name = type(self.module).__name__
        mask = None if token_mask is None else torch.as_tensor(token_mask)
        self._settings = Settings(cls_index, mask, within, parse_keep(keep), output, target)
        self._tokens = tokens
        self._attributes = {
            "model": self._name,
            "strategy": "",
            "seed": None,
            "checkpoint_sha256": "",
            **(attributes or {}),
        }
        self._passes: list[Arrays] = []
        self._labeled: list[xr.Dataset] = []
        self._watching = Watching(self.module, Listeners())
        self._exit = ExitStack()
        self._forward = self._new_forward()

    @property
    def record(self) -> xr.Dataset:
        """All forward passes so far as one record (docs/record.md), along `sample`.

        Raises:
            CaptureError: If the module's forward did not run inside the block.
        """
        if not self._passes:
            raise CaptureError(
                self._name,
                expected="at least one forward pass inside the `with` block",
                got="none",
                next_step="Call the module itself, not its `forward`, which runs no hooks",
            )
        for arrays in self._passes[len(self._labeled) :]:
            self._labeled.append(arrays.labeled(self._tokens, self._attributes))
        return self._labeled[0] if len(self._labeled) == 1 else concat(self._labeled)

    @property
    def needs_gradients(self) -> bool:
        """Whether what is kept takes a backward pass."""
        return "gradient" in self._settings.keep

    def __enter__(self) -> Self:
        listeners = Listeners(
            on_attention=self._on_attention,
            on_linear=self._on_linear,
            on_leave=self._on_leave,
            sizes=lambda: self._forward.sizes,
        )
        with ExitStack() as stack:
            self._watching = stack.enter_context(Watching(self.module, listeners))
            # Its hooks come first: these ask it what is running.
            before = self.module.register_forward_pre_hook(OwnHook(self._before), with_kwargs=True)
            stack.callback(before.remove)
            after = self.module.register_forward_hook(OwnHook(self._after), with_kwargs=True)
            stack.callback(after.remove)
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()
        self._forward = self._new_forward()
        self._watching = Watching(self.module, Listeners())  # the one that was entered refers back to here

    def _new_forward(self, sizes: tuple[int, ...] = ()) -> Forward:
        return Forward(self._settings, root=self._name, sizes=sizes)

    def _on_attention(self, call: AttentionCall | Skipped, path: tuple[str, ...]) -> None:
        self._forward.on_attention(call, path)

    def _on_linear(self, features: Tensor, weight: Tensor) -> None:
        self._forward.on_linear(features, weight, lambda: self._watching.path.receivers_of(features))

    def _on_leave(self, name: str, inputs: Any, output: Any) -> None:
        with torch._C.DisableTorchFunction():  # what is read here is none of the model's operations
            self._forward.on_leave(name, inputs, output)

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._watching.path.is_running and len(self._watching.path.names) == 1:
            self._forward = self._new_forward(batch_sizes((args, kwargs)))

    def _after(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if self._watching.path.is_running or not self._watching.path.is_own_thread:
            return
        forward = self._forward.finish(stated_token_mask(module, args, kwargs), output)
        forward.notes.extend([*self._unwrapped, *self._watching.notes_on(self._forward.paths)])
        with torch._C.DisableTorchFunction():
            self._passes.append(assemble(forward))
        self._forward = self._new_forward()
