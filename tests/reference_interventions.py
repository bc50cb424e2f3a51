"""Slow, obvious float64 versions of interventions: a hand-written encoder, one query of one head at once.

No shared code with clsight: weights are read off the modules, every pair of query and key is looked at in a
loop, and what is cut is cut where the loop meets it.
"""

import math
from dataclasses import dataclass

import numpy as np

from reference import normalized, softmax


@dataclass
class Block:
    """The weights of one layer: rows of `w…` are outputs; norms are torch modules, read by `normalized`."""

    heads: int
    norm_first: bool
    wq: np.ndarray
    bq: np.ndarray
    wk: np.ndarray
    bk: np.ndarray
    wv: np.ndarray
    bv: np.ndarray
    wo: np.ndarray
    bo: np.ndarray
    w1: np.ndarray
    b1: np.ndarray
    w2: np.ndarray
    b2: np.ndarray
    norm1: object
    norm2: object
    activation: str


def numbers(tensor):
    return tensor.detach().double().numpy()


def relu(x):
    return np.maximum(x, 0)


def gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


ACTIVATIONS = {"relu": relu, "gelu": gelu}


def torch_blocks(encoder):
    """The layers of an `nn.TransformerEncoder`."""
    blocks = []
    for layer in encoder.layers:
        attention = layer.self_attn
        wq, wk, wv = np.split(numbers(attention.in_proj_weight), 3)
        bq, bk, bv = np.split(numbers(attention.in_proj_bias), 3)
        wo, bo = numbers(attention.out_proj.weight), numbers(attention.out_proj.bias)
        w1, b1 = numbers(layer.linear1.weight), numbers(layer.linear1.bias)
        w2, b2 = numbers(layer.linear2.weight), numbers(layer.linear2.bias)
        sizes = (attention.num_heads, layer.norm_first)
        norms = (layer.norm1, layer.norm2)
        blocks.append(Block(*sizes, wq, bq, wk, bk, wv, bv, wo, bo, w1, b1, w2, b2, *norms, "relu"))
    return blocks


def bert_blocks(layers, heads):
    """The layers of a transformers BERT."""
    blocks = []
    for layer in layers:
        own, out = layer.attention.self, layer.attention.output
        maps = (own.query, own.key, own.value, out.dense, layer.intermediate.dense, layer.output.dense)
        pairs = [numbers(part) for linear in maps for part in (linear.weight, linear.bias)]
        blocks.append(Block(heads, False, *pairs, out.LayerNorm, layer.output.LayerNorm, "gelu"))
    return blocks


def timm_blocks(layers):
    """The layers of a timm vision transformer."""
    blocks = []
    for layer in layers:
        wq, wk, wv = np.split(numbers(layer.attn.qkv.weight), 3)
        bq, bk, bv = np.split(numbers(layer.attn.qkv.bias), 3)
        maps = (layer.attn.proj, layer.mlp.fc1, layer.mlp.fc2)
        rest = [numbers(part) for linear in maps for part in (linear.weight, linear.bias)]
        qkv = (wq, bq, wk, bk, wv, bv)
        blocks.append(Block(layer.attn.num_heads, True, *qkv, *rest, layer.norm1, layer.norm2, "gelu"))
    return blocks


@dataclass
class Case:
    """An encoder, what enters its first layer [sample, token, channel], padding, and how CLS is read."""

    blocks: list
    entering: np.ndarray
    padding: np.ndarray
    read: object
    cls: int = 0


def values_of(block, normed, head):
    size = len(block.wv) // block.heads
    part = slice(head * size, (head + 1) * size)
    return normed @ block.wv[part].T + block.bv[part]


def attend(block, normed, head, *, padded, change):
    """What each query of one head of one sample gets, [query, head_dim].

    `change(i, j)` is None, "mask", or the vector that query i reads at key j instead of the value.
    """
    size = len(block.wq) // block.heads
    part = slice(head * size, (head + 1) * size)
    query = normed @ block.wq[part].T + block.bq[part]
    key = normed @ block.wk[part].T + block.bk[part]
    value = values_of(block, normed, head)
    output = np.zeros((len(normed), value.shape[1]))
    for i in range(len(normed)):
        scores = np.zeros(len(normed))
        for j in range(len(normed)):
            scores[j] = query[i] @ key[j] / math.sqrt(size)
            is_masked = isinstance(change(i, j), str)
            if padded[j] or is_masked:
                scores[j] = -np.inf
        weights = softmax(scores)
        for j in range(len(normed)):
            instead = change(i, j)
            read = value[j] if instead is None or isinstance(instead, str) else instead
            if weights[j] > 0:
                output[i] += weights[j] * read
    return output


