"""What a user may state about a model that its file does not say."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from torch import nn

from clsight.errors import CheckpointError, did_you_mean

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
        within: Name of the submodule whose attention is meant, of the user's own module.
        classifies: Whether what the model returns is a score for each class; any model takes it.
        factory: What makes the user's own module: called without arguments, or the module itself.

    Raises:
        CheckpointError: If a value is none of the choices, or no whole number.
    """

    architecture: str | None = None
    heads: int | None = None
    norm: Norm | None = None
    activation: Activation | None = None
    cls_index: int | None = None
    within: str | None = None
    classifies: bool | None = None
    factory: Callable[[], nn.Module] | nn.Module | None = None

    def __post_init__(self) -> None:
        for name, value, kind in (("norm", self.norm, Norm), ("activation", self.activation, Activation)):
            if value is not None and value not in get_args(kind):
                expected, step = " or ".join(get_args(kind)), did_you_mean(str(value), get_args(kind))
                raise CheckpointError(name, expected=expected, got=repr(value), next_step=step)
        for name, number in (("heads", self.heads), ("cls_index", self.cls_index)):
            if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
                step = "Pass an int, or leave it out"
                raise CheckpointError(name, expected="a whole number", got=repr(number), next_step=step)
        if self.classifies is not None and not isinstance(self.classifies, bool):
            step = "Pass True or False, or leave it out"
            raise CheckpointError(
                "classifies", expected="True or False", got=repr(self.classifies), next_step=step
            )

    def stated(self) -> dict[str, Any]:
        """Return what was stated, by name."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in given.items() if value is not None}
