"""Classifiers as users of nn.TransformerEncoder write them: their forward passes are what loading must meet.

Each has a name, input and readout of its own; `USERS` says what a user would state of each.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional

WIDTH, HEADS, FEATURES, VOCABULARY, CLASSES, TIME = 24, 4, 5, 30, 4, 9


def layer(**options: Any) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(WIDTH, HEADS, 40, **{"batch_first": True, **options})


class FixedForum(nn.Module):
    """The class of the thread with [CLS] as a parameter that enters the encoder."""

    def __init__(self):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        encoder_layer = layer()
        self.transformer_encoder = nn.TransformerEncoder(encoder_layer, num_layers=3)

    def forward(self, x):
        tokens = torch.column_stack((self.cls_token.expand(len(x), -1, -1), x))
        return self.transformer_encoder(tokens)[:, 0, :]


class Series(nn.Module):
    """Pre-norm without biases, a norm after the last layer, [CLS] as a plain vector, its own position."""

    def __init__(self):
        super().__init__()
        self.cls_vector = nn.Parameter(torch.zeros(WIDTH))
        self.to_tokens = nn.Linear(FEATURES, WIDTH)
        self.pos_embedding = nn.Parameter(torch.zeros(1, TIME + 1, WIDTH))
        one = layer(norm_first=True, activation="gelu", bias=False)
        self.encoder = nn.TransformerEncoder(one, 2, norm=nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        tokens = self.to_tokens(x)
        cls = self.cls_vector.expand(len(x), 1, WIDTH)
        tokens = torch.cat([cls, tokens], dim=1)
        tokens = tokens + self.pos_embedding[:, : tokens.shape[1]]
        return self.head(self.encoder(tokens)[:, 0])


class Text(nn.Module):
    """Token ids through a narrow embedding, positions as an embedding, the encoder's prototype kept."""

    def __init__(self):
        super().__init__()
        self.word_embedding = nn.Embedding(VOCABULARY, 10)
        self.widen = nn.Linear(10, WIDTH)
        self.embedding_projection = nn.Identity()
        self.position = nn.Embedding(TIME + 1, WIDTH)
        self.cls = nn.Parameter(torch.zeros(1, WIDTH))
        self.encoder_layer = layer()
        self.encoder = nn.TransformerEncoder(self.encoder_layer, 2)
        self.fc = nn.Linear(WIDTH, CLASSES, bias=False)

    def forward(self, ids):
        tokens = self.widen(self.word_embedding(ids))
        tokens = torch.cat([self.cls.unsqueeze(0).repeat(len(ids), 1, 1), tokens], dim=1)
        tokens = tokens + self.position(torch.arange(tokens.shape[1]))
        return self.fc(self.encoder(tokens)[:, 0])


class Pictures(nn.Module):
    """Patches by a convolution, positions for the patches alone, a norm in the head."""

    def __init__(self):
        super().__init__()
        self.patch_embed = nn.Conv2d(1, WIDTH, 4, stride=4)
        self.pos_embed = nn.Parameter(torch.zeros(1, 9, WIDTH))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.blocks = nn.Sequential(*[layer(norm_first=True, activation="gelu") for _ in range(2)])
        self.mlp_head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES))

    def forward(self, x):
        tokens = self.patch_embed(x).flatten(2).transpose(1, 2) + self.pos_embed
        tokens = torch.cat((self.cls_token.expand(len(x), -1, -1), tokens), dim=1)
        return self.mlp_head(self.blocks(tokens)[:, 0])


class OwnBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_attn = nn.LayerNorm(WIDTH)
        self.attn = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.ln_mlp = nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 40), nn.GELU(), nn.Linear(40, WIDTH))

    def forward(self, x):
        normed = self.ln_attn(x)
        x = x + self.attn(normed, normed, normed, need_weights=False)[0]
        return x + self.mlp(self.ln_mlp(x))


class OwnBlocks(nn.Module):
    """Layers of one's own around nn.MultiheadAttention, and a [CLS] that no name gives away."""

    def __init__(self):
        super().__init__()
        self.summary = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.input_proj = nn.Linear(FEATURES, WIDTH, bias=False)
        self.stages = nn.ModuleList([OwnBlock() for _ in range(3)])
        self.norm = nn.LayerNorm(WIDTH)
        self.classifier = nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        x = torch.cat([self.summary.expand(len(x), -1, -1), self.input_proj(x)], dim=1)
        for stage in self.stages:
            x = stage(x)
        return self.classifier(self.norm(x)[:, 0])


