"""What is examined, as the user gave it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from clsight.hooks.calls import Inputs

if TYPE_CHECKING:
    from clsight.loading import Subject


@dataclass(frozen=True)
class Question:
    """What is examined, as the user gave it.

    Attributes:
        module: The module whose Python code runs.
        name: What to call it.
        inputs: What the module is called with.
        raw: What a subject prepares into `inputs`; None without a subject.
        subject: What `clsight.load` returned; None for a bare module.
        cls_index: Position of [CLS]; None if the subject has none.
        token_mask: `[sample, token]`, True = real; None to find it, or to take the subject's own.
        token_kind: `[sample, token]`, kind of each token; None if unknown.
        within: Name of the submodule to look at; None for all.
        output: From the module's output to its logits; None to find them.
    """

    module: nn.Module
    name: str
    inputs: Inputs
    raw: Any = None
    subject: "Subject | None" = None
    cls_index: Any = 0
    token_mask: Any = None
    token_kind: np.ndarray[Any, Any] | None = None
    within: str | None = None
    output: Callable[[Any], Tensor] | None = None
