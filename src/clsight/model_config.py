"""The settings of a `ClassificationTransformer`: what they are, and which go together."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Literal, get_args

from clsight.cls_token import CLS_STRATEGIES
from clsight.errors import ClsightError, did_you_mean

Embedding = Literal["none", "linear", "patch", "token"]
Norm = Literal["pre", "post"]
Position = Literal["with_cls", "without_cls", "none"]
Activation = Literal["relu", "gelu"]

_CHOICES: Final[dict[str, Any]] = {
    "embedding": Embedding,
    "norm": Norm,
    "position": Position,
    "activation": Activation,
}
_COUNTS: Final = ("classes", "width", "heads", "layers", "feedforward", "max_time", "features", "vocabulary")
_LARGEST: Final = {"layers": 512, "width": 2**16}  # more is a mistake, and would only fill the memory
_NEEDED: Final = {
    "none": (),
    "linear": ("features",),
    "patch": ("image_size", "patch_size"),
    "token": ("vocabulary",),
}


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """All settings of a `ClassificationTransformer`.

    Args:
        classes: Number of classes.
        width: Channels of a token inside the encoder, a multiple of `heads`.
        heads: Attention heads per layer.
        layers: Encoder layers.
        feedforward: Channels inside each layer's feed-forward part.
        dropout: Probability of dropping, in [0, 1).
        activation: Of the feed-forward part: relu or gelu.
        norm: pre (then one more norm follows the last layer) or post.
        bias: Whether the encoder's attention, feed-forward and norms have biases.
        position: Trained position embedding for [CLS] and tokens, for tokens alone, or none.
        max_time: Longest input, in tokens without [CLS]; of images it follows from the sizes.
        embedding: In front of the encoder: none, linear (from `features`), patch or token.
        features: Channels of the input, for the linear embedding.
        image_size: Height and width, for the patch embedding.
        patch_size: Height and width of a patch; divides the image size.
        vocabulary: Number of token ids, for the token embedding.
        strategy: How [CLS] begins, a key of `clsight.cls_token.CLS_STRATEGIES`.
        strategy_options: Further keywords of the strategy.
        seed: Start of all weights, 0 or more.
    """

    classes: int
    width: int = 64
    heads: int = 4
    layers: int = 3
    feedforward: int = 128
    dropout: float = 0.0
    activation: Activation = "gelu"
    norm: Norm = "pre"
    bias: bool = True
    position: Position = "with_cls"
    max_time: int = 512
    embedding: Embedding = "none"
    features: int | None = None
    image_size: tuple[int, int] | None = None
    patch_size: tuple[int, int] | None = None
    vocabulary: int | None = None
    strategy: str = "learned"
    strategy_options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        for name, literal in _CHOICES.items():
            _check_choice(name, getattr(self, name), get_args(literal))
        _check_choice("strategy", self.strategy, CLS_STRATEGIES)
        for name in _NEEDED[self.embedding]:
            if getattr(self, name) is None:
                _fail(name, f"a value, since embedding is `{self.embedding}`", None, f"Set `{name}`")
        for name in _COUNTS:
            _check_count(name, getattr(self, name))
        self._check_ranges()
        if self.embedding == "patch":
            self._check_patches()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ModelConfig":
        """Build a config from what `to_dict` gave; unknown or missing settings raise ClsightError."""
        names = [item.name for item in fields(cls)]
        for name in values:
            if name not in names:
                _fail("model settings", "known names", name, did_you_mean(str(name), names))
        if "classes" not in values:
            _fail("model settings", "the number of `classes`", sorted(values), "Add it")
        settings: dict[str, Any] = dict(values)
        for name in ("image_size", "patch_size"):
            if isinstance(settings.get(name), list):  # JSON has no tuples
                settings[name] = tuple(settings[name])
        return cls(**settings)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values for JSON."""
        values = asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @property
    def patch_grid(self) -> tuple[int, int]:
        """Rows and columns of patches; only where the embedding is patch."""
        assert self.image_size is not None
        assert self.patch_size is not None
        return self.image_size[0] // self.patch_size[0], self.image_size[1] // self.patch_size[1]

    @property
    def longest(self) -> int:
        """The largest number of input tokens, without [CLS]."""
        return self.patch_grid[0] * self.patch_grid[1] if self.embedding == "patch" else self.max_time

    def _check_ranges(self) -> None:
        if self.width % self.heads:
            _fail("width", f"a multiple of heads={self.heads}", self.width, "Change one of the two")
        if not _is_number(self.dropout) or not 0 <= self.dropout < 1:
            _fail("dropout", "a probability in [0, 1)", self.dropout, "Use 0.0 to drop nothing")
        if not isinstance(self.bias, bool):
            _fail("bias", "True or False", self.bias, "Set one of them")
        if not _is_int(self.seed) or not 0 <= self.seed < 2**63:
            _fail("seed", "a whole number from 0 to 2**63 - 1", self.seed, "Use 0")
        if not isinstance(self.strategy_options, Mapping):
            _fail("strategy_options", "a mapping of option to value", self.strategy_options, "Use {}")

    def _check_patches(self) -> None:
        for name in ("image_size", "patch_size"):
            value = getattr(self, name)
            if not (
                isinstance(value, tuple) and len(value) == 2 and all(_is_int(n) and n > 0 for n in value)
            ):
                _fail(name, "(height, width) in pixels", value, "Give two positive whole numbers")
        assert self.image_size is not None
        assert self.patch_size is not None
        if self.image_size[0] % self.patch_size[0] or self.image_size[1] % self.patch_size[1]:
            _fail(
                "patch_size", f"sizes that divide {self.image_size}", self.patch_size, "Change one of the two"
            )


def _check_choice(name: str, value: Any, options: Iterable[str]) -> None:
    if not isinstance(value, str) or value not in options:
        _fail(name, "a known option", value, did_you_mean(str(value), options))


def _check_count(name: str, value: Any) -> None:
    if value is None and name in ("features", "vocabulary"):
        return
    largest = _LARGEST.get(name, 2**31 - 1)
    if not _is_int(value) or not 1 <= value <= largest:
        _fail(name, f"a whole number from 1 to {largest}", value, "Correct this setting")


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _fail(name: str, expected: str, got: Any, next_step: str) -> None:
    raise ClsightError(
        name, expected=expected, got=repr(got), where="In the model settings", next_step=next_step
    )
