"""Slow, obvious float64 decompositions of encoder layers: loops over tokens and heads."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass
class Block:
    """The weights of one layer as NumPy arrays; linear maps are [out, in], norms (γ, β, ε)."""

    query: tuple
    key: tuple
    value: tuple
    output: tuple
    first: tuple
    second: tuple
    norm_1: tuple
    norm_2: tuple
    heads: int
    pre_norm: bool
    activation: object
    extra: tuple | None = None  # a key and a value that are no token's


@dataclass
class Pieces:
    """One layer on one sample: what it computed on the way.

    Attributes:
        x: [token, channel], what entered.
        weights: [head, query, key].
        outgoing: [head, key, channel], W_O v of each token, without b_O.
        sum_1: [token, channel], x + attention.
        after_1: [token, channel], the stream behind attention and its norm.
        fed: [token, channel], what the feed-forward part adds.
        sum_2: [token, channel], after_1 + fed.
        after_2: [token, channel], what leaves.
    """

    x: np.ndarray
    weights: np.ndarray
    outgoing: np.ndarray
    sum_1: np.ndarray
    after_1: np.ndarray
    fed: np.ndarray
    sum_2: np.ndarray
    after_2: np.ndarray


def relu(x):
    return np.maximum(x, 0.0)


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def array(tensor):
    return None if tensor is None else tensor.detach().double().numpy()


def linear(module, rows=slice(None)):
    bias = array(module.bias)
    return array(module.weight)[rows], None if bias is None else bias[rows]


def norm(module):
    return array(module.weight), array(module.bias), module.eps


def blocks_of_torch(encoder):
    found = []
    for layer in encoder.layers:
        width, packed = layer.linear1.in_features, layer.self_attn
        weight, bias = array(packed.in_proj_weight), array(packed.in_proj_bias)
        maps = [(weight[i * width : (i + 1) * width], bias[i * width : (i + 1) * width]) for i in range(3)]
        found.append(
            Block(
                *maps,
                linear(packed.out_proj),
                linear(layer.linear1),
                linear(layer.linear2),
                norm(layer.norm1),
                norm(layer.norm2),
                packed.num_heads,
                layer.norm_first,
                relu,
                None if packed.bias_k is None else (array(packed.bias_k)[0], array(packed.bias_v)[0]),
            )
        )
    return found


def blocks_of_bert(bert):
    return [
        Block(
            linear(layer.attention.self.query),
            linear(layer.attention.self.key),
            linear(layer.attention.self.value),
            linear(layer.attention.output.dense),
            linear(layer.intermediate.dense),
            linear(layer.output.dense),
            norm(layer.attention.output.LayerNorm),
            norm(layer.output.LayerNorm),
            bert.config.num_attention_heads,
            False,
            gelu,
        )
        for layer in bert.encoder.layer
    ]


def blocks_of_timm(vit):
    found = []
    for block in vit.blocks:
        width = block.attn.proj.out_features
        maps = [linear(block.attn.qkv, slice(i * width, (i + 1) * width)) for i in range(3)]
        output, second = linear(block.attn.proj), linear(block.mlp.fc2)
        if hasattr(block.ls1, "gamma"):  # LayerScale
            output = tuple((array(block.ls1.gamma) * part.T).T for part in output)
            second = tuple((array(block.ls2.gamma) * part.T).T for part in second)
        found.append(
            Block(
                *maps,
                output,
                linear(block.mlp.fc1),
                second,
                norm(block.norm1),
                norm(block.norm2),
                block.attn.num_heads,
                True,
                gelu,
            )
        )
    return found


def apply(x, linear_map):
    weight, bias = linear_map
    return x @ weight.T + (0.0 if bias is None else bias)


def layer_norm(x, of_norm):
    gamma, beta, eps = of_norm
    return gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) + beta


def scaled(vector, of, of_norm):
    """Return what a norm makes of one part of a state: the state's own standard deviation, without β."""
    gamma, _, eps = of_norm
    return gamma * (vector - vector.mean()) / math.sqrt(of.var() + eps)


