"""Which tensors are functions of one state, entry by entry? Activations that are written out: x · σ(a x).

Relevance passes through them as through an activation that torch knows, from the last step to the state.
"""

from typing import Any
from weakref import ref

from torch import Tensor

_OF_ONE = frozenset(
    (
        *(
            "abs",
            "atan",
            "clamp",
            "clip",
            "cos",
            "elu",
            "erf",
            "exp",
            "expm1",
            "gelu",
            "hardtanh",
            "leaky_relu",
        ),
        *("log", "log1p", "mish", "neg", "negative", "pow", "reciprocal", "relu", "rsqrt", "sigmoid", "silu"),
        *("sin", "softplus", "sqrt", "square", "tanh"),
    )
)
_OF_TWO = frozenset(
    ("__rdiv__", "__rsub__", "add", "div", "divide", "mul", "multiply", "rsub", "sub", "subtract")
)


class Entrywise:
    """The tensors of one forward pass that are functions of a state, entry by entry."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[ref[Tensor], Tensor, int]] = {}

    def state_behind(
        self, name: str, arguments: tuple[Any, ...], result: Tensor
    ) -> tuple[Tensor | None, int]:
        """Return the one state that a result is a function of, or None, and of how many tensors it was made.

        Args:
            name: Of the function.
            arguments: Its arguments.
            result: What it gave.
        """
        given = [one for one in arguments if isinstance(one, Tensor)]
        if name not in _OF_ONE | _OF_TWO or len(given) > (2 if name in _OF_TWO else 1):
            return None, 0
        states = [self._behind(one) for one in given]
        if not states or any(one is not states[0] for one in states) or states[0].shape != result.shape:
            return None, 0
        return states[0], len(given)

    def note(self, result: Tensor, state: Tensor) -> None:
        """Remember that a result is a function of a state."""
        key = id(result)
        self._known[key] = (ref(result, lambda _: self._known.pop(key, None)), state, state._version)

    def _behind(self, tensor: Tensor) -> Tensor:
        """Return the state that a tensor is a function of: itself, unless it is known to be of another."""
        reference, state, version = self._known.get(id(tensor), (None, tensor, -1))
        is_known = reference is not None and reference() is tensor
        return state if is_known and state._version == version else tensor
