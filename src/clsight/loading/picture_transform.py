"""From a picture of any size to the numbers a vision model was trained on: resize, crop, normalize."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from clsight.errors import CheckpointError
from clsight.loading.optional_libraries import needing

Array = np.ndarray[Any, Any]
Fit = Literal["shortest", "longest", "squash"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_GRAY = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # of red, green, blue, as Pillow weighs them


@dataclass(frozen=True, kw_only=True)
class PictureTransform:
    """How pictures are made fit for a model, on Pillow and NumPy alone.

    Attributes:
        resize: Height and width in pixels that a picture is scaled to.
        size: Height and width that are cut from its middle, or padded to.
        fit: Keep the picture's proportions, its shortest or longest side matching `resize`; or `squash` it.
        interpolation: Pillow's name of the filter; always with antialiasing.
        mean: Per color, subtracted from values in [0, 1].
        std: Per color, divided by.
        fill: Color of the padding.
    """

    resize: tuple[int, int]
    size: tuple[int, int]
    fit: Fit = "shortest"
    interpolation: Interpolation = "bicubic"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    fill: tuple[int, ...] = (0, 0, 0)

    def __post_init__(self) -> None:
        for name, value, choice in (
            ("interpolation", self.interpolation, get_args(Interpolation)),
            ("resize mode", self.fit, get_args(Fit)),
        ):
            if value not in choice:
                raise CheckpointError(
                    name,
                    expected=" or ".join(choice),
                    got=f"{value!r}",
                    where="In the settings of the model's pictures",
                    next_step="Correct config.json",
                )

    def __call__(self, pictures: Array) -> Array:
        """Return what the model takes: uint8 [sample, height, width, 3] -> float32 [sample, 3, *size]."""
        cut = np.stack([self.cut(picture) for picture in pictures])
        values = cut.astype(np.float32) / np.float32(255)
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        return np.ascontiguousarray(np.moveaxis((values - mean) / std, -1, 1))

    def cut(self, picture: Array) -> Array:
        """Return the part that the model sees: uint8 [height, width, 3] -> uint8 [*size, 3]."""
        with needing("pillow", extra="pictures"):
            from PIL import Image

        image = Image.fromarray(picture)
        height, width = self.scaled(image.height, image.width)
        image = image.resize((width, height), Image.Resampling[self.interpolation.upper()])
        canvas = Image.new("RGB", self.size[::-1], self.fill)
        canvas.paste(image, (-_start(width, self.size[1]), -_start(height, self.size[0])))
        return np.asarray(canvas)

    def scaled(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of a picture after scaling, before the cut."""
        if self.fit == "squash":
            return self.resize
        if self.fit == "shortest" and self.resize[0] == self.resize[1]:
            short, edge = min(height, width), self.resize[0]
            return edge * height // short, edge * width // short
        choose = min if self.fit == "shortest" else max
        ratio = choose(height / self.resize[0], width / self.resize[1])
        return max(1, round(height / ratio)), max(1, round(width / ratio))


def gray(pixels: Array) -> Array:
    """Return the brightness of pictures: [sample, color=3, height, width] -> [sample, height, width]."""
    brightness: Array = np.einsum("schw,c->shw", pixels, _GRAY)
    return brightness


def _start(length: int, wanted: int) -> int:
    """Return where the middle `wanted` of `length` begins; negative if there is less."""
    return round((length - wanted) / 2) if length >= wanted else -((wanted - length) // 2)
