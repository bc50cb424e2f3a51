"""The thread's classifier, corrected: a transformer encoder that reads its answer off [CLS].

Read `ClassificationTransformer.forward` first; the rest of the file is in the order the data flows. Unlike
the code in the thread, [CLS] really enters the encoder, padding is masked, the depth asked for is used, and
the layers do not start as copies of each other.
"""

import torch
from torch import Tensor, nn

from clsight.cls_token import make
from clsight.errors import ClsightError
from clsight.model_config import ModelConfig

__all__ = ["ClassificationTransformer", "ModelConfig"]


class ClassificationTransformer(nn.Module):
    """A transformer encoder classifier with a choice of how [CLS] begins.

    All weights follow from `config.seed`; torch's global random state is left as it was. Two configs that
    differ only in their strategy give models whose weights outside `cls_token` are equal bit for bit.

    Args:
        config: All settings.

    Raises:
        ClsightError: If the strategy does not take one of the options.

    Example:
        >>> model = ClassificationTransformer(ModelConfig(classes=3, width=8, heads=2, strategy="zeros"))
        >>> model(torch.ones(2, 5, 8)).shape
        torch.Size([2, 3])
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.cls_token = make(config.strategy, width, seed=config.seed, **config.strategy_options)
        with torch.random.fork_rng(devices=[]):  # what torch draws here is replaced by _initialize
            self.embed = _make_embedding(config)
            self.position = nn.Parameter(torch.empty(_position_rows(config), width))
            self.dropout = nn.Dropout(config.dropout)
            self.encoder = _make_encoder(config)
            self.head = nn.Linear(width, config.classes)
        self._initialize()

    def forward(self, x: Tensor, token_mask: Tensor | None = None) -> Tensor:
        """Classify each sample.

        Args:
            x: [batch, time, features] float; for the patch embedding images [batch, height, width] float;
                for the token embedding ids [batch, time] integer.
            token_mask: [batch, time] bool, True = a real token, [CLS] not counted; None if all are real.

        Returns:
            Logits, [batch, class].

        Raises:
            ClsightError: If a shape or dtype does not fit the settings, or a sample has no token to read.
        """
        self._check(x, token_mask)
        tokens = self.embed(x)  # [batch, time, width]
        tokens, mask = self.cls_token.prepend(tokens, token_mask)  # [batch, 1 + time, width]
        tokens = self.dropout(self._add_position(tokens))
        padding = None if mask is None else ~mask  # torch's sense: True = ignore
        states = self.encoder(tokens, src_key_padding_mask=padding)  # [batch, 1 + time, width]
        logits: Tensor = self.head(self.cls_token.read_out(states, mask))  # [batch, class]
        return logits

    def reseed(self, seed: int | None = None) -> None:
        """Start the draws of coming forward passes anew; see `ClsToken.reseed`."""
        self.cls_token.reseed(seed)

    def _add_position(self, tokens: Tensor) -> Tensor:
        """Add one trained vector per position; [CLS], where there is one, is at position 0."""
        lead = int(self.cls_token.in_sequence)
        time = tokens.shape[1] - lead
        if self.config.position == "none":
            return tokens
        if self.config.position == "without_cls":
            return tokens + nn.functional.pad(self.position[:time], (0, 0, lead, 0))  # [CLS] gets a zero
        return tokens + self.position[1 - lead : 1 + time]  # row 0 is for [CLS] alone

    def _initialize(self) -> None:
        """Draw every weight outside `cls_token` from one generator, each layer its own numbers."""
        generator = torch.Generator(device="cpu").manual_seed(self.config.seed)
        for name, weight in self.named_parameters():
            if name.startswith("cls_token.") or weight.is_meta:
                continue
            if name == "position" or (isinstance(self.embed, nn.Embedding) and weight is self.embed.weight):
                nn.init.trunc_normal_(weight, std=0.02, a=-0.04, b=0.04, generator=generator)
            elif weight.dim() > 1:
                nn.init.xavier_uniform_(weight, generator=generator)
            elif name.endswith("bias"):
                nn.init.zeros_(weight)  # the gains of the norms stay 1

    def _check(self, x: Tensor, token_mask: Tensor | None) -> None:
        config = self.config
        expected, fits, kind = _expected_input(config, x)
        if not fits or not kind or 0 in x.shape:
            got = f"{x.dtype} [{', '.join(str(n) for n in x.shape)}]"
            raise ClsightError("x", expected=expected, got=got, next_step="Change the input's shape or dtype")
        batch = x.shape[0]
        time = config.longest if config.embedding == "patch" else x.shape[1]
        if config.position != "none" and time > config.longest:
            got = f"time={time}"
            step = "Cut the input, or build the model with a larger `max_time`"
            raise ClsightError("x", expected=f"at most time={config.longest}", got=got, next_step=step)
        if token_mask is not None:
            self._check_mask(token_mask, batch, time)

    def _check_mask(self, token_mask: Tensor, batch: int, time: int) -> None:
        if token_mask.dtype != torch.bool or token_mask.shape != (batch, time):
            raise ClsightError(
                "token_mask",
                expected=f"torch.bool [batch={batch}, time={time}]",
                got=f"{token_mask.dtype} [{', '.join(str(n) for n in token_mask.shape)}]",
                next_step="True means a real token; [CLS] is not counted",
            )
        if not self.cls_token.in_sequence and not bool(token_mask.any(dim=1).all()):
            raise ClsightError(
                "token_mask",
                expected="at least one real token per sample, since the model has no [CLS]",
                got="a sample that is all padding",
                next_step="Leave that sample out",
            )


class PatchEmbedding(nn.Module):
    """Cut images into patches and embed each: [batch, height, width of image] -> [batch, time, width].

    Args:
        patch_size: Height and width of a patch in pixels.
        width: Channels of a token.
    """

    def __init__(self, patch_size: tuple[int, int], width: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.project = nn.Linear(patch_size[0] * patch_size[1], width)

    def forward(self, images: Tensor) -> Tensor:
        """Return one token per patch, row by row."""
        rows, columns = (images.shape[1] // self.patch_size[0], images.shape[2] // self.patch_size[1])
        patches = images.reshape(-1, rows, self.patch_size[0], columns, self.patch_size[1])
        patches = patches.transpose(2, 3)  # [batch, row, column, patch height, patch width]
        tokens: Tensor = self.project(
            patches.reshape(len(images), rows * columns, -1)
        )  # [batch, time, width]
        return tokens


def _make_embedding(config: ModelConfig) -> nn.Module:
    if config.embedding == "patch":
        assert config.patch_size is not None
        return PatchEmbedding(config.patch_size, config.width)
    if config.embedding == "token":
        assert config.vocabulary is not None
        return nn.Embedding(config.vocabulary, config.width)
    if config.embedding == "linear":
        assert config.features is not None
        return nn.Linear(config.features, config.width)
    return nn.Identity()


def _make_encoder(config: ModelConfig) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(
        config.width,
        config.heads,
        dim_feedforward=config.feedforward,
        dropout=config.dropout,
        activation=config.activation,
        batch_first=True,
        norm_first=config.norm == "pre",
        bias=config.bias,
    )
    # Before a norm-first layer the residual stream is never normed, so one norm follows the last layer.
    norm = nn.LayerNorm(config.width, bias=config.bias) if config.norm == "pre" else None
    # Nested tensors would write zeros at padding and warn in several settings; nothing here needs them.
    return nn.TransformerEncoder(layer, config.layers, norm=norm, enable_nested_tensor=False)


def _position_rows(config: ModelConfig) -> int:
    if config.position == "none":
        return 0
    # A model without [CLS] keeps the row, so that every strategy has the same other weights.
    return config.longest + (config.position == "with_cls")


def _expected_input(config: ModelConfig, x: Tensor) -> tuple[str, bool, bool]:
    """Return the expected input in words, whether the shape fits, and whether the dtype does."""
    if config.embedding == "patch":
        assert config.image_size is not None
        height, width = config.image_size
        words = f"floating images [batch, height={height}, width={width}]"
        return words, x.dim() == 3 and x.shape[1:] == (height, width), x.is_floating_point()
    if config.embedding == "token":
        whole = x.dtype in (torch.int32, torch.int64)
        return "token ids, int64 [batch, time]", x.dim() == 2, whole
    features = config.features if config.embedding == "linear" else config.width
    words = f"floating [batch, time, features={features}]"
    return words, x.dim() == 3 and x.shape[-1] == features, x.is_floating_point()
