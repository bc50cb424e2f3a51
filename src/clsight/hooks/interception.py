"""Which attention operations does a forward pass really run? One thread-local mode that sees them all.

A `TorchFunctionMode` stands between the model and torch in this thread only. It hands every attention call on
to torch unchanged and reports what went in and what came out. A listener may give the model another output
to go on with. Seen are

- `scaled_dot_product_attention`, however it was imported,
- the call inside `nn.MultiheadAttention`, with and without `need_weights`,
- attention written out as product, softmax over the last dimension, product.

While it is active, torch's native encoder fast path and nested tensors are off in this thread.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import FunctionType, MappingProxyType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from clsight.hooks.kernels import KernelReader
from clsight.hooks.operations import AttentionCall, Skipped, canonical, sdpa_arguments
from clsight.hooks.sources import Sources, why_no_self_attention
from clsight.hooks.tags import Product, Tags, Weights, matrix_product, plan_einsum
from clsight.hooks.unreadable import Unreadable

_F = nn.functional
_SDPA = torch._C._nn.scaled_dot_product_attention
_TURNS: set[Any] = {
    getattr(owner, name)
    for owner in (torch, torch.Tensor)
    for name in ("transpose", "permute", "swapaxes", "swapdims", "movedim", "moveaxis")
} | {torch.Tensor.mT.__get__, torch.Tensor.mH.__get__, torch.adjoint, torch.Tensor.adjoint}  # type: ignore[attr-defined]
"""Functions whose result may be the same matrix turned: keys by queries."""

_MAPS: set[Any] = {_F.conv2d, torch.conv2d}
"""Maps over heads as some models write them; `linear` and `einsum` have handlers of their own."""

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_NEED_WEIGHTS = 15
"""Position of `need_weights` among the arguments of `multi_head_attention_forward`."""

Listener = Callable[[AttentionCall | Skipped], Tensor | None]
"""Told of an attention call. A tensor that it returns, laid out as the call's `raw_output`, replaces that."""


@dataclass(frozen=True)
class _Packing:
    """What `nn.MultiheadAttention` knows of the calls inside it, which fold heads into the batch."""

    samples: int
    extra_keys: int
    is_self_attention: bool


@dataclass
class Watch:
    """Who wants to know of attention calls and linear maps, and when.

    Attributes:
        on_attention: Called after each attention operation; what it returns, unless None, is the output that
            the model goes on with.
        on_linear: Called after each linear map with its input and weight.
        is_active: Tells whether calls count now (the module's forward is running in this thread).
        sizes: The sizes that the batch of the running forward may have; empty if unknown.
    """

    on_attention: Listener
    on_linear: Callable[[Tensor, Tensor], None]
    is_active: Callable[[], bool]
    sizes: Callable[[], tuple[int, ...]] = tuple


