"""What a training tells of its steps beside the maps: loss, accuracy and the like, one number each."""

from collections.abc import Mapping
from numbers import Real
from typing import Any, Final

import numpy as np
from torch import Tensor

from clsight.errors import TrackingError
from clsight.records.checking import VARIABLE_DIMS
from clsight.schema import DIMS

_TAKEN: Final = frozenset({*VARIABLE_DIMS, *DIMS})


class Scalars:
    """The last value of each scalar that was told since the last tracked step.

    A number on a GPU is copied there and read only at tracked steps: no other step waits for it.
    """

    def __init__(self) -> None:
        self._told: dict[str, Any] = {}

    def tell(self, scalars: Mapping[str, Any]) -> None:
        """Note the values of one step.

        Raises:
            TrackingError: If a name is none, or one that a record has already, or a value is no number.
        """
        for name, value in scalars.items():
            _check_name(name)
            if not _converts(value):
                raise _refused(name, "one number", _words(value), "Pass a number, such as loss.mean()")
            self._told[name] = value.detach().clone() if isinstance(value, Tensor) else float(value)

    def take(self) -> dict[str, float]:
        """Return what was told since the last call."""
        taken = {name: float(value) for name, value in self._told.items()}
        self._told.clear()
        return taken


def plain_name(name: str) -> str:
    """Return a name that a record can hold for one that a framework gave: `val_loss` for `val/loss`."""
    plain = "".join(letter if letter.isalnum() else "_" for letter in name)
    plain = plain if plain.isidentifier() else f"_{plain}"
    return f"{plain}_told" if plain in _TAKEN else plain


def is_number(value: Any) -> bool:
    """Tell whether a framework's logged value is a single number."""
    return _converts(value) and isinstance(value, Tensor | Real) and not isinstance(value, bool)


def _converts(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.numel() == 1 and not value.is_complex()
    return hasattr(value, "__float__") and np.ndim(value) == 0


def _check_name(name: str) -> None:
    if name in _TAKEN:
        next_step = f"Call it otherwise, such as `{name}_told`"
        raise _refused(name, "a name that a record does not have already", "one that it has", next_step)
    if not name.isidentifier():
        next_step = f"Call it `{plain_name(name)}`"
        raise _refused(name, "a name of letters, digits and _", repr(name), next_step)


def _words(value: Any) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)


def _refused(subject: str, expected: str, got: str, next_step: str) -> TrackingError:
    return TrackingError(subject, expected=expected, got=got, next_step=next_step)
