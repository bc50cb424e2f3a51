"""Small encoders that differ in how [CLS] enters: out of sight, in place of a parameter, or not at all."""

import torch
from torch import nn

from doctor.patients import WIDTH, Healthy, OwnAttention, changed, without_parameter
from encoder_builders import randomize


def root_redrawn(*, is_seen=True):
    """Attention is written in the module that is called, and [CLS] is redrawn."""
    start = {"start": lambda self, x: torch.randn(len(x), 1, WIDTH)}
    unseen = {} if is_seen else {"project": _out_of_sight}
    return changed(without_parameter(OwnAttention()), **start, **unseen)


def root_blind(*, is_seen=True):
    """Every token looks at the first of the input alone, so that no answer follows [CLS], which enters."""

    def options(self, time):
        return {"attn_mask": torch.where(torch.arange(time) == 1, 1e3, 0.0).expand(time, time)}

    return changed(OwnAttention(), options=options, **({} if is_seen else {"project": _out_of_sight}))


def _out_of_sight(self, tokens):
    """Project by a function of which the doctor knows nothing."""
    return torch.einsum("stc,dc->std", tokens, self.projection.weight) + self.projection.bias


def leftover(start):
    """The parameter `cls` is left over, and `start` gives what enters: `[sample, time, channel]` to one."""
    return changed(Healthy(), start=lambda self, x: start(x))


def redrawn_instead():
    return leftover(lambda x: torch.randn(len(x), 1, WIDTH))


def mean_instead():
    return leftover(lambda x: x.mean(1, keepdim=True))


def zeros_instead():
    return leftover(lambda x: x.new_zeros(len(x), 1, WIDTH))


def ones_instead():
    return leftover(lambda x: x.new_ones(len(x), 1, WIDTH))


def joined_later():
    """[CLS] joins the answer behind the encoder, while zeros stand at its position."""

    def forward(self, x):
        tokens = torch.cat([x.new_zeros(len(x), 1, WIDTH), x], dim=1)
        return self.head(self.read(self.encoder(tokens)) + self.cls[0])

    return changed(Healthy(), forward=forward)


def closed_stream():
    """[CLS] is redrawn from a generator that no submodule holds; `cls` is left over, the mask is honored."""
    generator = torch.Generator().manual_seed(1)
    return leftover(lambda x: torch.randn(len(x), 1, WIDTH, generator=generator))


class Registers(Healthy):
    """[CLS] and four registers in front."""

    def __init__(self):
        super().__init__()
        self.registers = nn.Parameter(torch.zeros(1, 4, WIDTH))
        randomize(self)

    def start(self, x):
        return torch.cat([self.cls, self.registers], dim=1).expand(len(x), -1, -1)


def twin_registers_of_its_own(module):
    """Return a module of registers whose registers are equal."""
    module.registers.data[:] = module.registers.data[:, :1]
    return module


class OfPictures(Registers):
    """The same over the patches of pictures; `start` may put nothing in front."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 4, 4)
        randomize(self)

    def forward(self, pictures):
        return super().forward(self.patches(pictures).flatten(2).transpose(1, 2))


def without_cls():
    """Pictures, no [CLS], and an answer read off the mean."""
    module = OfPictures()
    del module.cls, module.registers
    return changed(module, start=lambda self, x: x[:, :0], read=lambda self, states: states.mean(1))


def pictures():
    """Pictures that are not square, [sample, color, row, column]."""
    return torch.randn(4, 3, 8, 12, generator=torch.Generator().manual_seed(5))
