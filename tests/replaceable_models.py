"""Small models whose [CLS] can be replaced, each with inputs, and what a replacement must leave as it was."""

import copy

import numpy as np
import torch
from torch import nn

from clsight.loading import Examples, Prepared, Subject, as_subject
from clsight.loading.subject import ClsVector
from clsight.loading.vision_transformer import Geometry, VisionTransformer
from clsight.models import ClassificationTransformer, ModelConfig
from encoder_builders import IMAGE, TEXT, hugging_face, open_clip_vit, pixels, randomize, timm, words

CLS = 2  # the id that `words` puts first


def subject_of(module, inputs, cls_vector, name="tried"):
    """Return a subject whose inputs are already what the module takes."""
    samples = len(next(iter(inputs.values())))
    empty = np.empty((samples, 0), dtype=np.dtypes.StringDType())
    prepared = Prepared(inputs, None, empty, empty, None, None, None)
    return Subject(
        module=module,
        name=name,
        cls_index=0,
        strategy="",
        seed=None,
        classes=(),
        examples=None,
        provenance={},
        preparation=lambda examples: prepared,
        cls_vector=cls_vector,
    )


def native_vit():
    sizes = Geometry(image_size=32, patch_size=8, layers=2, heads=3, width=24, feedforward=40, classes=5)
    module = randomize(VisionTransformer(sizes))
    return subject_of(module, pixels(name="images"), ClsVector(module.class_token))


def timm_vit(**options):
    module = timm(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=3, **options
    )()
    return subject_of(module, pixels(name="x"), ClsVector(module.cls_token))


def clip_vit():
    module = open_clip_vit()
    return subject_of(module, pixels(128, name="x"), ClsVector(module.class_embedding))


def transformers_vit():
    module = hugging_face("ViTModel", "ViTConfig", IMAGE, attention="sdpa")()
    return subject_of(module, pixels(), ClsVector(module.embeddings.cls_token))


def bert():
    module = hugging_face("BertForMaskedLM", "BertConfig", TEXT, attention="sdpa")()
    table = module.get_input_embeddings().weight
    assert module.get_output_embeddings().weight is table  # tied, as BERT's are
    return subject_of(module, words(), ClsVector(table, row=CLS))


def own(strategy="learned", **options):
    config = ModelConfig(
        classes=3, width=8, heads=2, features=4, embedding="linear", strategy=strategy, **options
    )
    model = randomize(ClassificationTransformer(config))
    return as_subject(model, name="own")


PARAMETER = {
    "torchvision": native_vit,
    "timm": timm_vit,
    "timm with registers": lambda: timm_vit(reg_tokens=2),
    "open_clip": clip_vit,
    "transformers": transformers_vit,
}
LOADED = {**PARAMETER, "row of a word embedding": bert}


def run(subject, module=None):
    """Return the output tensor of a forward pass on the subject's inputs."""
    with torch.no_grad():
        output = (module or subject.module)(**subject.prepare(Examples(np.zeros((3, 1)))).inputs)
    return output if isinstance(output, torch.Tensor) else output[0]


def overwritten(subject, vector):
    """Return a copy of the module in which the numbers of [CLS] are others: the slow obvious way."""
    module = copy.deepcopy(subject.module)
    place = subject.cls_vector
    name = next(name for name, held in subject.module.named_parameters() if held is place.tensor)
    with torch.no_grad():
        tensor = dict(module.named_parameters())[name]
        if place.row is None:
            tensor.copy_(vector.reshape(tensor.shape))
        else:  # the embedding alone: the tied output map keeps its row
            table = tensor.clone()
            table[place.row] = vector
            module.set_input_embeddings(nn.Embedding.from_pretrained(table))
    return module


def state(subject):
    """Return all that a block must leave as it was, in a form that compares."""
    module = subject.module
    return {
        "numbers": {name: tensor.clone() for name, tensor in module.state_dict().items()},
        "tensors": {
            name: (id(held), held._version, held.requires_grad) for name, held in module.named_parameters()
        },
        "classes": [type(part) for part in module.modules()],
        "hooks": [(len(part._forward_hooks), len(part._forward_pre_hooks)) for part in module.modules()],
        "modes": [part.training for part in module.modules()],
        "random": torch.get_rng_state(),
        "fields": (subject.strategy, subject.seed, dict(subject.provenance), subject.cls_vector),
    }


def assert_same(found, expected):
    assert found["numbers"].keys() == expected["numbers"].keys()
    assert all(torch.equal(found["numbers"][name], tensor) for name, tensor in expected["numbers"].items())
    assert torch.equal(found["random"], expected["random"])
    for name in ("tensors", "classes", "hooks", "modes", "fields"):
        assert found[name] == expected[name]


def std_of(subject):
    return float(subject.cls_vector.values.detach().double().std(correction=0))