class AttentionMode(TorchFunctionMode):
    """See every attention operation that runs in this thread while the mode is entered."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch
        self._tags = Tags()
        self._unreadable = Unreadable()
        self._sources = Sources()
        self._packing: _Packing | None = None
        self._python_attention = _without_dispatch(_F.multi_head_attention_forward)
        self._fused_attention: Any = None  # made on entering: it refers back to the mode

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        handler = _HANDLERS.get(func)
        if (
            handler is None and not self._tags.entries and not self._unreadable.entries
        ):  # most calls: attributes of tensors, elementwise steps
            return func(*args, **kwargs) if kwargs else func(*args)
        kwargs = kwargs or {}
        if handler is not None and self._watch.is_active():
            return handler(self, func, args, kwargs)
        result = func(*args, **kwargs)
        self._carry(func, (*args, *kwargs.values()), result)
        return result

    def _carry(self, func: Any, arguments: tuple[Any, ...], result: Any) -> None:
        """Follow scores and weights through an operation that is not attention's own."""
        if func in _MAPS:
            self._unreadable.on_map(self._tags, arguments[:2], result)
            return
        if self._tags.entries and func in _TURNS:
            self._tags.turn(arguments[0], result)
        elif self._tags.entries:
            self._tags.carry(arguments, result)
        if self._unreadable.entries:
            self._unreadable.carry(arguments, result)

    def __enter__(self) -> Self:
        if self._fused_attention is None:
            inner = self._inner_functions()
            self._fused_attention = _without_dispatch(_F.multi_head_attention_forward, inner)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        if self._packing is None:
            self._tags.clear()
            self._unreadable.clear()
            self._fused_attention = None

    def _multi_head(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run torch's own Python code for multi-head attention, so that the operations inside are seen."""
        query, key = args[0], args[1]
        batched = query.dim() == 3
        bias_k, add_zero_attention = args[7], args[9]
        outer = self._packing
        self._packing = _Packing(
            samples=query.shape[1] if batched else 1,
            extra_keys=(bias_k is not None) + bool(add_zero_attention),
            is_self_attention=_asks_itself(query, key),
        )
        try:
            if not kwargs.get("need_weights", len(args) <= _NEED_WEIGHTS or args[_NEED_WEIGHTS]):
                return self._fused_attention(*args, **kwargs)
            with self:
                return self._python_attention(*args, **kwargs)
        finally:
            self._packing = outer

    def _inner_functions(self) -> dict[str, Any]:
        """Return what torch's multi-head attention calls by name on its fused way, each seen by its handler.

        This spares the mode a hundred looks at attributes of tensors per layer.
        """

        def linear(*args: Any, **kwargs: Any) -> Any:
            return self._linear(_F.linear, args, kwargs)

        def fused(*args: Any, **kwargs: Any) -> Any:
            return self._fused(_SDPA, args, kwargs)

        seen = {"linear": linear, "scaled_dot_product_attention": fused}
        projections = ("_in_projection_packed", "_in_projection")
        return seen | {name: _without_dispatch(getattr(_F, name), seen) for name in projections}

    def _fused(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with KernelReader() as kernel:
            output = func(*args, **kwargs)
        given = sdpa_arguments(*args, **kwargs)
        query, key, value = (given[name] for name in ("query", "key", "value"))
        dtype = kernel.dtype or _autocast_dtype(query)
        scale = given["scale"]
        return self._report(
            AttentionCall(
                query=query.to(dtype),
                key=key.to(dtype),
                value=value.to(dtype),
                output=output,
                scale=query.shape[-1] ** -0.5 if scale is None else float(scale),
                mask=given["attn_mask"],
                is_causal=given["is_causal"],
                log_sum_exp=kernel.log_sum_exp,
                log_sum_exp_error=kernel.log_sum_exp_error,
                has_dropout=given["dropout_p"] > 0,
                kernel=kernel.name,
            )
        )

    def _product(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        operands = (*args, *kwargs.values())
        left, right = operands[0], operands[1]
        return _into(kwargs.get("out"), self._multiplied(left, matrix_product(left, right), result))

    def _product_onto_mask(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        _, left, right, *_ = (*args, *kwargs.values())
        return _into(kwargs.get("out"), self._multiplied(left, matrix_product(left, right), result))

    def _einsum(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        equation, *operands = args
        plan = plan_einsum(equation) if isinstance(equation, str) and len(operands) == 2 else None
        if plan is not None:
            left, right = operands
            product = Product(left.permute(plan.left), right.permute(plan.right))
            if isinstance(self._tags.get(left), Weights) or self._unreadable.why(left, right):
                return self._multiplied(left, product, result, order=plan.result)
            if plan.result == tuple(range(result.dim())):
                self._tags.set(result, product)
        elif self._tags.entries or self._unreadable.entries:
            self._unreadable.on_map(self._tags, tuple(operands), result)
        return result

    def _multiplied(
        self, left: Tensor, product: Product | None, result: Tensor, *, order: tuple[int, ...] = ()
    ) -> Tensor:
        """Take a product for scores, or, where its left side is weights, for the end of an attention call.

        Returns:
            What the model goes on with.
        """
        weights = self._tags.get(left)
        if product is None:
            return result
        reason = self._unreadable.why(left, product.right)
        if reason is not None:
            self._watch.on_attention(Skipped(reason))
            return result
        if isinstance(weights, Weights):
            return self._confirm(weights, product, result, order)
        self._tags.set(result, product)
        return result

    def _softmax(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        scores = args[0] if args else kwargs.get("input")
        tag = self._tags.get(scores)
        dim = args[1] if len(args) > 1 else kwargs.get("dim")
        if isinstance(tag, Product) and isinstance(scores, Tensor) and dim in (-1, scores.dim() - 1):
            self._tags.set(result, Weights(tag, scores, result.dtype))
        elif isinstance(scores, Tensor) and dim in (-1, scores.dim() - 1):
            self._unreadable.on_softmax(scores, result)
        return result

    def _dropout(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        tag = self._tags.get(args[0]) if args else None
        if isinstance(tag, Weights):
            probability = args[1] if len(args) > 1 else kwargs.get("p", 0.5)
            training = args[2] if len(args) > 2 else kwargs.get("training", kwargs.get("train", True))
            self._tags.set(result, replace(tag, dropped=tag.dropped or bool(probability and training)))
        elif tag is not None:
            self._tags.set(result, tag)
        elif self._unreadable.entries:
            self._unreadable.carry(args, result)
        return result

    def _confirm(self, weights: Weights, product: Product, output: Tensor, order: tuple[int, ...]) -> Tensor:
        """Report explicit attention, now that its weights met the values, and return what it goes on with."""
        return self._report(
            AttentionCall(
                query=weights.product.left,
                key=weights.product.right,
                value=product.right.transpose(-2, -1),
                output=output.permute(order) if order else output,
                raw_output=output,
                raw_order=order,
                scale=1.0,
                scores=weights.scores,
                weights=product.left,
                softmax_dtype=weights.dtype,
                has_dropout=weights.dropped,
                kernel="explicit softmax",
            )
        )

    def _linear(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        features, weight = (*args, *kwargs.values())[:2]
        if self._tags.entries or self._unreadable.entries:
            self._unreadable.on_map(self._tags, (features,), result)
        self._sources.on_linear(features, result)
        self._watch.on_linear(features, weight)
        return result

    def _norm(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        features = (*args, *kwargs.values())[0]
        self._sources.on_norm(features, result)
        self._carry(func, (features,), result)
        return result

    def _cat(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        self._sources.on_cat((*args, *kwargs.values())[0], result)
        return result

    def _report(self, call: AttentionCall) -> Tensor:
        """Bring a call to canonical layout and hand it to the listener, or say why it has no CLS row.

        Returns:
            What the model goes on with: the operation's own output, or what the listener put in its place.
        """
        packing = self._packing
        sizes = (packing.samples,) if packing else self._watch.sizes()
        skipped = None if packing else why_no_self_attention(self._sources, call.query, call.key, call.value)
        if packing and not packing.is_self_attention:
            reason = "it is cross attention: queries and keys are different tensors"
            skipped = Skipped(reason, is_cross_attention=True)
        own = call.output if call.raw_output is None else call.raw_output
        if skipped:
            self._watch.on_attention(skipped)
            return own
        call = replace(call, is_folded=packing is None and call.query.dim() == 3)
        extra_keys = packing.extra_keys if packing else 0
        instead = self._watch.on_attention(canonical(call, sizes=sizes, extra_keys=extra_keys))
        return own if instead is None else instead


def _make_handlers() -> dict[Any, Callable[[AttentionMode, Any, tuple[Any, ...], dict[str, Any]], Any]]:
    tensor, aten, mode = torch.Tensor, torch.ops.aten, AttentionMode
    fused = (_SDPA, aten.scaled_dot_product_attention, aten.scaled_dot_product_attention.default)
    products = (torch.matmul, tensor.matmul, tensor.__matmul__, torch.bmm, tensor.bmm)
    softmaxes = (torch.softmax, tensor.softmax, _F.softmax, torch.special.softmax)
    return {
        _F.multi_head_attention_forward: mode._multi_head,
        _F.linear: mode._linear,
        torch.einsum: mode._einsum,
        torch.cat: mode._cat,
        **dict.fromkeys((_F.layer_norm, torch.layer_norm, _F.rms_norm, torch.rms_norm), mode._norm),
        **dict.fromkeys(fused, mode._fused),
        **dict.fromkeys(products, mode._product),
        **dict.fromkeys((torch.baddbmm, tensor.baddbmm), mode._product_onto_mask),
        **dict.fromkeys(softmaxes, mode._softmax),
        **dict.fromkeys((_F.dropout, torch.dropout), mode._dropout),
    }


def _without_dispatch(function: Any, instead: Mapping[str, Any] = _NOTHING) -> Any:
    """Return a copy of one of torch's Python functions that runs its body and does not ask the mode.

    Args:
        function: The function.
        instead: What some of the names that its body reads stand for in the copy.
    """
    never = {name: lambda *_: False for name in function.__globals__ if name.startswith("has_torch_function")}
    names = {**function.__globals__, **never, **instead}
    copy = FunctionType(function.__code__, names, function.__name__, function.__defaults__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _into(buffer: Tensor | None, result: Tensor) -> Tensor:
    """Return the result, in the buffer that the model gave for it (`out=`), if any."""
    return result if buffer is None or buffer is result else buffer.copy_(result)


def _autocast_dtype(query: Tensor) -> torch.dtype:
    """Return the dtype to which autocast brings a query inside the operation."""
    device = query.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else query.dtype


def _asks_itself(query: Tensor, key: Tensor) -> bool:
    """Tell whether queries and keys, `[token, …]`, are one sequence, or the query its first or last token."""
    if query is key:
        return True
    one = query.shape[0] == 1 < key.shape[0]
    candidates = (key[:1], key[-1:]) if one else (key,)
    return any(query.shape == part.shape and torch.equal(query, part) for part in candidates)


_HANDLERS = _make_handlers()
"""What the mode does about each function; every other one passes through."""
