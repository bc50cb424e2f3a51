r"""What do published peers give for attributions and their faithfulness, on small models?

    python3.11 -m venv /tmp/attribution-peers
    PIP="/tmp/attribution-peers/bin/python -m pip install -c constraints.txt"
    $PIP torch==2.13.0 transformers timm captum joblib lime matplotlib opencv-python pandas pytreebank \
        regex scikit-image scikit-learn seaborn shap thermostat-datasets==1.1.0
    $PIP --no-deps ferret-xai==0.4.2
    $PIP quantus==0.6.0 zennit==0.5.1 tabulate
    $PIP --no-deps lxt==2.1
    /tmp/attribution-peers/bin/python -m pip install --no-deps --target /tmp/attribution-peers/older \
        transformers==4.53.3 tokenizers==0.21.4 huggingface-hub==0.36.2
    /tmp/attribution-peers/bin/python benchmarks/attribution_peers.py --peer ferret quantus [--write]
    PYTHONPATH=/tmp/attribution-peers/older \
        /tmp/attribution-peers/bin/python benchmarks/attribution_peers.py --peer lxt [--write]

The peers declare older numpy, transformers or torch than clsight runs with: hence `--no-deps`, and what they
import by hand. `--dry-run` shows first that no other torch comes. All peers run unchanged. clsight is not
needed: tests/peer_cases.py builds models with fixed weights, and inputs. `--write` keeps the numbers for the
tests, which compare clsight's with them; without it they are compared with those kept. The exit code is 1 if
one differs by more than 1e-12.

- ferret 0.4.2: AOPC comprehensiveness and sufficiency, leave-one-out and its τ, average precision, of a BERT
  classifier. It removes only tokens with scores above 0: its `only_pos=False` fails under numpy 2 ("The truth
  value of an empty array is ambiguous"). So scores are raised by a constant to rank all tokens.
- Quantus 0.6.0: pixel flipping, region perturbation, faithfulness estimate, pointing game, top-k
  intersection, area under ROC, and the randomization of weights (MPRT), of a classifier of steps and a ViT.
  Its own areas under curves fail under numpy 2.4 ("module 'numpy' has no attribute 'trapz'").
- LXT 2.1: AttnLRP of a BERT and CP-LRP of a ViT of torchvision, in their last attention, where both are
  linear. It needs an older transformers ("cannot import name 'find_pruneable_heads_and_indices' from
  'transformers.pytorch_utils'" with 5.23), hence the folder.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import peer_cases as cases  # noqa: E402 - of the tests
from encoder_builders import declare_torchvision_operators  # noqa: E402 - of the tests

Numbers = dict[str, Any]  # by question; a list per sample
TOLERANCE = 1e-12  # another machine may sum in another order


def main() -> None:
    """Run the peers; print the largest difference from the numbers kept, or keep these."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peer", choices=PEERS, nargs="+", default=[*PEERS], help="run these alone")
    parser.add_argument("--write", action="store_true", help="keep the numbers for the tests")
    options = parser.parse_args()
    declare_torchvision_operators()  # where torchvision has a build for CUDA alone
    worst = 0.0
    for name in options.peer:
        distribution, path, run = PEERS[name]
        found = run()
        if options.write:
            kept = json.loads(path.read_text()) if path.exists() else {}
            kept[name] = {"versions": versions(distribution), "numbers": found}
            path.write_text(json.dumps(kept, indent=1) + "\n")
        apart = difference(found, cases.numbers(path, name))
        print(f"{name}: {versions(distribution)}: largest difference {apart:.1e}")
        worst = max(worst, apart)
    sys.exit(f"largest difference {worst:.1e}" if worst > TOLERANCE else 0)


def versions(distribution: str) -> str:
    """Return the versions that a peer was run with."""
    return ", ".join(f"{name} {version(name)}" for name in (distribution, "torch", "numpy"))


def difference(found: Any, kept: Any) -> float:
    """Return the largest difference between two results of the same form; infinite if the forms differ."""
    if isinstance(found, dict):
        return max(difference(found[name], kept.get(name)) for name in found)
    if isinstance(found, list):
        if not isinstance(kept, list) or len(found) != len(kept):
            return float("inf")
        return max(map(difference, found, kept))
    return float("inf") if kept is None else abs(found - kept)


