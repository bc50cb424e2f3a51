"""Slow, obvious float64 versions of what clsight computes fast: loops over single numbers, no shared code."""

import math

import numpy as np

# --- measures: from dense weights [sample, layer, head, query, key] and mask [sample, token], CLS at 0 ---


def each_head(dense):
    """Yield the index and the dense weights of every sample, layer and head."""
    for index in np.ndindex(dense.shape[:3]):
        yield index, dense[index]


def real_positions(mask, sample):
    return [position for position in range(mask.shape[1]) if mask[sample, position]]


def entropy_of_row(dense, mask):
    result = np.zeros(dense.shape[:3])
    for index, weights in each_head(dense):
        for j in real_positions(mask, index[0]):
            if weights[0, j] > 0:
                result[index] -= weights[0, j] * math.log(weights[0, j])
    return result


def entropy_of_column(dense, mask):
    result = np.zeros(dense.shape[:3])
    for index, weights in each_head(dense):
        real = real_positions(mask, index[0])
        total = sum(weights[i, 0] for i in real)
        for i in real:
            if weights[i, 0] > 0:
                result[index] -= weights[i, 0] / total * math.log(weights[i, 0] / total)
    return result


def attention_of_cls_to_itself(dense):
    result = np.zeros(dense.shape[:3])
    for index, weights in each_head(dense):
        result[index] = weights[0, 0]
    return result


def weight_over_uniform(dense, mask, *, column):
    samples, layers, heads, tokens, _ = dense.shape
    result = np.full((samples, layers, heads, tokens), np.nan)
    for index, weights in each_head(dense):
        real = real_positions(mask, index[0])
        for j in real:
            result[(*index, j)] = (weights[j, 0] if column else weights[0, j]) / (1 / len(real))
    return result


def mean_row_over_heads(dense, mask):
    samples, layers, heads, tokens, _ = dense.shape
    result = np.full((samples, layers, tokens), np.nan)
    for s in range(samples):
        for layer in range(layers):
            for j in real_positions(mask, s):
                result[s, layer, j] = sum(dense[s, layer, h, 0, j] for h in range(heads)) / heads
    return result


def mean_column_over_tokens(dense, mask, *, include_cls):
    result = np.zeros(dense.shape[:3])
    for index, weights in each_head(dense):
        queries = [i for i in real_positions(mask, index[0]) if include_cls or i != 0]
        result[index] = sum(weights[i, 0] for i in queries) / len(queries)
    return result


# --- attention: dense weights of torch's own modules, from their parameters, one sample and head at once ---


def softmax(scores):
    """Softmax of one row of scores; all zero where nothing may be attended to."""
    if np.isneginf(scores).all():
        return np.zeros_like(scores)
    exponentials = np.exp(scores - scores.max())
    return exponentials / exponentials.sum()


def attention_of_one_sample(module, query, key, value, *, blocked):
    """Return weights [head, query, key] and output [query, channel] of one `nn.MultiheadAttention`, float64.

    `blocked` is [query, key], True where the query may not attend.
    """
    width = module.embed_dim
    weight = module.in_proj_weight.detach().double().numpy()
    bias = (
        np.zeros(3 * width) if module.in_proj_bias is None else module.in_proj_bias.detach().double().numpy()
    )
    q = query @ weight[:width].T + bias[:width]
    k = key @ weight[width : 2 * width].T + bias[width : 2 * width]
    v = value @ weight[2 * width :].T + bias[2 * width :]
    if module.bias_k is not None:
        k = np.vstack([k, module.bias_k.detach().double().numpy()[0]])
        v = np.vstack([v, module.bias_v.detach().double().numpy()[0]])
    if module.add_zero_attn:
        k, v = np.vstack([k, np.zeros(width)]), np.vstack([v, np.zeros(width)])
    blocked = np.pad(blocked, ((0, 0), (0, len(k) - len(key))))
    size = width // module.num_heads
    weights = np.zeros((module.num_heads, len(q), len(k)))
    merged = np.zeros((len(q), width))
    for head in range(module.num_heads):
        part = slice(head * size, (head + 1) * size)
        for i in range(len(q)):
            scores = k[:, part] @ q[i, part] / math.sqrt(size)
            weights[head, i] = softmax(np.where(blocked[i], -np.inf, scores))
            merged[i, part] = weights[head, i] @ v[:, part]
    return weights, affine(module.out_proj, merged)


def affine(module, features):
    result = features @ module.weight.detach().double().numpy().T
    return result if module.bias is None else result + module.bias.detach().double().numpy()


