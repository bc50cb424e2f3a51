"""Small trainings to track: a loop of one's own with dropout, batch norm, and every random stream in use."""

import random

import numpy as np
import torch
from torch import nn

FEATURES, CLASSES, TOKENS = 6, 3, 5


class Classifier(nn.Module):
    """[CLS] and 5 tokens, 2 layers, 2 heads; dropout, a batch norm, a counter and a random [CLS]."""

    def __init__(self):
        super().__init__()
        self.cls = nn.Parameter(torch.randn(1, 1, 8))
        self.embed = nn.Linear(FEATURES, 8)
        self.norm = nn.BatchNorm1d(8)
        layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.3, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, CLASSES)
        self.own_stream = torch.Generator().manual_seed(3)
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))
        self.calls = 0

    def forward(self, x):
        self.passes += 1
        self.calls += 1
        self.seen = x.shape
        embedded = self.norm(self.embed(x).transpose(1, 2)).transpose(1, 2)
        cls = self.cls.expand(len(x), -1, -1) + 0.1 * torch.randn(len(x), 1, 8, generator=self.own_stream)
        cls = cls + 0.1 * torch.randn(len(x), 1, 8) + 0.01 * random.random() + 0.01 * np.random.rand()
        return self.head(self.encoder(torch.cat([cls, embedded], dim=1))[:, 0])


def probe_inputs(samples=4):
    return torch.randn(samples, TOKENS, FEATURES, generator=torch.Generator().manual_seed(1))


def new_classifier(seed=0):
    for start in (torch.manual_seed, np.random.seed, random.seed):
        start(seed)
    return Classifier().train()


def trained(model, steps, after_step=lambda loss: None):
    """Train with Adam on made-up data; each step's loss goes to `after_step`."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        x = torch.randn(16, TOKENS, FEATURES)
        y = (x.sum((1, 2)) > 0).long() + (x[:, 0, 0] > 1).long()
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        after_step(loss)
    return model


def everything(model):
    """Return all that a training leaves behind: weights, buffers, gradients, modes, attributes, streams."""
    return {
        "values": {name: value.numpy().tobytes() for name, value in model.state_dict().items()},
        "gradients": {name: part.grad.numpy().tobytes() for name, part in model.named_parameters()},
        "modes": [part.training for part in model.modules()],
        "calls": model.calls,
        "seen": model.seen,
        "attributes": [sorted(vars(part)) for part in model.modules()],
        "hooks": [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules()],
        "streams": (
            torch.random.get_rng_state().numpy().tobytes(),
            model.own_stream.get_state().numpy().tobytes(),
            np.random.get_state()[1].tobytes(),
            random.getstate(),
        ),
    }
