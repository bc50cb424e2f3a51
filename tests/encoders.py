"""Random `nn.TransformerEncoder` configurations that a capture is tried on, each from one seed."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

import reference


@dataclass
class EncoderCase:
    """An encoder, its inputs, and all that a reference needs to know of them."""

    encoder: nn.TransformerEncoder
    inputs: torch.Tensor
    padding: torch.Tensor
    causal: bool
    cls_index: int

    @property
    def batch_first(self):
        return self.encoder.layers[0].self_attn.batch_first

    @property
    def kwargs(self):
        """How the encoder is called."""
        tokens = self.padding.shape[1]
        arguments = {"src": self.inputs if self.batch_first else self.inputs.transpose(0, 1)}
        if self.padding.any():
            arguments["src_key_padding_mask"] = self.padding
        if self.causal:
            arguments["mask"] = torch.ones(tokens, tokens).triu(1).bool()
        return arguments

    def dense(self):
        """The dense weights in float64: [sample, layer, head, query, key]."""
        tokens = self.padding.shape[1]
        return reference.encoder_weights(
            self.encoder,
            self.inputs.double().numpy(),
            padding=self.padding.numpy(),
            blocked=np.triu(np.full((tokens, tokens), self.causal), 1),
        )


def random_case(seed, *, dtype=torch.float32, weight_std=None):
    """Return a random encoder case; layers differ from each other, all sizes vary."""
    draw = np.random.default_rng(seed)
    heads, head_dim = int(draw.integers(1, 8)), int(draw.integers(2, 17))
    width, samples, tokens = heads * head_dim, int(draw.integers(1, 6)), int(draw.integers(2, 41))
    torch.manual_seed(seed)
    layer = nn.TransformerEncoderLayer(
        width,
        heads,
        int(draw.integers(8, 65)),
        dropout=0.1,
        batch_first=bool(draw.integers(2)),
        norm_first=bool(draw.integers(2)),
        bias=bool(draw.integers(2)),
        dtype=dtype,
    )
    encoder = nn.TransformerEncoder(layer, int(draw.integers(1, 5)), enable_nested_tensor=False)
    reinitialize(encoder, weight_std)
    lengths = torch.as_tensor(draw.integers(max(1, tokens // 2), tokens + 1, samples))
    padding = torch.arange(tokens) >= lengths[:, None]
    if draw.integers(2):
        padding = torch.zeros_like(padding)
    return EncoderCase(
        encoder,
        torch.randn(samples, tokens, width, dtype=dtype),
        padding,
        causal=draw.random() < 0.25,
        cls_index=int(draw.choice([0, 0, 0, 1])) if tokens > 1 else 0,
    )


def reinitialize(encoder, weight_std):
    """Give every parameter its own values: torch copies one layer, and sets biases to zero."""
    for name, parameter in encoder.named_parameters():
        if weight_std is not None and parameter.dim() > 1:
            nn.init.normal_(parameter, std=weight_std)
        elif parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
        elif "norm" not in name:
            nn.init.normal_(parameter, std=0.1)
