"""The ways in which models call attention, as one small module that differs in nothing else."""

import torch
from torch import nn
from torch.nn import functional
from torch.nn.functional import scaled_dot_product_attention as imported_by_name

SAMPLES, TOKENS, WIDTH, HEADS = 3, 7, 12, 4


def split_heads(x):
    return x.view(*x.shape[:2], HEADS, -1).transpose(1, 2)


class Attention(nn.Module):
    """Self-attention with the operation left to `attend`, and the dense weights kept."""

    def __init__(self, attend):
        super().__init__()
        self.project = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.attend = attend

    def forward(self, x):
        query, key, value = (split_heads(part) for part in self.project(x).chunk(3, dim=-1))
        self.dense = torch.softmax((query.double() @ key.double().mT) / query.shape[-1] ** 0.5, dim=-1)
        mixed = self.attend(query, key, value)
        return self.out(mixed.transpose(1, 2).reshape(x.shape))


def explicit(query, key, value):
    scores = torch.matmul(query, key.transpose(-1, -2)) / query.shape[-1] ** 0.5
    return torch.matmul(functional.dropout(functional.softmax(scores, dim=-1), 0.1, training=False), value)


def explicit_operators(query, key, value):
    scores = (query * query.shape[-1] ** -0.5) @ key.mT
    return scores.softmax(-1).to(value.dtype) @ value


def explicit_in_place(query, key, value):
    scores = query @ key.transpose(-1, -2)
    scores /= query.shape[-1] ** 0.5
    scores.masked_fill_(torch.zeros_like(scores, dtype=torch.bool), -1e9)
    return torch.softmax(scores, 3) @ value


def explicit_einsum(query, key, value):
    scores = torch.einsum("bhid,bhjd->bhij", query, key) * query.shape[-1] ** -0.5
    return torch.einsum("bhij,bhjd->bihd", scores.softmax(dim=-1), value).transpose(1, 2)


def explicit_folded(query, key, value):
    folded = [part.flatten(0, 1) for part in (query, key, value)]
    bias = torch.zeros(1, TOKENS, TOKENS, dtype=query.dtype)
    scores = torch.baddbmm(bias, folded[0], folded[1].transpose(1, 2), alpha=query.shape[-1] ** -0.5)
    return torch.bmm(nn.Softmax(dim=-1)(scores), folded[2]).unflatten(0, query.shape[:2])


def folded_fused(query, key, value):
    folded = [part.flatten(0, 1) for part in (query, key, value)]
    return functional.scaled_dot_product_attention(*folded).unflatten(0, query.shape[:2])


WAYS = {
    "F": functional.scaled_dot_product_attention,
    "imported by name": imported_by_name,
    "by keywords": lambda q, k, v: functional.scaled_dot_product_attention(query=q, key=k, value=v),
    "torch.ops": torch.ops.aten.scaled_dot_product_attention,
    "torch.ops overload": torch.ops.aten.scaled_dot_product_attention.default,
    "folded heads": folded_fused,
    "explicit": explicit,
    "explicit operators": explicit_operators,
    "explicit in place": explicit_in_place,
    "explicit einsum": explicit_einsum,
    "explicit folded": explicit_folded,
}
