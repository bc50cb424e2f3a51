"""A bare state dict of `nn.TransformerEncoder` or `nn.MultiheadAttention` layers, and a forward pass for it.

The file holds weights under names, and nothing about what is computed. The layers and what stands around
them are told from names and shapes; `provenance` says what was inferred, and what was assumed.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from math import isqrt, prod
from pathlib import Path
from typing import Any

import torch

from clsight.errors import CheckpointError
from clsight.loading.fitting import fit_by_layer, fit_weights
from clsight.loading.options import Options
from clsight.loading.plain_input import PlainInput
from clsight.loading.reconstruction import Plan, Reconstruction, tensor_of
from clsight.loading.state_dict_groups import Shapes
from clsight.loading.state_dict_hints import library_step
from clsight.loading.state_dict_layers import Tower, find_tower
from clsight.loading.state_dict_maps import Parts
from clsight.loading.state_dict_parts import find_parts, with_cls_row
from clsight.loading.state_dict_prefix import weights_in
from clsight.loading.state_dict_settings import Settings, picture_size, settle
from clsight.loading.state_dict_words import assumed_words, inferred_words
from clsight.loading.subject import ClsVector, Subject
from clsight.loading.tensor_files import read_tensors
from clsight.loading.token_layout import with_cls_at
from clsight.preparation import Examples, Prepared

STATE_DICT_OPTIONS = frozenset({"heads", "norm", "activation", "cls_index"})
_NAMELESS = "layer."
"""Stands before the names of a file that holds nothing but a layer."""


def is_state_dict(path: Path, options: Options) -> bool:
    """Tell whether a path is a single file, and no architecture was stated for it."""
    return path.is_file() and options.architecture is None


def read_state_dict(path: Path, options: Options) -> Subject:
    """Return the subject of a file of weights whose forward pass is reconstructed.

    Args:
        path: A `.pt`, `.pth`, `.ckpt` or `.safetensors` file.
        options: `heads`, and what else the user knows.

    Raises:
        CheckpointError: If the file is broken, its layers are not those of one encoder, or the heads are not
            stated.
    """
    file = read_tensors(path)
    prefix, tensors = weights_in(file.tensors)
    root = "" if _has_name(tensors) else _NAMELESS
    tensors = {f"{root}{name}": tensor for name, tensor in tensors.items()}
    shapes = {
        name: tuple(tensor.shape)
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and tensor.numel()
    }
    try:
        tower = find_tower(shapes, file=str(path))
        parts = find_parts(shapes, tower, file=str(path))
        settings = settle(
            options, file.extras, width=tower.width, final_norm=parts.final_norm, file=str(path)
        )
    except CheckpointError as error:
        raise _of_a_library(error, tensors, path) from error
    plan, taken, notes = _plan(tower, parts, shapes, settings=settings, options=options, extras=file.extras)
    module = Reconstruction(plan, shapes)
    report = fit_weights(module, tensors if root else file.tensors, file=path)
    if report["missing"]:
        got = f"no `{report['missing'][0]}`"
        raise CheckpointError(
            str(path), expected="all tensors of the encoder", got=got, next_step="Save it anew"
        )
    subject = _subject(module.eval(), plan, taken, name=path.resolve().stem)
    subject.classes = _class_names(settings, parts, shapes)
    subject.provenance |= {
        "path": str(path),
        "format": "state dict",
        "sha256": file.sha256,
        "torch": torch.__version__,
        **_told(plan, taken, settings, shapes, cls_index=options.cls_index, notes=notes),
        **fit_by_layer(report),
        "set_aside": tower.set_aside,
        "prefix": prefix,
    }
    return subject


def _told(
    plan: Plan,
    taken: PlainInput,
    settings: Settings,
    shapes: Shapes,
    *,
    cls_index: int | None,
    notes: dict[str, str],
) -> dict[str, Any]:
    """Return what provenance says of a reconstructed forward pass."""
    return {
        "forward": "reconstructed",
        "inferred": inferred_words(plan, taken, settings, shapes),
        "assumed": assumed_words(plan, taken, settings, cls_index=cls_index) | notes,
    }


def _of_a_library(error: CheckpointError, names: Collection[str], path: Path) -> CheckpointError:
    """Return the same error with a better next step where a library wrote the file."""
    return CheckpointError(
        error.subject,
        expected=error.expected,
        got=error.got,
        where=error.where,
        next_step=library_step(names, path) or error.next_step,
    )


def _has_name(names: Collection[str]) -> bool:
    """Tell whether the attention is a part of something: the file may be that of a layer itself."""
    is_layer = {"self_attn.in_proj_weight", "linear1.weight"} <= set(names)
    return not is_layer and "in_proj_weight" not in names


def _plan(
    tower: Tower,
    parts: Parts,
    shapes: Shapes,
    *,
    settings: Settings,
    options: Options,
    extras: Mapping[str, Any],
) -> tuple[Plan, PlainInput, dict[str, str]]:
    """Return what to compute, what it takes, and what was assumed of positions and patches."""
    rows = 0 if parts.position is None else prod(shapes[parts.position]) // tower.width
    is_image = parts.convolution is not None
    has_row, assumed = with_cls_row(rows, has_cls=parts.cls is not None, patches=is_image)
    notes = {"position of CLS": assumed} if assumed and rows else {}
    plan = Plan(
        tower=tower,
        parts=parts,
        heads=settings.heads,
        norm=settings.norm,
        activation=settings.activation,
        cls_index=options.cls_index or 0,
        position_of_cls=has_row,
        epsilon=settings.epsilon,
    )
    longest = rows - has_row if rows else None
    if not is_image:
        return plan, _sequence(tower, parts, shapes, longest), notes
    taken, note = _pictures(shapes[f"{parts.convolution}.weight"], longest, extras)
    return plan, taken, notes | note


def _sequence(tower: Tower, parts: Parts, shapes: Shapes, longest: int | None) -> PlainInput:
    if parts.embedding is not None:
        vocabulary = shapes[f"{parts.embedding}.weight"][0]
        return PlainInput(takes="token_ids", vocabulary=vocabulary, longest=longest)
    features = tower.width if parts.linear is None else shapes[f"{parts.linear}.weight"][1]
    return PlainInput(takes="series", features=features, longest=longest)


def _pictures(
    filters: tuple[int, ...], patches: int | None, extras: Mapping[str, Any]
) -> tuple[PlainInput, dict[str, str]]:
    """Return what a patch embedding takes: the number of patches gives the size, if it is a square."""
    _, channels, height, width = filters
    taken = PlainInput(takes="image", channels=channels, patch=(height, width), stride=(height, width))
    if patches is None:
        return taken, {}
    rows = next(each for each in range(isqrt(patches), 0, -1) if patches % each == 0)
    columns = patches // rows
    note = {} if rows == columns else {"grid": f"{patches} patches in {rows} rows of {columns}"}
    stated = picture_size(extras)
    if stated is not None and (stated[0] // height) * (stated[1] // width) == patches:
        rows, columns, note = stated[0] // height, stated[1] // width, {}
    return replace(taken, size=(rows * height, columns * width)), note


def _subject(module: Reconstruction, plan: Plan, taken: PlainInput, *, name: str) -> Subject:
    examples = taken.examples()
    cls = plan.parts.cls

    def prepare(examples: Examples) -> Prepared:
        x = taken.tensor(examples, next(module.parameters()))
        position = None if cls is None else plan.cls_index
        layout = with_cls_at(position, taken.time_of(x), extra_keys=plan.tower.extra_keys)
        return taken.prepared(examples, x, layout)

    return Subject(
        module=module,
        name=name,
        cls_index=plan.cls_index,
        strategy="",
        seed=None,
        classes=(),
        examples=examples,
        provenance={"examples": examples.made},
        preparation=prepare,
        takes=taken.takes,
        token_kinds=(taken.kind,) if cls is None else ("cls", taken.kind),
        cls_vector=None if cls is None else ClsVector(tensor_of(module, cls)),
        reading=taken.read,
        classifies=plan.parts.head is not None,
    )


def _class_names(settings: Settings, parts: Parts, shapes: Shapes) -> tuple[str, ...]:
    """Return a name per class: from the file's config if there are as many, else numbers."""
    if parts.head is None:
        return ()
    count = shapes[f"{parts.head}.weight"][0]
    return settings.classes if len(settings.classes) == count else tuple(map(str, range(count)))
