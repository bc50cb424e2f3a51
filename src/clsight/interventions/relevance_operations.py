"""Which operands does relevance go to, and by which rule? From a call of a torch function to its plan.

A function that is not listed here has no rule. If it rearranges numbers, its gradient will do; else
`relevance_graph` refuses it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from clsight.hooks.operations import sdpa_arguments, split
from clsight.hooks.scores import per_query_head
from clsight.interventions.relevance_rules import (
    Bilinear,
    through_attention,
    through_pooling,
    through_product,
    through_sum,
    through_weights,
)
from clsight.interventions.relevance_samples import Samples

Rule = Callable[[Tensor, Sequence[Tensor], Samples], Sequence[Tensor]]
"""From the relevance of a result and the values of the operands to the relevance of each operand."""

IsConstant = Callable[[Tensor], bool]
"""Tells a weight, or what is made of weights alone."""

_F = nn.functional


@dataclass(frozen=True)
class Plan:
    """The operands of one call that may get relevance, and the rule."""

    operands: tuple[Tensor, ...]
    rule: Rule


def passed_on(state: Tensor) -> Plan:
    """Return the plan of what hands relevance on as it is, entry by entry."""
    return Plan((state,), lambda relevance, *_: [relevance])


Planner = Callable[[tuple[Any, ...], Mapping[str, Any], IsConstant], Plan | None]
"""From the arguments of a call to its plan, or None if it has none."""


def _bound(args: tuple[Any, ...], kwargs: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return the arguments of a builtin function by name; `other` is also known as the second one."""
    return dict(zip(names, args, strict=False)) | dict(kwargs)


def _passed_on(args: tuple[Any, ...], kwargs: Mapping[str, Any], _: IsConstant) -> Plan | None:
    """Norms, activations, softmax and dropout pass relevance on as it is, entry by entry."""
    return passed_on(args[0])


def _linear(args: tuple[Any, ...], kwargs: Mapping[str, Any], _: IsConstant) -> Plan | None:
    given = _bound(args, kwargs, "input", "weight", "bias")
    return _weighted(given["input"], given["weight"], _F.linear)


def _weighted(features: Tensor, weight: Tensor, apply: Bilinear) -> Plan:
    def rule(relevance: Tensor, values: Sequence[Tensor], _: Samples) -> list[Tensor]:
        (read,) = values
        return [through_weights(relevance, read, weight.detach().to(read.dtype), apply)]

    return Plan((features,), rule)


def _product_of(left: Tensor, right: Tensor, apply: Bilinear, is_constant: IsConstant) -> Plan | None:
    """Return the plan of a product: of states and weights, or of two states."""
    if is_constant(left) and is_constant(right):
        return None
    if is_constant(right):
        return _weighted(left, right, apply)
    if is_constant(left):
        return _weighted(right, left, lambda features, weight: apply(weight, features))
    return Plan(
        (left, right),
        lambda relevance, values, _: through_product(relevance, values[0], values[1], apply),
    )


def _matmul(args: tuple[Any, ...], kwargs: Mapping[str, Any], is_constant: IsConstant) -> Plan | None:
    left, right = [*args, *kwargs.values()][:2]
    return _product_of(left, right, torch.matmul, is_constant)


def _turned_matmul(args: tuple[Any, ...], kwargs: Mapping[str, Any], is_constant: IsConstant) -> Plan | None:
    return _matmul(args[::-1], kwargs, is_constant)


def _einsum(args: tuple[Any, ...], kwargs: Mapping[str, Any], is_constant: IsConstant) -> Plan | None:
    equation, *operands = args
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = list(operands[0])
    if not isinstance(equation, str) or len(operands) != 2:
        return None

    def apply(left: Tensor, right: Tensor) -> Tensor:
        return torch.einsum(equation, left, right)

    return _product_of(operands[0], operands[1], apply, is_constant)


def _product_onto(args: tuple[Any, ...], kwargs: Mapping[str, Any], is_constant: IsConstant) -> Plan | None:
    """A product that is added to something: to a bias, which gets nothing, or to other states."""
    given = _bound(args, kwargs, "input", "left", "right")
    added, left, right = (given[name] for name in ("input", "left", "right"))
    beta, alpha = given.get("beta", 1), given.get("alpha", 1)
    product = _product_of(left, right, torch.matmul, is_constant)
    if product is None or is_constant(added):
        return product

    def rule(relevance: Tensor, values: Sequence[Tensor], samples: Samples) -> list[Tensor]:
        base, one, other = values[0], *_factors(left, right, values[1:], product.operands)
        of_base, of_product = through_sum(relevance, beta * base, alpha * (one @ other), samples)
        return [of_base, *product.rule(of_product, values[1:], samples)]

    return Plan((added, *product.operands), rule)


