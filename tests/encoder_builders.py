"""How the encoders of each library are built: small, with random weights, in eval mode.

Only this file imports those libraries, and only when an encoder is built.
"""

import os
import sys
from functools import cache

import torch
from torch import nn

os.environ["HF_HUB_OFFLINE"] = "1"

SAMPLES, TOKENS, WIDTH, PAD = 3, 9, 24, 1
LENGTHS = (9, 6, 4)
SIZES = dict(hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40)
TEXT = dict(vocab_size=50, max_position_embeddings=40, **SIZES)
IMAGE = dict(image_size=32, patch_size=8, **SIZES)
TIMM = dict(img_size=32, patch_size=8, embed_dim=WIDTH, depth=2, num_heads=3, num_classes=5)


@cache
def declare_torchvision_operators():
    """Let torchvision import beside CPU torch: it has no CPU build, and these models need no operator of it.

    Returns the library, which the cache keeps alive: the operators vanish with it.
    """
    assert "torchvision" not in sys.modules
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def randomize(module):
    """Redraw every parameter, so that weights are far from uniform and no gate, bias or CLS is zero."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                parameter.copy_(noise * 1.5 * (parameter.numel() / len(parameter)) ** -0.5)
            else:  # norms, gates and biases keep the constant they start from
                constant = (
                    parameter.flatten()[0] if bool((parameter == parameter.flatten()[0]).all()) else 0.0
                )
                parameter.copy_(constant + noise * 0.1)
    return module.eval()


def hugging_face(model, config, options, *, attention):
    """Return a builder of a transformers model from the names of its class and config."""

    def build():
        declare_torchvision_operators()
        import transformers

        made = getattr(transformers, config)(**options, attn_implementation=attention)
        return randomize(getattr(transformers, model)(made))

    return build


def timm(name, *, fused=True, **options):
    """Return a builder of a timm model; `fused=False` makes it write its attention out."""

    def build():
        declare_torchvision_operators()
        import timm

        module = timm.create_model(name, pretrained=False, **options)
        for part in module.modules():
            if hasattr(part, "fused_attn"):
                part.fused_attn = fused and part.fused_attn
        return randomize(module)

    return build


def torchvision_vit():
    declare_torchvision_operators()
    from torchvision.models.vision_transformer import VisionTransformer

    return randomize(
        VisionTransformer(
            image_size=32,
            patch_size=8,
            num_layers=2,
            num_heads=3,
            hidden_dim=WIDTH,
            mlp_dim=40,
            num_classes=5,
        )
    )


def lucidrains_vit():
    declare_torchvision_operators()
    from vit_pytorch import ViT

    sizes = dict(image_size=32, patch_size=8, num_classes=5)
    return randomize(ViT(**sizes, dim=WIDTH, depth=2, heads=3, mlp_dim=40, dim_head=8))


def open_clip_model():
    """ViT-B-32 as open_clip builds it from its own config, with both towers made small."""
    declare_torchvision_operators()
    import open_clip

    config = open_clip.get_model_config("ViT-B-32")
    vision = {**config["vision_cfg"], "layers": 2, "width": WIDTH, "head_width": 8, "image_size": 128}
    text = {**config["text_cfg"], "layers": 2, "width": WIDTH, "heads": 3, "context_length": TOKENS}
    return randomize(open_clip.CLIP(embed_dim=10, vision_cfg=vision, text_cfg={**text, "vocab_size": 50}))


def open_clip_vit():
    return open_clip_model().visual


def torch_encoder(*, nested=False, **options):
    """Return a builder of `nn.TransformerEncoder`; `nested` lets its fast path drop padding."""

    def build():
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 40, batch_first=True, **options)
        return randomize(nn.TransformerEncoder(layer, 2, enable_nested_tensor=nested))

    return build


def torch_attention():
    return randomize(nn.MultiheadAttention(WIDTH, 3, batch_first=True))


def words():
    """Token ids and the mask of real tokens; two samples end in padding."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(10, 49, (SAMPLES, TOKENS), generator=generator)
    ids[:, 0] = 2
    real = torch.arange(TOKENS) < torch.tensor(LENGTHS)[:, None]
    return {"input_ids": ids.where(real, PAD), "attention_mask": real.long()}


def words_before_cls():
    """Token ids padded on the left, with CLS at the end."""
    return {name: tensor.flip(1) for name, tensor in words().items()}


def words_to_end_of_text(end=49):
    """Token ids that end with an end-of-text token, at another position in each sample."""
    given = words()
    given["input_ids"][torch.arange(SAMPLES), torch.tensor(LENGTHS) - 1] = end
    return given


def pixels(size=32, name="pixel_values"):
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(SAMPLES, 3, size, size, generator=generator)}


def features():
    generator = torch.Generator().manual_seed(1)
    return {"src": torch.randn(SAMPLES, TOKENS, WIDTH, generator=generator)}


def padded_features():
    return {**features(), "src_key_padding_mask": words()["attention_mask"] == 0}


def features_with_additive_mask():
    generator = torch.Generator().manual_seed(3)
    return {**features(), "mask": torch.randn(TOKENS, TOKENS, generator=generator) * 2}


def causal_features():
    mask = nn.Transformer.generate_square_subsequent_mask(TOKENS)
    return {**features(), "mask": mask, "is_causal": True}


def three_times_features(*, need_weights):
    tokens = features()["src"]
    return {"query": tokens, "key": tokens, "value": tokens, "need_weights": need_weights}
