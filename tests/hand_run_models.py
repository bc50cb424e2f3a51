"""Small classifiers in float64, each with what the hand-written encoder of the reference needs of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from encoder_builders import (
    TIMM,
    declare_torchvision_operators,
    hugging_face,
    pixels,
    randomize,
    timm,
    words,
)
from reference import affine, normalized
from reference_interventions import Case, bert_blocks, numbers, timm_blocks, torch_blocks

SAMPLES, TOKENS, WIDTH, HEADS, CLASSES = 3, 7, 12, 4, 5
LENGTHS = (7, 5, 4)


@dataclass
class HandRun:
    """A module, how it is called, and the case of the reference."""

    module: nn.Module
    inputs: Any
    case: Case


class Classifier(nn.Module):
    """An encoder that is read at CLS."""

    def __init__(self, encoder, cls=0):
        super().__init__()
        self.encoder, self.head, self.cls = encoder, nn.Linear(WIDTH, CLASSES), cls

    def forward(self, src, src_key_padding_mask=None):
        return self.head(self.encoder(src, src_key_padding_mask=src_key_padding_mask)[:, self.cls])


def torch_classifier(*, norm_first=False, padded=False, cls=0):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 20, batch_first=True, norm_first=norm_first, dropout=0.1)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    module = randomize(Classifier(encoder, cls)).double()
    src = torch.randn(SAMPLES, TOKENS, WIDTH, dtype=torch.float64)
    padding = torch.arange(TOKENS) >= torch.tensor(LENGTHS if padded else (TOKENS,) * SAMPLES)[:, None]
    inputs = {"src": src, "src_key_padding_mask": padding} if padded else {"src": src}
    case = Case(
        torch_blocks(encoder),
        numbers(src),
        padding.numpy(),
        lambda state: affine(module.head, state),
        cls,
    )
    return HandRun(module, inputs, case)


def bert(*, attention="sdpa"):
    declare_torchvision_operators()
    sizes = dict(hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20)
    options = dict(vocab_size=50, max_position_embeddings=40, num_labels=CLASSES, **sizes)
    build = hugging_face("BertForSequenceClassification", "BertConfig", options, attention=attention)
    module, inputs = build().double(), words()
    with torch.no_grad():
        entering = module.bert.embeddings(inputs["input_ids"])

    def read(state):
        return affine(module.classifier, np.tanh(affine(module.bert.pooler.dense, state)))

    blocks = bert_blocks(module.bert.encoder.layer, 3)
    return HandRun(
        module, inputs, Case(blocks, numbers(entering), inputs["attention_mask"].numpy() == 0, read)
    )


def vit(*, fused=True):
    module = timm("vit_tiny_patch16_224", fused=fused, **{**TIMM, "img_size": 16})().double()
    image = pixels(size=16)["pixel_values"].double()
    entering = []
    handle = module.blocks[0].register_forward_pre_hook(lambda _, args: entering.append(args[0]))
    with torch.no_grad():
        module(image)
    handle.remove()
    padding = np.zeros(entering[0].shape[:2], dtype=bool)

    def read(state):
        return affine(module.head, normalized(module.norm, state))

    return HandRun(module, image, Case(timm_blocks(module.blocks), numbers(entering[0]), padding, read))


class ClassAttention(nn.Module):
    """CLS alone asks, as in CaiT."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 3, batch_first=True)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        return self.head(self.attention(x[:, :1], x, x, need_weights=False)[0][:, 0])


def class_attention():
    torch.manual_seed(0)
    return ClassAttention().double()


MODELS = {
    "torch, norm last": torch_classifier,
    "torch, norm first": lambda: torch_classifier(norm_first=True),
    "torch, padded": lambda: torch_classifier(padded=True),
    "torch, padded, CLS at 2": lambda: torch_classifier(norm_first=True, padded=True, cls=2),
    "BERT": bert,
    "BERT, written out": lambda: bert(attention="eager"),
    "timm": vit,
    "timm, written out": lambda: vit(fused=False),
}
