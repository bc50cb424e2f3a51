"""How much of the answer is lost without one token, and does an attribution rank tokens alike?"""

from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import kendalltau
from torch import nn
from tqdm.auto import tqdm

from clsight.errors import RecordError
from clsight.faithfulness.answers import Answers
from clsight.faithfulness.attributed import Text, per_token, reasons_against, sample_coords, scored
from clsight.faithfulness.batch import batch_of
from clsight.faithfulness.curves import Options, attributes_of, split_options
from clsight.faithfulness.registry import OFF_DISTRIBUTION, metric
from clsight.faithfulness.removal import Way

if TYPE_CHECKING:
    from clsight.loading import Subject

_SAME_EFFECT = "leaving out one token has the same effect for all {} tokens: there is no order to agree with"


def leave_one_out(
    subject_or_module: "Subject | nn.Module",
    inputs: Any,
    *,
    by: Way | None = None,
    progress: bool = True,
    **options: Unpack[Options],
) -> xr.DataArray:
    """Return how much of the answer is lost without each single token, `[sample, token]`.

    Args:
        subject_or_module: As for `clsight.capture`, with `inputs`, `cls_index`, `token_mask` and `within`.
        inputs: One batch, samples first.
        by: `mask`, `deletion` or `baseline`; by default the first that the model supports.
        progress: Show a progress bar on the error stream.
        **options: As for `clsight.faithfulness.removal_curves`.

    Returns:
        p(x) − p(x without the token), in [−1, 1], positive where the token speaks for the answer; NaN at
        tokens that are never removed. It is an attribution itself: as many passes as the longest sample has
        tokens. The coordinate `reason` says why a sample has none.

    Raises:
        CaptureError: As `clsight.faithfulness.removal_curves`.
    """
    asked, settings = split_options(by, options)
    answers = Answers(batch_of(subject_or_module, inputs, **asked), settings)
    most = int(answers.batch.removable.sum(1).max(initial=0))
    with tqdm(total=most, desc="leave one out", unit="pass", disable=not progress) as bar:
        return effects_of(answers, bar)


def effects_of(answers: Answers, bar: Any = None) -> xr.DataArray:
    """Return the effect of each token by answers that are known or run: one token of each sample per pass."""
    removable = answers.batch.removable
    place = np.where(removable, removable.cumsum(1) - 1, -1)  # the how-manieth that may be removed
    effects = np.full(removable.shape, np.nan)
    for nth in range(int(removable.sum(1).max(initial=0))):
        removed = place == nth
        lost = answers.whole - answers.without(removed)
        effects[removed] = lost[removed.any(1)]
        if bar is not None:
            bar.update()
    if answers.reason:
        effects[:] = np.nan
    reasons = np.full(len(removable), answers.reason, dtype=Text)
    return xr.DataArray(
        effects,
        dims=("sample", "token"),
        coords={
            **answers.batch.coords(),
            "target": ("sample", answers.target),
            "reason": ("sample", reasons),
        },
        name="leave_one_out",
        attrs={
            "long_name": "probability lost without the token",
            "units": "probability",
            **attributes_of(answers),
        },
    )


@metric(
    question="Does the attribution rank tokens as leaving out one at a time does?",
    definition="Kendall's τ-b of attribution and p(x) − p(x without the token) over the removable tokens.",
    unit="",
    range="−1 to 1; 0 for a ranking that has nothing to do with it",
    better="higher",
    cost="one forward pass per token",
    paper="Jain & Wallace 2019, Attention is not Explanation, arXiv 1902.10186",
    trust=(
        f"{OFF_DISTRIBUTION}; tokens that stand in for each other have no effect alone, and the many tokens "
        "without effect are ranked by noise."
    ),
    needs=("attribution", "effects"),
)
def leave_one_out_tau(attribution: xr.DataArray, effects: xr.DataArray) -> xr.DataArray:
    """Return Kendall's τ-b between an attribution and the effects of single tokens, per sample.

    Ties count as in τ-b. NaN with the reason in the coordinate `reason` where either is constant.

    Args:
        attribution: `[sample, token]`, for the same inputs.
        effects: What `leave_one_out` returned.

    Returns:
        `[sample]`, in [−1, 1]; higher is more faithful.

    Raises:
        RecordError: If they are no arrays of the same samples and tokens.
    """
    given = per_token(attribution, "attribution", asked_by="leave_one_out_tau")
    known = per_token(effects, "effects", asked_by="leave_one_out_tau")
    if given.shape != known.shape:
        raise RecordError(
            "leave_one_out_tau",
            expected=f"an attribution of sample={known.shape[0]}, token={known.shape[1]}, as the effects",
            got=f"sample={given.shape[0]}, token={given.shape[1]}",
            next_step="Compute both for the same inputs",
        )
    scores, lost = given.values.astype(np.float64), known.values.astype(np.float64)
    stated = effects["reason"].values.tolist() if "reason" in effects.coords else [""] * len(lost)
    counted = ~np.isnan(lost)
    reasons = [
        told or why or _unordered(row[there])
        for told, why, row, there in zip(stated, reasons_against(scores, counted), lost, counted, strict=True)
    ]
    values = [
        np.nan if reason else kendalltau(one[there], row[there]).statistic
        for reason, one, row, there in zip(reasons, scores, lost, counted, strict=True)
    ]
    return scored(values, reasons, "leave_one_out_tau", coords=sample_coords(effects))


def _unordered(effects: NDArray[np.float64]) -> str:
    """Return why effects have no order; empty if they have one."""
    return _SAME_EFFECT.format(len(effects)) if (effects == effects[0]).all() else ""
