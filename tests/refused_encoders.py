"""Encoders that have no CLS map, or not in every layer, and the sentence that says so.

The docs list them in the order of `REFUSED`; `python docs/encoders.py` writes that table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

import hand_written_attention as hand_written
from encoder_builders import (
    IMAGE,
    TEXT,
    TIMM,
    WIDTH,
    declare_torchvision_operators,
    features,
    hugging_face,
    pixels,
    randomize,
    timm,
    words,
)

WINDOWS = "are windows or groups of tokens"
NO_CALL = "got no attention call at all"
SEVERAL = "expected one sequence that all attention layers share"
CROSS = "it is cross attention: queries and keys are"
OTHER_COUNT = "so it is no self-attention"
MIXED = "a linear map mixes its heads before or after the softmax"
NO_PRODUCT = "the scores under its softmax are no product of queries and keys"
CHANNELS = "keys are channels or groups, not the tokens of a sequence"


@dataclass(frozen=True)
class Refused:
    """One encoder that is not shown, or not whole.

    Attributes:
        library: The package it comes from.
        build: Makes the module.
        inputs: Keyword arguments of one forward pass.
        reason: What the docs say.
        sentence: Part of the error, or, where layers are left, of a note in the record.
        layers: Names of the layers that are still shown; none: a `CaptureError`.
    """

    library: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], dict[str, Any]]
    reason: str
    sentence: str = NO_CALL
    layers: tuple[str, ...] = ()


def torch_decoder():
    layer = nn.TransformerDecoderLayer(WIDTH, 4, 40, batch_first=True)
    return randomize(nn.TransformerDecoder(layer, 2))


def target_and_memory():
    tokens = features()["src"]
    return {"tgt": tokens, "memory": tokens.flip(0)}


def vit_pytorch(module, name, **options):
    def build():
        declare_torchvision_operators()
        from importlib import import_module

        sizes = dict(image_size=32, patch_size=8, num_classes=5, dim=WIDTH, depth=2, heads=3, mlp_dim=40)
        return randomize(getattr(import_module(f"vit_pytorch.{module}"), name)(**sizes, **options))

    return build


def of_transformers(name, options, *, attention="sdpa", inputs=words, **more):
    build = hugging_face(f"{name}Model", f"{name}Config", options, attention=attention)
    return Refused("transformers", build, inputs, **more)


def of_timm(name, *, size=32, options=TIMM, **more):
    return Refused("timm", timm(name, **options), partial(pixels, size, "x"), **more)


def by_hand(kind, reason, sentence=NO_CALL):
    return Refused("torch", lambda: randomize(kind(WIDTH)), hand_written.inputs, reason, sentence)


def many_words():
    return {"input_ids": torch.arange(3 * 64).reshape(3, 64) % 40 + 5}


def without_mask():
    return {"input_ids": words()["input_ids"]}


def byte_array():
    return {"inputs": features()["src"]}


def one_channel_attention():
    return timm("xcit_nano_12_p16_224", **XCIT)().blocks[0].attn


BART = dict(
    vocab_size=50,
    d_model=WIDTH,
    encoder_layers=2,
    decoder_layers=2,
    encoder_attention_heads=3,
    decoder_attention_heads=3,
    encoder_ffn_dim=40,
    decoder_ffn_dim=40,
    max_position_embeddings=40,
)
SWIN = dict(image_size=32, patch_size=4, embed_dim=12, depths=[2, 2], num_heads=[3, 3], window_size=4)
PERCEIVER = dict(
    num_latents=5,
    d_latents=24,
    d_model=WIDTH,
    num_blocks=1,
    num_self_attends_per_block=2,
    num_self_attention_heads=3,
    num_cross_attention_heads=2,
)
BIGBIRD = dict(
    attention_type="block_sparse",
    block_size=4,
    num_random_blocks=1,
    sep_token_id=3,
    **{**TEXT, "max_position_embeddings": 64},
)
XCIT = dict(img_size=32, depth=2, embed_dim=WIDTH, num_heads=3)

REFUSED: dict[str, Refused] = {
    "exp and sum by hand": by_hand(hand_written.ExpAndSum, "no softmax to see"),
    "softmax over the other axis": by_hand(hand_written.OtherAxis, "a softmax over queries is no CLS row"),
    "sigmoid attention": by_hand(hand_written.Sigmoid, "weights that are no softmax"),
    "linear attention": by_hand(hand_written.Linear, "there are no weights between tokens", NO_PRODUCT),
    "talking heads": by_hand(hand_written.TalkingHeads, "weights mix heads after the softmax", MIXED),
    "flex_attention": by_hand(hand_written.Flex, "an operation that gives neither weights nor scores"),
    "TransformerDecoder": Refused(
        "torch",
        torch_decoder,
        target_and_memory,
        "a decoder: self-attention beside cross attention",
        "self-attention beside cross attention is that of a decoder",
    ),
    "MPNet, DeBERTa-v2, RoFormer, XLNet, SqueezeBERT under sdpa": Refused(
        "transformers",
        hugging_face("MPNetModel", "MPNetConfig", TEXT, attention="sdpa"),
        words,
        "transformers has no sdpa for them; under eager they are shown",
        "does not support an attention implementation",
    ),
    "FNet": of_transformers(
        "FNet",
        dict(vocab_size=50, hidden_size=WIDTH, num_hidden_layers=2, intermediate_size=40),
        attention=None,
        inputs=without_mask,
        reason="it has no attention",
    ),
    "Longformer": of_transformers(
        "Longformer", dict(attention_window=[4, 4], **TEXT), attention=None, reason="sliding windows by hand"
    ),
    "BigBird, block_sparse": of_transformers(
        "BigBird",
        BIGBIRD,
        attention=None,
        inputs=many_words,
        reason="blocks of queries and keys",
        sentence=OTHER_COUNT,
    ),
    "Nyströmformer": of_transformers(
        "Nystromformer",
        dict(segment_means_seq_len=9, num_landmarks=3, **TEXT),
        attention=None,
        inputs=without_mask,
        reason="landmarks stand between queries and keys",
        sentence=OTHER_COUNT,
    ),
    "Swin": of_transformers(
        "Swin",
        SWIN,
        inputs=pixels,
        reason="layers of several windows are left out",
        sentence=WINDOWS,
        layers=("encoder.layers.1.blocks.0", "encoder.layers.1.blocks.1"),
    ),
    "SigLIP": of_transformers(
        "SiglipVision",
        IMAGE,
        inputs=pixels,
        reason="the pooling head is left out",
        sentence=f"`head.attention` left out: {CROSS}",
        layers=("encoder.layers.0", "encoder.layers.1"),
    ),
    "Perceiver": of_transformers(
        "Perceiver",
        PERCEIVER,
        attention="eager",
        inputs=byte_array,
        reason="cross attention from inputs to latents is left out",
        sentence=CROSS,
        layers=("encoder.self_attends.0", "encoder.self_attends.1"),
    ),
    **{
        f"BART, {attention}": of_transformers(
            "Bart",
            BART,
            attention=attention,
            reason="the decoder is left out: self-attention beside cross attention",
            sentence="self-attention beside cross attention is that of a decoder",
            layers=("encoder.layers.0", "encoder.layers.1"),
        )
        for attention in ("sdpa", "eager")
    },
    "swin": of_timm(
        "swin_tiny_patch4_window7_224",
        options=dict(img_size=32, window_size=4, embed_dim=12, depths=(2, 2), num_heads=(3, 3)),
        reason="layers of several windows are left out",
        sentence=WINDOWS,
        layers=("layers.1.blocks.0", "layers.1.blocks.1"),
    ),
    "vit, siglip": of_timm(
        "vit_base_patch16_siglip_224",
        reason="the pooling head is left out",
        sentence=f"`attn_pool` left out: {CROSS}",
        layers=("blocks.0", "blocks.1"),
    ),
    "xcit": of_timm(
        "xcit_nano_12_p16_224",
        options=XCIT,
        reason="attention over channels is left out, class attention shown (row only)",
        sentence=CHANNELS,
        layers=("cls_attn_blocks.0", "cls_attn_blocks.1"),
    ),
    "xcit, channel attention alone": Refused(
        "timm",
        one_channel_attention,
        lambda: {"x": torch.randn(3, 4, WIDTH)},
        "weights between channels, not tokens",
        CHANNELS,
    ),
    "crossvit": of_timm(
        "crossvit_9_240",
        size=240,
        options=dict(embed_dim=(24, 36), depth=((1, 2, 0),), num_heads=(3, 3)),
        reason="two branches of different length run in turn",
        sentence=SEVERAL,
    ),
    "pit": of_timm(
        "pit_ti_224",
        size=64,
        options=dict(img_size=64, base_dims=(8, 8, 8), heads=(2, 4, 8), depth=(1, 1, 1)),
        reason="the sequence shrinks: `within=` chooses a stage",
        sentence=SEVERAL,
    ),
    "cait, before its class attention": of_timm(
        "cait_xxs24_224",
        reason="talking heads, and CLS is not in the sequence yet",
        sentence=f"`blocks.0.attn`, `blocks.1.attn` left out: {MIXED}",
        layers=("blocks_token_only.0", "blocks_token_only.1"),
    ),
    "DeepViT": Refused(
        "vit-pytorch", vit_pytorch("deepvit", "DeepViT"), partial(pixels, name="img"), "talking heads", MIXED
    ),
    "CaiT": Refused(
        "vit-pytorch",
        vit_pytorch("cait", "CaiT", cls_depth=2),
        partial(pixels, name="img"),
        "talking heads, in its class attention too",
        MIXED,
    ),
}
