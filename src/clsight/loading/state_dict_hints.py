"""Whose model is this file of weights? The names that libraries give their tensors tell."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from clsight.loading.state_dict_groups import YOUR_CLASS

_SIGNS: Final = (
    (r"visual\.transformer\.resblocks\.", "open_clip", "--architecture open_clip:ViT-B-32, say"),
    (r"encoder_layer_\d+\.self_attention\.", "torchvision", "--architecture torchvision:vit_b_16, say"),
    (r"blocks\.\d+\.attn\.qkv\.", "timm", "--architecture timm:vit_base_patch16_224, say"),
    (
        r"layers?\.\d+\.(attention|attn|self_attn)\.",
        "transformers",
        "the folder with its config.json",
    ),
)


def library_step(names: Iterable[str], path: Path) -> str | None:
    """Return the next step for a file that a library wrote; None where no name tells.

    Args:
        names: Of all tensors.
        path: The file.
    """
    every = "\n".join(names)
    if "in_proj_weight" not in every and (path.parent / "config.json").is_file():
        return f"Pass the folder {path.parent}, whose config.json says what the weights are of"
    for sign, library, instead in _SIGNS:
        if re.search(sign, every) and not (library == "transformers" and "in_proj_weight" in every):
            return f"If {library} made it, pass {instead}; if your own class did, pass that: {YOUR_CLASS}"
    return None
