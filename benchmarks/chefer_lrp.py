"""Does clsight give what the authors' code gives for Chefer's rule of CVPR 2021 (arXiv 2012.09838)?

    git clone https://github.com/hila-chefer/Transformer-Explainability /tmp/chefer
    python benchmarks/chefer_lrp.py --repository /tmp/chefer [--write]

Runs the authors' ViT and BERT, one sample at a time, with the weights of two small models of timm and
transformers, in float64, and compares `chefer_lrp` on those models. Needs what the tests need. Nothing of the
authors' code is changed but the ε of ViT's last norm, which timm sets to 1e-6; BERT's encoder, pooler and
classifier run on the embeddings of transformers, whose own base classes have moved on. `--write` keeps the
authors' numbers in tests/relevance_peers.json, which the tests compare with.

- vit: `VisionTransformer.relprop(method="grad")`, the row of CLS without CLS.
- bert: as `Generator.generate_LRP(start_layer=0)`, the row of CLS; its entry of CLS, which that sets to 0, is
  left out.

The numbers kept were made by a copy of the relevance code of modules/layers_ours.py (commit d5242869),
baselines/ViT/ViT_LRP.py (f9cdd278) and BERT_explainability/modules/ (301d8723), with torch 2.13 on a CPU,
without what this script does not run: loading of weights, the rule of the patch embedding, other methods.
The largest difference was 7e-7 for ViT and 6e-8 for BERT.

The exit code is 1 if a number differs by more than 1e-6 of the largest one of its sample.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from relevance_peers import CLASSES, NUMBERS, peer_bert, peer_vit  # noqa: E402, I001 - of the tests
from clsight.interventions import chefer_lrp  # noqa: E402

TOLERANCE = 1e-6  # the authors stabilize where relevance is copied, too, by 1e-9


def main() -> None:
    """Print one line per model and sample."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--repository", type=Path, required=True, help="a checkout of the authors' repository"
    )
    parser.add_argument("--write", action="store_true", help="keep the authors' numbers for the tests")
    options = parser.parse_args()
    sys.path.insert(0, str(options.repository))
    found = {"vit": of_vit(), "bert": of_bert()}
    worst = max(compared(name, rows) for name, rows in found.items())
    if options.write:
        NUMBERS.write_text(json.dumps(found, indent=1) + "\n")
    sys.exit(f"largest relative difference {worst:.1e}" if worst > TOLERANCE else 0)


def compared(name: str, rows: list[list[float]]) -> float:
    """Print how far clsight is from the authors' rows of one model; return the largest difference."""
    module, inputs = {"vit": peer_vit, "bert": peer_bert}[name]()
    found = chefer_lrp(module, inputs, target=CLASSES).chefer_lrp
    ours = found.fillna(0).values[:, 1:]  # theirs is 0 at padding
    differences = [
        np.abs(np.array(theirs) - own).max() / np.max(theirs) for theirs, own in zip(rows, ours, strict=True)
    ]
    for sample, difference in enumerate(differences):
        print(
            f"{name}, sample {sample}: largest {np.max(rows[sample]):.3e}, differs by {difference:.1e} of it"
        )
    return float(max(differences))


def of_vit() -> list[list[float]]:
    """Return the authors' relevance of each patch: [sample, patch]."""
    from baselines.ViT.ViT_LRP import VisionTransformer

    module, inputs = peer_vit()
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3, "num_classes": 5}
    theirs = VisionTransformer(**sizes, qkv_bias=True).double().eval()
    theirs.load_state_dict(module.state_dict())
    theirs.norm.eps = module.norm.eps
    rows = []
    for picture, chosen in zip(inputs["x"], CLASSES, strict=True):
        start = started(theirs(picture[None]), chosen)
        rows.append(theirs.relprop(start, method="grad", alpha=1)[0].tolist())
    return rows


def of_bert() -> list[list[float]]:
    """Return the authors' relevance of each token but CLS: [sample, token]."""
    from BERT_explainability.modules.BERT.BERT import BertEncoder, BertPooler
    from BERT_explainability.modules.layers_ours import Linear

    module, inputs = peer_bert()
    config = module.config
    parts = [BertEncoder(config), BertPooler(config), Linear(config.hidden_size, config.num_labels)]
    own = [module.bert.encoder, module.bert.pooler, module.classifier]
    for part, source in zip(parts, own, strict=True):
        part.double().eval().load_state_dict(source.state_dict())
    rows = []
    for ids, mask, chosen in zip(inputs["input_ids"], inputs["attention_mask"], CLASSES, strict=True):
        states = module.bert.embeddings(ids[None]).detach()
        hidden = (1.0 - mask[None, None, None].double()) * -10000.0
        encoder, pooler, classifier = parts
        relevance = started(classifier(pooler(encoder(states, attention_mask=hidden)[0])), chosen)
        for part in reversed(parts):
            relevance = part.relprop(relevance, alpha=1)
        rows.append(rolled_out(encoder)[1:].tolist())
    return rows


def started(logits: Tensor, chosen: int) -> Tensor:
    """Let the gradients of one class go down, and return the relevance that starts there."""
    one_hot = torch.nn.functional.one_hot(torch.tensor([chosen]), logits.shape[1]).double()
    (one_hot * logits).sum().backward(retain_graph=True)
    return one_hot


def rolled_out(encoder: Any) -> Tensor:
    """Return the row of CLS as `Generator.generate_LRP` makes it, which asks for a GPU."""
    product = None
    for layer in encoder.layer:
        attention = layer.attention.self
        evidence = (attention.get_attn_gradients()[0] * attention.get_attn_cam()[0]).clamp(min=0).mean(0)
        matrix = evidence + torch.eye(len(evidence)).double()
        product = matrix if product is None else matrix @ product
    return product[0]


if __name__ == "__main__":
    main()
