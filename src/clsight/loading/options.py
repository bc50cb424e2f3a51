"""What a user may state about a model that its file does not say."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal

from torch import nn

Norm = Literal["pre", "post"]
Activation = Literal["relu", "gelu"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a user states; None where nothing is stated.

    Attributes:
        architecture: `library:name` of the model that the weights belong to, such as
            `timm:vit_small_patch16_224`.
        heads: Attention heads per layer of a bare state dict.
        norm: Whether the norm comes before (`pre`) or after each part of a layer, for a bare state dict.
        activation: Of the feed-forward part, for a bare state dict.
        cls_index: Position of [CLS] in the sequence that the encoder sees.
        factory: What makes the user's own module: called without arguments, or the module itself.
    """

    architecture: str | None = None
    heads: int | None = None
    norm: Norm | None = None
    activation: Activation | None = None
    cls_index: int | None = None
    factory: Callable[[], nn.Module] | nn.Module | None = None

    def stated(self) -> dict[str, Any]:
        """Return what was stated, by name."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in given.items() if value is not None}
