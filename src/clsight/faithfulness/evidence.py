"""Does an attribution point at what is known to be the evidence: a mask, or what humans marked?"""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from clsight.errors import RecordError
from clsight.faithfulness.attributed import (
    kinds_of,
    per_token,
    reasons_against,
    removable_in,
    sample_coords,
    scored,
)
from clsight.faithfulness.registry import metric

_TRUST = (
    "The evidence is what an answer should rest on; what this model rests on may be elsewhere, and then a "
    "faithful attribution loses: by the last layer the evidence may also have moved to other positions."
)


@metric(
    question="Is the token ranked first part of the known evidence?",
    definition="1 if the highest of the removable tokens is evidence, else 0; of equal highest, their share.",
    unit="",
    range="0 to 1; at random the share of evidence among the tokens",
    better="higher",
    cost="none",
    paper="Zhang et al. 2016, Top-down Neural Attention by Excitation Backprop, arXiv 1608.00507",
    trust=_TRUST,
    needs=("attribution", "evidence"),
)
def pointing_game(
    attribution: xr.DataArray, evidence: xr.DataArray, *, token_kind: Any = None
) -> xr.DataArray:
    """Return per sample whether the highest attribution lies in the evidence.

    Words, patches and steps count alone, so that a peak on [CLS] or [SEP] is passed over. Where several
    tokens share the highest score, the share of them that is evidence. NaN, with the reason in the coordinate
    `reason`, where all or none of the tokens are evidence and where the attribution ranks nothing.

    Args:
        attribution: `[sample, token]`.
        evidence: `[sample, token]`, True where the answer is known to be.
        token_kind: Kind of each token; by default the attribution's own coordinate.

    Returns:
        `[sample]`, in [0, 1]; higher is better.

    Raises:
        RecordError: If these are no arrays of the same samples and tokens, or kinds are unknown.
    """
    cases = _Cases(attribution, evidence, token_kind, asked_by="pointing_game")
    values = [float(marked[scores == scores.max()].mean()) for scores, marked in cases.usable]
    return cases.scored(values, "pointing_game")


@metric(
    question="Does the attribution rank the known evidence above all else?",
    definition="Average precision Σ (R_n − R_{n−1}) P_n over the removable tokens, equal scores at once.",
    unit="",
    range="0 to 1; at random a little above the share of evidence among the tokens",
    better="higher",
    cost="none",
    paper="DeYoung et al. 2020, ERASER, arXiv 1911.03429",
    trust=_TRUST,
    needs=("attribution", "evidence"),
)
def auprc(attribution: xr.DataArray, evidence: xr.DataArray, *, token_kind: Any = None) -> xr.DataArray:
    """Return per sample the area under the precision-recall curve, as average precision.

    A step function over distinct scores, equal to scikit-learn's `average_precision_score`: tokens of equal
    score enter at once, so that their order does not matter. Which tokens count, and where it is NaN:
    `pointing_game`.

    Args:
        attribution: `[sample, token]`.
        evidence: `[sample, token]`, True where the answer is known to be.
        token_kind: Kind of each token; by default the attribution's own coordinate.

    Returns:
        `[sample]`, in [0, 1]; higher is better.

    Raises:
        RecordError: If these are no arrays of the same samples and tokens, or kinds are unknown.
    """
    cases = _Cases(attribution, evidence, token_kind, asked_by="auprc")
    return cases.scored([average_precision(*case) for case in cases.usable], "auprc")


def average_precision(scores: NDArray[np.float64], marked: NDArray[np.bool_]) -> float:
    """Return Σ (R_n − R_{n−1}) P_n over distinct scores, highest first.

    Args:
        scores: `[token]`.
        marked: `[token]`, True for evidence; at least one.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], marked[order].cumsum()
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # the last of each run of equal scores
    precision, recall = hits[last] / (last + 1), hits[last] / hits[-1]
    return float((np.diff(recall, prepend=0.0) * precision).sum())


class _Cases:
    """Attribution and evidence per sample, of the tokens that count.

    Attributes:
        usable: Scores and evidence of each sample that has a result.
    """

    def __init__(self, attribution: Any, evidence: Any, token_kind: Any, *, asked_by: str) -> None:
        scores = per_token(attribution, "attribution", asked_by=asked_by)
        known = per_token(evidence, "evidence", asked_by=asked_by)
        if known.shape != scores.shape or not np.isin(known.values, (0, 1)).all():
            raise RecordError(
                asked_by,
                expected=f"`evidence` as True and False of sample={scores.shape[0]}, token={scores.shape[1]}",
                got=f"{known.dtype} of sample={known.shape[0]}, token={known.shape[1]}",
                next_step="Mark every token of the sequence that the encoder sees, [CLS] as False",
            )
        numbers, marks = scores.values.astype(np.float64), known.values.astype(bool)
        counted = removable_in(kinds_of(scores, token_kind, asked_by=asked_by))
        self._coords = sample_coords(scores)
        self._reasons = [
            why or _reason(mark[there])
            for mark, there, why in zip(marks, counted, reasons_against(numbers, counted), strict=True)
        ]
        self.usable = [
            (numbers[sample, counted[sample]], marks[sample, counted[sample]])
            for sample, reason in enumerate(self._reasons)
            if not reason
        ]

    def scored(self, values: list[float], name: str) -> xr.DataArray:
        """Return a score per sample from those of the usable ones."""
        left = iter(values)
        whole = [np.nan if reason else next(left) for reason in self._reasons]
        return scored(whole, self._reasons, name, coords=self._coords)


def _reason(marked: NDArray[np.bool_]) -> str:
    """Return why evidence tells nothing; empty if it does."""
    if len(marked) and marked.all():
        return f"all {len(marked)} tokens are evidence: every ranking finds it"
    return "" if marked.any() else "no token that may be removed is evidence"
