"""A forward pass that raises in the middle: the error names the place, and the module is as before."""

import pytest
import torch

import clsight
from clsight.errors import CaptureError
from encoder_zoo import ZOO
from module_state import state

pytestmark = pytest.mark.slow

KINDS = {
    "fast path": "TransformerEncoder, post-norm, padding",
    "nested tensors": "TransformerEncoder, post-norm, nested tensors",
    "transformers, sdpa": "BERT, sdpa",
    "transformers, eager": "BERT, eager",
    "eager only": "DeBERTa-v2, eager",
    "one module, several layers": "ALBERT, sdpa",
    "vision": "ViT, sdpa",
    "timm": "vit",
    "timm, unfused": "vit, unfused",
    "class attention": "cait (row only)",
    "by hand": "ViT",
}
KEEP = ("vectors", "hidden", "contributions", "rollout", "received", "keys_values")


def one_of_each_type(module):
    """Return the name of the middle one of the submodules of each type, but the root."""
    of_type = {}
    for name, part in module.named_modules():
        if name:
            of_type.setdefault(type(part), []).append(name)
    return [names[len(names) // 2] for names in of_type.values()]


class PlantedError(RuntimeError):
    pass


def explode(*args, **kwargs):
    raise PlantedError("planted")


def explode_after(forward):
    def run(*args, **kwargs):
        forward(*args, **kwargs)
        raise PlantedError("planted")

    return run


def runs(module, inputs, name):
    """Whether the submodule runs at all in a forward pass with gradients, which never takes the fast path."""
    seen = []
    handle = module.get_submodule(name).register_forward_pre_hook(lambda *_: seen.append(name))
    module(**inputs)
    handle.remove()
    return bool(seen)


@pytest.mark.parametrize("kind", KINDS)
def test_module_is_as_before_when_a_submodule_of_any_type_raises(kind):
    encoder = ZOO[KINDS[kind]]
    torch.manual_seed(0)
    module, inputs = encoder.build(), encoder.inputs()
    module.train()
    next(module.parameters()).requires_grad_(False)
    places = [name for name in one_of_each_type(module) if runs(module.eval(), inputs, name)]
    assert len(places) > 3
    module.train()
    for place in places:
        broken = module.get_submodule(place)
        broken.forward = explode if place == places[0] else explode_after(broken.forward)
        before = state(module)
        for keep in (*KEEP, "gradient"):
            with pytest.raises(CaptureError, match=r"RuntimeError|PlantedError") as caught:
                clsight.capture(module, inputs, cls_index=encoder.cls_index, keep=keep)
            assert caught.value.subject == place
            assert state(module) == before
            assert all(parameter.grad is None for parameter in module.parameters())
        with pytest.raises(PlantedError), clsight.Recorder(module, cls_index=encoder.cls_index):
            module(**inputs)
        del broken.forward
    module.eval()
    clsight.capture(module, inputs, cls_index=encoder.cls_index)
