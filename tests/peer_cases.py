"""The small models and inputs on which published peers were run, and the numbers that they gave.

`python benchmarks/attribution_peers.py --write` runs the peers and writes the numbers. Nothing here imports
clsight: the same file builds the same weights, bit for bit, in the suite and in the environment of the peers.
"""

import json
from pathlib import Path

import numpy as np

from relevance_peers import peer_bert

HERE = Path(__file__).parent
FAITHFULNESS = HERE / "faithfulness" / "peers.json"


def numbers(path, peer):
    """Return what one peer gave, by the name of the question."""
    return json.loads(path.read_text())[peer]["numbers"]


def scores(*shape, seed):
    """Signed scores without ties."""
    return np.random.default_rng(seed).standard_normal(shape)


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
