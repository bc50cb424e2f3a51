"""What a module with one plain input takes (numbers, ids or pictures), and what its tokens stand for.

For modules that bring no tokenizer and no picture settings: bare state dicts and a user's own class.
"""

from dataclasses import dataclass, replace
from typing import Any, Final, NoReturn

import numpy as np
import torch
from torch import Tensor

from clsight.errors import ClsightError
from clsight.loading import default_examples, raw_data
from clsight.loading.further_arguments import Argument, all_real
from clsight.loading.picture_transform import PictureTransform, gray
from clsight.loading.subject import Takes
from clsight.loading.token_layout import Layout
from clsight.preparation import Array, Examples, Prepared
from clsight.schema import TokenKind

_TEXT: Final = np.dtypes.StringDType()
_KIND: Final[dict[Takes, TokenKind]] = {"series": "step", "token_ids": "word", "image": "patch"}
_TIME, _SIDE = 12, 8


@dataclass(frozen=True, kw_only=True)
class PlainInput:
    """The one input of a module.

    Attributes:
        takes: What one sample is.
        features: Channels of a time step, for a series.
        vocabulary: Number of token ids.
        channels: Colors of a picture: 1 or 3.
        patch: Height and width of a patch in pixels.
        stride: Pixels from one patch to the next, down and across.
        size: Height and width of a picture; None where any multiple of the patch will do.
        longest: The largest number of steps or ids; None without a bound.
        exact: The only number of steps or ids that fits; None where any number up to `longest` does.
        features_first: Whether a series is `[sample, feature, time]`, as a convolution wants it.
        beside: Further arguments of the module, behind the input.
    """

    takes: Takes
    features: int = 0
    vocabulary: int = 0
    channels: int = 3
    patch: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    size: tuple[int, int] | None = None
    longest: int | None = None
    exact: int | None = None
    features_first: bool = False
    beside: tuple[Argument, ...] = ()

    @property
    def kind(self) -> TokenKind:
        """The kind of its tokens."""
        return _KIND[self.takes]

    def read(self, raw: Any) -> Examples:
        """Return raw data as examples: arrays, paths, for ids also text such as `"5 9 2"`."""
        if self.takes == "token_ids":
            return raw_data.read_ids(raw)
        if self.takes == "series":
            return raw_data.read_series(raw)
        is_made = isinstance(raw, np.ndarray) and raw.ndim == 4 and raw.dtype.kind == "f"
        return Examples(raw) if is_made else raw_data.read_pictures(raw)

    def examples(self) -> Examples:
        """Return a few examples that are made up."""
        if self.takes == "image":
            height, width = self.size or (_SIDE * self.stride[0], _SIDE * self.stride[1])
            return default_examples.pictures(height, width)
        time = self.exact or min(self.longest or _TIME, _TIME)
        if self.takes == "series":
            time -= time == self.features and self.exact is None  # so that the two can be told apart
            made = default_examples.series(max(time, 1), self.features)
            return replace(made, inputs=made.inputs.swapaxes(1, 2)) if self.features_first else made
        return default_examples.token_ids(time, self.vocabulary)

    def tensor(self, examples: Examples, like: Tensor) -> Tensor:
        """Return what the module is called with, on the device and in the dtype of its weights `like`.

        Raises:
            ClsightError: If the examples do not fit.
        """
        if not self.beside and examples.token_mask is not None and not examples.token_mask.all():
            _fail("no token_mask, which this module is not called with", "a mask with padding")
        made = self._pixels(examples.inputs) if self.takes == "image" else self._turned(examples.inputs)
        expected, fits = self._fits(made)
        if not fits or 0 in made.shape:
            _fail(expected, f"{made.dtype} [{', '.join(str(size) for size in made.shape)}]")
        if self.takes != "image":
            self._check_time(made.shape[2 if self.features_first else 1])
        if self.takes == "token_ids":
            if made.min() < 0 or made.max() >= self.vocabulary:
                _fail(f"token ids from 0 to {self.vocabulary - 1}", f"{made.min()} to {made.max()}")
            return torch.as_tensor(made).to(like.device, torch.int64)
        x = torch.as_tensor(made).to(like)
        bad = (~torch.isfinite(x)).flatten(start_dim=1).any(dim=1)
        if bool(bad.any()):
            _fail("finite numbers", f"NaN or infinity in sample={int(bad.nonzero()[0])}")
        return x

    def inputs(self, examples: Examples, x: Tensor) -> tuple[Tensor, ...]:
        """Return all that the module is called with: the input, and what it needs beside it."""
        if not self.beside:
            return (x,)
        is_real = all_real(len(x), self.time_of(x), x)
        if examples.token_mask is not None:
            if examples.token_mask.shape != is_real.shape:
                got = f"[{', '.join(str(size) for size in examples.token_mask.shape)}]"
                _fail(f"token_mask [sample={len(is_real)}, time={is_real.shape[1]}]", got)
            is_real = torch.as_tensor(examples.token_mask).to(is_real)
        return (x, *(argument.value(is_real) for argument in self.beside))

    def grid_of(self, height: int, width: int) -> tuple[int, int]:
        """Return rows and columns of patches in a picture of this size."""
        return (
            (height - self.patch[0]) // self.stride[0] + 1,
            (width - self.patch[1]) // self.stride[1] + 1,
        )

    def time_of(self, x: Tensor) -> int:
        """Return how many tokens one sample of the input is: steps, ids or patches."""
        if self.takes != "image":
            return x.shape[2 if self.features_first else 1]
        rows, columns = self.grid_of(x.shape[2], x.shape[3])
        return rows * columns

    def prepared(self, examples: Examples, x: Tensor, layout: Layout) -> Prepared:
        """Return what the module is called with, and the token map of a sequence laid out this way."""
        text, places = self._named(examples, x, layout)
        kind = np.full(text.shape, self.kind, dtype=_TEXT)
        row, column = (layout.spread(place, np.int16(-1)) for place in places) if places else (None, None)
        mask = None
        texts, kinds = layout.spread(text, ""), layout.spread(kind, "")
        if self.beside and examples.token_mask is not None:
            mask = layout.spread(examples.token_mask.astype(bool), True)
            texts[~mask], kinds[~mask] = "[PAD]", "pad"
        inputs = self.inputs(examples, x)
        return Prepared(
            inputs=x if len(inputs) == 1 else inputs,
            token_mask=mask,
            token_text=layout.named(texts, layout.texts),
            token_kind=layout.named(kinds, layout.kinds),
            row=row,
            column=column,
            label=None if examples.labels is None else examples.labels.astype(np.int64),
            notes=(layout.note,) if layout.note else (),
        )

    def _named(self, examples: Examples, x: Tensor, layout: Layout) -> tuple[Array, list[Array]]:
        """Return the text of the input's tokens, and of patches rows and columns, each [sample, time]."""
        samples = len(examples)
        if self.takes == "token_ids":
            return examples.inputs.astype(str).astype(_TEXT), []
        if self.takes == "series":
            return _repeated([f"step {time}" for time in range(self.time_of(x))], samples), []
        grid = layout.grid or self.grid_of(x.shape[2], x.shape[3])
        rows, columns = (axis.ravel().astype(np.int16) for axis in np.indices(grid))
        names = [f"patch {row},{column}" for row, column in zip(rows, columns, strict=True)]
        is_placed = any(source >= 0 for source in layout.sources)
        places = [np.tile(axis, (samples, 1)) for axis in (rows, columns)] if is_placed else []
        return _repeated(names, samples), places

    def _turned(self, inputs: Array) -> Array:
        """Return a series as the module takes it, turned where features go first."""
        if not self.features_first or inputs.ndim != 3 or inputs.shape[1] == self.features:
            return inputs
        return inputs.swapaxes(1, 2) if inputs.shape[2] == self.features else inputs

    def _pixels(self, inputs: Array) -> Array:
        """Return [sample, channel, height, width] float, pixels in [0, 1]; floating arrays are left alone."""
        if inputs.dtype != np.uint8 or inputs.ndim != 4:
            return inputs
        size = self.size or tuple(
            max(1, side // step) * step for side, step in zip(inputs.shape[1:3], self.stride, strict=True)
        )
        plain = PictureTransform(resize=size, size=size, fit="squash", mean=(0, 0, 0), std=(1, 1, 1))
        pixels = plain(inputs)
        if self.channels == 1:
            pixels = gray(pixels)[:, None]
        return pixels

    def _fits(self, made: Array) -> tuple[str, bool]:
        """Return the expected array in words, and whether shape and kind fit."""
        if self.takes == "token_ids":
            return "token ids [sample, time]", made.ndim == 2 and made.dtype.kind in "iu"
        numbers = made.dtype.kind in "iuf"
        if self.takes == "series":
            feature = f"feature={self.features}"
            words = f"{feature}, time" if self.features_first else f"time, {feature}"
            has_features = made.ndim == 3 and made.shape[1 if self.features_first else 2] == self.features
            return f"numbers [sample, {words}]", numbers and has_features
        height, width = self.size or ("any", "any")
        words = f"pictures [sample, channel={self.channels}, height={height}, width={width}]"
        right = made.ndim == 4 and made.shape[1] == self.channels
        return words, numbers and right and (self.size is None or made.shape[2:] == self.size)

    def _check_time(self, time: int) -> None:
        if self.exact is not None and time != self.exact:
            _fail(f"time={self.exact}", f"time={time}")
        if self.longest is not None and time > self.longest:
            _fail(f"at most time={self.longest}", f"time={time}")


def _repeated(names: list[str], samples: int) -> Array:
    """Return the same names for each sample: [sample, time]."""
    return np.tile(np.array(names, dtype=_TEXT), (samples, 1))


def _fail(expected: str, got: str) -> NoReturn:
    raise ClsightError(
        "examples", expected=expected, got=got, next_step="Change the input to what the model takes"
    )
