"""Does an attribution depend on what the model has learned? It must change as weights become random."""

from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import nn
from tqdm.auto import tqdm

from clsight.errors import CaptureError
from clsight.faithfulness.attributed import Text, reasons_against
from clsight.faithfulness.attributions import ATTRIBUTIONS, Given, named_measures
from clsight.faithfulness.batch import Asked, batch_of
from clsight.faithfulness.measuring import Measuring
from clsight.faithfulness.registry import metric
from clsight.faithfulness.shuffling import shuffling, units_of
from clsight.hooks.watching import original_of

if TYPE_CHECKING:
    from clsight.loading import Subject


class CascadeOptions(Asked, total=False):
    """What may be stated of a cascade beside the measure."""

    output: Any
    target: Any


@metric(
    question="Does the attribution change when what the model has learned is gone, from the head down?",
    definition=(
        "Spearman's ρ over the removable tokens with the attribution of the trained model, after the weights "
        "of the head, then the layers from last to first, then the embeddings are put in random order too."
    ),
    unit="",
    range="−1 to 1; 1: the attribution does not depend on these weights",
    better="lower",
    cost="one capture per layer, and for each module after the last",
    paper="Adebayo et al. 2018, Sanity Checks for Saliency Maps, arXiv 1810.03292",
    trust=(
        "Passing is necessary, not sufficient: noise passes. An attribution that does not read a weight, as "
        "attention does not read the head, must stay at 1 there."
    ),
    needs=("model",),
)
def randomization_cascade(
    subject_or_module: "Subject | nn.Module",
    inputs: Any,
    measure: str | Given = "attention",
    *,
    seed: int = 0,
    progress: bool = True,
    **options: Unpack[CascadeOptions],
) -> xr.Dataset:
    """Return how an attribution resembles itself as the model becomes random, `[unit, sample]`.

    Adebayo et al. 2018 (arXiv:1810.03292), cascading; each weight tensor keeps its entries in random order
    instead of being drawn anew. Afterwards, also after an error, all weights are as before, bit for bit.

    Args:
        subject_or_module: As for `clsight.capture`, with `inputs`, `cls_index`, `token_mask` and `within`.
        inputs: One batch.
        measure: A name in `clsight.faithfulness.ATTRIBUTIONS`, or a function of model and inputs that returns
            `[sample, token]`.
        seed: Of the order of the weights, and start of the random streams of each pass.
        progress: Show a progress bar on the error stream.
        **options: `token_kind`, `output` and `target` as for `removal_curves`; gradients are of the class
            that the trained model predicts, at every step.

    Returns:
        `rank_correlation`, in [−1, 1], after each `unit` and all above it is random; NaN with its `reason`
        where an attribution is constant. The sentence is in `attrs`.

    Raises:
        CaptureError: As `clsight.capture`; on an unknown measure.
    """
    asked = {name: options[name] for name in Asked.__annotations__ if name in options}  # type: ignore[literal-required]
    named, label = _named(measure)
    batch = batch_of(subject_or_module, inputs, **asked)
    stated = {name: value for name, value in asked.items() if name != "token_kind"}
    measuring = Measuring(subject_or_module, inputs, seed, options.get("output"), stated)
    target = options.get("target")
    if target is None:
        target = _predicted(measuring, named)

    def measured() -> NDArray[np.float64]:
        found, absent = measuring.arrays(named, batch.sizes, target, asked_by="randomization_cascade")
        if absent:
            raise _missing(label, absent[label])
        return found[label]

    trained = measured()
    layers = [str(name) for name in measuring.record()["layer_name"].values]
    units = units_of(batch.call, layers, seed=seed)
    steps: list[NDArray[np.float64]] = []
    with shuffling(original_of(batch.call.module), seed) as shuffle:
        for unit in tqdm(units, desc="randomization cascade", unit="unit", disable=not progress):
            shuffle(unit)
            steps.append(measured())
    result = _correlations(trained, steps, batch.removable, [unit.name for unit in units])
    result.attrs = {"measure": label, "seed": seed, "model": batch.name}
    result.attrs["notes"] = [*batch.call.notes, *batch.notes]
    result.attrs["sentence"] = _sentence(result, label)
    return result


def _named(measure: str | Given) -> tuple[dict[str, str | Given], str]:
    """Return the measure by the name that sentences use.

    Raises:
        CaptureError: If it is unknown, or an array, which cannot change with the model.
    """
    if isinstance(measure, str):
        named_measures([measure])
        return {ATTRIBUTIONS[measure].label: measure}, ATTRIBUTIONS[measure].label
    if not callable(measure):
        raise CaptureError(
            "measure",
            expected="the name of a known attribution, or a function of model and inputs",
            got=f"a {type(measure).__name__}",
            next_step=f"Choose one of {', '.join(ATTRIBUTIONS)}",
        )
    label = getattr(measure, "__name__", "the measure")
    return {label: measure}, label


def _predicted(measuring: Measuring, named: dict[str, str | Given]) -> NDArray[np.int64] | None:
    """Return the class that the trained model predicts, where the measure needs one."""
    if not any(isinstance(what, str) and ATTRIBUTIONS[what].is_of_target for what in named.values()):
        return None
    record = measuring.record()
    if "logits" not in record:  # the measure itself will tell that it has no gradient
        return None
    predicted: NDArray[np.int64] = record["logits"].argmax("class").values
    return predicted


def _missing(label: str, reason: str) -> CaptureError:
    return CaptureError(
        "randomization_cascade",
        expected=f"a model that gives {label}",
        got=reason,
        next_step="Choose another measure, or give a function of model and inputs",
    )


def _correlations(
    trained: NDArray[np.float64],
    steps: list[NDArray[np.float64]],
    removable: NDArray[np.bool_],
    names: list[str],
) -> xr.Dataset:
    """Return the rank correlation of each step with the trained model, and why it is undefined."""
    values = np.full((len(steps), len(trained)), np.nan)
    reasons = np.full(values.shape, "", dtype=Text)
    first = reasons_against(trained, removable)
    for place, step in enumerate(steps):
        for sample, (told, now) in enumerate(zip(first, reasons_against(step, removable), strict=True)):
            there = removable[sample]
            reasons[place, sample] = told or now
            if not (told or now):
                values[place, sample] = spearmanr(trained[sample, there], step[sample, there]).statistic
    dims = ("unit", "sample")
    return xr.Dataset(
        {
            "rank_correlation": (dims, values, {"long_name": "rank correlation with the trained model"}),
            "reason": (dims, reasons),
        },
        coords={"unit": np.array(names, dtype=Text), "sample": np.arange(len(trained))},
    )


def _sentence(result: xr.Dataset, label: str) -> str:
    """Return the means over samples in words."""
    means = result["rank_correlation"].mean("sample", skipna=True)
    told = ["no defined value" if np.isnan(mean) else f"{mean:.2f}" for mean in means.values.tolist()]
    parts = [
        f"{mean} with `{unit}` random{' too' if place else ''}"
        for place, (unit, mean) in enumerate(zip(result["unit"].values, told, strict=True))
    ]
    return (
        f"For this model, {label} keeps a rank correlation with itself of {', '.join(parts)} "
        f"(mean over {result.sizes['sample']} samples; it must fall towards 0)."
    )
