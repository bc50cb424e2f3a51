"""A transformers `config.json`, looked at before it is used: no code is named, no size is absurd."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

from clsight.errors import CheckpointError
from clsight.loading.tensor_files import inside, read_json

CONFIG_FILE: Final = "config.json"
_MOST_VALUES: Final = 500_000
_LONGEST_LIST: Final = 4096
_DEEPEST: Final = 6

_REFUSED: Final = {
    "auto_map": ("no code of its own", "Load it in Python with transformers, and pass it as factory="),
    "custom_pipelines": (
        "no code of its own",
        "Load it in Python with transformers, and pass it as factory=",
    ),
    "quantization_config": ("weights as they were trained", "Save the model without quantization"),
    "compression_config": ("weights as they were trained", "Save the model without compression"),
    "fusion_config": ("a model as transformers writes it", "Remove the key"),
    "kernel_config": ("no kernel to fetch", "Remove the key"),
    "per_layer_config": ("layers that are all alike", "Load it in Python, and pass it as factory="),
    "distributed_config": ("a model in one piece", "Save it with save_pretrained"),
    "transformers_weights": ("weights under their usual name", "Rename the file to model.safetensors"),
    "backbone": ("a model in one folder", "Load it in Python, and pass it as factory="),
    "backbone_config": ("a model in one folder", "Load it in Python, and pass it as factory="),
    "use_timm_backbone": ("a model of transformers itself", "Load it with architecture='timm:NAME'"),
    "is_encoder_decoder": (
        "an encoder",
        "Save its encoder alone, as a model of transformers such as T5EncoderModel",
    ),
    "is_decoder": ("an encoder", "[CLS] looks at every token only in an encoder: choose another model"),
    "add_cross_attention": ("an encoder", "Choose a model without cross-attention"),
}
"""Keys that name code, a file, another model, or a kind of model that is not looked at; with what to do."""

_LEFT_OUT: Final = frozenset(
    {
        *("attn_implementation", "experts_implementation", "output_attentions", "output_hidden_states"),
        *("return_dict", "use_return_dict", "torchscript", "gradient_checkpointing", "torch_dtype", "dtype"),
        *("label2id", "name_or_path", "trust_remote_code", "transformers_version", "use_cache", *_REFUSED),
    }
)
"""Keys that say how to run a model rather than what it is; clsight decides those."""

_LABELS: Final = frozenset({"id2label", "label2id"})
_MOST_LABELS: Final = 200_000
_COUNT: Final = 2048
_MOST: Final = (
    (("token_id", "_id", "index", "theta", "seed"), 2**31),
    (("vocab", "position", "length", "window", "bucket", "distance", "local", "context"), 2**22),
    (("label",), _MOST_LABELS),
    (("image", "patch", "resolution"), 4096),
    (("layer", "depth", "block", "stage", "expert", "group", "head", "kernel", "stride", "regist"), _COUNT),
    (("size", "dim", "width", "channel", "hidden", "embd"), 2**17),
)
"""Parts of keys, and the largest number that a key with one of them may hold; the first that fits counts."""
_MOST_OTHERWISE: Final = 2**31
_AT_LEAST_ONE: Final = frozenset(
    {"num_hidden_layers", "num_attention_heads", "hidden_size", "vocab_size"}
    | {"n_layer", "n_layers", "n_head", "n_heads", "dim", "d_model", "image_size", "patch_size"}
)


def read_config(folder: Path) -> dict[str, Any]:
    """Return what a folder's `config.json` says of its model.

    Keys that would choose an attention kernel, a dtype or the form of the output are left out.

    Raises:
        CheckpointError: If the file is broken, names code or other files, asks for what is no encoder, or
            holds a number that no model has.
    """
    file = inside(folder, CONFIG_FILE)
    return checked(read_json(file), file)


def checked(config: dict[str, Any], file: Path) -> dict[str, Any]:
    """Return a configuration without what does not describe the model, all numbers checked."""
    _check_labels(config, file)
    for count, (key, value) in enumerate(_values(config, file)):
        if count >= _MOST_VALUES:
            _fail(str(file), "a configuration", f"more than {_MOST_VALUES:,} values", "Restore the file")
        if isinstance(value, int | float) and not isinstance(value, bool):
            _check_number(key, value, file)
    return _described(config)


def _values(value: Any, file: Path, key: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield the plain values with the nearest key above each; refuse what names code, at any depth."""
    if depth > _DEEPEST:
        _fail(str(file), "a configuration", "one that is nested too deep", "Restore the file")
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in _LABELS:
                continue
            _check_key(name, inner, file)
            yield from _values(inner, file, name, depth + 1)
    elif isinstance(value, list):
        if len(value) > _LONGEST_LIST:
            _fail(key, f"at most {_LONGEST_LIST} values", f"{len(value):,}", f"Correct {file}")
        for inner in value:
            yield from _values(inner, file, key, depth + 1)
    else:
        yield key, value


def _check_labels(config: dict[str, Any], file: Path) -> None:
    """Refuse class names that are not numbered names; the names themselves may be anything."""
    labels = config.get("id2label") or {}
    fits = isinstance(labels, dict) and len(labels) <= _MOST_LABELS
    if not fits or not all(name.isdecimal() and isinstance(label, str) for name, label in labels.items()):
        _fail("id2label", f"up to {_MOST_LABELS:,} names by number", "something else", f"Correct {file}")


def _check_key(key: str, value: Any, file: Path) -> None:
    if key in _REFUSED and value not in (None, False, 0, "", [], {}):
        expected, step = _REFUSED[key]
        _fail(key, expected, f"{key}={value!r}"[:80], step, f"In {file}")


def _check_number(key: str, value: float, file: Path) -> None:
    low = key.lower()
    most = next((most for parts, most in _MOST if any(part in low for part in parts)), _MOST_OTHERWISE)
    least = 1 if key in _AT_LEAST_ONE else -most
    if not math.isfinite(value) or not least <= value <= most:
        _fail(key, f"a number from {least:,} to {most:,}", f"{value!r}"[:80], f"Correct {file}")


def _described(config: dict[str, Any]) -> dict[str, Any]:
    """Return the keys that describe the model, also in the parts of a model of several."""
    return {
        key: _described(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if key not in _LEFT_OUT and not key.startswith("_")
    }


def _fail(subject: str, expected: str, got: str, next_step: str, where: str = "") -> NoReturn:
    raise CheckpointError(subject, expected=expected, got=got, where=where, next_step=next_step)