def pieces_of(block, x, real):
    """Run one layer on one sample, [token, channel]; keys that are not real get no weight.

    An extra key stands behind those of the tokens.
    """
    read = layer_norm(x, block.norm_1) if block.pre_norm else x
    query, key, value = apply(read, block.query), apply(read, block.key), apply(read, block.value)
    if block.extra is not None:
        key, value = np.vstack([key, block.extra[0]]), np.vstack([value, block.extra[1]])
    tokens, keys, head_dim = len(x), len(key), query.shape[1] // block.heads
    weights = np.zeros((block.heads, tokens, keys))
    outgoing = np.zeros((block.heads, keys, x.shape[1]))
    for head in range(block.heads):
        part = slice(head * head_dim, (head + 1) * head_dim)
        for j in range(keys):
            outgoing[head, j] = block.output[0][:, part] @ value[j, part]
        for i in range(tokens):
            scores = [query[i, part] @ key[j, part] / math.sqrt(head_dim) for j in range(keys)]
            largest = max(score for j, score in enumerate(scores) if real[j])
            powers = [math.exp(score - largest) if real[j] else 0.0 for j, score in enumerate(scores)]
            weights[head, i] = np.array(powers) / sum(powers)
    attention = np.einsum("hij,hjc->ic", weights, outgoing)
    attention = attention + (0.0 if block.output[1] is None else block.output[1])
    sum_1 = x + attention
    after_1 = sum_1 if block.pre_norm else layer_norm(sum_1, block.norm_1)
    fed_to = layer_norm(sum_1, block.norm_2) if block.pre_norm else after_1
    fed = apply(block.activation(apply(fed_to, block.first)), block.second)
    sum_2 = after_1 + fed
    after_2 = sum_2 if block.pre_norm else layer_norm(sum_2, block.norm_2)
    return Pieces(x, weights, outgoing, sum_1, after_1, fed, sum_2, after_2)


def run(blocks, x, real):
    """Return the pieces of every layer on one sample."""
    found = []
    for block in blocks:
        found.append(pieces_of(block, x, real))
        x = found[-1].after_2
    return found


def contribution(block, pieces, i, j):
    """Return what token j adds to token i behind attention, residual and norm: [channel]."""
    vector = np.zeros(pieces.x.shape[1])
    for head in range(block.heads):
        vector = vector + pieces.weights[head, i, j] * pieces.outgoing[head, j]
    if i == j:
        vector = vector + pieces.x[i]
    return vector if block.pre_norm else scaled(vector, pieces.sum_1[i], block.norm_1)


def contribution_norms(block, pieces, i):
    keys = range(pieces.outgoing.shape[1])
    return np.array([np.linalg.norm(contribution(block, pieces, i, j)) for j in keys])


def mixing_ratio(block, pieces, i):
    others = sum(contribution(block, pieces, i, j) for j in range(pieces.outgoing.shape[1]) if j != i)
    own = np.linalg.norm(contribution(block, pieces, i, i))
    return np.linalg.norm(others) / (np.linalg.norm(others) + own)


# --- through all layers ---


def alti_matrix(block, pieces):
    """Return ALTI of one layer, [query, key], rows divided by their sums."""
    tokens = len(pieces.x)
    result = np.zeros((tokens, tokens))
    for i in range(tokens):
        total = pieces.after_1[i]
        for j in range(tokens):
            distance = np.abs(total - contribution(block, pieces, i, j)).sum()
            result[i, j] = max(0.0, np.abs(total).sum() - distance)
        result[i] /= result[i].sum()
    return result


def globenc_matrix(block, pieces):
    """Return GlobEnc's norms of one layer, [query, key]."""
    tokens = len(pieces.x)
    result = np.zeros((tokens, tokens))
    for i in range(tokens):
        for j in range(tokens):
            vector = contribution(block, pieces, i, j)
            if not block.pre_norm:
                vector = scaled(vector, pieces.sum_2[i], block.norm_2)
            result[i, j] = np.linalg.norm(vector)
    return result


def rolled(matrices, start):
    """Return the row `start` of the product of all matrices, last layer leftmost."""
    product = np.eye(len(matrices[0]))
    for matrix in matrices:
        product = matrix @ product
    return product[start]


