"""Small records with known contents, from dense float64 attention computed by slow, obvious loops.

Every dimension has another size and every weight another value, so that a swapped axis, or a row taken for a
column, changes the result.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.dtypes import StringDType

WORDS = ("[CLS]", "the", "<s>", "river & sea", "the", "$x$", "[SEP]", "", "")


@dataclass(frozen=True)
class HandMade:
    """A record and the dense weights it was cut from."""

    record: xr.Dataset
    dense: np.ndarray  # [sample, layer, head, query token, key token], float64
    mask: np.ndarray  # [sample, token], True = real


def dense_attention(*, sizes, mask, seed):
    """Return softmax(q·k/√d) over the real keys, one number at a time."""
    samples, layers, heads, tokens, width = sizes
    generator = np.random.default_rng(seed)
    query = generator.normal(size=(samples, layers, heads, tokens, width)) * 1.5
    key = generator.normal(size=(samples, layers, heads, tokens, width))
    dense = np.zeros((samples, layers, heads, tokens, tokens))
    for s in range(samples):
        for layer in range(layers):
            for h in range(heads):
                for i in range(tokens):
                    scores = [
                        np.exp(sum(query[s, layer, h, i] * key[s, layer, h, j]) / width**0.5) * mask[s, j]
                        for j in range(tokens)
                    ]
                    for j in range(tokens):
                        dense[s, layer, h, i, j] = scores[j] / sum(scores)
    return dense, query, key


def patch_record(*, samples=2, layers=3, heads=4, grid=(2, 3), seed=0, name="hand-made"):
    """Return [CLS] and `grid` patches, nothing padded: 2 × 3 × 4 × 7, head size 5."""
    tokens = 1 + grid[0] * grid[1]
    kinds = [["cls"] + ["patch"] * (tokens - 1)] * samples
    texts = [["[CLS]"] + [f"patch {i // grid[1]},{i % grid[1]}" for i in range(tokens - 1)]] * samples
    made = _made(kinds, texts, layers=layers, heads=heads, seed=seed, name=name)
    row = np.array([[-1] + [i // grid[1] for i in range(tokens - 1)]] * samples, dtype=np.int16)
    column = np.array([[-1] + [i % grid[1] for i in range(tokens - 1)]] * samples, dtype=np.int16)
    record = made.record.assign_coords(row=(("sample", "token"), row), column=(("sample", "token"), column))
    return HandMade(record, made.dense, made.mask)


def word_record(*, samples=2, layers=3, heads=4, words=WORDS, seed=1, name="hand-made"):
    """Return a sequence of words; sample 0 ends in two paddings, and sample s in s fewer: 2 × 3 × 4 × 9."""
    texts, kinds = [], []
    for sample in range(samples):
        padding = max(0, 2 - sample)
        real = [word or f"w{i}" for i, word in enumerate(words)][: len(words) - padding]
        texts.append(real + [""] * padding)
        kinds.append(["cls"] + ["word"] * (len(real) - 2) + ["special"] + ["pad"] * padding)
    return _made(kinds, texts, layers=layers, heads=heads, seed=seed, name=name)


def _made(kinds, texts, *, layers, heads, seed, name):
    kinds, texts = np.array(kinds, dtype=StringDType()), np.array(texts, dtype=StringDType())
    (samples, tokens), mask, width = kinds.shape, kinds != "pad", 5
    dense, query, key = dense_attention(sizes=(samples, layers, heads, tokens, width), mask=mask, seed=seed)
    per_token, per_head = ("sample", "layer", "head", "token"), ("sample", "layer", "head", "head_dim")
    column = np.where(mask[:, None, None, :], dense[..., :, 0], np.nan)
    generator = np.random.default_rng(seed + 100)
    record = xr.Dataset(
        {
            "attends_to": (per_token, dense[..., 0, :].astype(np.float32)),
            "attended_by": (per_token, column.astype(np.float32)),
            "query": (per_head, query[..., 0, :].astype(np.float32)),
            "key": (per_head, key[..., 0, :].astype(np.float32)),
            "value": (per_head, generator.normal(size=query[..., 0, :].shape).astype(np.float32)),
            "value_norm": (per_token, generator.random(column.shape).astype(np.float32)),
            "attention_error": (("sample", "layer"), np.zeros((samples, layers), dtype=np.float32)),
            "logits": (("sample", "class"), generator.normal(size=(samples, 6)).astype(np.float32)),
            "token_mask": (("sample", "token"), mask),
        },
        coords={
            "sample": np.arange(samples),
            "layer": np.arange(layers),
            "head": np.arange(heads),
            "token": np.arange(tokens),
            "layer_name": ("layer", np.array([f"encoder.layers.{i}" for i in range(layers)], StringDType())),
            "token_text": (("sample", "token"), texts),
            "token_kind": (("sample", "token"), kinds),
            "label": ("sample", np.arange(samples, dtype=np.int64) + 3),
            "class_name": ("class", np.array(list("abcdef"), dtype=StringDType())),
        },
        attrs=_attributes(name, tokens, layers),
    )
    return HandMade(record, dense, mask)


def _attributes(name, tokens, layers):
    return {
        "schema_version": 1,
        "clsight_version": "0.1.0",
        "model": name,
        "checkpoint_sha256": "00ff",
        "cls_index": 0,
        "strategy": "learned",
        "seed": 7,
        "dtype": "float32",
        "device": "cpu",
        "kernel": ["math"] * layers,
        "versions": {"torch": "2.13.0", "numpy": "2"},
        "absent": {"hidden": "not asked for"},
        "notes": ["Made by hand."],
        "sequence_length": tokens,
    }
