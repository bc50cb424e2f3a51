"""How far did the model's answer move? Two passes of the same inputs and the same draw, compared."""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clsight.errors import CaptureError
from clsight.interventions.passes import Answer

ONE_CLASS: Final = "one class only: its probability is 1 whatever the logit"


WORDS: Final = {
    "logit_change": ("change of the predicted class's logit", "logit"),
    "kl": ("KL divergence of the class probabilities", "nats"),
    "prediction_changed": ("prediction changed", ""),
    "cls_distance": ("cosine distance of the final CLS state", ""),
}
"""Every effect, one number per sample, with the name of its axis and its unit."""


def absent_effects(clean: Answer) -> dict[str, str]:
    """Return the effects that cannot be told from such an answer, each with the reason.

    Raises:
        CaptureError: If none can.
    """
    absent = {}
    if clean.logits is None:
        absent = dict.fromkeys(WORDS.keys() - {"cls_distance"}, clean.why_no_logits)
    elif clean.logits.shape[1] == 1:
        absent = dict.fromkeys(("kl", "prediction_changed"), ONE_CLASS)
    if clean.state is None:
        absent["cls_distance"] = "what leaves the last layer is not one sequence of states"
    if len(absent) == len(WORDS):
        raise CaptureError(
            "output",
            expected="logits, or a state of CLS that leaves the last layer",
            got=f"no logits ({clean.why_no_logits}) and no such state",
            next_step="Pass output=, a function from the model's output to its logits",
        )
    return absent


def effects_of(clean: Answer, other: Answer) -> dict[str, NDArray[np.float64]]:
    """Return how far the answer moved, each `[sample]`, by the names in `WORDS`; what is absent is left out.

    Args:
        clean: The answer of an untouched pass.
        other: The answer when something was cut.
    """
    found: dict[str, Tensor] = {}
    if clean.logits is not None and other.logits is not None:
        predicted = clean.logits.argmax(dim=1, keepdim=True)
        found["logit_change"] = (other.logits - clean.logits).gather(1, predicted)[:, 0]
        if clean.logits.shape[1] > 1:
            found["kl"] = _divergence(clean.logits, other.logits)
            changed = other.logits.argmax(dim=1, keepdim=True) != predicted
            known = torch.isfinite(other.logits).all(dim=1)
            found["prediction_changed"] = changed[:, 0].double().where(known, float("nan"))
    if clean.state is not None and other.state is not None:
        found["cls_distance"] = cosine_distance(clean.state, other.state)
    return {name: values.cpu().numpy() for name, values in found.items()}


def cosine_distance(one: Tensor, other: Tensor) -> Tensor:
    """Return 1 − cosine over the last dim, in [0, 2]; NaN for a zero vector.

    As half the squared chord, ½ ‖u/‖u‖ − w/‖w‖‖²: 1 − cosine loses in float32 all that is smaller than 1e-7.
    """
    return 0.5 * (_unit(one) - _unit(other)).square().sum(-1)


def _unit(vectors: Tensor) -> Tensor:
    vectors = vectors.double()
    norm: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / norm


def _divergence(clean: Tensor, other: Tensor) -> Tensor:
    """Return KL(clean ‖ other) of the softmax of logits, `[sample]`, in nats."""
    log_p, log_q = (torch.log_softmax(logits, dim=1) for logits in (clean, other))
    return (log_p.exp() * (log_p - log_q)).sum(1).clamp(min=0.0)
