"""What every loader gives: a model and all that belongs to it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from clsight.errors import ClsightError
from clsight.loading.provenance_words import loading_notes
from clsight.models import ClassificationTransformer
from clsight.preparation import Examples, Prepared
from clsight.schema import TokenKind

Takes = Literal["text", "image", "series", "token_ids"]
"""What one raw sample is: a string; a picture; `[time, feature]` numbers; `[time]` whole numbers."""


@dataclass(frozen=True)
class ClsVector:
    """Where a model keeps the vector that enters its sequence as [CLS].

    Attributes:
        tensor: The parameter or buffer itself, not a copy.
        row: Row of `tensor` that is [CLS], for a word embedding `[vocabulary, channel]`; None where the whole
            tensor is [CLS], whatever its leading dimensions of size 1.
    """

    tensor: Tensor
    row: int | None = None

    @property
    def values(self) -> Tensor:
        """The vector as a view, `[channel]`."""
        return self.tensor.reshape(-1) if self.row is None else self.tensor[self.row]


@dataclass
class Subject:
    """A model and all that belongs to it.

    Attributes:
        module: The model, in eval mode.
        name: What to call it in a title.
        cls_index: Position that the answer is read off; None if it is an average. Whether [CLS] stands there
            is told by `Prepared.token_kind`: the strategy `first_token` has an ordinary token there.
        strategy: Name of the CLS initialization strategy; "" if unknown.
        seed: Seed of the model's weights; None if unknown.
        classes: A name per class; empty if unknown.
        examples: Examples to show the model on; None without. `provenance["examples"]` says where from.
        provenance: Plain values that say where it is from: path, format, sha256, versions of clsight, torch
            and the library behind the format, `missing` and `unexpected` names of weights by layer, what was
            inferred and assumed.
        preparation: Turns examples into what the module takes.
        takes: What one raw sample is.
        token_kinds: The kinds of tokens its sequences hold, in the order they first appear.
        cls_vector: Where the vector of [CLS] lives; None where there is none or it is not known.
        within: Name of the submodule whose attention is meant, where the module has several; else None.
        reading: Turns raw data (paths, strings, arrays) into examples.
        classifies: Whether the module returns a score for each class; None if unknown: its shape tells then.
    """

    module: nn.Module
    name: str
    cls_index: int | None
    strategy: str
    seed: int | None
    classes: tuple[str, ...]
    examples: Examples | None
    provenance: dict[str, Any]
    preparation: Callable[[Examples], Prepared]
    takes: Takes = "series"
    token_kinds: tuple[TokenKind, ...] = ()
    cls_vector: ClsVector | None = None
    within: str | None = None
    reading: Callable[[Any], Examples] = Examples
    classifies: bool | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that a reader of its maps should know: weights that did not load, what was assumed."""
        return loading_notes(self.provenance)

    def prepare(self, raw: Any) -> Prepared:
        """Turn raw examples into module inputs and a token map.

        Args:
            raw: Examples, or their inputs alone: an array or tensor `[sample, ...]`, or the path of one as
                `.npy`; for text a string or a list of strings, where the path of a file is a `Path`; for
                pictures, series and ids also paths as strings.

        Raises:
            ClsightError: If it does not fit the model: shape, dtype, NaN, no sample.
        """
        return self.preparation(self.read(raw))

    def read(self, raw: Any) -> Examples:
        """Return raw data as examples: files are opened, single samples become a batch of one."""
        if isinstance(raw, Mapping):
            names = ", ".join(f"`{name}`" for name in list(raw)[:4])
            raise ClsightError(
                "examples",
                expected="the data of samples, which the subject prepares itself",
                got=f"a mapping of arguments, {names}" if names else "an empty mapping",
                next_step="Pass the data alone, or call the module: clsight.capture(subject.module, inputs), "
                "with tensors as inputs",
            )
        return raw if isinstance(raw, Examples) else self.reading(_as_arrays(raw))

    def reseed(self, seed: int | None = None) -> None:
        """Start the draws of a random [CLS] anew, so that the next forward pass can be repeated."""
        if isinstance(self.module, ClassificationTransformer):
            self.module.reseed(seed)


def _as_arrays(raw: Any) -> Any:
    """Return raw data with arrays in place of tensors."""
    if isinstance(raw, Tensor):
        values = raw.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return [_as_arrays(one) for one in raw] if isinstance(raw, list) else raw
