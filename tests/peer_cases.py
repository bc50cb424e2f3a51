"""The small models and inputs on which published peers were run, and the numbers that they gave.

`python benchmarks/attribution_peers.py --write` runs the peers and writes the numbers. Nothing here imports
clsight: the same file builds the same weights, bit for bit, in the suite and in the environment of the peers.
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import gelu, layer_norm, linear, scaled_dot_product_attention

from encoder_builders import TEXT, declare_torchvision_operators, words
from relevance_peers import drawn, peer_bert, peer_vit

HERE = Path(__file__).parent
FAITHFULNESS = HERE / "faithfulness" / "peers.json"
INTERVENTIONS = HERE / "interventions" / "peers.json"

WIDTH, HEADS, CHANNELS, STEPS, CLASSES = 12, 3, 4, 7, 3


def numbers(path, peer):
    """Return what one peer gave, by the name of the question."""
    return json.loads(path.read_text())[peer]["numbers"]


def scores(*shape, seed):
    """Signed scores without ties."""
    return np.random.default_rng(seed).standard_normal(shape)


# A classifier of steps whose parts are modules with weights of their own, as a randomization test wants them.


class Unit(nn.Module):
    """A part of `Steps`; `reset_parameters` puts its weights in random order, as clsight's cascade does.

    Quantus calls it for every module that has it, the last registered first.
    """

    before = 0  # how many tensors the parts that come earlier in the cascade have

    def __init__(self, **shapes):
        super().__init__()
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))

    def reset_parameters(self):
        for number, tensor in enumerate(self.parameters()):
            order = np.random.default_rng([0, self.before + number]).permutation(tensor.numel())
            tensor.data = tensor.detach().reshape(-1)[torch.from_numpy(order)].reshape(tensor.shape)


class Embedding(Unit):
    def __init__(self):
        super().__init__(cls=(1, 1, WIDTH), weight=(WIDTH, CHANNELS), positions=(1 + STEPS, WIDTH))

    def forward(self, x):
        steps = linear(x.double(), self.weight)
        return torch.cat([self.cls.expand(len(x), 1, WIDTH), steps], dim=1) + self.positions


class Layer(Unit):
    """Attention and a feed-forward step, each behind a norm without weights."""

    def __init__(self):
        super().__init__(
            projections=(3 * WIDTH, WIDTH), out=(WIDTH, WIDTH), up=(20, WIDTH), down=(WIDTH, 20), bias=(20,)
        )

    def parts(self, x):
        mapped = linear(layer_norm(x, (WIDTH,)), self.projections)
        return (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in mapped.chunk(3, -1))

    def weights(self, x):
        """Attention weights written out, [sample, head, query, key]."""
        query, key, _ = self.parts(x)
        return (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1)

    def forward(self, x):
        x = x + linear(scaled_dot_product_attention(*self.parts(x)).transpose(1, 2).flatten(2), self.out)
        return x + linear(gelu(linear(layer_norm(x, (WIDTH,)), self.up, self.bias)), self.down)


class Head(Unit):
    def __init__(self):
        super().__init__(weight=(CLASSES, WIDTH))

    def forward(self, x):
        return linear(x, self.weight)


class Steps(nn.Module):
    """[sample, step, channel] in, logits out, read at CLS."""

    def __init__(self):
        super().__init__()
        self.embedding, self.layers, self.head = Embedding(), nn.ModuleList([Layer(), Layer()]), Head()
        count = 0
        for unit in (self.head, *reversed(self.layers), self.embedding):
            unit.before, count = count, count + len(list(unit.parameters()))

    def forward(self, x):
        x = self.embedding(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(x[:, 0])

    def gradient_times_input(self, x, classes):
        """Sum over channels, [sample, step]; unlike attention it depends on the head."""
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(self(x).gather(1, torch.tensor(classes)[:, None]).sum(), x)
        return (slope * x).sum(-1).detach()

    def last_attention(self, x):
        """Attention of CLS to the steps in the last layer, mean over heads, [sample, step]."""
        x = self.embedding(x)
        for layer in self.layers[:-1]:
            x = layer(x)
        return self.layers[-1].weights(x).mean(1)[:, 0, 1:]


def steps_case():
    """The classifier, steps in float32 (Quantus hands on no others), the classes, and signed scores."""
    module = drawn(Steps(), 7)
    module.head.weight.data *= 3  # answers that are sure enough to be lost
    x = torch.from_numpy(scores(4, STEPS, CHANNELS, seed=8)).float()
    return module, x, predicted(module(x)), scores(4, STEPS, seed=9)


# A ViT, for regions of pictures.


class Pictures(nn.Module):
    """A ViT of timm that takes float32."""

    def __init__(self):
        super().__init__()
        self.vit = peer_vit()[0]
        self.vit.head.weight.data *= 3

    def forward(self, pixels):
        return self.vit(pixels.double())


def pictures_case():
    """The ViT, pictures of 4 × 4 patches of 8 pixels, the classes, and scores per patch, [sample, 4, 4]."""
    module = Pictures().eval()
    x = torch.from_numpy(scores(3, 3, 32, 32, seed=10)).float()
    return module, x, predicted(module(x)), scores(3, 4, 4, seed=11)


def marked_patches():
    """Scores per patch, and patches that are known to be evidence: several, and one alone; [sample, 4, 4]."""
    generator = np.random.default_rng(16)
    several = generator.random((5, 4, 4)) < 0.3
    alone = (np.arange(16) == generator.integers(16, size=(5, 1))).reshape(5, 4, 4)
    drawn_scores = scores(10, 4, 4, seed=17)
    marked = np.concatenate([several, alone])
    for found in (0, 5):
        drawn_scores[found, marked[found]] += 5
    return drawn_scores, marked


# A BERT, for words.

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = SPECIAL + [f"word{number}" for number in range(45)]
LENGTHS = (10, 7, 13)
"""Ten words, of which every tenth is a whole number, and two numbers of which it is not."""


def sentences():
    """Ids of words alone, one list per sample."""
    generator = np.random.default_rng(12)
    return [generator.integers(len(SPECIAL), len(VOCABULARY), length).tolist() for length in LENGTHS]


def enclosed(words):
    """Ids of a sentence as the model takes it."""
    return [SPECIAL.index("[CLS]"), *words, SPECIAL.index("[SEP]")]


def text_case():
    """A BERT classifier, and scores per sample for [CLS], its words and [SEP]."""
    module = peer_bert()[0]
    module.classifier.weight.data *= 3
    return module, [scores(length + 2, seed=13 + length) for length in LENGTHS]


def rationales():
    """Words that are known to be evidence, one list of 0 and 1 per sample, [CLS] and [SEP] as 0."""
    return [[0, *(np.arange(length) % 3 == 1).astype(int).tolist(), 0] for length in LENGTHS]


# Two models whose last feed-forward step writes its bias alone, whatever it reads: what their last attention
# writes into CLS reaches the answer through norms and a linear head, and no other way.


def torchvision_case():
    """A ViT of torchvision, whose last values have no bias, pictures, and classes."""
    declare_torchvision_operators()
    from torchvision.models.vision_transformer import VisionTransformer

    sizes = dict(image_size=32, patch_size=8, num_layers=2, num_heads=3, hidden_dim=24, mlp_dim=40)
    module = drawn(VisionTransformer(**sizes, num_classes=5), 14)
    last = module.encoder.layers[-1]
    last.mlp[3].weight.data.zero_()
    last.self_attention.in_proj_bias.data[48:].zero_()
    return module, torch.from_numpy(scores(3, 3, 32, 32, seed=15)), [4, 0, 2]


class ReadAtCls(nn.Module):
    """A BERT without pooler, and a linear head."""

    def __init__(self):
        super().__init__()
        from transformers.models.bert.modeling_bert import BertConfig, BertModel

        self.bert = BertModel(BertConfig(**TEXT, attn_implementation="eager"), add_pooling_layer=False)
        self.head = nn.Linear(self.bert.config.hidden_size, CLASSES)

    def forward(self, input_ids, attention_mask):
        return self.head(self.bert(input_ids, attention_mask=attention_mask).last_hidden_state[:, 0])


def bert_case():
    """A BERT, padded token ids, and classes."""
    declare_torchvision_operators()
    module = drawn(ReadAtCls(), 18)
    module.bert.encoder.layer[-1].output.dense.weight.data.zero_()
    return module, words(), [1, 0, 2]


def predicted(logits):
    return logits.argmax(1).tolist()
