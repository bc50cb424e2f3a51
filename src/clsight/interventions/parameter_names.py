"""Which parameter of a model holds a vector?"""

import torch
from torch import Tensor, nn


def parameter_with(module: nn.Module, term: Tensor) -> str:
    """Return the name of the parameter or buffer of which each term is a row, "" if there is none."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    for name, tensor in tensors:
        if not tensor.is_floating_point() or tensor.dim() == 0 or tensor.shape[-1] != term.shape[-1]:
            continue
        rows = tensor.detach().reshape(-1, tensor.shape[-1]).to(term.dtype)
        if all(bool((rows == one).all(-1).any()) for one in torch.unique(term, dim=0)):
            return name.removesuffix(".weight")
    return ""
