"""The native vision transformer is torchvision's: same names, same outputs, same maps."""

import pytest
import torch

import clsight
from clsight.loading.vision_transformer import Geometry, VisionTransformer
from encoder_builders import declare_torchvision_operators, randomize

SMALL = dict(width=24, feedforward=40, classes=5)
VARIANTS = {  # patch sizes and more or fewer layers and heads as in the five, but small
    "vit_b_16": Geometry(image_size=64, patch_size=16, layers=3, heads=12, **SMALL),
    "vit_b_32": Geometry(image_size=96, patch_size=32, layers=3, heads=12, **SMALL),
    "vit_l_16": Geometry(image_size=80, patch_size=16, layers=4, heads=8, **SMALL),
    "vit_l_32": Geometry(image_size=64, patch_size=32, layers=4, heads=8, **SMALL),
    "vit_h_14": Geometry(image_size=42, patch_size=14, layers=5, heads=4, **SMALL),
    "with a layer before the head": Geometry(
        image_size=32, patch_size=8, layers=2, heads=3, representation=7, **SMALL
    ),
}


def theirs(sizes):
    declare_torchvision_operators()
    from torchvision.models.vision_transformer import VisionTransformer as Torchvision

    return randomize(
        Torchvision(
            image_size=sizes.image_size,
            patch_size=sizes.patch_size,
            num_layers=sizes.layers,
            num_heads=sizes.heads,
            hidden_dim=sizes.width,
            mlp_dim=sizes.feedforward,
            num_classes=sizes.classes,
            representation_size=sizes.representation,
        )
    )


def pair(sizes):
    """Return torchvision's model and ours with the same weights."""
    reference, ours = theirs(sizes), VisionTransformer(sizes).eval()
    ours.load_state_dict(reference.state_dict())
    return reference, ours


def images(sizes):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, 3, sizes.image_size, sizes.image_size, generator=generator)


@pytest.mark.parametrize("sizes", VARIANTS.values(), ids=VARIANTS)
def test_vision_transformer_has_the_parameters_of_torchvision_in_its_order(sizes):
    shapes = [
        {name: tensor.shape for name, tensor in model.state_dict().items()}
        for model in (theirs(sizes), VisionTransformer(sizes))
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("sizes", VARIANTS.values(), ids=VARIANTS)
def test_vision_transformer_returns_what_torchvision_returns(sizes, gradients):
    reference, ours = pair(sizes)
    with torch.set_grad_enabled(gradients):
        assert torch.equal(ours(images(sizes)), reference(images(sizes)))


@pytest.mark.parametrize("sizes", VARIANTS.values(), ids=VARIANTS)
def test_captured_maps_are_those_of_torchvision(sizes):
    expected, found = (clsight.capture(model, images(sizes)) for model in pair(sizes))
    assert found.drop_attrs().identical(expected.drop_attrs())
    assert float(found.attention_error.max()) < 1e-5


@pytest.mark.slow
def test_vit_b_16_in_full_size_returns_what_torchvision_returns():
    sizes = Geometry(image_size=224, patch_size=16, layers=12, heads=12, width=768, feedforward=3072)
    reference, ours = pair(sizes)
    with torch.no_grad():
        assert torch.equal(ours(images(sizes)[:1]), reference(images(sizes)[:1]))
    expected, found = (clsight.capture(model, images(sizes)[:1]) for model in (reference, ours))
    assert found.drop_attrs().identical(expected.drop_attrs())
    assert float(found.attention_error.max()) < 1e-5
