"""The two small models on which the authors' code for Chefer's rule of CVPR 2021 was run, and its numbers.

`python benchmarks/chefer_lrp.py --repository <checkout>` runs it and writes the numbers beside this file.
"""

import json
from pathlib import Path

import torch

from encoder_builders import TEXT, TIMM, hugging_face, timm, words

NUMBERS = Path(__file__).with_name("relevance_peers.json")
CLASSES = (2, 0, 1)


def drawn(module, seed):
    """Return a module in float64 whose every parameter is drawn anew, in the order of their names."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(module.named_parameters()):
        noise = torch.randn(parameter.shape, generator=generator)
        fan_in = parameter[0].numel() if parameter.dim() > 1 else 100
        is_scale = parameter.dim() == 1 and name.endswith("weight")  # of a norm
        parameter.data = (noise * fan_in**-0.5 + (1.0 if is_scale else 0.0)).double()
    return module.eval()


def peer_vit():
    """A ViT of timm with three layers, and pictures."""
    module = timm("vit_tiny_patch16_224", fused=False, **TIMM | {"depth": 3})()
    generator = torch.Generator().manual_seed(4)
    return drawn(module, 5), {"x": torch.randn(3, 3, 32, 32, generator=generator).double()}


def peer_bert():
    """A BERT classifier of transformers with three layers, and padded token ids."""
    options = TEXT | {"num_hidden_layers": 3, "num_labels": 3}
    module = hugging_face("BertForSequenceClassification", "BertConfig", options, attention="eager")()
    return drawn(module, 6), words()


def numbers():
    """Return what the authors' code gave: by model [sample, token]; that of CLS itself is left out."""
    return json.loads(NUMBERS.read_text())
