"""The settings of one run of a study: all that decides what it trains, and nothing else."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from clsight.errors import StudyError, did_you_mean
from clsight.model_config import Norm, Position


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """One model to train.

    Two runs that differ in `strategy` alone see the same data in the same order, and all their weights
    outside [CLS] begin the same.

    Args:
        task: Name of a task, or `package.module:task` of the user's own.
        task_options: Further keywords of the task.
        strategy: How [CLS] begins, a key of `clsight.cls_token.CLS_STRATEGIES`.
        strategy_options: Further keywords of the strategy.
        norm: pre or post.
        bias: Whether the encoder's attention, feed-forward and norms have biases.
        position: Trained position embedding for [CLS] and tokens, for tokens alone, or none.
        layers: Encoder layers.
        heads: Attention heads per layer.
        width: Channels of a token inside the encoder.
        feedforward: Channels inside each layer's feed-forward part.
        learning_rate: The highest of the schedule.
        weight_decay: Of matrices, not of vectors.
        epochs: Passes through the training data.
        batch: Samples per step.
        warmup: Share of all steps in which the learning rate rises, in [0, 1).
        seed: Of the data order, the split and all weights.
    """

    task: str
    task_options: Mapping[str, Any] = field(default_factory=dict)
    strategy: str = "learned"
    strategy_options: Mapping[str, Any] = field(default_factory=dict)
    norm: Norm = "pre"
    bias: bool = True
    position: Position = "with_cls"
    layers: int = 2
    heads: int = 4
    width: int = 32
    feedforward: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    epochs: int = 10
    batch: int = 64
    warmup: float = 0.1
    seed: int = 0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RunSettings":
        """Build settings from what `to_dict` gave; an unknown name raises StudyError."""
        names = [item.name for item in fields(cls)]
        for name in values:
            if name not in names:
                raise StudyError(
                    "run settings",
                    expected="known names",
                    got=repr(name),
                    next_step=did_you_mean(str(name), names),
                )
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values for JSON."""
        return asdict(self)
