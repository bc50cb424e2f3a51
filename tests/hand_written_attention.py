"""Attention in plain steps that is not `softmax(q·kᵀ)·v` over tokens: no capture may show it as such."""

import torch
from torch import nn
from torch.nn.attention.flex_attention import flex_attention

SAMPLES, TOKENS, HEADS = 3, 9, 3


def inputs(width=24):
    """Features: [sample, token, channel]."""
    generator = torch.Generator().manual_seed(1)
    return {"x": torch.randn(SAMPLES, TOKENS, width, generator=generator)}


class HandWritten(nn.Module):
    """Projects to queries, keys and values, each [sample, head, token, head_dim]; subclasses mix them."""

    def __init__(self, width):
        super().__init__()
        self.projection = nn.Linear(width, 3 * width)
        self.between_heads = nn.Parameter(torch.zeros(HEADS, HEADS))

    def forward(self, x):
        samples, tokens, _ = x.shape
        projected = self.projection(x).reshape(samples, tokens, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        return self.mix(*projected).transpose(1, 2).flatten(2)


class ExpAndSum(HandWritten):
    def mix(self, query, key, value):
        weights = (query @ key.mT).exp()
        return weights / weights.sum(-1, keepdim=True) @ value


class OtherAxis(HandWritten):
    def mix(self, query, key, value):
        return (key @ query.mT).softmax(-2).mT @ value


class Sigmoid(HandWritten):
    def mix(self, query, key, value):
        return (query @ key.mT).sigmoid() @ value


class Linear(HandWritten):
    def mix(self, query, key, value):
        return query.softmax(-1) @ (key.softmax(-2).mT @ value)


class TalkingHeads(HandWritten):
    def mix(self, query, key, value):
        weights = (query @ key.mT).softmax(-1)
        return torch.einsum("bhij,gh->bgij", weights, self.between_heads) @ value


class Flex(HandWritten):
    def mix(self, query, key, value):
        return flex_attention(query, key, value)