class Attentions(nn.Module):
    """A list of nn.MultiheadAttention, each added to the states, and nothing else in the layers."""

    def __init__(self):
        super().__init__()
        self.cls = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.attentions = nn.ModuleList(
            [nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, add_bias_kv=True) for _ in range(2)]
        )
        self.out = nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1)
        for attention in self.attentions:
            x = x + attention(x, x, x)[0]
        return self.out(x[:, 0])


class OneAttention(nn.Module):
    """A single nn.MultiheadAttention beside the rest of the model."""

    def __init__(self):
        super().__init__()
        self.cls = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, bias=False, batch_first=True)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, ids):
        x = torch.cat([self.cls.expand(len(ids), -1, -1), self.embedding(ids)], dim=1)
        return self.head((x + self.attention(x, x, x)[0])[:, 0])


class TimeFirst(nn.Module):
    """Time before batch, a single layer, [CLS] at the end, positions as a buffer named pe."""

    def __init__(self):
        super().__init__()
        self.project = nn.Linear(FEATURES, WIDTH)
        self.register_buffer("pe", torch.rand(TIME + 1, 1, WIDTH))
        self.cls_token = nn.Parameter(torch.zeros(WIDTH))
        self.layer = layer(batch_first=False, activation=functional.gelu)
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, x):
        x = self.project(x.transpose(0, 1))
        x = torch.cat([x, self.cls_token.expand(1, x.shape[1], -1)])
        return self.head(self.layer(x + self.pe[: len(x)])[-1])


class Inside(nn.Module):
    """The model as an attribute of another, as trainers keep it, with a token embedding for [CLS]."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.ModuleDict(
            {
                "cls_embedding": nn.Embedding(1, WIDTH),
                "embed": nn.Linear(FEATURES, WIDTH),
                "embed_norm": nn.LayerNorm(WIDTH),
                "encoder": nn.TransformerEncoder(layer(), 2),
            }
        )
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        parts = self.backbone
        tokens = torch.cat([parts["cls_embedding"].weight.expand(len(x), 1, -1), parts["embed"](x)], dim=1)
        return self.head(parts["encoder"](parts["embed_norm"](tokens))[:, 0])


class TwoTowers(nn.Module):
    """Two encoders, of which none is the one."""

    def __init__(self):
        super().__init__()
        self.left = nn.TransformerEncoder(layer(), 2)
        self.right = nn.TransformerEncoder(layer(), 2)


class Abreast(nn.Module):
    """Two encoders over the same steps, of which the second has [CLS] in front."""

    def __init__(self):
        super().__init__()
        self.cls = nn.Parameter(torch.zeros(WIDTH))
        self.to_tokens = nn.Linear(FEATURES, WIDTH)
        self.left = nn.TransformerEncoder(layer(), 1)
        self.right = nn.ModuleList([layer() for _ in range(2)])

    def forward(self, x):
        steps = self.to_tokens(x)
        tokens = torch.cat([self.cls.expand(len(x), 1, -1), steps], dim=1)
        for each in self.right:
            tokens = each(tokens)
        return tokens[:, 0] + self.left(steps).mean(dim=1)


@dataclass(frozen=True)
class User:
    """A module, and what its user states when loading the file.

    Attributes:
        kind: The class.
        stated: Options of `clsight.load`.
        cls: Name of the tensor of [CLS] in the file.
        takes: What the loaded subject takes.
    """

    kind: type[nn.Module]
    stated: dict[str, Any] = field(default_factory=dict)
    cls: str = "cls"
    takes: str = "series"


PRE = {"norm": "pre", "activation": "gelu"}
USERS = (
    User(FixedForum, {}, "cls_token"),
    User(Series, PRE, "cls_vector"),
    User(Text, {}, "cls", "token_ids"),
    User(Pictures, PRE, "cls_token", "image"),
    User(OwnBlocks, PRE, "summary"),
    User(Attentions),
    User(OneAttention, {}, "cls", "token_ids"),
    User(TimeFirst, {"activation": "gelu", "cls_index": -1}, "cls_token"),
    User(Inside, {}, "backbone.cls_embedding.weight"),
)
