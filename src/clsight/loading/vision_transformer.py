"""A vision transformer with torchvision's parameter names, so that its weights load without torchvision.

Read `VisionTransformer.forward` first; the rest of the file is in the order the data flows. The model is the
one of Dosovitskiy et al. (arXiv 2010.11929): patches, [CLS] in front, norm before each part of a layer.
"""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """The sizes of a vision transformer.

    Attributes:
        image_size: Height and width of an image in pixels, a multiple of `patch_size`.
        patch_size: Height and width of a patch in pixels.
        layers: Layers of the encoder.
        heads: Attention heads of a layer.
        width: Channels of a token.
        feedforward: Channels inside the feed-forward part.
        classes: Classes of the head.
        representation: Channels of the layer between [CLS] and the head; None without one.
    """

    image_size: int
    patch_size: int
    layers: int
    heads: int
    width: int
    feedforward: int
    classes: int = 1000
    representation: int | None = None

    @property
    def grid(self) -> int:
        """Patches along one side of an image."""
        return self.image_size // self.patch_size


class VisionTransformer(nn.Module):
    """An image classifier that reads its answer off [CLS].

    Args:
        sizes: All sizes. The weights start from torch's defaults and are meant to be loaded.

    Example:
        >>> sizes = Geometry(
        ...     image_size=8, patch_size=4, layers=1, heads=2, width=6, feedforward=5, classes=3
        ... )
        >>> VisionTransformer(sizes)(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 3])
    """

    def __init__(self, sizes: Geometry) -> None:
        super().__init__()
        self.sizes = sizes
        self.conv_proj = nn.Conv2d(3, sizes.width, kernel_size=sizes.patch_size, stride=sizes.patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, sizes.width))
        self.encoder = Encoder(sizes)
        self.heads = _make_head(sizes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits: images [batch, 3, height, width] -> [batch, class]."""
        patches = self.conv_proj(images)  # [batch, width, row, column]
        patches = patches.flatten(2).permute(0, 2, 1)  # [batch, row · column, width]
        cls = self.class_token.expand(len(images), -1, -1)  # [batch, 1, width]
        states = self.encoder(torch.cat((cls, patches), dim=1))  # [batch, token, width]
        logits: Tensor = self.heads(states[:, 0])  # [batch, class]
        return logits


class Encoder(nn.Module):
    """Positions, the layers, and one norm after the last: [batch, token, width] -> the same."""

    def __init__(self, sizes: Geometry) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.zeros(1, 1 + sizes.grid**2, sizes.width))
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for index in range(sizes.layers):
            layers[f"encoder_layer_{index}"] = Layer(sizes)
        self.layers = nn.Sequential(layers)
        self.ln = nn.LayerNorm(sizes.width, eps=1e-6)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the states after the last layer; row 0 of the positions belongs to [CLS]."""
        states: Tensor = self.ln(self.layers(tokens + self.pos_embedding))
        return states


class Layer(nn.Module):
    """Attention, then the feed-forward part, each on normed states and added: [batch, token, width]."""

    def __init__(self, sizes: Geometry) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(sizes.width, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(sizes.width, sizes.heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(sizes.width, eps=1e-6)
        # The empty places are torchvision's dropouts: the names of the two maps count them.
        self.mlp = nn.Sequential(
            nn.Linear(sizes.width, sizes.feedforward),
            nn.GELU(),
            nn.Identity(),
            nn.Linear(sizes.feedforward, sizes.width),
            nn.Identity(),
        )

    def forward(self, states: Tensor) -> Tensor:
        """Return the states after this layer."""
        normed = self.ln_1(states)
        attended, _ = self.self_attention(normed, normed, normed, need_weights=False)
        states = attended + states
        changed: Tensor = states + self.mlp(self.ln_2(states))
        return changed


def _make_head(sizes: Geometry) -> nn.Sequential:
    """Return what classifies [CLS]: [batch, width] -> [batch, class]."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if sizes.representation is not None:
        parts["pre_logits"] = nn.Linear(sizes.width, sizes.representation)
        parts["act"] = nn.Tanh()
    parts["head"] = nn.Linear(sizes.representation or sizes.width, sizes.classes)
    return nn.Sequential(parts)
