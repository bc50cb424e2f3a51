"""Do these tensors belong to this module, and what is left over on either side?"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from clsight.errors import CheckpointError
from clsight.loading.peeling import best_prefix, without_wrapping


def fit_weights(
    module: nn.Module, tensors: Mapping[str, Tensor], *, file: Path, optional: tuple[str, ...] = ()
) -> dict[str, list[str]]:
    """Load tensors into the module that they fit, all in one floating dtype.

    Wrapping such as `state_dict.` or `module.` is peeled off: the prefix counts behind which most of the
    module's names stand. The dtype is that of the tensors; float32 if they have several.

    Args:
        module: Takes the weights; a module on the meta device takes the tensors themselves.
        tensors: By name.
        file: Where they are from, for messages.
        optional: Beginnings of names in the module that a file may well lack, such as `pooler.`.

    Returns:
        `missing`: names in the module that the file lacks; `unexpected`: names in the file that the module
        lacks, as the file has them. In the order of the module and of the file.

    Raises:
        CheckpointError: If more than half of the tensors that are not optional are missing (any, for a
            module on the meta device), a shape or a kind of number differs, or a tensor holds NaN or
            infinity.
    """
    wanted = module.state_dict(keep_vars=True)
    names = _names(tensors, wanted, file)
    found = {name: tensors[old] for name, old in names.items() if name in wanted}
    missing = _missing(wanted, found)
    _check_share(wanted, missing, optional, tensors, file)
    for name, tensor in found.items():
        _check_tensor(name, tensor, wanted[name], file)
    _put(module, found, wanted, file)
    used = {names[name] for name in found}
    return {"missing": missing, "unexpected": [name for name in tensors if name not in used]}


def by_layer(names: Iterable[str]) -> dict[str, list[str]]:
    """Return names by the layer they are in: up to the first number, or up to the last dot without one.

    Example:
        >>> by_layer(["encoder.layer.1.output.weight", "encoder.layer.1.output.bias", "head.weight"])
        {'encoder.layer.1': ['output.weight', 'output.bias'], 'head': ['weight']}
    """
    layers: dict[str, list[str]] = {}
    for name in names:
        parts = name.split(".")
        number = next((index for index, part in enumerate(parts[:-1]) if part.isdecimal()), None)
        cut = len(parts) - 1 if number is None else number + 1
        layers.setdefault(".".join(parts[:cut]), []).append(".".join(parts[cut:]))
    return layers


def names_in(layers: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the whole names of what `by_layer` gave.

    Example:
        >>> names_in({"encoder.layer.1": ["output.weight"], "": ["cls"]})
        ['encoder.layer.1.output.weight', 'cls']
    """
    return [f"{layer}.{name}" if layer else name for layer, names in layers.items() for name in names]


def fit_by_layer(fit: Mapping[str, list[str]]) -> dict[str, dict[str, list[str]]]:
    """Return what `fit_weights` gave as the provenance of a subject holds it: each list of names by layer."""
    return {what: by_layer(names) for what, names in fit.items()}


def _names(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], file: Path) -> dict[str, str]:
    """Return the file's names by the names inside their wrapping."""
    plain: dict[str, str] = {}
    for name in tensors:
        short = without_wrapping(name)
        if short in plain:
            raise CheckpointError(
                str(file),
                expected="one tensor per name",
                got=f"{plain[short]} and {name}",
                next_step="Save the state dict of one module",
            )
        plain[short] = name
    prefix = best_prefix(plain, wanted.keys())
    return {name.removeprefix(prefix): old for name, old in plain.items() if name.startswith(prefix)}


def _missing(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """Return what the module lacks; a tensor that two names share needs one of them."""
    filled = {id(wanted[name]) for name in found}
    return [name for name, tensor in wanted.items() if id(tensor) not in filled]


def _check_share(
    wanted: Mapping[str, Tensor],
    missing: list[str],
    optional: tuple[str, ...],
    tensors: Mapping[str, Tensor],
    file: Path,
) -> None:
    needed = [name for name in wanted if not name.startswith(optional)]
    lacking = [name for name in missing if not name.startswith(optional)]
    if 2 * len(lacking) > len(needed):
        raise CheckpointError(
            str(file),
            expected=f"the module's {len(needed)} tensors, such as `{lacking[0]}`",
            got=f"{len(needed) - len(lacking)} of them; the file has {_some(list(tensors))}",
            next_step="Check that the weights belong to this model",
        )


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (", ".join(f"`{name}`" for name in names[:3]) or "no tensors") + rest


def _check_tensor(name: str, tensor: Tensor, want: Tensor, file: Path) -> None:
    if tensor.shape != want.shape or tensor.is_floating_point() != want.is_floating_point():
        raise CheckpointError(
            f"tensor {name}",
            expected=f"{_kind(want)} {list(want.shape)}",
            got=f"{_kind(tensor)} {list(tensor.shape)}",
            where=f"In {file}",
            next_step="Check that the weights belong to this model",
        )
    numbers = tensor.float() if tensor.is_floating_point() and tensor.itemsize == 1 else tensor
    bad = int((~torch.isfinite(numbers)).sum())
    if bad:
        raise CheckpointError(
            f"tensor {name}",
            expected="finite numbers",
            got=f"{bad} of {tensor.numel()} that are NaN or infinite",
            where=f"In {file}",
            next_step="Train again, or restore an earlier checkpoint",
        )


def _kind(tensor: Tensor) -> str:
    return "floating" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")


def _put(module: nn.Module, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], file: Path) -> None:
    """Load the tensors, in one floating dtype."""
    dtypes = {tensor.dtype for tensor in found.values() if tensor.is_floating_point()}
    dtype = dtypes.pop() if len(dtypes) == 1 else torch.float32
    if dtype.itemsize == 1:  # no layer computes in eight bits
        dtype = torch.float32
    values = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in found.items()
    }
    on_meta = any(tensor.is_meta for tensor in wanted.values())
    if on_meta:
        values = _of_their_own(values, wanted, file)
    module.to(dtype)
    module.load_state_dict(values, strict=False, assign=on_meta)


def _of_their_own(
    values: Mapping[str, Tensor], wanted: Mapping[str, Tensor], file: Path
) -> dict[str, Tensor]:
    """Return a tensor for each name; none shares memory with another, so that each can be changed alone."""
    by_identity = {id(wanted[name]): tensor for name, tensor in values.items()}
    lacking = [name for name, want in wanted.items() if id(want) not in by_identity]
    if lacking:
        raise CheckpointError(
            str(file),
            expected=f"all of the module's {len(wanted)} tensors",
            got=f"none for {_some(lacking)}",
            next_step="Check that the weights belong to this model",
        )
    taken: set[int] = set()
    own: dict[str, Tensor] = {}
    for name, want in wanted.items():
        tensor = by_identity[id(want)]
        memory = tensor.untyped_storage().data_ptr()
        own[name] = tensor.clone() if memory in taken else tensor
        taken.add(memory)
    return own
