"""Classifiers as users write them, their names and parts drawn at random: no one habit must be relied on."""

import random
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

WIDTH, HEADS = 24, 4
NAMES = {
    "cls": ("cls", "cls_token", "class_token", "cls_vector", "CLS", "summary", "token"),
    "linear": ("embed", "input_proj", "proj", "to_tokens", "linear", "fc_in", "l1", "stem", "in_layer"),
    "words": ("embedding", "tok_emb", "word_embeddings", "token_embedding", "lookup", "wte", "vectors"),
    "patches": ("patch_embed", "proj", "conv", "stem", "to_patches"),
    "position": ("pos", "pos_embed", "position_embeddings", "pe", "positional_encoding"),
    "encoder": ("encoder", "transformer", "blocks", "backbone", "net", "model"),
    "head": ("head", "fc", "classifier", "out", "l2", "lin", "output", "decoder", "mlp_head", "fc_out"),
}


@dataclass(frozen=True)
class Draw:
    """What was drawn.

    Attributes:
        name: Of each part.
        choice: Of each option.
    """

    name: dict[str, str]
    choice: dict[str, Any]


def draw(seed: int) -> Draw:
    """Return a draw in which no two parts share a name."""
    source = random.Random(seed)
    name: dict[str, str] = {}
    for part, names in NAMES.items():
        name[part] = source.choice([each for each in names if each not in name.values()])
    choice = {
        "input": source.choice(("linear", "words", "patches", "none")),
        "position": source.choice(("parameter", "embedding", "none")),
        "stack": source.choice(("encoder", "list")),
        "depth": source.choice((1, 2, 3)),
        "feedforward": source.choice((16, 24, 48)),
        "features": source.choice((1, 7, 24, 40, 48)),
        "classes": source.choice((1, 2, 10)),
        "cls_shape": source.choice(((WIDTH,), (1, WIDTH), (1, 1, WIDTH))),
    }
    flags = ("pre", "gelu", "bias", "final_norm", "prototype", "head_norm", "early_norm", "head_bias")
    return Draw(name, choice | {flag: source.random() < 0.5 for flag in flags})


class RandomClassifier(nn.Module):
    """[CLS] in front of an input, positions, layers, a head."""

    def __init__(self, drawn: Draw) -> None:
        super().__init__()
        self._drawn = drawn
        name, choice = drawn.name, drawn.choice
        self.register_parameter(name["cls"], nn.Parameter(torch.zeros(choice["cls_shape"])))
        if choice["input"] == "linear":
            self.add_module(name["linear"], nn.Linear(choice["features"], WIDTH))
        elif choice["input"] == "words":
            self.add_module(name["words"], nn.Embedding(30, WIDTH))
        elif choice["input"] == "patches":
            self.add_module(name["patches"], nn.Conv2d(3, WIDTH, 4, 4))
        rows = 17 if choice["input"] == "patches" else 13
        if choice["position"] == "parameter":
            self.register_parameter(name["position"], nn.Parameter(torch.zeros(1, rows, WIDTH)))
        elif choice["position"] == "embedding":
            self.add_module(name["position"], nn.Embedding(rows, WIDTH))
        if choice["early_norm"]:
            self.embed_norm = nn.LayerNorm(WIDTH)
        self._make_layers(name["encoder"], choice)
        head: nn.Module = nn.Linear(WIDTH, choice["classes"], bias=choice["head_bias"])
        if choice["head_norm"]:
            head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Dropout(), head)
        self.add_module(name["head"], head)

    def _make_layers(self, name: str, choice: dict[str, Any]) -> None:
        def layer() -> nn.Module:
            return nn.TransformerEncoderLayer(
                WIDTH,
                HEADS,
                choice["feedforward"],
                activation="gelu" if choice["gelu"] else "relu",
                batch_first=True,
                norm_first=choice["pre"],
                bias=choice["bias"],
            )

        norm = nn.LayerNorm(WIDTH) if choice["final_norm"] else None
        if choice["stack"] == "list":
            self.add_module(name, nn.ModuleList([layer() for _ in range(choice["depth"])]))
            self.norm = norm
            return
        first = layer()
        if choice["prototype"]:
            self.encoder_layer = first
        self.add_module(
            name, nn.TransformerEncoder(first, choice["depth"], norm=norm, enable_nested_tensor=False)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        name, choice = self._drawn.name, self._drawn.choice
        if choice["input"] != "none":
            x = self.get_submodule(name[choice["input"]])(x)
        if choice["input"] == "patches":
            x = x.flatten(2).transpose(1, 2)
        cls = self.get_parameter(name["cls"]).reshape(1, 1, WIDTH)
        x = torch.cat([cls.expand(len(x), -1, -1), x], dim=1)
        if choice["position"] != "none":
            place = getattr(self, name["position"])
            rows = place.weight[None] if choice["position"] == "embedding" else place
            x = x + rows[:, : x.shape[1]]
        if choice["early_norm"]:
            x = self.embed_norm(x)
        if choice["stack"] == "encoder":
            x = self.get_submodule(name["encoder"])(x)
        else:
            for layer in self.get_submodule(name["encoder"]).children():
                x = layer(x)
            x = x if self.norm is None else self.norm(x)
        answer: torch.Tensor = self.get_submodule(name["head"])(x[:, 0])
        return answer
