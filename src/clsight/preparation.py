"""From raw examples to what a classifier is called with, and what each token of its sequence stands for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from clsight.errors import ClsightError
from clsight.models import ClassificationTransformer, ModelConfig

Array = np.ndarray[Any, Any]
ModuleInputs = Tensor | tuple[Any, ...] | Mapping[str, Any]

_TEXT = np.dtypes.StringDType()


@dataclass(frozen=True, eq=False)
class Examples:
    """Raw examples, before anything that belongs to a model.

    Attributes:
        inputs: [sample, ...]: images [sample, height, width] or [sample, height, width, color], series
            [sample, time, feature], token ids [sample, time], or text: StringDType [sample], or [sample, 2]
            for pairs of sentences.
        labels: [sample] int64 class indices; None if unknown.
        token_mask: [sample, time] bool, True = real, [CLS] not counted; None if all are real.
        made: How clsight made them up, such as "random token ids, seed 0"; empty for data. Records tell it.
    """

    inputs: Array
    labels: Array | None = None
    token_mask: Array | None = None
    made: str = ""

    def __post_init__(self) -> None:
        is_text = isinstance(self.inputs, np.ndarray) and self.inputs.dtype == _TEXT
        if not isinstance(self.inputs, np.ndarray) or self.inputs.ndim < (1 if is_text else 2):
            _fail("examples", "a NumPy array [sample, ...] of two or more dimensions", _shape(self.inputs))
        if len(self.inputs) == 0:
            _fail("examples", "one sample or more", "none")
        for name, array in (("labels", self.labels), ("token_mask", self.token_mask)):
            if array is not None and len(array) != len(self.inputs):
                _fail(f"examples.{name}", f"sample={len(self.inputs)}", f"sample={len(array)}")
        if self.labels is not None and (self.labels.ndim != 1 or self.labels.dtype.kind not in "iu"):
            _fail("examples.labels", "whole numbers [sample]", _shape(self.labels))

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, which: int | slice | Array) -> "Examples":
        """Return some of the examples; a single index gives a batch of one."""
        if isinstance(which, int | np.integer):
            if not -len(self) <= which < len(self):
                raise IndexError(
                    f"example {which} of {len(self)}"
                )  # also what ends `for example in examples`
            which = np.array([which])
        return Examples(
            self.inputs[which],
            None if self.labels is None else self.labels[which],
            None if self.token_mask is None else self.token_mask[which],
            self.made,
        )


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a module is called with, and what its tokens are; token = the sequence the encoder sees.

    Attributes:
        inputs: Called as `module(x)`, `module(*inputs)` or `module(**inputs)`.
        token_mask: [sample, token] bool, True = a real token; None if all are real.
        token_text: [sample, token] StringDType.
        token_kind: [sample, token] StringDType, each one of `clsight.schema.TOKEN_KINDS`.
        row: [sample, token] int16, row of the patch, -1 where there is none; None without patches.
        column: [sample, token] int16, likewise.
        label: [sample] int64 class indices; None if unknown.
        cls_index: [sample] int64, where the answer is read off, if that differs by sample; else None.
        notes: Sentences that a reader of the map should know.
    """

    inputs: ModuleInputs
    token_mask: Array | None
    token_text: Array
    token_kind: Array
    row: Array | None
    column: Array | None
    label: Array | None
    cls_index: Array | None = None
    notes: tuple[str, ...] = ()


def preparation_for(model: ClassificationTransformer) -> Callable[[Examples], Prepared]:
    """Return the function that prepares examples for this model."""
    return lambda examples: _prepare(model, examples)


def _prepare(model: ClassificationTransformer, examples: Examples) -> Prepared:
    config, weight, mask = model.config, model.head.weight, examples.token_mask
    _check_shapes(config, examples)
    raw = _without_padding(config, examples)
    integers = config.embedding == "token"
    if integers:
        _check_ids(raw, config.vocabulary or 0)
    x = torch.as_tensor(raw).to(weight.device, torch.int64 if integers else weight.dtype)
    _check_finite(x)
    inputs: ModuleInputs = x
    if mask is not None:
        inputs = {"x": x, "token_mask": torch.as_tensor(mask).to(weight.device)}
    text, kind, places = _describe_tokens(config, examples)
    if mask is not None:
        text, kind = np.where(mask, text, _text("[PAD]")), np.where(mask, kind, _text("pad"))
        places = tuple(np.where(mask, place, np.int16(-1)) for place in places)
    lead = int(model.cls_token.in_sequence)
    rows, columns = (_in_front(-1, place, lead) for place in places) if places else (None, None)
    return Prepared(
        inputs=inputs,
        token_mask=None if mask is None else _in_front(True, mask, lead),
        token_text=_in_front("[CLS]", text, lead),
        token_kind=_in_front("cls", kind, lead),
        row=rows,
        column=columns,
        label=None if examples.labels is None else examples.labels.astype(np.int64),
    )


