"""Hand-made records with all that `keep=` can add, in float64, with mixed padding and several prefix tokens.

Samples 3, layers 5, heads 4, tokens 9 (of which 7, 8 and 9 are real), depth 6, channels 7: all different
where they meet.
"""

from functools import cache

import numpy as np
from numpy.dtypes import StringDType

from hand_made import HandMade, word_record

PER_TOKEN = ("sample", "layer", "head", "token")


def kept_record(*, samples=3, layers=5, heads=4, seed=3):
    """Return a copy that a test may change; see `_kept_record`."""
    made = _kept_record(samples, layers, heads, seed)
    return HandMade(made.record.copy(deep=True), made.dense.copy(), made.mask.copy())


@cache
def _kept_record(samples, layers, heads, seed):
    """Return a record of [CLS], two registers, words and [SEP], and the dense weights it was cut from."""
    made = word_record(samples=samples, layers=layers, heads=heads, seed=seed)
    dense, mask, record = made.dense, made.mask, made.record
    generator = np.random.default_rng(seed + 200)
    kinds = record["token_kind"].values.astype(object)
    kinds[:, 1:3] = "register"
    real = mask[:, None, None]
    record = record.assign(
        attends_to=(PER_TOKEN, dense[..., 0, :]),
        attended_by=(PER_TOKEN, np.where(real, dense[..., :, 0], np.nan)),
        value_norm=(PER_TOKEN, 1 + generator.random(real.shape[:1] + dense.shape[1:4])),
        attends_to_gradient=(PER_TOKEN, generator.normal(size=dense.shape[:4])),
        received=(PER_TOKEN, received_by_each(dense, mask)),
        contribution_norm=(
            ("sample", "layer", "token"),
            generator.random((samples, layers, 9)) * mask[:, None],
        ),
        rollout=(("sample", "token"), rolled_out(dense)),
        hidden=(("sample", "depth", "channel"), generator.normal(size=(samples, layers + 1, 7))),
    ).assign_coords(token_kind=(("sample", "token"), kinds.astype(StringDType())))
    return HandMade(record, dense, mask)


def received_by_each(dense, mask):
    """Return the mean weight that each token receives from the real tokens, itself included."""
    result = np.zeros(dense.shape[:4])
    for s in range(len(dense)):
        queries = [i for i in range(mask.shape[1]) if mask[s, i]]
        for i in queries:
            result[s] += dense[s, :, :, i] / len(queries)
    return result


def rolled_out(dense):
    """Return the CLS row of the product of ½ I + ½ mean over heads, with whole matrices."""
    result = np.zeros((dense.shape[0], dense.shape[-1]))
    for s, layers in enumerate(dense):
        product = np.eye(dense.shape[-1])
        for heads in layers:
            product = (np.eye(len(product)) + heads.mean(axis=0)) / 2 @ product
        result[s] = product[0]
    return result


def with_class_attention(record, layers):
    """Return the record as if in these layers CLS were the only query: no column beside CLS itself."""
    changed = record.copy(deep=True)
    for name in ("attended_by", "received"):
        if name in changed:
            changed[name].values[:, layers, :, 1:] = np.nan
    if "received" in changed:
        changed["received"].values[:, layers] = np.nan
    return changed
