"""What shapes do not tell of a state dict: from the user, else from a config in the file, else assumed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from clsight.errors import CheckpointError, did_you_mean
from clsight.loading.options import Activation, Norm, Options

_HEADS: Final = (
    "nhead",
    "n_head",
    "nheads",
    "n_heads",
    "num_heads",
    "heads",
    "num_attention_heads",
    "attention_heads",
)
_PRE: Final = ("norm_first", "pre_norm", "prenorm", "normalize_before")
_NORM: Final = ("norm", "norm_placement")
_ACTIVATION: Final = ("activation", "act", "hidden_act")
_EPSILON: Final = ("layer_norm_eps", "norm_eps")
_CLASSES: Final = ("classes", "class_names", "label_names")
_SIZE: Final = ("image_size", "img_size")
_DEEPEST, _MOST = 6, 10_000


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the forward pass needs beside names and shapes.

    Attributes:
        heads: Attention heads per layer.
        norm: Placement of the norms.
        activation: Of the feed-forward part.
        epsilon: Of the norms.
        classes: A name per class; empty if unknown.
        told: Where each value is from, in words, for those that the user or the file stated.
        assumed: A sentence for each value that nobody stated.
    """

    heads: int
    norm: Norm
    activation: Activation
    epsilon: float
    classes: tuple[str, ...]
    told: dict[str, str]
    assumed: dict[str, str]


def settle(
    options: Options, extras: Mapping[str, Any], *, width: int, final_norm: str | None, file: str
) -> Settings:
    """Return the settings of a state dict.

    Args:
        options: What the user stated; it goes before what the file says.
        extras: The plain values of the file.
        width: Channels of a token.
        final_norm: Name of a norm after the last layer, which suggests that the layers norm first.
        file: For messages.

    Raises:
        CheckpointError: If nobody stated the heads, they do not divide the width, or a value of the file is
            one that is not known here.
    """
    told: dict[str, str] = {}
    assumed: dict[str, str] = {}
    return Settings(
        heads=_heads(options, extras, width, told, file),
        norm=_norm(options, extras, final_norm, told, assumed),
        activation=_activation(options, extras, told, assumed, file),
        epsilon=_epsilon(extras, told, assumed),
        classes=_classes(extras),
        told=told,
        assumed=assumed,
    )


def picture_size(extras: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the height and width of pictures in pixels that the file states; None if it states none."""
    for value in _values(extras, _SIZE):
        if isinstance(value, int):
            return value, value
        if (
            isinstance(value, list | tuple)
            and len(value) == 2
            and all(isinstance(each, int) for each in value)
        ):
            return value[0], value[1]
    return None


def _heads(options: Options, extras: Mapping[str, Any], width: int, told: dict[str, str], file: str) -> int:
    found = _stated(extras, _HEADS, int)
    heads = options.heads if options.heads is not None else found
    choices = ", ".join(str(each) for each in range(1, width + 1) if width % each == 0 and each <= 64)
    where, step = f"Width {width} in {file}", f"Pass heads=N (--heads N), a divisor of {width}: {choices}"
    if heads is None:
        expected = "the number of attention heads, which names and shapes do not tell"
        raise CheckpointError("heads", expected=expected, got="none", where=where, next_step=step)
    if isinstance(heads, bool) or not isinstance(heads, int) or heads < 1 or width % heads:
        raise CheckpointError(
            "heads", expected=f"a divisor of the width {width}", got=repr(heads), where=where, next_step=step
        )
    told["heads"] = "as you said" if options.heads is not None else "as the file says"
    if options.heads is not None and found not in (None, heads):
        told["heads"] += f" (the file says {found})"
    return heads


def _norm(
    options: Options,
    extras: Mapping[str, Any],
    final_norm: str | None,
    told: dict[str, str],
    assumed: dict[str, str],
) -> Norm:
    if options.norm is not None:
        told["norm"] = "as you said"
        return options.norm
    first = _stated(extras, _PRE, bool)
    word = _stated(extras, _NORM, str)
    if first is not None or word in ("pre", "post"):
        told["norm"] = "as the file says"
        return "pre" if first is True or (first is None and word == "pre") else "post"
    assumed["norm"] = "norm after each part of a layer (post, torch's default)"
    if final_norm is not None:
        assumed["norm"] += f", though `{final_norm}` after the last layer suggests before (--norm pre)"
    return "post"


def _activation(
    options: Options, extras: Mapping[str, Any], told: dict[str, str], assumed: dict[str, str], file: str
) -> Activation:
    if options.activation is not None:
        told["activation"] = "as you said"
        return options.activation
    word = _stated(extras, _ACTIVATION, str)
    if word is None:
        assumed["activation"] = "relu (torch's default)"
        return "relu"
    if word not in ("relu", "gelu"):
        raise CheckpointError(
            "activation",
            expected="relu or gelu",
            got=repr(word[:40]),
            where=f"In the config of {file}",
            next_step=did_you_mean(word[:40], ("relu", "gelu")),
        )
    told["activation"] = "as the file says"
    return "relu" if word == "relu" else "gelu"


def _epsilon(extras: Mapping[str, Any], told: dict[str, str], assumed: dict[str, str]) -> float:
    value = _stated(extras, _EPSILON, float)
    if value is not None and 0 < value < 1:
        told["epsilon"] = "as the file says"
        return float(value)
    assumed["epsilon"] = "epsilon of the norms 1e-05"
    return 1e-5


def _classes(extras: Mapping[str, Any]) -> tuple[str, ...]:
    found = [each for each in _values(extras, _CLASSES) if isinstance(each, list | tuple)]
    names = found[0] if found else []
    return tuple(names) if all(isinstance(name, str) for name in names) else ()


def _stated(extras: Mapping[str, Any], names: tuple[str, ...], kind: type) -> Any:
    """Return the one value that a file states under one of these names; None if it states none or several."""
    found = {each for each in _values(extras, names) if isinstance(each, kind)}
    if kind is int:
        found = {each for each in found if not isinstance(each, bool)}
    return found.pop() if len(found) == 1 else None


def _values(extras: Any, names: tuple[str, ...], depth: int = 0) -> Iterator[Any]:
    """Yield the values under these names at any depth of a file's plain values."""
    if depth > _DEEPEST or not isinstance(extras, Mapping) or len(extras) > _MOST:
        return
    for name, value in extras.items():
        if name in names:
            yield value
        yield from _values(value, names, depth + 1)
