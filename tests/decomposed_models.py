"""Small float64 models, with the NumPy weights and states that a reference of decompositions needs."""

import copy
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import nn

from encoder_builders import (
    PAD,
    SAMPLES,
    TEXT,
    TIMM,
    TOKENS,
    WIDTH,
    declare_torchvision_operators,
    hugging_face,
    randomize,
    timm,
    words,
)
from reference_decompositions import blocks_of_bert, blocks_of_timm, blocks_of_torch, run
from trained_encoder import trained_bert

LENGTHS = (9, 6, 4)


@dataclass
class Decomposed:
    """A model, what it is called with, and the reference's view of each sample.

    Attributes:
        module: In float64, eval mode.
        inputs: Called by name.
        blocks: The weights of each layer.
        samples: Per sample the pieces of each layer.
        mask: [sample, token], True = real.
        cls_index: Position of CLS.
    """

    module: nn.Module
    inputs: dict
    blocks: list
    samples: list
    mask: np.ndarray
    cls_index: int = 0


def without_padding(expected, mask):
    """Return what a result holds of [..., token]: NaN where the mask, [token], says padding."""
    return np.where(mask, expected, np.nan)


def entering(module, first, inputs):
    """Return what enters the first layer, [sample, token, channel]."""
    seen = []
    handle = first.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        module(**inputs)
    handle.remove()
    return seen[0].double().numpy()


def decomposed(module, inputs, first, blocks, mask=None):
    x = entering(module, first, inputs)
    mask = np.ones(x.shape[:2], dtype=bool) if mask is None else mask
    samples = [run(blocks, states, real) for states, real in zip(x, mask, strict=True)]
    return Decomposed(module, inputs, blocks, samples, mask)


class Classifier(nn.Module):
    """A torch encoder, perhaps a final norm, and a linear readout of one position."""

    def __init__(self, encoder, position, *, final_norm):
        super().__init__()
        self.encoder, self.position = encoder, position
        self.norm = nn.LayerNorm(WIDTH) if final_norm else nn.Identity()
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, src, **masks):
        return self.head(self.norm(self.encoder(src, **masks)[:, self.position]))


def torch_classifier(*, norm_first, final_norm=True, extra_keys=False):
    """A padded `nn.TransformerEncoder` whose second token is read; the case is that of the encoder."""
    case = torch_model(norm_first=norm_first, cls_index=1, extra_keys=extra_keys)
    module = Classifier(case.module, 1, final_norm=final_norm)
    randomize(module.head)
    randomize(module.norm)
    return module.double().eval(), case


def class_attention_model():
    """A CaiT in which CLS is the only query, and its inputs."""
    module = timm("cait_xxs24_224", **TIMM | {"depth": 1, "depth_token_only": 2})()
    return module, torch.randn(SAMPLES, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def torch_model(*, norm_first, batch_first=True, cls_index=0, extra_keys=False):
    """A padded `nn.TransformerEncoder`, perhaps with a key and a value in each layer that are no token's."""
    layer = nn.TransformerEncoderLayer(WIDTH, 4, 40, batch_first=batch_first, norm_first=norm_first)
    if extra_keys:
        layer.self_attn = nn.MultiheadAttention(WIDTH, 4, batch_first=batch_first, add_bias_kv=True)
    module = randomize(nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)).double()
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(SAMPLES, TOKENS, WIDTH, generator=generator, dtype=torch.float64)
    padding = torch.arange(TOKENS) >= torch.tensor(LENGTHS)[:, None]
    inputs = {"src": x if batch_first else x.transpose(0, 1), "src_key_padding_mask": padding}
    mask, blocks = ~padding.numpy(), blocks_of_torch(module)
    if extra_keys:
        mask = np.pad(mask, ((0, 0), (0, 1)), constant_values=True)
    samples = [run(blocks, states, real) for states, real in zip(x.numpy(), mask, strict=True)]
    return Decomposed(module, inputs, blocks, samples, mask, cls_index)


def bert_model(attention="sdpa"):
    """A padded BERT classifier of three classes."""
    build = hugging_face(
        "BertForSequenceClassification", "BertConfig", TEXT | {"num_labels": 3}, attention=attention
    )
    module, inputs = build().double(), words()
    assert PAD in inputs["input_ids"]
    mask = inputs["attention_mask"].bool().numpy()
    return decomposed(module, inputs, module.bert.encoder.layer[0], blocks_of_bert(module.bert), mask)


def vit_model(**options):
    """A ViT classifier of timm; `init_values` gives it LayerScale."""
    module = timm("vit_tiny_patch16_224", **TIMM, **options)().double()
    generator = torch.Generator().manual_seed(1)
    inputs = {"x": torch.randn(SAMPLES, 3, 32, 32, generator=generator, dtype=torch.float64)}
    return decomposed(module, inputs, module.blocks[0], blocks_of_timm(module))


def minilm_model():
    """The trained MiniLM on three padded sentences, in float64."""
    module, inputs = trained_bert()
    declare_torchvision_operators()
    module = copy.deepcopy(module).double()
    mask = inputs["attention_mask"].bool().numpy()
    return decomposed(module, inputs, module.encoder.layer[0], blocks_of_bert(module), mask)


BUILDERS = {
    "torch, post-norm": lambda: torch_model(norm_first=False),
    "torch, pre-norm, CLS second": lambda: torch_model(norm_first=True, cls_index=1),
    "torch, post-norm, token first": lambda: torch_model(norm_first=False, batch_first=False),
    "torch, pre-norm, token first": lambda: torch_model(norm_first=True, batch_first=False),
    "BERT": bert_model,
    "BERT, eager": lambda: bert_model("eager"),
    "ViT": vit_model,
    "ViT, not fused, LayerScale": lambda: vit_model(fused=False, init_values=0.1),
}


EXTRA_KEY = "torch, post-norm, CLS second, an extra key"
"""Only where a layer is looked at alone."""


@cache
def model(name):
    if name == EXTRA_KEY:
        return torch_model(norm_first=False, cls_index=1, extra_keys=True)
    return BUILDERS[name]()


@cache
def minilm():
    return minilm_model()