def of_ferret() -> Numbers:
    """Return ferret's numbers for each sentence and the class predicted for it.

    Its text is decoded and tokenized anew; with one word per id that is no change. Names say what becomes of
    removed words, and "positive" where scores are not raised.
    """
    from ferret.evaluators.faithfulness_measures import (
        AOPC_Comprehensiveness_Evaluation,
        AOPC_Sufficiency_Evaluation,
        TauLOO_Evaluation,
    )
    from ferret.evaluators.plausibility_measures import AUPRC_PlausibilityEvaluation

    faithful = {
        "comprehensiveness": AOPC_Comprehensiveness_Evaluation,
        "sufficiency": AOPC_Sufficiency_Evaluation,
    }
    module, tokenizer = cases.text_case()[0], word_tokenizer()
    found: Numbers = {}
    for explained in explanations(module, tokenizer):
        for name, kind in faithful.items():
            evaluation = kind(module, tokenizer)
            for question, (raised, asked) in removals(name).items():
                given = replace(explained, scores=explained.scores + raised)
                score = evaluation.compute_evaluation(given, target=given.target, **asked).score
                found.setdefault(question, []).append(float(score))
        tau = TauLOO_Evaluation(module, tokenizer)
        effects = tau.compute_leave_one_out_occlusion(explained.text, target=explained.target)
        found.setdefault("leave_one_out", []).append((-effects).tolist())
        score = tau.compute_evaluation(explained, target=explained.target).score
        found.setdefault("leave_one_out_tau", []).append(float(score))
        score = (
            AUPRC_PlausibilityEvaluation(module, tokenizer)
            .compute_evaluation(explained, only_pos=False)
            .score
        )
        found.setdefault("auprc", []).append(float(score))
    return found


def removals(name: str) -> dict[str, tuple[float, dict[str, Any]]]:
    """Return how a measure of removal is asked, by question: what scores are raised by, and options."""
    above_all = 10.0
    return {
        f"aopc_{name}, deletion": (above_all, {}),
        f"aopc_{name}, mask id": (above_all, {"removal_args": {"remove_tokens": False}}),
        f"aopc_{name}, deletion, positive": (0.0, {}),
        f"{name} at 20 %, deletion": (above_all, {"removal_args": {"thresholds": [0.2]}}),
    }


def explanations(module: Any, tokenizer: Any) -> list[Any]:
    """Return each sentence with its scores, words known to be evidence, and the class predicted for it."""
    from ferret.explainers.explanation import ExplanationWithRationale

    found = []
    for ids, scores, rationale in zip(
        cases.sentences(), cases.text_case()[1], cases.rationales(), strict=True
    ):
        text = tokenizer.decode(ids)
        encoded = tokenizer(text, return_tensors="pt")
        assert encoded["input_ids"][0].tolist() == cases.enclosed(ids)
        with torch.no_grad():
            target = int(module(**encoded).logits.argmax())
        tokens = tokenizer.convert_ids_to_tokens(encoded["input_ids"][0])
        found.append(ExplanationWithRationale(text, tokens, scores, "drawn", target, np.array(rationale)))
    return found


def word_tokenizer() -> Any:
    """Return a tokenizer with one word per id."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    ids = {word: number for number, word in enumerate(cases.VOCABULARY)}
    tokenizer = Tokenizer(WordLevel(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    ends = [(word, ids[word]) for word in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    named = {f"{word[1:-1].lower()}_token": word for word in cases.SPECIAL}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=40, **named)


def of_quantus() -> Numbers:
    """Return Quantus' numbers, by question; curves are a list per sample, over steps or patches removed."""
    return {**curves_of_quantus(), **evidence_of_quantus(), **cascade_of_quantus()}


def curves_of_quantus() -> Numbers:
    """Return probabilities as steps or patches turn 0, and how the effects of single steps rank."""
    import quantus

    module, x, classes, scores = cases.steps_case()
    each = {"features_in_step": cases.CHANNELS, "perturb_baseline": 0.0, **AS_THEY_ARE}
    call = {
        "model": module,
        "x_batch": x.numpy(),
        "y_batch": np.array(classes),
        "a_batch": np.repeat(scores[..., None], cases.CHANNELS, axis=-1),
        "channel_first": True,
        "softmax": True,
    }
    found = {
        "pixel flipping": quantus.PixelFlipping(**each)(**call),
        "single steps, tau": quantus.FaithfulnessEstimate(similarity_func=taus, **each)(**call),
    }
    module, x, classes, scores = cases.pictures_case()
    call |= {
        "model": module,
        "x_batch": x.numpy(),
        "y_batch": np.array(classes),
        "a_batch": scores.repeat(8, axis=1).repeat(8, axis=2)[:, None],
    }
    regions = {"patch_size": 8, "regions_evaluation": 16, "perturb_baseline": 0.0, **AS_THEY_ARE}
    for order in ("morf", "lerf"):
        found[f"region perturbation, {order}"] = quantus.RegionPerturbation(order=order, **regions)(**call)
    return plain(found)


