"""Small models of timm, written to disk as timm writes them."""

import json

import torch
from safetensors.torch import save_file

from encoder_builders import timm

TINY = dict(embed_dim=24, depth=2, num_heads=3)
SMALL = {
    "a class token": ("vit_tiny_patch16_224", dict(img_size=64, **TINY)),
    "registers": ("vit_small_patch14_reg4_dinov2", dict(img_size=42, **TINY, num_classes=5)),
    "a distillation token": ("deit_tiny_distilled_patch16_224", dict(img_size=64, **TINY)),
    "rotary positions": ("eva02_tiny_patch14_224", dict(img_size=42, **TINY)),
    "relative positions": ("beit_base_patch16_224", dict(img_size=64, **TINY)),
    "pictures that are not square": ("vit_tiny_patch16_224", dict(img_size=(48, 80), **TINY)),
    "average pooling": ("vit_base_patch16_rpn_224", dict(img_size=64, **TINY)),
}


def folder_with(folder, name, options, *, binary=False, **changes):
    """Write a folder as timm does, and return the module that is in it."""
    module = timm(name, **options)()
    if binary:
        torch.save(module.state_dict(), folder / "pytorch_model.bin")
    else:
        save_file(module.state_dict(), folder / "model.safetensors")
    args = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}
    size = module.patch_embed.img_size
    config = {
        "architecture": name,
        "num_classes": module.num_classes,
        "num_features": 24,
        "global_pool": module.global_pool,
        "model_args": args,
        "pretrained_cfg": {
            "input_size": [3, *size],
            "interpolation": "bicubic",
            "crop_pct": 0.9,
            "mean": [0.5, 0.4, 0.3],
            "std": [0.2, 0.3, 0.4],
            "classifier": module.pretrained_cfg["classifier"],
        },
        **changes,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return module
