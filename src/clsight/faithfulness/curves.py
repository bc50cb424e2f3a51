"""How does the answer fall as the tokens that an attribution ranks first go, and rise as they alone come?"""

from typing import TYPE_CHECKING, Any, Final, Unpack

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from torch import nn
from tqdm.auto import tqdm

from clsight.errors import CaptureError
from clsight.faithfulness.answers import Answers, Settings
from clsight.faithfulness.attributed import Text, counts_at, fitted, per_token, places_of, reasons_against
from clsight.faithfulness.batch import Asked, batch_of
from clsight.faithfulness.removal import Way

if TYPE_CHECKING:
    from clsight.loading import Subject

_WORDS: Final = {
    "deletion": "probability without the highest-ranked tokens",
    "insertion": "probability with the highest-ranked tokens alone",
    "removed": "share of the tokens that may be removed",
}


class Options(Asked, total=False):
    """What may be stated beside the attribution: of the call, of the removal, and of the answer."""

    baseline: Any
    output: Any
    target: Any
    draws: int
    seed: int


def removal_curves(
    subject_or_module: "Subject | nn.Module",
    inputs: Any,
    attribution: xr.DataArray,
    *,
    by: Way | None = None,
    steps: int = 10,
    progress: bool = True,
    **options: Unpack[Options],
) -> xr.Dataset:
    """Return the deletion and the insertion curve of an attribution, `[sample, fraction]`.

    Words, patches and steps go in the order of the attribution, highest first, of equal ones the earlier;
    [CLS], registers, special tokens and padding stay. docs/faithfulness.md tells the checks that come first.

    Args:
        subject_or_module: As for `clsight.capture`, with `inputs`, `cls_index`, `token_mask` and `within`.
        inputs: One batch, samples first.
        attribution: `[sample, token]`, signed: the highest speaks most for the answer.
        by: `mask`, `deletion` or `baseline`; by default the first that the model supports.
        steps: Number of equal parts; 10 for 10 % to 100 %. The number of tokens is rounded up.
        progress: Show a progress bar on the error stream.
        **options: `token_kind` if the attribution has none; `baseline`: an id, "mean" (the sample's own mean
            patch or step, the default for numbers) or "zero"; `output` and `target` as for `clsight.capture`,
            where the target is one class or one per sample; `draws` and `seed` for models that draw.

    Returns:
        `deletion` and `insertion`, probabilities of the class that the model predicts (or `target`);
        `removed`, the share that a fraction really is; `reason`, why a sample has no curve (NaN).

    Raises:
        CaptureError: If the model does not support the removal, fails a check, or has no logits.
        RecordError: If the attribution is no array `[sample, token]` for these inputs.
    """
    check_steps(steps)
    array = per_token(attribution, "attribution", asked_by="removal_curves")
    asked, settings = split_options(by, options)
    batch = batch_of(subject_or_module, inputs, like=array, **asked)
    scores = fitted(array, batch.sizes, "attribution", asked_by="removal_curves")
    answers = Answers(batch, settings)
    with tqdm(total=2 * steps, desc="removal curves", unit="pass", disable=not progress) as bar:
        curves = curves_of(answers, scores.values.astype(np.float64), steps, bar)
    return curves


def curves_of(answers: Answers, attribution: NDArray[np.float64], steps: int, bar: Any = None) -> xr.Dataset:
    """Return the curves of an attribution `[sample, token]` by answers that are known or run."""
    removable = answers.batch.removable
    reasons = [answers.reason or reason for reason in reasons_against(attribution, removable)]
    places, counts = places_of(attribution, removable), counts_at(steps, removable)
    deletion, insertion = (np.empty(counts.shape) for _ in range(2))
    for step in range(steps + 1):
        first = places <= counts[:, step, None]
        deletion[:, step] = answers.without(first)
        insertion[:, step] = answers.without(removable & ~first)
        if bar is not None:
            bar.update(2 if step else 0)
    undefined = np.array([bool(reason) for reason in reasons])
    shares = counts / np.maximum(removable.sum(1), 1)[:, None]
    values = {"deletion": deletion, "insertion": insertion, "removed": shares}
    return xr.Dataset(
        {
            name: (
                ("sample", "fraction"),
                np.where(undefined[:, None], np.nan, array),
                {"long_name": _WORDS[name], "units": "" if name == "removed" else "probability"},
            )
            for name, array in values.items()
        },
        coords={
            "sample": np.arange(len(removable)),
            "fraction": np.arange(steps + 1) / steps,
            "target": ("sample", answers.target),
            "reason": ("sample", np.array(reasons, dtype=Text)),
        },
        attrs=attributes_of(answers),
    )


def attributes_of(answers: Answers) -> dict[str, Any]:
    """Return what a result says of how it was made."""
    return {
        **{key: value for key, value in answers.batch.call.attributes.items() if value not in (None, "")},
        "removal": answers.way,
        **({"baseline": answers.baseline} if answers.baseline is not None else {}),
        "draws": answers.draws,
        "passes": answers.passes,
        "notes": [*answers.batch.call.notes, *answers.batch.notes, *answers.notes],
    }


def split_options(by: Way | None, options: Any) -> tuple[dict[str, Any], Settings]:
    """Return what is stated of the call, and the settings of removal and answer."""
    stated = {name: options[name] for name in Asked.__annotations__ if name in options}
    rest = {name: value for name, value in options.items() if name not in stated}
    return stated, Settings(by=by, **rest)


def check_steps(steps: Any) -> None:
    """Refuse a number of steps that is none."""
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise CaptureError(
            "steps",
            expected="a whole number, 1 or more",
            got=repr(steps),
            next_step="Pass steps=10 for 10 % to 100 %",
        )
