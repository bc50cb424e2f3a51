"""Three ways to take tokens out of an input: hide them by the mask, cut them out, put a baseline in place.

All work on ids and tensors, never on text that is tokenized anew. Each way says in a sentence where a model
does not support it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clsight.errors import CaptureError
from clsight.faithfulness.attributed import Flags, Text
from clsight.faithfulness.batch import Batch
from clsight.faithfulness.pictures import Painting
from clsight.faithfulness.sequences import Sequence, sequence_in

Way = Literal["mask", "deletion", "baseline"]
WAYS: Final[tuple[Way, ...]] = ("mask", "deletion", "baseline")
"""In the order in which they are tried if none is chosen."""
Baseline = Literal["mean", "zero"] | int

_MASKS: Final = {"token_mask": True, "attention_mask": True, "src_key_padding_mask": False}
"""Arguments that hide tokens, and the value that means a real token."""


class NotSupportedError(Exception):
    """A model does not support a way of removal; the message says why, without a full stop."""


@dataclass(frozen=True)
class Part:
    """Some samples of a batch with tokens removed.

    Attributes:
        rows: Which samples.
        inputs: What the module is called with for them.
    """

    rows: NDArray[np.int64]
    inputs: Any


class Masking:
    """Hide tokens by the mask that the model takes; all others keep their positions.

    Args:
        batch: The call.

    Raises:
        NotSupportedError: If the call takes no mask of one value per token.
    """

    def __init__(self, batch: Batch) -> None:
        arguments = batch.arguments
        if arguments is None:
            raise NotSupportedError("its arguments have no names, so that a mask cannot be added to them")
        name = next((one for one in _MASKS if one in batch.accepted), None)
        if name is None:
            raise NotSupportedError(f"its forward takes none of {', '.join(_MASKS)}")
        self._batch, self._name, self._arguments = batch, name, arguments
        given = arguments.get(name)
        length = _length(batch, name, given)
        added = batch.added(length)
        if added is None:
            raise NotSupportedError(
                f"`{name}` has {length} entries, which are not the last of the {batch.sizes[1]} tokens"
            )
        self._tokens = slice(added, added + length)

    def parts(self, removed: Flags) -> list[Part]:
        """Return the call with tokens hidden, `[sample, token]`."""
        hidden = torch.as_tensor(removed[:, self._tokens])
        mask = self._hidden(self._arguments.get(self._name), hidden)
        return [Part(np.arange(len(removed)), {**self._arguments, self._name: mask})]

    def _hidden(self, given: Any, hidden: Tensor) -> Tensor:
        """Return the mask of the call with more tokens hidden, in its own form."""
        real = _MASKS[self._name]
        if not isinstance(given, Tensor):
            return self._new_mask(~hidden if real else hidden)
        hidden = hidden.to(given.device)
        is_additive = given.is_floating_point() and (not real or bool((given < 0).any()))
        if is_additive:
            return given.masked_fill(hidden, float("-inf") if not real else float(given.min()))
        return given.masked_fill(hidden, 0 if real else 1)

    def _new_mask(self, mask: Tensor) -> Tensor:
        """Return the mask of a call that has none yet; torch wants all masks of a call in one dtype."""
        tensors = {name: value for name, value in self._arguments.items() if isinstance(value, Tensor)}
        mask = mask.to(next(iter(tensors.values()), mask).device)
        other = next((value for name, value in tensors.items() if "mask" in name), mask)
        if self._name == "src_key_padding_mask" and other.is_floating_point():
            return torch.zeros_like(mask, dtype=other.dtype).masked_fill(mask, float("-inf"))
        return mask.long() if self._name == "attention_mask" else mask


class Deletion:
    """Cut tokens out of the sequence; what follows moves up, padding stays.

    Args:
        batch: The call.

    Raises:
        NotSupportedError: If the input is no sequence, would be empty, or [CLS] would move.
    """

    def __init__(self, batch: Batch) -> None:
        self._sequence = _sequence(batch)
        if bool(self._sequence.own(batch.removable).all(1).any()):
            raise NotSupportedError(
                "its input holds no token that stays, such as [CLS]: nothing would be left of it"
            )
        if _moves_cls(batch):
            raise NotSupportedError(
                "tokens stand before [CLS]: without them the model would look for it at another place"
            )

    def parts(self, removed: Flags) -> list[Part]:
        """Return a call for each length that is left, without the removed tokens."""
        own = self._sequence.own(removed)
        counts = own.sum(1)
        parts = []
        for count in np.unique(counts):
            rows = np.flatnonzero(counts == count)
            parts.append(Part(rows, self._sequence.cut(rows, ~own[rows])))
        return parts


class Replacement:
    """Put a baseline in the place of tokens: another id, zero, or the mean step or patch of the same sample.

    Args:
        batch: The call.
        baseline: An id for sequences of ids; `mean` or `zero` for numbers.

    Raises:
        NotSupportedError: If tokens cannot be found in the input, or the baseline does not fit.
    """

    def __init__(self, batch: Batch, baseline: Baseline | None) -> None:
        if batch.row is not None and batch.column is not None:
            self._replaced: Callable[[Flags], Any] = _painting(batch, baseline).painted
            return
        sequence = _sequence(batch)
        if sequence.holds_ids:
            largest = _vocabulary(batch)
            if isinstance(baseline, bool) or not isinstance(baseline, int | np.integer):
                raise NotSupportedError(
                    "its input is token ids: pass baseline=, the id of a neutral token such as [MASK]"
                )
            if not 0 <= baseline < largest:
                raise NotSupportedError(f"the baseline id {baseline} is not among its {largest} ids")
            self._replaced = lambda removed: sequence.with_ids(removed, int(baseline))
        else:
            _check_numbers(baseline)
            self._replaced = lambda removed: sequence.with_numbers(
                removed, batch.removable if baseline != "zero" else None
            )

    def parts(self, removed: Flags) -> list[Part]:
        """Return the call with the baseline at tokens, `[sample, token]`."""
        return [Part(np.arange(len(removed)), self._replaced(removed))]


Remover = Masking | Deletion | Replacement
Made = TypeVar("Made")


def remover_of(batch: Batch, way: Way | None, baseline: Baseline | None) -> tuple[Way, Remover]:
    """Return what removes tokens, and by which way; the first that is supported if none is chosen.

    Raises:
        CaptureError: If the way is unknown, or the model does not support it.
    """
    if way is not None and way not in WAYS:
        raise CaptureError(
            "by",
            expected=f"one of {', '.join(WAYS)}",
            got=repr(way),
            next_step="Leave it out to choose for you",
        )
    refusals: dict[Way, str] = {}
    for one in WAYS if way is None else (way,):
        try:
            return one, _made(batch, one, baseline)
        except NotSupportedError as refusal:
            refusals[one] = str(refusal)
    others = [other for other, why in ways_for(batch, baseline).items() if not why]
    raise CaptureError(
        batch.name,
        expected=f"a model whose tokens can be removed by {way or 'any way'}",
        got="; ".join(f"{one}: {why}" for one, why in refusals.items()) if way is None else refusals[way],
        next_step=f"It supports by={' and by='.join(map(repr, others))}" if others else _LOAD,
    )


_LOAD: Final = "Load it with clsight.load or clsight.subject_of, which know where its tokens stand"


def ways_for(batch: Batch, baseline: Baseline | None) -> dict[Way, str]:
    """Return per way why a model does not support it; empty where it does."""
    why: dict[Way, str] = {}
    for way in WAYS:
        try:
            _made(batch, way, baseline)
            why[way] = ""
        except NotSupportedError as refusal:
            why[way] = str(refusal)
    return why


def _made(batch: Batch, way: Way, baseline: Baseline | None) -> Remover:
    if way == "mask":
        return Masking(batch)
    return Deletion(batch) if way == "deletion" else Replacement(batch, baseline)


def _length(batch: Batch, name: str, given: Any) -> int:
    """Return how many tokens the mask of a call has."""
    if given is not None:
        if not isinstance(given, Tensor) or given.dim() != 2 or given.shape[0] != batch.sizes[0]:
            raise NotSupportedError(f"`{name}` of the call is not one value per sample and token")
        return given.shape[1]
    sequence = sequence_in(batch)
    if sequence is not None:
        return sequence.length
    if batch.row is None:
        raise NotSupportedError("where its tokens stand in the input is not known")
    return batch.sizes[1] - batch.leading


def _sequence(batch: Batch) -> Sequence:
    if batch.row is not None:
        raise NotSupportedError("its input is pictures, of which no patch can be cut out")
    found = sequence_in(batch)
    if found is None:
        raise NotSupportedError(
            f"no argument of the call is [sample, token, ...] for its {batch.sizes[1]} tokens"
        )
    return found


def _moves_cls(batch: Batch) -> bool:
    """Return whether a token that may be removed stands before [CLS]."""
    is_cls = np.asarray(batch.kind) == np.array("cls", dtype=Text)
    return bool((batch.removable & (is_cls[:, ::-1].cumsum(1)[:, ::-1] > 0)).any())


def _painting(batch: Batch, baseline: Baseline | None) -> Painting:
    _check_numbers(baseline)
    try:
        return Painting(batch, is_zero=baseline == "zero")
    except ValueError as error:
        raise NotSupportedError(str(error)) from None


def _check_numbers(baseline: Baseline | None) -> None:
    if baseline not in (None, "mean", "zero"):
        raise NotSupportedError(f"its input is numbers: baseline= is 'mean' or 'zero', not {baseline!r}")


def _vocabulary(batch: Batch) -> int:
    """Return the number of ids that the largest embedding of the model has."""
    embeddings = [part for part in batch.call.module.modules() if isinstance(part, torch.nn.Embedding)]
    return max((part.num_embeddings for part in embeddings), default=2**31)
