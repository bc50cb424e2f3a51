"""Slow, obvious float64 relevance of attention weights, by the rules of CVPR 2021: loops over products."""

from dataclasses import dataclass

import numpy as np

from reference_decompositions import apply, layer_norm


@dataclass
class Route:
    """What the relevance of one layer is: of its weights, of its values, and of what entered.

    Attributes:
        weights: [head, query, key].
        entered: [token, channel].
    """

    weights: np.ndarray
    entered: np.ndarray


def quotient(relevance, by):
    """Return relevance / (by + 1e-9), 0 where `by` is 0."""
    return 0.0 if by == 0 else relevance / (by + 1e-9)


def of_linear(relevance, x, weight):
    """Return the relevance of x, [token, in], from that of x · weightᵀ, [token, out]."""
    found = np.zeros_like(x)
    for token in range(len(x)):
        for out in range(len(weight)):
            products = [max(0.0, x[token, i] * weight[out, i]) for i in range(x.shape[1])]
            share = quotient(relevance[token, out], sum(products))
            for i, product in enumerate(products):
                found[token, i] += product * share
    return found


def of_sum(relevance, left, right):
    """Return the relevance of both summands of one sample, of equal shape."""
    shares = np.vectorize(quotient)(relevance, left + right)
    parts = left * shares, right * shares
    sizes = [abs(part.sum()) for part in parts]
    return [
        part * quotient(quotient(size, sum(sizes)) * relevance.sum(), part.sum())
        for part, size in zip(parts, sizes, strict=True)
    ]


def of_product(relevance, left, right):
    """Return the relevance of both factors of left · right, [i, c] · [c, j]."""
    of_left, of_right = np.zeros_like(left), np.zeros_like(right)
    for i, j in np.ndindex(relevance.shape):
        share = quotient(relevance[i, j], sum(left[i, c] * right[c, j] for c in range(left.shape[1])))
        for c in range(left.shape[1]):
            of_left[i, c] += left[i, c] * right[c, j] * share / 2
            of_right[c, j] += left[i, c] * right[c, j] * share / 2
    return of_left, of_right


def of_attention(block, pieces, relevance, *, scaled):
    """Return the relevance of one layer's weights, and of what its attention read, [token, channel].

    Args:
        block: The layer.
        pieces: What it computed.
        relevance: [token, channel], of what its output projection gave.
        scaled: Whether queries are divided by √head_dim before they meet the keys, or the product afterwards.
    """
    read = layer_norm(pieces.x, block.norm_1) if block.pre_norm else pieces.x
    query, key, value = (apply(read, one) for one in (block.query, block.key, block.value))
    width = query.shape[1] // block.heads
    parts = [slice(head * width, (head + 1) * width) for head in range(block.heads)]
    merged = np.hstack([pieces.weights[h] @ value[:, part] for h, part in enumerate(parts)])
    relevance = of_linear(relevance, merged, block.output[0])
    of_weights = np.zeros_like(pieces.weights)
    of_query, of_key, of_value = np.zeros_like(query), np.zeros_like(key), np.zeros_like(value)
    for h, part in enumerate(parts):
        of_weights[h], of_value[:, part] = of_product(relevance[:, part], pieces.weights[h], value[:, part])
        left = query[:, part] / np.sqrt(width) if scaled else query[:, part]
        of_query[:, part], turned = of_product(of_weights[h], left, key[:, part].T)
        of_key[:, part] = turned.T
    total = of_linear(of_query, read, block.query[0])
    total = total + of_linear(of_key, read, block.key[0]) + of_linear(of_value, read, block.value[0])
    return of_weights, total


def of_layer(block, pieces, relevance, *, scaled):
    """Return the relevance of one layer's weights and of what entered it, from that of what leaves."""
    fed_to = layer_norm(pieces.sum_1, block.norm_2) if block.pre_norm else pieces.after_1
    hidden = block.activation(apply(fed_to, block.first))
    of_stream, of_fed = of_sum(relevance, pieces.after_1, pieces.fed)
    of_hidden = of_linear(of_fed, hidden, block.second[0])
    of_stream = of_stream + of_linear(of_hidden, fed_to, block.first[0])
    attention = pieces.sum_1 - pieces.x
    of_entered, of_attended = of_sum(of_stream, pieces.x, attention)
    of_weights, of_read = of_attention(block, pieces, of_attended, scaled=scaled)
    return Route(of_weights, of_entered + of_read)


def routes(blocks, layers, of_leaving, *, scaled=True):
    """Return the routes of all layers, first layer first, from the relevance of what leaves the last one."""
    found = []
    for block, pieces in zip(reversed(blocks), reversed(layers), strict=True):
        found.insert(0, of_layer(block, pieces, of_leaving, scaled=scaled))
        of_leaving = found[0].entered
    return found


def chefer_lrp_rows(found, gradients, start):
    """Return the row `start` of Π (I + mean of (∂A · R^A)⁺), and that row of each layer's mean.

    Args:
        found: The routes.
        gradients: [layer][head, query, key].
        start: The token.
    """
    tokens = len(found[0].entered)
    product, rows = np.eye(tokens), []
    for route, gradient in zip(found, gradients, strict=True):
        mean = np.zeros((tokens, tokens))
        for i, j in np.ndindex(tokens, tokens):
            evidence = [max(0.0, gradient[h, i, j] * route.weights[h, i, j]) for h in range(len(gradient))]
            mean[i, j] = sum(evidence) / len(evidence)
        product = (np.eye(tokens) + mean) @ product
        rows.append(mean[start])
    return product[start], np.array(rows)
