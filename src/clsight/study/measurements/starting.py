"""Are zeros numerically bad? The gradient at the vector of CLS before the first step, also in float16."""

import copy
import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from clsight.models import ClassificationTransformer
from clsight.study.tasks import Part

Numbers = dict[str, float]
DTYPES = {"gradient_at_start": torch.float32, "gradient_at_start_float16": torch.float16}


def gradient_at_start(model: ClassificationTransformer, part: Part) -> Numbers:
    """Return the norm of the gradient of the loss at the vector of CLS, in float32 and in float16.

    Infinite or NaN where it is that; empty where the vector is not trained.

    Args:
        model: Untrained.
        part: One batch.
    """
    if not isinstance(getattr(model.cls_token, "vector", None), torch.nn.Parameter):
        return {}
    return {name: _norm(model, part, dtype) for name, dtype in DTYPES.items()}


def _norm(model: ClassificationTransformer, part: Part, dtype: torch.dtype) -> float:
    one = copy.deepcopy(model).to(dtype).train()
    inputs = part.inputs.to(dtype) if part.inputs.is_floating_point() else part.inputs
    torch.autograd.backward(cross_entropy(one(inputs, part.token_mask).float(), part.labels))
    vector = one.cls_token.vector
    assert isinstance(vector, Tensor)
    return math.nan if vector.grad is None else float(vector.grad.double().norm())
