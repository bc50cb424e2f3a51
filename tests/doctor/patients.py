"""Small encoders, each ill in one way, and the healthy one that they differ from."""

import math

import torch
from torch import nn

from encoder_builders import randomize

WIDTH, HEADS, LAYERS, SAMPLES, TIME = 12, 3, 2, 4, 7


def series(samples=SAMPLES, time=TIME):
    """Features, [sample, time, channel]."""
    return torch.randn(samples, time, WIDTH, generator=torch.Generator().manual_seed(4))


class Healthy(nn.Module):
    """A classifier on `nn.TransformerEncoder` with a [CLS] parameter, far from its initialization."""

    def __init__(self, *, layers=LAYERS, **options):
        super().__init__()
        self.cls = nn.Parameter(torch.zeros(1, 1, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 20, batch_first=True, **options)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, 5)
        randomize(self)

    def start(self, x):
        """[CLS] for each sample, [sample, 1, channel]."""
        return self.cls.expand(len(x), -1, -1)

    def forward(self, x, token_mask=None):
        tokens = torch.cat([self.start(x), x], dim=1)
        padding = None if token_mask is None else nn.functional.pad(~token_mask, (1, 0))
        return self.head(self.read(self.encoder(tokens, src_key_padding_mask=padding)))

    def read(self, states):
        return states[:, 0]


def changed(module, **methods):
    """Return a module whose class has some methods replaced."""
    module.__class__ = type("Ill" + type(module).__name__, (type(module),), methods)
    return module


def without_parameter(module):
    del module.cls
    return module


def healthy(**options):
    return Healthy(**options)


def nan_weight():
    module = Healthy()
    module.encoder.layers[1].self_attn.in_proj_weight.data[0, 0] = math.nan
    return module


def forgotten_parameter():
    """[CLS] is a parameter, but the encoder gets x."""
    return changed(Healthy(), forward=lambda self, x: self.head(self.encoder(x)[:, 0]))


def forgotten_vector():
    """A parameter of a token's size whose name says nothing, unused."""
    module = Healthy()
    module.extra = nn.Parameter(torch.ones(1, 1, WIDTH))
    module.start_vector = module.cls
    del module.cls
    return changed(module, start=lambda self, x: self.start_vector.expand(len(x), -1, -1))


def idle_draw():
    def forward(self, x, token_mask=None):
        torch.rand(3)
        return Healthy.forward(self, x, token_mask)

    return changed(Healthy(), forward=forward)


def own_stream():
    """[CLS] is redrawn from NumPy's generator, which no function mode sees."""
    import numpy as np

    def start(self, x):
        return torch.as_tensor(np.random.standard_normal((len(x), 1, WIDTH)), dtype=x.dtype)

    return changed(without_parameter(Healthy()), start=start)


def blocked(*, parameter):
    """No token may look at [CLS], and the answer is the mean of the others."""

    def forward(self, x):
        tokens = torch.cat([self.start(x), x], dim=1)
        mask = torch.zeros(tokens.shape[1], tokens.shape[1], dtype=torch.bool)
        mask[1:, 0] = True
        return self.head(self.encoder(tokens, mask=mask)[:, 1:].mean(1))

    if parameter:
        return changed(Healthy(), forward=forward)
    module = without_parameter(Healthy())
    return changed(module, forward=forward, start=lambda self, x: x.new_ones(len(x), 1, WIDTH))


def mean_as_cls():
    return changed(without_parameter(Healthy()), start=lambda self, x: x.mean(1, keepdim=True))


def redrawn_cls():
    return changed(without_parameter(Healthy()), start=lambda self, x: torch.randn(len(x), 1, WIDTH))


def noisy_tokens():
    def forward(self, x):
        return Healthy.forward(self, x + 0.1 * torch.randn_like(x))

    return changed(Healthy(), forward=forward)


def zero_cls(**options):
    module = without_parameter(Healthy(**options))
    return changed(module, start=lambda self, x: x.new_zeros(len(x), 1, WIDTH))


