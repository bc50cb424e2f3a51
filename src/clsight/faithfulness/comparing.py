"""Which attribution is to be trusted for this model? Every metric of every measure, sample by sample."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import xarray as xr
from torch import nn
from tqdm.auto import tqdm

from clsight.errors import CaptureError, RecordError, did_you_mean
from clsight.faithfulness.attributed import per_token
from clsight.faithfulness.attributions import Measures, named_measures
from clsight.faithfulness.batch import rows_of, samples_in
from clsight.faithfulness.curves import Options, check_steps, split_options
from clsight.faithfulness.registry import METRICS, Metric
from clsight.faithfulness.removal import Way
from clsight.faithfulness.scoring import Work
from clsight.faithfulness.summaries import summarize
from clsight.hooks.model_call import model_call

if TYPE_CHECKING:
    from clsight.loading import Subject


class CompareOptions(Options, total=False):
    """What may be stated of a comparison beside the measures."""

    by: Way | None
    metrics: Sequence[str] | None
    evidence: xr.DataArray | None
    steps: int
    random_rankings: int
    batch_size: int
    progress: bool


def compare(
    subject_or_module: "Subject | nn.Module",
    samples: Any,
    measures: Measures = None,
    *,
    confidence: float = 0.95,
    **options: Unpack[CompareOptions],
) -> xr.Dataset:
    """Return how faithful each measure is for this model, with intervals over samples, `[measure, metric]`.

    A random ranking is always among the measures, and the evidence itself where it is known.

    Args:
        subject_or_module: As for `clsight.capture`.
        samples: Raw samples of a subject, or the inputs of a module; run in batches.
        measures: Names in `clsight.faithfulness.ATTRIBUTIONS`, or a mapping from your own names to those, to
            arrays `[sample, token]`, or to functions of model and inputs that return one; default all names
            that take a few passes.
        confidence: Of the intervals, bootstrapped over samples by `clsight.statistics.bootstrap`.
        **options: As for `score_batches`.

    Returns:
        `estimate`, `low`, `high`; `above_random`, `above_random_low`, `above_random_high`, of the differences
        to the random ranking, sample by sample; `n`, samples with a score; `reason`, why a number is missing
        or doubtful; and `sentence`, `[metric]`, the result in words.

    Raises:
        CaptureError: As `score_batches`.

    Example:
        >>> from clsight import load, sample_models_dir
        >>> subject = load(sample_models_dir() / "digits-learned")
        >>> table = compare(subject, subject.examples, ["attention"], progress=False)
        >>> table["estimate"].sel(metric="comprehensiveness").sizes
        Frozen({'measure': 2})
    """
    batches = list(score_batches(subject_or_module, samples, measures, **options))
    scores = xr.concat(batches, dim="sample", combine_attrs="override")
    scores.attrs["notes"] = list(dict.fromkeys(note for batch in batches for note in batch.attrs["notes"]))
    return summarize(scores, confidence=confidence)


def score_batches(
    subject_or_module: "Subject | nn.Module",
    samples: Any,
    measures: Measures = None,
    *,
    metrics: Sequence[str] | None = None,
    evidence: xr.DataArray | None = None,
    by: Way | None = None,
    steps: int = 10,
    random_rankings: int = 10,
    batch_size: int = 32,
    keep_curves: bool = False,
    progress: bool = True,
    **options: Unpack[Options],
) -> Iterator[xr.Dataset]:
    """Yield the scores of each batch, `[measure, metric, sample]`; closing the generator ends the work.

    The model is as it was at every yield. `summarize` makes a table of any number of batches joined by
    `xarray.concat(..., dim="sample")`.

    Args:
        subject_or_module: As for `compare`, with `samples` and `measures`.
        samples: Samples come first in every array that has one entry per sample, in `options` too.
        measures: What is compared.
        metrics: Names in `METRICS`; default all that can be had, with `evidence` or without.
        evidence: `[sample, token]`, True where the answer is known to be; adds `pointing_game`, `auprc` and
            the measure "evidence", an oracle.
        by: As for `removal_curves`, with `steps` and `options`.
        steps: Number of equal parts of the curves.
        random_rankings: How many rankings the measure "random" is the mean of, for each sample.
        batch_size: Samples of one forward pass.
        keep_curves: Give the curves of each measure too, of the random rankings their mean.
        progress: Show a progress bar on the error stream.
        **options: As for `removal_curves`; the target is the class predicted with all tokens.

    Yields:
        `score` and `reason`, why a score is NaN; if kept, `deletion`, `insertion` and `removed` as
        `removal_curves` gives them, `[measure, sample, fraction]`.

    Raises:
        CaptureError: As `removal_curves`, on the batch that fails; on unknown names; without samples.
    """
    check_steps(steps)
    work = Work(
        subject_or_module,
        named_measures(measures),
        chosen_metrics(metrics, with_evidence=evidence is not None),
        steps=steps,
        random_rankings=_count("random_rankings", random_rankings),
        keep_curves=keep_curves,
    )
    given, total = _samples(subject_or_module, samples)
    arrays = {name: what for name, what in work.measures.items() if isinstance(what, xr.DataArray)}
    whole = {name: _whole(what, name, total) for name, what in arrays.items()}
    known = None if evidence is None else _whole(evidence, "evidence", total)
    size = _count("batch_size", batch_size)
    with closing(tqdm(total=total, desc="faithfulness", unit="sample", disable=not progress)) as bar:
        for start in range(0, total, size):
            rows = slice(start, min(start + size, total))
            part = {name: rows_of(value, rows, total) for name, value in options.items()}
            cut = {name: array.isel(sample=rows) for name, array in whole.items()}
            one = replace(work, measures=work.measures | cut)
            marks = None if known is None else known.isel(sample=rows)
            scores = one.scores(rows_of(given, rows, total), marks, split_options(by, part), start)
            by = scores.attrs["removal"]  # found for the first batch, the same for all
            yield scores
            bar.update(rows.stop - start)


def chosen_metrics(names: Sequence[str] | None, *, with_evidence: bool) -> list[Metric]:
    """Return the metrics that are meant.

    Raises:
        CaptureError: If a name is unknown, needs evidence that is not given, or none is given.
    """
    possible = {
        name: one
        for name, one in METRICS.items()
        if "model" not in one.needs and (with_evidence or "evidence" not in one.needs)
    }
    if names is None:
        return list(possible.values())
    chosen = [names] if isinstance(names, str) else list(names)
    for name in chosen or [""]:
        if name not in possible:
            raise CaptureError(
                "metrics",
                expected="names of metrics" + ("" if with_evidence else " that need no evidence="),
                got=repr(name) if name else "none",
                next_step=did_you_mean(name, possible),
            )
    return [possible[name] for name in dict.fromkeys(chosen)]


def _samples(model: Any, samples: Any) -> tuple[Any, int]:
    """Return samples that can be cut into batches, and their number.

    Raises:
        CaptureError: If there is none.
    """
    if isinstance(model, nn.Module):
        given = tuple(samples) if isinstance(samples, list) else samples
        model_call(model, given)
        return given, samples_in(given)
    if not hasattr(model, "read"):
        model_call(model, samples)  # tells what is no model
    examples = model.read(samples)
    return examples, len(examples)


def _whole(array: Any, name: str, samples: int) -> xr.DataArray:
    """Return an array `[sample, token]` for all samples.

    Raises:
        RecordError: If it is none, or has other samples.
    """
    checked = per_token(array, name, asked_by="compare")
    if checked.sizes["sample"] != samples:
        raise RecordError(
            "compare",
            expected=f"`{name}` of sample={samples}, as there are samples",
            got=f"sample={checked.sizes['sample']}",
            next_step="Compute it for all samples that are compared, in their order",
        )
    return checked


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise CaptureError(
            name,
            expected="a whole number, 1 or more",
            got=repr(value),
            next_step="Leave it out for the usual one",
        )
    return int(value)
