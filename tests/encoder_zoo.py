"""The encoders that the capture is compared on, and what is known of each beforehand.

The docs list them in the order of `ZOO`; `python docs/encoders.py` writes that table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from encoder_builders import (
    IMAGE,
    LENGTHS,
    TEXT,
    TIMM,
    causal_features,
    features,
    features_with_additive_mask,
    hugging_face,
    lucidrains_vit,
    open_clip_vit,
    padded_features,
    pixels,
    three_times_features,
    timm,
    torch_attention,
    torch_encoder,
    torchvision_vit,
    words,
    words_before_cls,
    words_to_end_of_text,
)

NO_PROJECTION = "no linear map was fed the merged heads"


@dataclass(frozen=True)
class Encoder:
    """One encoder to capture.

    Attributes:
        library: The package it comes from.
        build: Makes the module.
        inputs: Keyword arguments of one forward pass.
        layer_names: The layers that hold CLS, in order.
        cls_index: Position of CLS, or one per sample.
        value_norm: Start of the reason why the record lacks `value_norm`; "" where it has it.
        native_fast_path: Without a capture torch's fused encoder code runs, which rounds differently.
        cls_alone_asks: The CLS token is the only query (class attention): a row and no column.
    """

    library: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], dict[str, Any]]
    layer_names: tuple[str, ...]
    cls_index: int | Sequence[int] = 0
    value_norm: str = ""
    native_fast_path: bool = False
    cls_alone_asks: bool = False

    def positions(self, tokens):
        """Return the position of CLS in each sample, counted from the start."""
        given = [self.cls_index] * len(LENGTHS) if isinstance(self.cls_index, int) else self.cls_index
        return [position % tokens for position in given]


def both(name):
    return tuple(name.format(layer) for layer in (0, 1))


def of_torch(build, inputs, **more):
    return Encoder("torch", build, inputs, both("layers.{}"), native_fast_path=True, **more)


def eager_and_sdpa(name, model, config, options, inputs, **more):
    """Return the same transformers encoder with fused and with written-out attention."""
    return {
        f"{name}, {attention}": of_transformers(model, config, options, inputs, attention=attention, **more)
        for attention in ("sdpa", "eager")
    }


def of_transformers(model, config, options, inputs, *, names="encoder.layer.{}", attention="eager", **more):
    build = hugging_face(model, config, options, attention=attention)
    return Encoder("transformers", build, inputs, both(names), **more)


def of_timm(name, *, names="blocks.{}", fused=True, options=TIMM, **more):
    return Encoder("timm", timm(name, fused=fused, **options), partial(pixels, name="x"), both(names), **more)


DISTILBERT = dict(
    vocab_size=50, dim=24, n_layers=2, n_heads=3, hidden_dim=40, max_position_embeddings=40, pad_token_id=1
)
DEBERTA = dict(relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=8, **TEXT)
MODERNBERT = dict(global_attn_every_n_layers=2, local_attention=4, pad_token_id=1, **TEXT)
XLNET = dict(vocab_size=50, d_model=24, n_layer=2, n_head=3, d_inner=40)
MOBILEBERT = {**TEXT, "embedding_size": 12, "intra_bottleneck_size": 12, "trigram_input": False}
DINOV2 = dict(mlp_ratio=2, **IMAGE)
ENDS = tuple(length - 1 for length in LENGTHS)

ZOO: dict[str, Encoder] = {
    "TransformerEncoder, post-norm": of_torch(torch_encoder(), features),
    "TransformerEncoder, post-norm, padding": of_torch(torch_encoder(), padded_features),
    "TransformerEncoder, post-norm, nested tensors": of_torch(torch_encoder(nested=True), padded_features),
    "TransformerEncoder, pre-norm, padding": of_torch(torch_encoder(norm_first=True), padded_features),
    "TransformerEncoder, pre-norm, additive mask": of_torch(
        torch_encoder(norm_first=True), features_with_additive_mask
    ),
    "TransformerEncoder, pre-norm, causal (CLS last)": of_torch(
        torch_encoder(norm_first=True), causal_features, cls_index=-1
    ),
    **{
        f"MultiheadAttention, need_weights={wanted}": Encoder(
            "torch",
            torch_attention,
            partial(three_times_features, need_weights=wanted),
            ("MultiheadAttention",),
            native_fast_path=True,
        )
        for wanted in (True, False)
    },
    **eager_and_sdpa(
        "BERT", "BertForSequenceClassification", "BertConfig", TEXT, words, names="bert.encoder.layer.{}"
    ),
    **eager_and_sdpa("RoBERTa", "RobertaModel", "RobertaConfig", TEXT, words),
    **eager_and_sdpa(
        "DistilBERT", "DistilBertModel", "DistilBertConfig", DISTILBERT, words, names="transformer.layer.{}"
    ),
    **eager_and_sdpa("ELECTRA", "ElectraModel", "ElectraConfig", dict(embedding_size=16, **TEXT), words),
    **eager_and_sdpa(
        "ALBERT",
        "AlbertModel",
        "AlbertConfig",
        dict(embedding_size=16, **TEXT),
        words,
        names="encoder.albert_layer_groups.0#{}",
    ),
    "MPNet, eager": of_transformers("MPNetModel", "MPNetConfig", TEXT, words),
    "DeBERTa-v2, eager": of_transformers("DebertaV2Model", "DebertaV2Config", DEBERTA, words),
    **eager_and_sdpa(
        "ModernBERT", "ModernBertModel", "ModernBertConfig", MODERNBERT, words, names="layers.{}"
    ),
    "RoFormer, eager": of_transformers(
        "RoFormerModel", "RoFormerConfig", dict(embedding_size=24, **TEXT), words
    ),
    "XLNet (CLS last), eager": of_transformers(
        "XLNetModel",
        "XLNetConfig",
        XLNET,
        words_before_cls,
        names="layer.{}",
        cls_index=-1,
        value_norm=NO_PROJECTION,
    ),
    **eager_and_sdpa("MobileBERT", "MobileBertModel", "MobileBertConfig", MOBILEBERT, words),
    "SqueezeBERT, eager": of_transformers(
        "SqueezeBertModel",
        "SqueezeBertConfig",
        dict(embedding_size=24, q_groups=1, **TEXT),
        words,
        names="encoder.layers.{}.attention",
        value_norm=NO_PROJECTION,
    ),
    **eager_and_sdpa("ViT", "ViTForImageClassification", "ViTConfig", IMAGE, pixels, names="vit.layers.{}"),
    **eager_and_sdpa("DeiT", "DeiTModel", "DeiTConfig", IMAGE, pixels, names="layers.{}"),
    **eager_and_sdpa("DINOv2", "Dinov2Model", "Dinov2Config", DINOV2, pixels),
    **eager_and_sdpa(
        "DINOv2 with registers",
        "Dinov2WithRegistersModel",
        "Dinov2WithRegistersConfig",
        dict(num_register_tokens=3, **DINOV2),
        pixels,
    ),
    **eager_and_sdpa(
        "DINOv3",
        "DINOv3ViTModel",
        "DINOv3ViTConfig",
        dict(num_register_tokens=3, **IMAGE),
        pixels,
        names="model.layer.{}",
    ),
    **eager_and_sdpa(
        "BEiT",
        "BeitModel",
        "BeitConfig",
        dict(use_relative_position_bias=True, **IMAGE),
        pixels,
        names="layers.{}",
    ),
    **eager_and_sdpa(
        "CLIP vision", "CLIPVisionModel", "CLIPVisionConfig", IMAGE, pixels, names="encoder.layers.{}"
    ),
    **eager_and_sdpa(
        "CLIP text (end of text as CLS)",
        "CLIPTextModel",
        "CLIPTextConfig",
        dict(eos_token_id=49, **TEXT),
        words_to_end_of_text,
        names="encoder.layers.{}",
        cls_index=ENDS,
    ),
    "vit": of_timm("vit_tiny_patch16_224"),
    "vit, unfused": of_timm("vit_tiny_patch16_224", fused=False),
    "vit, relative positions": of_timm("vit_relpos_small_patch16_224", options={**TIMM, "class_token": True}),
    "deit, distilled": of_timm("deit_tiny_distilled_patch16_224"),
    "dinov2 with registers": of_timm("vit_small_patch14_reg4_dinov2"),
    "dinov3": of_timm("vit_small_patch16_dinov3"),
    "eva02": of_timm("eva02_tiny_patch14_224"),
    "eva02, norm before the projection": of_timm("eva02_base_patch16_clip_224", value_norm=NO_PROJECTION),
    "beit": of_timm("beit_base_patch16_224"),
    "cait (row only)": of_timm("cait_xxs24_224", names="blocks_token_only.{}", cls_alone_asks=True),
    "cait (row only), unfused": of_timm(
        "cait_xxs24_224", names="blocks_token_only.{}", fused=False, cls_alone_asks=True
    ),
    "vit_b_16": Encoder(
        "torchvision",
        torchvision_vit,
        partial(pixels, name="x"),
        both("encoder.layers.encoder_layer_{}"),
        native_fast_path=True,
    ),
    "ViT-B-32": Encoder(
        "open_clip",
        open_clip_vit,
        partial(pixels, 128, "x"),
        both("transformer.resblocks.{}"),
        native_fast_path=True,
    ),
    "ViT": Encoder(
        "vit-pytorch", lucidrains_vit, partial(pixels, name="img"), both("transformer.layers.{}.0")
    ),
}


def mark_cls(encoder, module, inputs):
    """Change what stands at CLS and nothing else, in place, in the way this encoder takes its CLS.

    A word model gets another word at that position, an image model another CLS parameter (with noise of
    its own per channel: a common shift would vanish in the layer norm), torch's encoder other features.
    """
    generator = torch.Generator().manual_seed(4)
    samples = torch.arange(len(LENGTHS))
    if "input_ids" in inputs:
        position = encoder.positions(inputs["input_ids"].shape[1])
        inputs["input_ids"][samples, position] = 3
        return
    if encoder.library == "torch":
        for tensor in {inputs[name] for name in ("src", "query", "key", "value") if name in inputs}:
            tensor[samples, encoder.positions(tensor.shape[1])] += torch.randn(
                tensor.shape[-1], generator=generator
            )
        return
    (parameter,) = (
        parameter
        for name, parameter in module.named_parameters()
        if name.rpartition(".")[2] in ("cls_token", "class_token", "class_embedding")
    )
    with torch.no_grad():
        parameter.add_(torch.randn(parameter.shape, generator=generator).to(parameter.dtype))
