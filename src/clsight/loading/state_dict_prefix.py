"""Where in a checkpoint are the weights, and not the optimizer's moments or an average of the weights?"""

import re
from collections.abc import Mapping
from typing import Final

from torch import Tensor

from clsight.loading.peeling import CONTAINERS, without_wrapping

_OF_TRAINERS: Final = frozenset({"state_dict", "model_state_dict", "model_state"})
"""Containers that no module is called like."""
_BESIDE: Final = re.compile(
    r"(model_|state_dict_)?(ema|swa|avg|optim|sched|lr_|scaler|rng|loss|crit|metric|best)"
)


def weights_in(tensors: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """Return the wrapping around all the weights, and the weights by their names inside it.

    A module may be called `model` or `net` itself and stand beside [CLS] and head, so such a name is wrapping
    only where nothing else but a trainer's own entries stands beside it.

    Example:
        >>> import torch
        >>> one = torch.ones(1)
        >>> weights_in({"model.net.a": one, "model.cls": one, "optimizer.b": one})[0]
        'model.'
    """
    names = {without_wrapping(name): name for name in tensors}
    prefix = ""
    while (container := _container(list(names))) is not None:
        start = f"{container}."
        prefix += start
        names = {name.removeprefix(start): old for name, old in names.items() if name.startswith(start)}
    return prefix, {name: tensors[old] for name, old in names.items()}


def _container(names: list[str]) -> str | None:
    """Return the name that all weights stand below; None where they stand side by side."""
    for container in CONTAINERS:
        beside = [name for name in names if not name.startswith(f"{container}.")]
        if len(beside) == len(names):
            continue
        if container in _OF_TRAINERS or all(_BESIDE.match(name.lower()) for name in beside):
            return container
    return None