def layer_after(block, states, *, padded, change):
    """The states after one layer; `change(head, i, j)` as for `attend`."""
    normed = normalized(block.norm1, states) if block.norm_first else states
    heads = [
        attend(block, normed, head, padded=padded, change=lambda i, j, h=head: change(h, i, j))
        for head in range(block.heads)
    ]
    mixed = np.hstack(heads) @ block.wo.T + block.bo
    states = states + mixed if block.norm_first else normalized(block.norm1, states + mixed)
    normed = normalized(block.norm2, states) if block.norm_first else states
    hidden = ACTIVATIONS[block.activation](normed @ block.w1.T + block.b1)
    states = states + hidden @ block.w2.T + block.b2
    return states if block.norm_first else normalized(block.norm2, states)


def nothing(head, i, j):
    return None


def entering_layers(case):
    """What enters each layer and leaves the last, [layer + 1][sample][token, channel]."""
    every = [[sample for sample in case.entering]]
    for block in case.blocks:
        every.append(
            [
                layer_after(block, states, padded=padded, change=nothing)
                for states, padded in zip(every[-1], case.padding, strict=True)
            ]
        )
    return every


def clean_values(case, layer, head):
    """The values of one head of one layer in a pass without a cut, one [token, head_dim] per sample."""
    block = case.blocks[layer]
    values = []
    for states in entering_layers(case)[layer]:
        normed = normalized(block.norm1, states) if block.norm_first else states
        values.append(values_of(block, normed, head))
    return values


def others(case, sample):
    tokens = range(case.padding.shape[1])
    return [j for j in tokens if j != case.cls and not case.padding[sample, j]]


def stands_for(case, path, flavor, values, *, sample, j):
    """The vector that stands for the value of token j in a cut; `values` one [token, head_dim] per sample."""
    samples = len(case.entering)
    if flavor == "zero":
        return np.zeros_like(values[sample][j])
    if flavor == "mean" and path != "row":
        return sum(values[s][case.cls] for s in range(samples)) / samples
    if flavor == "mean":
        every = [values[s][k] for s in range(samples) for k in others(case, s)]
        return sum(every) / len(every)
    donor = (sample + 1) % samples
    if path != "row":
        return values[donor][case.cls]
    if j not in others(case, sample):
        return values[sample][j]
    given = others(case, donor)
    return values[donor][given[others(case, sample).index(j) % len(given)]]


def is_on_path(path, cls, i, j):
    return {
        "column": i != cls and j == cls,
        "row": i == cls and j != cls,
        "self": i == cls and j == cls,
    }[path]


def answers_with_cut(case, path, flavor, cells):
    """Final CLS states and logits when a path is cut in the (layer, head) pairs of `cells`."""
    values = {cell: clean_values(case, *cell) for cell in cells} if flavor != "mask" else {}
    states_of_cls, logits = [], []
    for sample in range(len(case.entering)):
        states = case.entering[sample]
        for layer, block in enumerate(case.blocks):

            def change(head, i, j, layer=layer, sample=sample):
                if (layer, head) not in cells or not is_on_path(path, case.cls, i, j):
                    return None
                if flavor == "mask":
                    return "mask"
                return stands_for(case, path, flavor, values[layer, head], sample=sample, j=j)

            states = layer_after(block, states, padded=case.padding[sample], change=change)
        states_of_cls.append(states[case.cls])
        logits.append(case.read(states[case.cls]))
    return np.array(states_of_cls), np.array(logits)


def probabilities(logits):
    exponentials = [math.exp(logit - max(logits)) for logit in logits]
    return [one / sum(exponentials) for one in exponentials]


def effects(clean, other):
    """Logit change, KL, prediction changed and cosine distance per sample, from (states, logits) pairs."""
    rows = []
    for state, logits, new_state, new_logits in zip(clean[0], clean[1], other[0], other[1], strict=True):
        predicted = int(np.argmax(logits))
        p, q = probabilities(logits), probabilities(new_logits)
        divergence = sum(one * math.log(one / two) for one, two in zip(p, q, strict=True))
        cosine = state @ new_state / math.sqrt(state @ state) / math.sqrt(new_state @ new_state)
        rows.append(
            (
                new_logits[predicted] - logits[predicted],
                divergence,
                float(np.argmax(new_logits) != predicted),
                1 - cosine,
            )
        )
    names = ("logit_change", "kl", "prediction_changed", "cls_distance")
    return {name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def knockout(case, path, flavor, cells):
    return effects(answers_with_cut(case, path, "mask", []), answers_with_cut(case, path, flavor, cells))


def value_zeroing(case):
    """1 − cosine of CLS after each layer without the value of each token, [sample, layer, token]."""
    samples, tokens = case.padding.shape
    entering = entering_layers(case)
    result = np.full((samples, len(case.blocks), tokens), np.nan)
    for layer, block in enumerate(case.blocks):
        for sample in range(samples):
            padded = case.padding[sample]
            before = entering[layer + 1][sample][case.cls]
            for token in range(tokens):
                if padded[token]:
                    continue

                def change(head, i, j, token=token, block=block):
                    return np.zeros(len(block.wv) // block.heads) if j == token else None

                after = layer_after(block, entering[layer][sample], padded=padded, change=change)[case.cls]
                cosine = before @ after / math.sqrt(before @ before) / math.sqrt(after @ after)
                result[sample, layer, token] = 1 - cosine
    return result