def _describe_tokens(config: ModelConfig, examples: Examples) -> tuple[Array, Array, tuple[Array, ...]]:
    """Return text and kind of the tokens, and of patches rows and columns, each [sample, time]."""
    samples = len(examples)
    if config.embedding == "token":
        text = examples.inputs.astype(str).astype(_TEXT)
        return text, np.full(text.shape, "word", dtype=_TEXT), ()
    places: tuple[Array, ...] = ()
    if config.embedding == "patch":
        rows, columns = (grid.ravel().astype(np.int16) for grid in np.indices(config.patch_grid))
        names = [f"patch {row},{column}" for row, column in zip(rows, columns, strict=True)]
        places = (np.tile(rows, (samples, 1)), np.tile(columns, (samples, 1)))
    else:
        names = [f"step {time}" for time in range(examples.inputs.shape[1])]
    text = np.tile(np.array(names, dtype=_TEXT), (samples, 1))
    return text, np.full(text.shape, "patch" if places else "step", dtype=_TEXT), places


def _without_padding(config: ModelConfig, examples: Examples) -> Array:
    """Return the inputs with zeros at padding: a NaN there would spread, as 0 · NaN is NaN."""
    if examples.token_mask is None or config.embedding == "patch":
        return examples.inputs
    inputs = examples.inputs.copy()
    inputs[~examples.token_mask] = 0
    return inputs


def _in_front(value: Any, array: Array, lead: int) -> Array:
    """Put `lead` columns of `value` before [sample, time]."""
    return np.hstack((np.full((len(array), lead), value, dtype=array.dtype), array))


def _text(value: str) -> Array:
    return np.array(value, dtype=_TEXT)


def _check_shapes(config: ModelConfig, examples: Examples) -> None:
    """Refuse examples whose shape or kind the model cannot take, before torch sees them."""
    inputs, mask = examples.inputs, examples.token_mask
    expected, fits = _expected_shape(config, inputs)
    if not fits or 0 in inputs.shape:
        _fail("examples", expected, _shape(inputs))
    time = config.longest if config.embedding == "patch" else inputs.shape[1]
    if config.position != "none" and time > config.longest:
        _fail("examples", f"at most time={config.longest}", f"time={time}")
    if mask is not None and (mask.dtype != bool or mask.shape != (len(examples), time)):
        _fail("examples.token_mask", f"bool [sample={len(examples)}, time={time}]", _shape(mask))


def _check_finite(x: Tensor) -> None:
    finite = torch.isfinite(x).flatten(start_dim=1).all(dim=1)
    if not bool(finite.all()):
        sample = int((~finite).nonzero()[0])
        _fail("examples", "finite numbers", f"NaN or infinity in sample={sample}")


def _expected_shape(config: ModelConfig, inputs: Array) -> tuple[str, bool]:
    """Return the expected array in words, and whether shape and kind fit."""
    if config.embedding == "token":
        return "token ids [sample, time]", inputs.ndim == 2 and inputs.dtype.kind in "iu"
    numbers = inputs.dtype.kind in "iuf" and inputs.ndim == 3
    if config.embedding == "patch":
        assert config.image_size is not None
        height, width = config.image_size
        words = f"numbers [sample, height={height}, width={width}]"
        return words, numbers and inputs.shape[1:] == (height, width)
    features = config.features if config.embedding == "linear" else config.width
    return f"numbers [sample, time, feature={features}]", numbers and inputs.shape[2] == features


def _check_ids(ids: Array, vocabulary: int) -> None:
    if ids.min() < 0 or ids.max() >= vocabulary:
        got = f"{ids.min()} to {ids.max()}"
        _fail("examples", f"token ids from 0 to {vocabulary - 1}", got)


def _shape(value: Any) -> str:
    if not isinstance(value, np.ndarray):
        return type(value).__name__
    return f"{value.dtype} [{', '.join(str(size) for size in value.shape)}]"


def _fail(subject: str, expected: str, got: str) -> NoReturn:
    raise ClsightError(
        subject, expected=expected, got=got, next_step="Change the input to what the model takes"
    )
