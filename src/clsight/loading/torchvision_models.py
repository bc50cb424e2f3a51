"""Weights of torchvision's vision transformers, in a module of our own: torchvision is not needed."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clsight.errors import CheckpointError, did_you_mean
from clsight.loading.fitting import fit_by_layer, fit_weights
from clsight.loading.options import Options
from clsight.loading.peeling import peel
from clsight.loading.picture_subject import PictureTokens, check_complete, picture_subject
from clsight.loading.picture_transform import PictureTransform
from clsight.loading.subject import ClsVector, Subject
from clsight.loading.tensor_files import TensorFile, read_tensors
from clsight.loading.vision_transformer import Geometry, VisionTransformer

_BASE = {"layers": 12, "heads": 12, "width": 768, "feedforward": 3072}
_LARGE = {"layers": 24, "heads": 16, "width": 1024, "feedforward": 4096}
VARIANTS: dict[str, dict[str, int]] = {
    "vit_b_16": {"patch_size": 16, **_BASE},
    "vit_b_32": {"patch_size": 32, **_BASE},
    "vit_l_16": {"patch_size": 16, **_LARGE},
    "vit_l_32": {"patch_size": 32, **_LARGE},
    "vit_h_14": {"patch_size": 14, "layers": 32, "heads": 16, "width": 1280, "feedforward": 5120},
}
"""The sizes that do not depend on the weights."""
_MOST_CLASSES, _MOST_PATCHES = 200_000, 128 * 128


def is_torchvision(path: Path, options: Options) -> bool:
    """Tell whether the user states an architecture of torchvision."""
    return (options.architecture or "").startswith("torchvision:")


def read_torchvision(path: Path, options: Options) -> Subject:
    """Return the subject of a file of weights for `torchvision:vit_b_16` or another of the five.

    The size of the pictures, the number of classes and a layer before the head follow from the tensors'
    shapes. How pictures are scaled is not in the file: it is that of the library's own weights of this size.

    Raises:
        CheckpointError: If the architecture is another, or the weights do not belong to it.
    """
    variant = (options.architecture or "").removeprefix("torchvision:")
    if variant not in VARIANTS:
        raise CheckpointError(
            "architecture",
            expected="a vision transformer of torchvision",
            got=f"`{variant}`",
            next_step=did_you_mean(variant, VARIANTS),
        )
    file = read_tensors(path)
    tensors = _new_names(peel(file.tensors)[1])
    sizes = _sizes(variant, tensors, path)
    with torch.device("meta"):  # takes no memory: the module gets the tensors themselves
        module = VisionTransformer(sizes)
    fit = fit_weights(module, tensors, file=path)
    check_complete(module, fit["missing"], path)
    return picture_subject(
        module,
        name=f"{variant} ({path.name})",
        transform=_transform(variant, sizes.image_size),
        tokens=PictureTokens(("cls",), (sizes.grid, sizes.grid)),
        cls_index=0 if options.cls_index is None else options.cls_index,
        cls_vector=ClsVector(module.class_token),
        classes=tuple(str(number) for number in range(sizes.classes)),
        classifies=True,
        provenance=_provenance(path, options, file, sizes, fit),
    )


def _new_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors by today's names: the published files say `linear_1` and `linear_2`."""
    return {
        name.replace(".mlp.linear_1.", ".mlp.0.").replace(".mlp.linear_2.", ".mlp.3."): tensor
        for name, tensor in tensors.items()
    }


def _sizes(variant: str, tensors: dict[str, Tensor], path: Path) -> Geometry:
    """Return all sizes: those of the variant, and what the shapes tell."""
    wanted = VARIANTS[variant]
    position = _shape(tensors, "encoder.pos_embedding")
    head, before = _shape(tensors, "heads.head.weight"), _shape(tensors, "heads.pre_logits.weight")
    patches = position[1] - 1 if len(position) == 3 else 0
    side = math.isqrt(max(patches, 0))
    if side**2 != patches or not 0 < patches <= _MOST_PATCHES:
        raise CheckpointError(
            str(path),
            expected=f"`encoder.pos_embedding` [1, 1 + patches, {wanted['width']}], patches a square",
            got=f"{list(position)}" if position else "no such tensor",
            next_step="Check that the weights belong to this architecture",
        )
    classes = head[0] if len(head) == 2 else 0
    representation = before[0] if len(before) == 2 else None
    if not 0 < classes <= _MOST_CLASSES or not 0 < (representation or 1) <= _MOST_CLASSES:
        raise CheckpointError(
            str(path),
            expected=f"`heads.head.weight` [1 to {_MOST_CLASSES:,} classes, channels]",
            got=f"{list(head)}" if head else "no such tensor",
            next_step="For a model without this head pass factory=, what makes it",
        )
    return Geometry(
        image_size=side * wanted["patch_size"], classes=classes, representation=representation, **wanted
    )


def _shape(tensors: dict[str, Tensor], name: str) -> tuple[int, ...]:
    return tuple(tensors[name].shape) if name in tensors else ()


def _transform(variant: str, size: int) -> PictureTransform:
    """Return how the library's own weights of this size were evaluated."""
    if size != 224:  # those trained further at 384, 512 and 518 pixels
        return PictureTransform(resize=(size, size), size=(size, size))
    edge = 242 if variant == "vit_l_16" else 256
    return PictureTransform(resize=(edge, edge), size=(size, size), interpolation="bilinear")


def _provenance(
    path: Path, options: Options, file: TensorFile, sizes: Geometry, fit: dict[str, list[str]]
) -> dict[str, Any]:
    return {
        "path": str(path),
        "format": f"weights of {options.architecture}, {file.kind}",
        "sha256": file.sha256,
        **fit_by_layer(fit),
        "inferred": {"image_size": sizes.image_size, "classes": sizes.classes},
        "assumed": {"pictures": "scaled, cut and normalized as for torchvision's own weights of this size"},
    }
