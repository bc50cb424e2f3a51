"""What an `open_clip_config.json` may say, checked before anything is built from it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clsight.errors import CheckpointError
from clsight.loading.config_values import Rule, check_value, nearest, number, one_of, pixels, whole, yes_or_no
from clsight.loading.optional_libraries import needing
from clsight.loading.picture_transform import PictureTransform

_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_SIZES: dict[str, Rule] = {
    "layers": whole(1, 200),
    "width": whole(1, 16_384),
    "mlp_ratio": number(0.01, 64),
    "ls_init_value": number(0, 10),
    "output_tokens": yes_or_no,
    "final_ln_after_pool": yes_or_no,
    "norm_kwargs": lambda value: value.keys() <= {"eps"} and all(map(number(0, 1), value.values())),
    "act_kwargs": lambda value: value.keys() <= {"approximate"} and value["approximate"] in ("none", "tanh"),
    **dict.fromkeys(
        ("qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc"),
        yes_or_no,
    ),
}
VISION: dict[str, Rule] = {
    **_SIZES,
    "head_width": whole(1, 4096),
    "patch_size": pixels,
    "image_size": pixels,
    "patch_dropout": number(0, 0.99),
    "attentional_pool": lambda value: value is False,
    "no_ln_pre": yes_or_no,
    "pos_embed_type": one_of("learnable", "sin_cos_2d"),
    "pool_type": one_of("tok", "avg", "none"),
}
TEXT: dict[str, Rule] = {
    **_SIZES,
    "heads": whole(1, 256),
    "context_length": whole(1, 8192),
    "vocab_size": whole(1, 1_000_000),
    "pad_id": whole(0, 1_000_000),
    "eos_id": whole(0, 1_000_000),
    "no_causal_mask": yes_or_no,
    "embed_cls": lambda value: value is False,
    "pool_type": one_of("argmax", "eos", "last", "first"),
    "proj_bias": yes_or_no,
    "proj_type": one_of("linear", "none"),
    "tokenizer_kwargs": lambda value: isinstance(value, dict),
}
_WHOLE_MODEL: dict[str, Rule] = {
    "embed_dim": whole(1, 16_384),
    "quick_gelu": yes_or_no,
    "custom_text": yes_or_no,
    "init_logit_scale": number(-1000, 1000),
    "init_logit_bias": number(-1000, 1000),
    "nonscalar_logit_scale": yes_or_no,
}
_PREPROCESSING: dict[str, Rule] = {
    "size": pixels,
    "mode": one_of("RGB"),
    "mean": lambda value: len(value) == 3 and all(map(number(-10, 10), value)),
    "std": lambda value: len(value) == 3 and all(map(number(1e-6, 100), value)),
    "interpolation": one_of("bicubic", "bilinear", "random"),
    "resize_mode": one_of("shortest", "longest", "squash"),
    "fill_color": whole(0, 255),
}


@dataclass(frozen=True)
class OpenClipSettings:
    """A CLIP model before it is built.

    Attributes:
        name: Of the model, as a title.
        model: Arguments of `open_clip.CLIP`, and `custom_text`.
        pictures: What the file says about the preparation of pictures.
    """

    name: str
    model: dict[str, Any]
    pictures: dict[str, Any]

    def transform(self, size: tuple[int, int]) -> PictureTransform:
        """Return how pictures are made fit for a model that takes this height and width."""
        fit: Any = self.pictures.get("resize_mode") or "shortest"  # one of the three: checked when read
        bilinear = self.pictures.get("interpolation") == "bilinear"
        return PictureTransform(
            resize=size,
            size=size,
            fit=fit,
            # open_clip scales to a size that is not square by its default, whatever is asked for.
            interpolation="bilinear" if bilinear and (size[0] == size[1] or fit != "shortest") else "bicubic",
            mean=tuple(self.pictures.get("mean") or _MEAN),
            std=tuple(self.pictures.get("std") or _STD),
            fill=(self.pictures.get("fill_color") or 0,) * 3,
        )


def settings_by_name(name: str) -> OpenClipSettings:
    """Return the settings that open_clip itself brings for a name such as `ViT-B-32`; nothing is fetched."""
    with needing("open_clip_torch", extra="open-clip"):
        import open_clip
    names = open_clip.list_models()
    if name not in names:
        raise CheckpointError(
            "architecture",
            expected="a name in open_clip.list_models()",
            got=f"`{name[:100]}`",
            next_step=nearest(name, names),
        )
    return from_config({"model_cfg": open_clip.get_model_config(name)}, Path("open_clip"), name)


def from_config(config: dict[str, Any], file: Path, name: str) -> OpenClipSettings:
    """Return the settings in an `open_clip_config.json`, all values checked.

    Raises:
        CheckpointError: If a tower is not a transformer of open_clip's own, or a value out of its range.
    """
    model, pictures = config.get("model_cfg"), config.get("preprocess_cfg") or {}
    if not isinstance(model, dict) or not isinstance(pictures, dict):
        raise CheckpointError(
            str(file),
            expected="`model_cfg` and `preprocess_cfg` as tables",
            got="something else",
            next_step="Restore the file",
        )
    vision, text = model.get("vision_cfg"), model.get("text_cfg")
    _check_towers(model, vision, text, name)
    assert isinstance(vision, dict)
    assert isinstance(text, dict)
    text = {key: value for key, value in text.items() if key not in {"hf_tokenizer_name", "tokenizer_mode"}}
    rest = {key: value for key, value in model.items() if key not in {"vision_cfg", "text_cfg"}}
    checked = (
        _checked(rest, _WHOLE_MODEL, "", file),
        _checked(vision, VISION, "vision_cfg.", file),
        _checked(text, TEXT, "text_cfg.", file),
    )
    return OpenClipSettings(
        name=name,
        model={**checked[0], "vision_cfg": checked[1], "text_cfg": checked[2]},
        pictures=_checked(pictures, _PREPROCESSING, "preprocess_cfg.", file),
    )


def _checked(given: dict[str, Any], rules: dict[str, Rule], prefix: str, file: Path) -> dict[str, Any]:
    stated = {key: value for key, value in given.items() if value is not None}
    for key, value in stated.items():
        if key not in rules:
            raise CheckpointError(
                str(file),
                expected="settings that clsight knows",
                got=f"`{prefix}{str(key)[:60]}`",
                next_step="Build the model yourself and pass it as factory=",
            )
        check_value(f"{prefix}{key}", rules[key], value, file)
    return stated


def _check_towers(model: dict[str, Any], vision: Any, text: Any, name: str) -> None:
    """Refuse towers that another library builds, or that are no transformers."""
    reason = ""
    if not isinstance(vision, dict) or not isinstance(text, dict):
        reason = "no `vision_cfg` and `text_cfg`"
    elif vision.get("timm_model_name"):
        reason = f"a vision tower of timm ({str(vision['timm_model_name'])[:60]})"
    elif isinstance(vision.get("layers"), list | tuple):
        reason = "a vision tower of convolutions (ResNet)"
    elif text.get("hf_model_name"):
        reason = f"a text tower of transformers ({str(text['hf_model_name'])[:60]})"
    elif "multimodal_cfg" in model:
        reason = "a third, multimodal tower (CoCa)"
    if reason:
        raise CheckpointError(
            name,
            expected="two towers that are open_clip's own transformers",
            got=reason,
            next_step="Build the model yourself and pass it as factory=",
        )
