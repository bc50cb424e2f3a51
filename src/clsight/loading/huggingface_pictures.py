"""A transformers model of pictures: how they are made fit for it, and what its tokens stand for."""

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NoReturn

from torch import nn

from clsight.errors import CheckpointError
from clsight.loading.config_values import Rule, check_value, number, whole, yes_or_no
from clsight.loading.default_examples import pictures
from clsight.loading.huggingface_text import Side
from clsight.loading.picture_subject import PictureTokens, picture_preparation
from clsight.loading.picture_transform import IMAGENET_MEAN, IMAGENET_STD, Interpolation, PictureTransform
from clsight.loading.raw_data import read_pictures
from clsight.loading.subject import ClsVector
from clsight.loading.tensor_files import inside, read_json
from clsight.preparation import Examples, Prepared
from clsight.schema import TokenKind

_FILES: Final = ("preprocessor_config.json", "processor_config.json")
_SIDE: Final = whole(1, 2048)
_MOST_PATCHES: Final = 10_000
_RESAMPLE: Final[tuple[Interpolation, ...]] = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_HALF: Final = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_LIKELY: Final = {
    "clip_vision_model": (_CLIP_MEAN, _CLIP_STD),
    "dinov2": (IMAGENET_MEAN, IMAGENET_STD),
    "dinov2_with_registers": (IMAGENET_MEAN, IMAGENET_STD),
    "dinov3_vit": (IMAGENET_MEAN, IMAGENET_STD),
    "deit": (IMAGENET_MEAN, IMAGENET_STD),
}
"""Mean and deviation of colors by kind of model, where no file states them; else a half each."""
_SHORT_SIDE: Final = ("CLIP", "Bit", "DINO", "ConvNext", "EfficientFormer")
_CLS_NAMES: Final = ("cls_token", "class_embedding", "class_token")
_RULES: Final[dict[str, Rule]] = {
    "resample": whole(0, 5),
    "rescale_factor": number(1e-9, 1),
    **dict.fromkeys(("do_resize", "do_center_crop", "do_rescale", "do_normalize"), yes_or_no),
}
_NO_CLS: Final = "The model has no class token; its answer is read off all patches"
_AVERAGED: Final = "The answer is the average over patches, not the class token, which stands at position 0"