def taus(a: Any, b: Any, batched: bool) -> Any:
    """Return Kendall's τ-b of each row; Quantus' own similarities are Pearson's and Spearman's."""
    from scipy.stats import kendalltau

    assert batched
    return np.array([kendalltau(one, other).statistic for one, other in zip(a, b, strict=True)])


def evidence_of_quantus() -> Numbers:
    """Return how well scores of patches find those that are marked, 4 × 4 pixels standing for the patches."""
    import quantus

    scores, marked = cases.marked_patches()
    call = {
        "model": cases.pictures_case()[0],
        "x_batch": scores[:, None].astype(np.float32),
        "y_batch": np.zeros(len(scores), dtype=int),
        "a_batch": scores[:, None],
        "s_batch": marked[:, None],
        "channel_first": True,
    }
    share = [quantus.TopKIntersection(k=k, **AS_THEY_ARE)(**call) for k in range(1, 16)]
    return plain(
        {
            "pointing game": np.array(quantus.PointingGame(**AS_THEY_ARE)(**call)).astype(float),
            "top-k intersection": np.transpose(share),
            "area under ROC": quantus.AUC(**AS_THEY_ARE)(**call),
        }
    )


def cascade_of_quantus() -> Numbers:
    """Return the rank correlations of two attributions with themselves, by part of the model.

    Quantus calls `reset_parameters` of each part from the last registered to the first; in `cases.Unit` that
    puts weights in the random order that clsight's cascade takes.
    """
    import quantus

    module, x, classes, _ = cases.steps_case()
    explained = {
        "attention": lambda model, inputs, targets, **_: model.last_attention(torch.tensor(inputs)),
        "gradient": lambda model, inputs, targets, **_: model.gradient_times_input(
            torch.tensor(inputs), list(targets)
        ),
    }
    found: Numbers = {}
    for name, explain in explained.items():
        similar = quantus.MPRT(similarity_func=quantus.similarity_func.correlation_spearman, **AS_THEY_ARE)(
            model=module,
            x_batch=x.numpy(),
            y_batch=np.array(classes),
            explain_func=lambda explain=explain, **given: explain(**given).detach().numpy()[..., None],
            channel_first=True,
        )
        found[f"cascade, {name}"] = plain(similar)
    return found


def of_lxt() -> Numbers:
    """Return the relevance of what the last attention reads at each token, as gradient × input.

    Of a BERT under AttnLRP, that of the values, `[sample][token][head]`; of a ViT under CP-LRP, that of the
    first norm's result, `[sample][token]`. LXT patches the classes of torch for good: it is the last peer.
    """
    from lxt.efficient import monkey_patch
    from torchvision.models import vision_transformer
    from transformers.models.bert import modeling_bert

    monkey_patch(modeling_bert)  # before the model is built
    bert, words, classes = cases.bert_case()
    attention = bert.bert.encoder.layer[-1].attention.self
    values = relevance(bert, words, classes, of=attention.value)
    per_head = values.unflatten(-1, (attention.num_attention_heads, -1)).sum(-1)
    monkey_patch(vision_transformer)
    vit, pixels, classes = cases.torchvision_case()
    of_norm = relevance(vit, {"x": pixels}, classes, of=vit.encoder.layers[-1].ln_1)
    return plain({"AttnLRP, last values": per_head, "CP-LRP, last attention": of_norm.sum(-1)})


def relevance(module: Any, inputs: Any, classes: list[int], *, of: Any) -> torch.Tensor:
    """Return gradient × value of the result of one part, `[sample, token, channel]`."""
    read: list[torch.Tensor] = []
    handle = of.register_forward_hook(lambda _, __, result: read.append(result))
    chosen = module(**inputs).gather(1, torch.tensor(classes)[:, None]).sum()
    handle.remove()
    (slope,) = torch.autograd.grad(chosen, read)
    return (slope * read[0]).detach()


def plain(found: Any) -> Any:
    """Return results as numbers of Python."""
    if isinstance(found, dict):
        return {name: plain(one) for name, one in found.items()}
    return np.asarray(found, dtype=float).tolist()


AS_THEY_ARE = {"normalise": False, "abs": False, "disable_warnings": True}
PEERS: dict[str, tuple[str, Path, Callable[[], Numbers]]] = {
    "ferret": ("ferret-xai", cases.FAITHFULNESS, of_ferret),
    "quantus": ("quantus", cases.FAITHFULNESS, of_quantus),
    "lxt": ("lxt", cases.INTERVENTIONS, of_lxt),
}

if __name__ == "__main__":
    main()
