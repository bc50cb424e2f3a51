"""What a timm folder's `config.json` may say, checked before anything is built from it."""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from clsight.errors import CheckpointError
from clsight.loading.config_values import Rule, check_value, nearest, number, pixels, whole, word, yes_or_no
from clsight.loading.optional_libraries import needing
from clsight.loading.picture_transform import IMAGENET_MEAN, IMAGENET_STD, PictureTransform

CONFIG_FILE = "config.json"
_MOST_CLASSES = 200_000
_FITS = {"center": "shortest", "squash": "squash", "border": "longest"}


_SHARE = number(0.0, 1.0)
MODEL_ARGS: dict[str, Rule] = {
    **dict.fromkeys(("img_size", "patch_size", "ref_feat_shape"), pixels),
    **dict.fromkeys(("global_pool", "act_layer", "norm_layer", "pos_embed", "weight_init"), word),
    **dict.fromkeys(
        (
            *("class_token", "qkv_bias", "proj_bias", "qk_norm", "no_embed_class", "pre_norm", "final_norm"),
            *("fc_norm", "dynamic_img_size", "dynamic_img_pad", "fix_init", "qkv_fused", "swiglu_mlp"),
            *("scale_mlp", "scale_attn_inner", "use_abs_pos_emb", "use_rot_pos_emb", "use_fc_norm"),
            *("use_post_norm", "pool_include_prefix", "scale_attn_norm", "scale_mlp_norm"),
        ),
        yes_or_no,
    ),
    **dict.fromkeys(
        (
            "drop_rate",
            "pos_drop_rate",
            "patch_drop_rate",
            "proj_drop_rate",
            "attn_drop_rate",
            "drop_path_rate",
        ),
        _SHARE,
    ),
    "in_chans": whole(3, 3),
    "num_classes": whole(0, _MOST_CLASSES),
    "embed_dim": whole(1, 16_384),
    "depth": whole(1, 200),
    "num_heads": whole(1, 256),
    "reg_tokens": whole(0, 64),
    "num_reg_tokens": whole(0, 64),
    "mlp_ratio": number(0.01, 64),
    "init_values": number(0, 10),
}
"""The arguments of a model that a file may state, each with what its value has to be."""


@dataclass(frozen=True)
class TimmSettings:
    """What is known of a model before it is built.

    Attributes:
        architecture: A name in `timm.list_models()`.
        model_args: For the model's constructor.
        size: Height and width of its pictures where the file states them, in pixels.
        crop: Share of a scaled picture that is kept, as a share of its side.
        crop_mode: `center`, `squash` or `border`.
        labels: A name per class; empty if unknown.
    """

    architecture: str
    model_args: dict[str, Any] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    crop: float = 0.875
    crop_mode: str = "center"
    interpolation: str = "bicubic"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    labels: tuple[str, ...] = ()

    def transform(self, size: tuple[int, int]) -> PictureTransform:
        """Return how pictures are made fit for a model that takes this height and width."""
        border = self.crop_mode == "border"
        return PictureTransform(
            resize=(math.floor(size[0] / self.crop), math.floor(size[1] / self.crop)),
            size=size,
            fit=_FITS[self.crop_mode],  # type: ignore[arg-type]
            interpolation="bicubic" if self.interpolation == "random" else self.interpolation,  # type: ignore[arg-type]
            mean=self.mean,
            std=self.std,
            fill=tuple(round(255 * value) for value in self.mean) if border else (0, 0, 0),
        )


def settings_by_name(architecture: str) -> TimmSettings:
    """Return the settings of `vit_small_patch16_224` or, with a tag, `vit_small_patch16_224.augreg_in1k`."""
    with needing("timm", extra="timm"):
        import timm
    name, _, tag = architecture.partition(".")
    _check_name(name)
    try:
        known = timm.models.get_pretrained_cfg(architecture)
    except RuntimeError:  # how timm says that it has no such tag
        _fail("architecture", f"a tag of `{name}` that timm knows", f"`{tag}`", f"Leave it out: timm:{name}")
    return from_config({"architecture": name, "pretrained_cfg": asdict(known) if known else {}}, Path("timm"))


def from_config(config: dict[str, Any], file: Path) -> TimmSettings:
    """Return the settings in a `config.json`, all values checked.

    Raises:
        CheckpointError: If timm has no such architecture, or a value is not of its kind or out of its range.
    """
    name = config.get("architecture")
    _check_name(name)
    pictures = config.get("pretrained_cfg", config)
    args = config.get("model_args") or {}
    if not isinstance(pictures, dict) or not isinstance(args, dict):
        _fail(
            str(file), "`pretrained_cfg` and `model_args` as tables", "something else", "Restore config.json"
        )
    args = {key: value for key, value in args.items() if value is not None}
    _check_args(args, file)
    for key in ("num_classes", "global_pool"):
        if config.get(key) is not None:
            check_value(key, MODEL_ARGS[key], config[key], file)
    if config.get("global_pool"):
        args.setdefault("global_pool", config["global_pool"])
    return TimmSettings(
        architecture=str(name),
        model_args={key: tuple(value) if isinstance(value, list) else value for key, value in args.items()},
        labels=_labels(config, pictures),
        **_pictures(pictures, file),
    )


def _pictures(given: dict[str, Any], file: Path) -> dict[str, Any]:
    """Return how pictures are prepared, checked."""
    checks: dict[str, tuple[str, Rule]] = {
        "input_size": ("size", lambda value: len(value) == 3 and value[0] == 3 and pixels([*value[1:]])),
        "crop_pct": ("crop", number(0.05, 4)),
        "crop_mode": ("crop_mode", lambda value: value in _FITS),
        "interpolation": ("interpolation", word),
        "mean": ("mean", lambda value: len(value) == 3 and all(map(number(-10, 10), value))),
        "std": ("std", lambda value: len(value) == 3 and all(map(number(1e-6, 100), value))),
    }
    found: dict[str, Any] = {}
    for key, (name, check) in checks.items():
        value = given.get(key)
        if value is not None:
            check_value(key, check, value, file)
            found[name] = tuple(value) if isinstance(value, list | tuple) else value
    if "size" in found:
        found["size"] = found["size"][1:]
    return found


def _labels(*tables: dict[str, Any]) -> tuple[str, ...]:
    """Return the first list of class names found; what is no list of strings is left out."""
    for table in tables:
        names = table.get("label_names") or table.get("labels")
        if isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names):
            return tuple(name[:200] for name in names)
    return ()


def _check_name(name: Any) -> None:
    with needing("timm", extra="timm"):
        import timm
    names = timm.list_models()
    if not isinstance(name, str) or name not in names:
        got = str(name)[:100]
        _fail("architecture", "a name in timm.list_models()", f"`{got}`", nearest(got, names))


def _check_args(args: dict[str, Any], file: Path) -> None:
    for key, value in args.items():
        if key not in MODEL_ARGS:
            _fail(
                str(file),
                "model_args that clsight knows",
                f"`{str(key)[:60]}`",
                "Build the model yourself and pass it as factory=",
            )
        check_value(f"model_args.{key}", MODEL_ARGS[key], value, file)


def _fail(subject: str, expected: str, got: str, next_step: str) -> NoReturn:
    raise CheckpointError(subject, expected=expected, got=got, next_step=next_step)
