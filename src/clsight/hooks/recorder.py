"""Record what CLS sees while a module runs, around any code: `clsight.Recorder`."""

from collections.abc import Sequence
from contextlib import ExitStack
from threading import RLock
from types import TracebackType
from typing import Any, Self
from weakref import WeakKeyDictionary

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from clsight.errors import CaptureError
from clsight.hooks.assembly import ForwardPass, Layer, TokenMap, assemble
from clsight.hooks.calls import (
    attended_keys,
    find_logits,
    first_tensor,
    fit_token_mask,
    resolve_cls_index,
    stated_token_mask,
)
from clsight.hooks.cls_view import view_cls
from clsight.hooks.interception import AttentionMode, Watch
from clsight.hooks.layers import ModulePath, layer_names
from clsight.hooks.operations import AttentionCall, Skipped
from clsight.hooks.projection import ProjectionFinder
from clsight.hooks.self_check import check_view, dropout_notes, mask_notes
from clsight.records import concat

ClsIndex = int | Sequence[int] | Tensor
TokenMask = Tensor | np.ndarray[Any, Any]

_locks: WeakKeyDictionary[nn.Module, RLock] = WeakKeyDictionary()
_locks_guard = RLock()


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
        self, module: nn.Module, *, cls_index: ClsIndex = 0, token_mask: TokenMask | None = None
    ) -> None:
        self.module = _original(module)
        self._cls_index = cls_index
        self._token_mask = None if token_mask is None else torch.as_tensor(token_mask)
        self._tokens: TokenMap | None = None
        self._attributes: dict[str, Any] = _describe(self.module)
        self._records: list[xr.Dataset] = []
        self._path = ModulePath(self.module)
        self._exit = ExitStack()
        self._begin_forward(0)

    @property
    def record(self) -> xr.Dataset:
        """All forward passes so far as one record (DESIGN.md, section 4), along `sample`.

        Raises:
            CaptureError: If the module's forward did not run inside the block.
        """
        if not self._records:
            raise CaptureError(
                type(self.module).__name__,
                expected="at least one forward pass inside the `with` block",
                got="none",
                next_step="Call the module itself, not its `forward`, which runs no hooks",
            )
        return self._records[0] if len(self._records) == 1 else concat(self._records)

    @property
    def innermost(self) -> str:
        """Name of the module that is running, or that was when an exception left it."""
        return self._path.innermost or type(self.module).__name__

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(_lock_of(self.module))
            stack.enter_context(self._path)
            before = self.module.register_forward_pre_hook(self._before, with_kwargs=True)
            stack.callback(before.remove)
            after = self.module.register_forward_hook(self._after, with_kwargs=True)
            stack.callback(after.remove)
            watch = Watch(
                on_attention=self._on_attention,
                on_linear=self._on_linear,
                is_active=lambda: self._path.is_running,
                samples=lambda: self._samples,
            )
            stack.enter_context(AttentionMode(watch))
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()
        self._begin_forward(0)

    def _begin_forward(self, samples: int) -> None:
        self._samples = samples
        self._layers: list[Layer] = []
        self._skipped: list[tuple[tuple[str, ...], str]] = []
        self._cls_position: Tensor | None = None
        self._attended: Tensor | None = None
        self._finder: ProjectionFinder | None = None

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self._path.is_running or len(self._path.names) > 1:
            return
        first = first_tensor((args, kwargs))
        self._begin_forward(first.shape[0] if first is not None and first.dim() else 0)

    def _after(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if self._path.is_running or not self._path.is_own_thread:
            return
        forward = self._finish(stated_token_mask(module, args, kwargs), output)
        self._records.append(assemble(forward, tokens=self._tokens, attributes=self._attributes))
        self._begin_forward(0)

    def _on_attention(self, call: AttentionCall | Skipped) -> None:
        if isinstance(call, Skipped):
            self._skipped.append((self._path.names, call.reason))
            return
        position = resolve_cls_index(self._cls_index, call)
        if self._cls_position is None:
            self._cls_position = position
            self._attended = attended_keys(call)
        view = view_cls(call, position)
        self._layers.append(Layer(self._path.names, view, call.query.dtype, call.extra_keys))
        self._finder = ProjectionFinder(call, position)

    def _on_linear(self, features: Tensor, weight: Tensor) -> None:
        if self._finder is None:
            return
        norm = self._finder.value_norm(features, weight)
        if norm is not None:
            self._layers[-1].value_norm = norm
        if not self._finder.is_waiting:
            self._finder = None

    def _finish(self, stated_mask: Tensor | None, output: Any) -> ForwardPass:
        """Check the layers of the forward pass that just ended, and gather them."""
        root = type(self.module).__name__
        skipped = [f"`{path[-1] or root}` was left out: {reason}" for path, reason in self._skipped]
        if not self._layers or self._cls_position is None or self._attended is None:
            raise _no_attention(root, skipped)
        names = [name or root for name in layer_names([layer.path for layer in self._layers])]
        for name, layer in zip(names, self._layers, strict=True):
            check_view(layer.view, layer=name, dtype=layer.dtype)
        logits, why_no_logits = find_logits(output, len(self._cls_position))
        forward = ForwardPass(
            layers=self._layers,
            names=names,
            cls_index=self._cls_position,
            token_mask=self._mask_of_tokens(stated_mask),
            logits=logits,
            absent={} if logits is not None else {"logits": why_no_logits},
            notes=skipped,
        )
        views = [layer.view for layer in self._layers]
        forward.notes += dropout_notes(views, names) + mask_notes(views, names, forward.token_mask)
        return forward

    def _mask_of_tokens(self, stated: Tensor | None) -> Tensor:
        """Return which tokens are real, `[sample, token]`: as given, stated in the call, or attended."""
        assert self._cls_position is not None
        assert self._attended is not None
        mask = stated if self._token_mask is None else self._token_mask
        if mask is None:
            return self._attended
        extra = self._layers[0].extra_keys
        samples, tokens = self._attended.shape
        fitted = fit_token_mask(
            mask.to(self._attended.device, torch.bool),
            samples=samples,
            tokens=tokens - extra,
            cls_index=self._cls_position,
        )
        return torch.nn.functional.pad(fitted, (0, extra), value=True)


def _original(module: nn.Module) -> nn.Module:
    """Return the module whose Python code runs: inside `torch.compile`; scripted modules are refused."""
    if isinstance(module, torch.jit.ScriptModule):
        raise CaptureError(
            type(module).__name__,
            expected="a module whose forward is Python code",
            got="a scripted module, which runs no hooks",
            next_step="Pass the module that was scripted",
        )
    original = getattr(module, "_orig_mod", module)
    assert isinstance(original, nn.Module)
    return original


def _describe(module: nn.Module) -> dict[str, Any]:
    return {"model": type(module).__name__, "strategy": "", "seed": None, "checkpoint_sha256": ""}


def _lock_of(module: nn.Module) -> RLock:
    with _locks_guard:
        return _locks.setdefault(module, RLock())


def _no_attention(module: str, skipped: list[str]) -> CaptureError:
    got = "; ".join(skipped) if skipped else "no attention call at all"
    return CaptureError(
        module,
        expected="self-attention through scaled_dot_product_attention or a softmax of query-key products",
        got=got,
        next_step="Check that the module runs attention in Python, outside compiled or scripted code",
    )