def twin_registers():
    def start(self, x):
        return self.cls.expand(len(x), 2, -1)

    return changed(Healthy(), start=start)


class OwnAttention(nn.Module):
    """One layer that calls `scaled_dot_product_attention` itself; subclasses change the call."""

    def __init__(self):
        super().__init__()
        self.cls = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.projection = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        randomize(self)

    def forward(self, x):
        tokens = torch.cat([self.start(x), x], dim=1)
        samples, time, _ = tokens.shape
        parts = self.project(tokens).reshape(samples, time, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(*parts, **self.options(time))
        return self.out(mixed.transpose(1, 2).flatten(2))[:, 0]

    def start(self, x):
        return self.cls.expand(len(x), -1, -1)

    def project(self, tokens):
        return self.projection(tokens)

    def options(self, time):
        return {}


def blind_cls():
    """[CLS] may see no token at all, itself included."""

    def options(self, time):
        mask = torch.ones(time, time, dtype=torch.bool)
        mask[0] = False
        return {"attn_mask": mask}

    return changed(OwnAttention(), options=options)


def dropped_attention():
    return changed(OwnAttention(), options=lambda self, time: {"dropout_p": 0.3})


def unmasked():
    def forward(self, x, token_mask=None):
        return Healthy.forward(self, x)

    return changed(Healthy(), forward=forward)


def averaged_over_padding():
    return changed(Healthy(), read=lambda self, states: states.mean(1))


def forgetful_dropout():
    """Functional dropout without `training=self.training` stays on in eval mode."""

    def forward(self, x, token_mask=None):
        return Healthy.forward(self, nn.functional.dropout(x, 0.1), token_mask)

    return changed(Healthy(), forward=forward)


def untrained():
    torch.manual_seed(0)
    layers = nn.TransformerEncoderLayer(WIDTH, HEADS, 20, batch_first=True)
    module = Healthy()
    module.encoder = nn.TransformerEncoder(layers, LAYERS, enable_nested_tensor=False)
    return module.eval()


def without_query():
    """A zero [CLS], without position or bias, has a query of zeros."""
    return zero_cls(bias=False)


def even_heads(heads):
    """The queries of some heads of the first layer are zero whatever the token is."""
    module = Healthy()
    attention = module.encoder.layers[0].self_attn
    for head in heads:
        rows = slice(head * WIDTH // HEADS, (head + 1) * WIDTH // HEADS)
        attention.in_proj_weight.data[rows] *= 1e-3
        attention.in_proj_bias.data[rows] = 1e-4
    return module


def drawn_to_cls(amount, heads=range(HEADS)):
    """Every token of every layer prefers [CLS] by a constant, in some heads."""

    def forward(self, x):
        tokens = torch.cat([self.start(x), x], dim=1)
        bias = torch.zeros(len(x), HEADS, tokens.shape[1], tokens.shape[1])
        bias[:, list(heads), :, 0] = amount
        return self.head(self.encoder(tokens, mask=bias.flatten(0, 1))[:, 0])

    return changed(Healthy(), forward=forward)


def massive():
    """One channel of one token is far above all others."""
    module = Healthy(norm_first=True)

    def start(self, x):
        vector = torch.zeros(len(x), 1, WIDTH)
        vector[..., 3] = 5e4
        return vector + self.cls

    return changed(module, start=start)


def outlier():
    """The third token of each sample is ten times as long as the others."""

    def forward(self, x):
        return Healthy.forward(self, x * torch.where(torch.arange(x.shape[1]) == 2, 20.0, 1.0)[:, None])

    return changed(Healthy(norm_first=True), forward=forward)


def zero_start(eps, *, norm_first=True, trained=True):
    """A [CLS] parameter at zero in front of a norm."""
    module = Healthy(norm_first=norm_first, layer_norm_eps=eps)
    module.cls.data.zero_()
    module.cls.requires_grad_(trained)
    return module
