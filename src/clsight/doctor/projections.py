"""What enters attention that is written out, where no submodule is called with the sequence?

In `attention(self.query(x), self.key(x), self.value(x))`, written in the module that is called, `x` is the
argument of no layer. It is what the last linear map before the first attention is called with.
"""

from collections.abc import Callable
from typing import Any, Final

from torch import Tensor
from torch.overrides import TorchFunctionMode

_PROJECTING: Final = frozenset(["linear", "matmul", "__matmul__"])
_ATTENDING: Final = frozenset(["scaled_dot_product_attention", "softmax", "multi_head_attention_forward"])

SequenceOf = Callable[[Any], Tensor | None]
"""Returns the sequence among tensors as `[sample, token, channel]`, or None."""


class Projections:
    """Watch the linear maps of a sequence until the first attention.

    Attributes:
        entering: `[sample, token, channel]`, what the last of them was called with; None if there was none.
        places: Which of them were called with that very tensor: 0 is the first.
    """

    def __init__(self, sequence_of: SequenceOf) -> None:
        self.entering: Tensor | None = None
        self.places: frozenset[int] = frozenset()
        self._sequence_of = sequence_of
        self._inputs: list[Tensor] = []
        self._is_done = False

    def on_call(self, name: str, args: tuple[Any, ...]) -> None:
        """Look at a function that is about to run."""
        if self._is_done:
            return
        if name in _ATTENDING:
            self._is_done = True
            self._close()
        elif is_projection(name, args, self._sequence_of):
            self._inputs.append(args[0])

    def _close(self) -> None:
        inputs, self._inputs = self._inputs, []
        sequence = self._sequence_of(inputs[-1]) if inputs else None
        if sequence is not None:
            self.entering = sequence.clone()
            self.places = frozenset(place for place, value in enumerate(inputs) if value is inputs[-1])


def is_projection(name: str, args: tuple[Any, ...], sequence_of: SequenceOf) -> bool:
    """Tell whether a function maps each token of the sequence by the same matrix."""
    if name not in _PROJECTING or len(args) < 2 or not isinstance(args[1], Tensor) or args[1].dim() != 2:
        return False
    return isinstance(args[0], Tensor) and sequence_of(args[0]) is not None


class Disturbed(TorchFunctionMode):
    """Change what linear maps of the sequence are called with, inside a `with` block.

    Args:
        places: Which of them, as `Projections` counts.
        change: Returns the other sequence.
        sequence_of: As for `Projections`.
    """

    def __init__(
        self, places: frozenset[int], change: Callable[[Tensor], Tensor], sequence_of: SequenceOf
    ) -> None:
        super().__init__()
        self._places, self._change, self._sequence_of = places, change, sequence_of
        self._seen = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if is_projection(getattr(func, "__name__", ""), args, self._sequence_of):
            if self._seen in self._places:
                args = (self._change(args[0]), *args[1:])
            self._seen += 1
        return func(*args, **(kwargs or {}))