def normalized(module, features):
    centered = features - features.mean(-1, keepdims=True)
    result = centered / np.sqrt((centered**2).mean(-1, keepdims=True) + module.eps)
    result = result * module.weight.detach().double().numpy()
    return result if module.bias is None else result + module.bias.detach().double().numpy()


def encoder_weights(encoder, inputs, *, padding, blocked):
    """Return the dense weights [sample, layer, head, query, key] of an `nn.TransformerEncoder`, in float64.

    `inputs` is [sample, token, channel]; `padding` [sample, token] and `blocked` [query, key] are True where
    nothing may be attended to. Dropout is off.
    """
    every_sample = []
    for sample, padded in zip(inputs.astype(np.float64), padding, strict=True):
        states, every_layer = sample, []
        for layer in encoder.layers:
            normed = normalized(layer.norm1, states) if layer.norm_first else states
            weights, mixed = attention_of_one_sample(
                layer.self_attn, normed, normed, normed, blocked=blocked | padded[None, :]
            )
            every_layer.append(weights)
            states = states + mixed if layer.norm_first else normalized(layer.norm1, states + mixed)
            normed = normalized(layer.norm2, states) if layer.norm_first else states
            hidden = np.maximum(affine(layer.linear1, normed), 0)
            states = states + affine(layer.linear2, hidden)
            states = states if layer.norm_first else normalized(layer.norm2, states)
        every_sample.append(every_layer)
    return np.array(every_sample)


# --- the classifier: weights by name in float64, one sample: tokens [token, width] and mask [token] ---


def layer_norm(x, weights, name):
    centered = x - x.mean()
    scaled = centered / math.sqrt((centered**2).mean() + 1e-5)
    return scaled * weights[f"{name}.weight"] + weights.get(f"{name}.bias", 0.0)


def linear(x, weights, name):
    return weights[f"{name}weight"] @ x + weights.get(f"{name}bias", 0.0)


def self_attention(tokens, mask, weights, name, heads):
    """Return the attention's output for one sample, [token, width], head by head and query by query."""
    width = tokens.shape[1]
    size = width // heads
    query, key, value = np.split(
        np.stack([linear(token, weights, f"{name}.in_proj_") for token in tokens]), 3, axis=1
    )
    merged = np.zeros_like(tokens)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for i in range(len(tokens)):
            scores = [query[i, part] @ key[j, part] / math.sqrt(size) for j in range(len(tokens))]
            exponentials = [math.exp(score) if mask[j] else 0.0 for j, score in enumerate(scores)]
            for j in range(len(tokens)):
                merged[i, part] += exponentials[j] / sum(exponentials) * value[j, part]
    return np.stack([linear(token, weights, f"{name}.out_proj.") for token in merged])


def feed_forward(token, weights, name):
    inner = linear(token, weights, f"{name}.linear1.")
    inner = np.array([0.5 * x * (1 + math.erf(x / math.sqrt(2))) for x in inner])  # exact GELU
    return linear(inner, weights, f"{name}.linear2.")


def encoded(tokens, mask, weights, *, layers, heads, norm):
    """Return the last layer's states of one sample, [token, width]; [CLS] and positions are in `tokens`."""
    x = tokens.astype(np.float64)
    for layer in range(layers):
        name = f"encoder.layers.{layer}"
        if norm == "pre":
            normed = np.stack([layer_norm(token, weights, f"{name}.norm1") for token in x])
            x = x + self_attention(normed, mask, weights, f"{name}.self_attn", heads)
            normed = [layer_norm(token, weights, f"{name}.norm2") for token in x]
            x = x + np.stack([feed_forward(token, weights, name) for token in normed])
        else:
            x = x + self_attention(x, mask, weights, f"{name}.self_attn", heads)
            x = np.stack([layer_norm(token, weights, f"{name}.norm1") for token in x])
            x = x + np.stack([feed_forward(token, weights, name) for token in x])
            x = np.stack([layer_norm(token, weights, f"{name}.norm2") for token in x])
    if norm == "pre":
        x = np.stack([layer_norm(token, weights, "encoder.norm") for token in x])
    return x


def patches_of(image, size):
    """Return the patches of one image, row by row, each flattened, [time, pixel]."""
    rows, columns = image.shape[0] // size[0], image.shape[1] // size[1]
    return np.stack(
        [
            [image[row * size[0] + i, column * size[1] + j] for i in range(size[0]) for j in range(size[1])]
            for row in range(rows)
            for column in range(columns)
        ]
    )
