"""A `Subject` that looks at pictures: what timm, torchvision and open_clip models have in common."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from clsight.errors import CheckpointError, ClsightError
from clsight.loading.default_examples import pictures
from clsight.loading.picture_transform import PictureTransform
from clsight.loading.raw_data import read_pictures
from clsight.loading.subject import ClsVector, Subject
from clsight.preparation import Examples, Prepared
from clsight.schema import TokenKind

_TEXT = np.dtypes.StringDType()
_SHOWN = {"cls": "[CLS]", "distillation": "[DIST]", "register": "[REG{}]"}


@dataclass(frozen=True)
class PictureTokens:
    """The sequence of a vision transformer.

    Attributes:
        prefix: Kinds of the tokens before the patches, such as `("cls", "register")`.
        grid: Rows and columns of patches, in this order along the sequence.
    """

    prefix: tuple[TokenKind, ...]
    grid: tuple[int, int]

    @property
    def kinds(self) -> tuple[TokenKind, ...]:
        """The kind of each token."""
        patches: list[TokenKind] = ["patch"] * (self.grid[0] * self.grid[1])
        return (*self.prefix, *patches)

    @property
    def texts(self) -> list[str]:
        """How each token is shown; registers are numbered from 1."""
        numbers = [self.prefix[:index].count("register") + 1 for index in range(len(self.prefix))]
        shown = [_SHOWN[kind].format(number) for kind, number in zip(self.prefix, numbers, strict=True)]
        return shown + [f"patch {row},{column}" for row, column in np.ndindex(self.grid)]

    @property
    def places(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Row and column of each token, -1 where it is no patch."""
        nowhere = np.full(len(self.prefix), -1)
        rows, columns = (np.concatenate((nowhere, axis.ravel())) for axis in np.indices(self.grid))
        return rows.astype(np.int16), columns.astype(np.int16)


def picture_subject(
    module: nn.Module,
    *,
    name: str,
    transform: PictureTransform,
    tokens: PictureTokens,
    cls_index: int | None,
    cls_vector: ClsVector | None,
    classes: tuple[str, ...],
    classifies: bool,
    provenance: dict[str, Any],
    within: str | None = None,
    preparation: Callable[[Examples], Prepared] | None = None,
) -> Subject:
    """Return the subject of a module that takes normalized pictures [sample, color, height, width]."""
    examples = pictures(*transform.size)
    return Subject(
        module=module.eval(),
        name=name,
        cls_index=cls_index,
        strategy="",
        seed=None,
        classes=classes,
        examples=examples,
        provenance={**provenance, "torch": torch.__version__, "examples": examples.made},
        preparation=preparation or picture_preparation(module, transform, tokens),
        takes="image",
        token_kinds=tuple(dict.fromkeys(tokens.kinds)),
        cls_vector=cls_vector,
        within=within,
        reading=read_pictures,
        classifies=classifies,
    )


def picture_preparation(
    module: nn.Module, transform: PictureTransform, tokens: PictureTokens
) -> Callable[[Examples], Prepared]:
    """Return the function that prepares pictures for this module, on its device and in its dtype."""

    def prepare(examples: Examples) -> Prepared:
        _check(examples)
        weight = next(module.parameters())
        samples = len(examples)
        row, column = (np.tile(place, (samples, 1)) for place in tokens.places)
        return Prepared(
            inputs=torch.from_numpy(transform(examples.inputs)).to(weight),
            token_mask=None,
            token_text=np.tile(np.array(tokens.texts, dtype=_TEXT), (samples, 1)),
            token_kind=np.tile(np.array(tokens.kinds, dtype=_TEXT), (samples, 1)),
            row=row,
            column=column,
            label=None if examples.labels is None else examples.labels.astype(np.int64),
        )

    return prepare


def check_complete(module: nn.Module, missing: list[str], file: Path) -> None:
    """Refuse weights that leave a parameter as it was drawn: the architecture is known, so all are there."""
    lacking = [name for name, _ in module.named_parameters() if name in set(missing)]
    if lacking:
        raise CheckpointError(
            str(file),
            expected="all weights of the model",
            got=f"none for {len(lacking)} of them, such as `{lacking[0]}`",
            next_step="Save model.state_dict() whole",
        )


def _check(examples: Examples) -> None:
    inputs = examples.inputs
    if inputs.dtype != np.uint8 or inputs.ndim != 4 or inputs.shape[-1] != 3 or 0 in inputs.shape:
        raise ClsightError(
            "examples",
            expected="pictures, uint8 [sample, height, width, color=3]",
            got=f"{inputs.dtype} [{', '.join(str(size) for size in inputs.shape)}]",
            next_step="Pass paths of pictures, or values from 0 to 255 as uint8",
        )