def effective_row(weights, outgoing):
    """Return a − a N Nᵀ for weights [key] and outgoing values [key, channel], by the full left null space."""
    left, sizes, _ = np.linalg.svd(outgoing)
    rank = int((sizes > sizes[0] * max(outgoing.shape) * np.finfo(float).eps).sum())
    null = left[:, rank:]
    return weights - weights @ null @ null.T


# --- gradients, readouts, queries ---


def chefer_row(weights, gradients, start):
    """Return the row `start` of R ← R + mean of (∂A · A)⁺ R, from dense [layer][head, query, key]."""
    tokens = weights[0].shape[-1]
    relevance = np.eye(tokens)
    for attention, gradient in zip(weights, gradients, strict=True):
        mean = np.zeros((tokens, tokens))
        for i, j in np.ndindex(tokens, tokens):
            evidence = [max(0.0, gradient[h, i, j] * attention[h, i, j]) for h in range(len(attention))]
            mean[i, j] = sum(evidence) / len(evidence)
        relevance = relevance + mean @ relevance
    return relevance[start]


def frozen(of_norm, of):
    """Return the matrix of a norm with the standard deviation of a state held fixed."""
    gamma, _, eps = of_norm
    width = len(of)
    centering = np.eye(width) - np.full((width, width), 1 / width)
    return np.diag(gamma) @ centering / math.sqrt(of.var() + eps)


def direct_terms(blocks, layers, gradient, i):
    """Return the terms of gradient · (state of token i behind the last layer), layer by layer from the first.

    Each is a dict: attention [head, key], attention_bias, feed_forward, norm_bias; and the term of what
    entered.
    """
    found = []
    for block, pieces in zip(reversed(blocks), reversed(layers), strict=True):
        terms = {"norm_bias": 0.0}
        if not block.pre_norm:
            terms["norm_bias"] += block.norm_2[1] @ gradient
            gradient = frozen(block.norm_2, pieces.sum_2[i]).T @ gradient
        terms["feed_forward"] = pieces.fed[i] @ gradient
        if not block.pre_norm:
            terms["norm_bias"] += block.norm_1[1] @ gradient
            gradient = frozen(block.norm_1, pieces.sum_1[i]).T @ gradient
        terms["attention_bias"] = block.output[1] @ gradient
        heads, keys = pieces.outgoing.shape[:2]
        terms["attention"] = np.zeros((heads, keys))
        for head, j in np.ndindex(heads, keys):
            terms["attention"][head, j] = pieces.weights[head, i, j] * (pieces.outgoing[head, j] @ gradient)
        found.insert(0, terms)
    return found, layers[0].x[i] @ gradient


def query_scores(block, pieces, terms, i):
    """Return the scores of the first layer's query i by term, [head, key] each.

    Args:
        block: The first layer.
        pieces: What it computed.
        terms: Name to summand [channel] of what the query's map reads; "query bias" is added.
        i: The query.
    """
    read = layer_norm(pieces.x, block.norm_1) if block.pre_norm else pieces.x
    key = apply(read, block.key)
    head_dim = key.shape[1] // block.heads
    mapped = {name: block.query[0] @ term for name, term in terms.items()} | {"query bias": block.query[1]}
    found = {}
    for name, part in mapped.items():
        found[name] = np.zeros((block.heads, len(key)))
        for head, j in np.ndindex(block.heads, len(key)):
            here = slice(head * head_dim, (head + 1) * head_dim)
            found[name][head, j] = part[here] @ key[j, here] / math.sqrt(head_dim)
    return found


def variance_shares(scores, real):
    """Return each term's share of the variance of the sum: name to [head], and name to one number."""
    total = sum(scores.values())
    shares, together = {}, {}
    for name, term in scores.items():
        covariances = [np.cov(term[h, real], total[h, real], bias=True)[0, 1] for h in range(len(term))]
        variances = [total[h, real].var() for h in range(len(term))]
        shares[name] = np.array(covariances) / np.array(variances)
        together[name] = sum(covariances) / sum(variances)
    return shares, together