def _factors(
    left: Tensor, right: Tensor, values: Sequence[Tensor], operands: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Return both factors of a product, of which the values of those that are no weights are given."""
    known = {id(operand): value for operand, value in zip(operands, values, strict=True)}
    dtype = values[0].dtype
    return known.get(id(left), left.detach().to(dtype)), known.get(id(right), right.detach().to(dtype))


def _added(sign: int) -> Planner:
    def plan(args: tuple[Any, ...], kwargs: Mapping[str, Any], _: IsConstant) -> Plan | None:
        given = _bound(args, kwargs, "input", "other")
        left, right = _as_tensors(given["input"], given["other"])
        factor = sign * given.get("alpha", 1)
        return Plan(
            (left, right),
            lambda relevance, values, samples: through_sum(relevance, values[0], factor * values[1], samples),
        )

    return plan


def _taken_off(args: tuple[Any, ...], kwargs: Mapping[str, Any], is_constant: IsConstant) -> Plan | None:
    """`rsub`: the second argument less the first."""
    given = _bound(args, kwargs, "input", "other")
    swapped = {"input": given["other"], "other": given["input"], "alpha": given.get("alpha", 1)}
    return _added(-1)((), swapped, is_constant)


def _as_tensors(left: Any, right: Any) -> tuple[Tensor, Tensor]:
    """Return two summands of which one may be a number."""
    if not isinstance(left, Tensor):
        left = torch.as_tensor(left, dtype=right.dtype, device=right.device)
    if not isinstance(right, Tensor):
        right = torch.as_tensor(right, dtype=left.dtype, device=left.device)
    return left, right


def _scaled(args: tuple[Any, ...], kwargs: Mapping[str, Any], is_constant: IsConstant) -> Plan | None:
    """A product with numbers that are no states passes relevance on; two states have no rule."""
    given = [*args, *kwargs.values()][:2]
    states = [one for one in given if isinstance(one, Tensor) and one.requires_grad and not is_constant(one)]
    if len(states) != 1:
        return None
    shape = states[0].shape
    return Plan((states[0],), lambda relevance, *_: [relevance.sum_to_size(shape)])


def _divided(args: tuple[Any, ...], kwargs: Mapping[str, Any], is_constant: IsConstant) -> Plan | None:
    by = [*args, *kwargs.values()][1]
    is_state = isinstance(by, Tensor) and by.requires_grad and not is_constant(by)
    return None if is_state or kwargs.get("rounding_mode") else _scaled(args, kwargs, is_constant)


def _pooled(function: Callable[..., Tensor]) -> Planner:
    def plan(args: tuple[Any, ...], kwargs: Mapping[str, Any], _: IsConstant) -> Plan | None:
        features, *settings = args

        def apply(tensor: Tensor) -> Tensor:
            return function(tensor, *settings, **kwargs)

        return Plan((features,), lambda relevance, values, _: [through_pooling(relevance, values[0], apply)])

    return plan


def _fused_attention(args: tuple[Any, ...], kwargs: Mapping[str, Any], _: IsConstant) -> Plan | None:
    given = sdpa_arguments(*args, **kwargs)
    query, key, value, mask = (given[name] for name in ("query", "key", "value", "attn_mask"))
    scale = query.shape[-1] ** -0.5 if given["scale"] is None else given["scale"]
    if given["is_causal"]:
        mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
    heads = query.shape[-3] if query.dim() > 3 else 1

    def rule(relevance: Tensor, values: Sequence[Tensor], samples: Samples) -> list[Tensor]:
        asking, *read = values
        keys, kept = (per_query_head(one, heads) if given["enable_gqa"] else one for one in read)
        added = mask if mask is None or mask.dtype == torch.bool else mask.detach().to(asking.dtype)
        found = through_attention(relevance, (asking, keys, kept), samples, mask=added, scale=scale)
        return [
            one if one.shape == operand.shape else split(one, -3, operand.shape[-3]).sum(-3)
            for one, operand in zip(found, values, strict=True)
        ]

    return Plan((query, key, value), rule)


_PASSED_ON = """
    celu dropout elu gelu hardsigmoid hardswish hardtanh layer_norm leaky_relu log_softmax mish relu relu6
    rms_norm selu sigmoid silu softmax softplus softsign tanh
"""

PLANS: Final[Mapping[str, Planner]] = {
    **dict.fromkeys(_PASSED_ON.split(), _passed_on),
    "linear": _linear,
    **dict.fromkeys(("matmul", "bmm", "mm"), _matmul),
    "__rmatmul__": _turned_matmul,
    "einsum": _einsum,
    **dict.fromkeys(("addmm", "baddbmm"), _product_onto),
    "add": _added(1),
    **dict.fromkeys(("sub", "subtract"), _added(-1)),
    **dict.fromkeys(("rsub", "__rsub__"), _taken_off),
    **dict.fromkeys(("mul", "multiply", "neg", "negative"), _scaled),
    **dict.fromkeys(("div", "divide", "true_divide"), _divided),
    "mean": _pooled(torch.mean),
    "sum": _pooled(torch.sum),
    "scaled_dot_product_attention": _fused_attention,
}
"""By name of the torch function, whether called as a function or as a method."""

SUMS: Final = frozenset(("add", "sub", "subtract", "rsub", "__rsub__"))
"""Those that may hold the residual stream."""
