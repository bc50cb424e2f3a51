"""Small encoders and their masks: of other names, in both senses, and behind a [CLS] that stands last."""

import numpy as np
import torch
from torch import nn

import clsight
from clsight.loading.subject import Subject
from doctor.patients import HEADS, LAYERS, SAMPLES, WIDTH, Healthy, changed, series
from encoder_builders import randomize

_TAKING = {
    "mask": lambda self, x, mask=None: self.masked(x, mask),
    "padding_mask": lambda self, x, padding_mask=None: self.masked(x, padding_mask),
    "key_padding_mask": lambda self, x, key_padding_mask=None: self.masked(x, key_padding_mask),
}


def taking(name, *, means_real=False, is_honored=True):
    """Return an encoder whose mask has this name, and hides tokens or is dropped."""

    def masked(self, x, mask):
        real = None if mask is None or not is_honored else mask.bool() == means_real
        return Healthy.forward(self, x, real)

    return changed(Healthy(), forward=_TAKING[name], masked=masked)


def masked_in_the_mean():
    """The attention knows nothing of the mask; the answer is a mean over what it leaves."""

    def masked(self, x, mask):
        states = self.encoder(torch.cat([self.start(x), x], dim=1))[:, 1:] * mask[..., None]
        return self.head(states.sum(1) / mask.sum(1, keepdim=True))

    return changed(Healthy(), forward=_TAKING["mask"], masked=masked)


def of_length(lengths=(7, 5, 4, 3), *, means_real=True, dtype=torch.bool):
    """Masks over the series, [sample, time]: `means_real` where a token is real."""
    real = torch.arange(7) < torch.tensor(lengths)[:, None]
    return (real == means_real).to(dtype)


def under(name, mask):
    """Return how `diagnose` is called with the series and a mask."""
    return {"inputs": {"x": series(), name: mask}}


def cls_last():
    """[CLS] stands behind the series."""

    def forward(self, x, token_mask=None):
        tokens = torch.cat([x, self.start(x)], dim=1)
        padding = None if token_mask is None else nn.functional.pad(~token_mask, (0, 1))
        return self.head(self.encoder(tokens, src_key_padding_mask=padding)[:, -1])

    return changed(Healthy(), forward=forward)


def causal():
    """No token sees what stands behind it, so that [CLS] in front sees itself alone; the mask is dropped."""

    def forward(self, x, token_mask=None):
        tokens = torch.cat([self.start(x), x], dim=1)
        ahead = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool).triu(1)
        return self.head(self.encoder(tokens, mask=ahead)[:, 0])

    return changed(Healthy(), forward=forward)


class EndOfText(nn.Module):
    """Reads its answer off the last real token of a causal encoder, as the text tower of CLIP does."""

    END = 40

    def __init__(self, *, is_honored):
        super().__init__()
        self.embed = nn.Embedding(50, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 20, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.is_honored = is_honored
        randomize(self)

    def forward(self, input_ids, attention_mask=None):
        ahead = torch.ones(input_ids.shape[1], input_ids.shape[1], dtype=torch.bool).triu(1)
        padding = None if attention_mask is None or not self.is_honored else attention_mask == 0
        states = self.encoder(self.embed(input_ids), mask=ahead, src_key_padding_mask=padding)
        ends = (input_ids == self.END).int().argmax(1)
        return states[torch.arange(len(states)), ends]


def end_of_text(*, is_honored, texts=((1, 7, 9, 5), (1, 3), (1, 8, 6, 4, 2, 11), (1, 12, 7))):
    """Return it as a loader does: padded behind the last real token, whose position differs by sample."""
    ends = np.array([len(text) for text in texts])
    ids = np.full((SAMPLES, ends.max() + 1), EndOfText.END)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = text
    real = np.arange(ids.shape[1]) <= ends[:, None]
    kinds = np.where(np.arange(ids.shape[1]) == ends[:, None], "cls", "word").astype(np.dtypes.StringDType())
    inputs = {"input_ids": torch.as_tensor(ids), "attention_mask": torch.as_tensor(real).long()}
    return Subject(
        module=EndOfText(is_honored=is_honored),
        name="end of text",
        cls_index=None,
        strategy="",
        seed=None,
        classes=(),
        examples=clsight.Examples(ids),
        provenance={},
        preparation=lambda examples: clsight.Prepared(inputs, real, kinds, kinds, None, None, None, ends),
        takes="text",
    )