def picture_side(module: Any, folder: Path) -> Side:
    """Return how pictures enter a model of pictures.

    Raises:
        CheckpointError: If the settings of the pictures are none that clsight follows, or the model does not
            have one sequence of patches.
    """
    config = module.config
    size, patch = _sides(config, "image_size", folder), _sides(config, "patch_size", folder)
    if hasattr(config, "depths") or getattr(config, "num_channels", 3) != 3:
        got = f"{config.model_type}, with stages or other colors"
        step = "Choose a ViT, DeiT, BEiT, CLIP or DINO model"
        _fail(folder, "a vision transformer with one sequence of patches of red, green and blue", got, step)
    if hasattr(config, "mask_ratio"):
        step = "Load its weights into transformers' ViTModel, and save that"
        _fail(folder, "a model that sees all patches in order", "one that drops and shuffles them", step)
    transform, assumed = _transform(folder, config.model_type, size)
    tokens = PictureTokens(_prefix(module), (transform.size[0] // patch[0], transform.size[1] // patch[1]))
    if not 0 < tokens.grid[0] * tokens.grid[1] <= _MOST_PATCHES:
        got = f"{tokens.grid[0]} × {tokens.grid[1]}"
        _fail(folder, f"from 1 to {_MOST_PATCHES:,} patches", got, "Correct config.json")
    vector = _cls_vector(module)
    examples = pictures(*transform.size)
    said: dict[str, Any] = {"examples": examples.made}
    if assumed:
        said["assumed"] = {"pictures": assumed}
    if vector is None:
        said["cls"] = _NO_CLS
    elif getattr(config, "use_mean_pooling", False):
        said["cls"] = _AVERAGED
    return Side(
        "image",
        read_pictures,
        _Preparation(module, transform, tokens, resized=transform.size != size),
        examples,
        None if vector is None else 0,
        vector,
        said,
    )


class _Preparation:
    """Prepares pictures under the names that a transformers model takes them by."""

    def __init__(
        self, module: nn.Module, transform: PictureTransform, tokens: PictureTokens, *, resized: bool
    ) -> None:
        self._prepare = picture_preparation(module, transform, tokens)
        takes = inspect.signature(module.forward).parameters
        self._options = {"interpolate_pos_encoding": True} if resized and _INTERPOLATE in takes else {}

    def __call__(self, examples: Examples) -> Prepared:
        """Return the pixels under their name, with the position table stretched where sizes differ."""
        prepared = self._prepare(examples)
        return replace(prepared, inputs={"pixel_values": prepared.inputs, **self._options})


_INTERPOLATE: Final = "interpolate_pos_encoding"


def _prefix(module: nn.Module) -> tuple[TokenKind, ...]:
    """Return the kinds of the tokens before the patches, from the model's parameters of those names."""
    kinds: list[TokenKind] = []
    if _cls_vector(module) is not None:
        kinds.append("cls")
    for name, parameter in module.named_parameters():
        last = name.rsplit(".", maxsplit=1)[-1]
        if last == "distillation_token":
            kinds.append("distillation")
        elif last == "register_tokens":
            kinds += ["register"] * (parameter.numel() // parameter.shape[-1])
    return tuple(kinds)


def _cls_vector(module: nn.Module) -> ClsVector | None:
    found = (
        parameter
        for name, parameter in module.named_parameters()
        if name.rsplit(".", maxsplit=1)[-1] in _CLS_NAMES
    )
    vector = next(found, None)
    return None if vector is None else ClsVector(vector)


def _sides(config: Any, key: str, folder: Path) -> tuple[int, int]:
    """Return height and width in pixels, stated as one number or two."""
    value = getattr(config, key, None)
    pair = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if len(pair) != 2 or not all(_SIDE(side) for side in pair):
        step = "Choose a model with one sequence of patches, such as ViT, DeiT, BEiT, CLIP or DINO"
        _fail(folder, f"`{key}` in pixels", repr(value)[:80], step)
    return pair


def _transform(folder: Path, kind: str, size: tuple[int, int]) -> tuple[PictureTransform, str]:
    """Return how pictures are made fit, and a sentence where that is assumed."""
    name = next((name for name in _FILES if (folder / name).exists()), None)
    if name is None:
        mean, std = _LIKELY.get(kind, _HALF)
        transform = PictureTransform(
            resize=size, size=size, fit="squash", interpolation="bilinear", mean=mean, std=std
        )
        said = f"No {_FILES[0]}: scaled to {size[0]} × {size[1]}, colors as usual for {kind}"
        return transform, f"{said}: mean {list(mean)}, deviation {list(std)}"
    file = inside(folder, name)
    settings = read_json(file)
    inner = settings.get("image_processor", settings)
    if not isinstance(inner, dict):
        _fail(file, "the settings of an image processor", type(inner).__name__, "Restore the file")
    return _stated(inner, size, kind, file), ""


def _stated(settings: dict[str, Any], own: tuple[int, int], kind: str, file: Path) -> PictureTransform:
    """Return what the settings of an image processor of transformers say."""
    if settings.get("auto_map"):
        _fail(file, "an image processor of transformers", "one with code of its own", "Remove `auto_map`")
    for key, rule in _RULES.items():
        if settings.get(key) is not None:
            check_value(key, rule, settings[key], file)
    processor = str(settings.get("image_processor_type") or settings.get("feature_extractor_type") or "")
    is_short = processor.startswith(_SHORT_SIDE) or kind == "clip_vision_model"
    resize, fit = _size(settings.get("size"), file, is_short=is_short)
    crops = settings.get("do_center_crop") and settings.get("crop_size") is not None
    size = _size(settings["crop_size"], file, is_short=False)[0] if crops else None
    if not settings.get("do_resize", True) or resize is None:
        resize, fit = (size or own), "squash"
    elif size is None and fit != "squash":
        _fail(file, "pictures of one size", "a shortest side without a crop", "Add `crop_size` to the file")
    if not settings.get("do_rescale", True) or abs(255 * settings.get("rescale_factor", 1 / 255) - 1) > 1e-3:
        _fail(file, "colors from 0 to 1", "another scale", "Load the model in Python: factory=")
    mean, std = settings.get("image_mean"), settings.get("image_std")
    normalizes = settings.get("do_normalize", True)
    default = _LIKELY.get(kind, _HALF)
    return PictureTransform(
        resize=resize,
        size=size or resize,
        fit=fit,  # type: ignore[arg-type]
        interpolation=_RESAMPLE[settings.get("resample") or 2] if "resample" in settings else "bilinear",
        mean=_colors(mean or default[0], "image_mean", file) if normalizes else (0.0, 0.0, 0.0),
        std=_colors(std or default[1], "image_std", file) if normalizes else (1.0, 1.0, 1.0),
    )


def _size(value: Any, file: Path, *, is_short: bool) -> tuple[tuple[int, int] | None, str]:
    """Return height and width, and whether they bound the shortest side or are met by squashing."""
    match value:
        case None:
            return None, "squash"
        case int() if _SIDE(value):
            return (value, value), "shortest" if is_short else "squash"
        case {"height": height, "width": width} if _SIDE(height) and _SIDE(width):
            return (height, width), "squash"
        case {"shortest_edge": edge} if _SIDE(edge) and "longest_edge" not in value:
            return (edge, edge), "shortest"
        case [height, width] if _SIDE(height) and _SIDE(width):
            return (height, width), "squash"
    _fail(file, "a size as height and width, or as shortest_edge", repr(value)[:80], "Correct it")


def _colors(value: Any, key: str, file: Path) -> tuple[float, ...]:
    least = 1e-4 if key == "image_std" else -10.0
    triple = [value] * 3 if isinstance(value, int | float) else value
    check_value(
        key,
        lambda given: (
            isinstance(given, list | tuple) and len(given) == 3 and all(map(number(least, 10), given))
        ),
        triple,
        file,
    )
    return tuple(float(one) for one in triple)


def _fail(subject: Path, expected: str, got: str, next_step: str) -> NoReturn:
    raise CheckpointError(str(subject), expected=expected, got=got, next_step=next_step)
