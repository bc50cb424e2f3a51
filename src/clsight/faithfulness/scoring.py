"""The scores of one batch: every measure, random rankings and the evidence itself, by every metric."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from clsight.faithfulness.answers import Answers
from clsight.faithfulness.attributed import Scores, Text, fitted, random_scores
from clsight.faithfulness.attributions import ATTRIBUTIONS, Given
from clsight.faithfulness.batch import batch_of
from clsight.faithfulness.curves import attributes_of, curves_of
from clsight.faithfulness.measuring import Measuring
from clsight.faithfulness.registry import Metric, Need
from clsight.faithfulness.single_tokens import effects_of


@dataclass(frozen=True)
class Work:
    """What is done with each batch.

    Attributes:
        model: The subject or module.
        measures: What is compared, by name.
        metrics: By what.
        steps: Of the curves.
        random_rankings: How many random rankings per sample.
        keep_curves: Whether the curves stand beside the scores.
    """

    model: Any
    measures: dict[str, str | Given]
    metrics: list[Metric]
    steps: int
    random_rankings: int
    keep_curves: bool = False

    def scores(self, inputs: Any, evidence: xr.DataArray | None, options: Any, start: int) -> xr.Dataset:
        """Return the scores of one batch, whose first sample has the number `start`."""
        asked, settings = options
        batch = batch_of(self.model, inputs, **asked)
        answers = Answers(batch, settings)
        stated = {name: value for name, value in asked.items() if name != "token_kind"}
        measuring = Measuring(self.model, inputs, settings.seed, settings.output, stated, settings.draws)
        arrays, absent = measuring.arrays(self.measures, batch.sizes, answers.target, asked_by="compare")
        known = None if evidence is None else fitted(evidence, batch.sizes, "evidence", asked_by="compare")
        scorer = Scorer(answers, self.metrics, self.steps, known, keep_curves=self.keep_curves)
        found = {name: scorer.of(array) for name, array in arrays.items()}
        found.update({name: scorer.missing(reason) for name, reason in absent.items()})
        found = {name: found[name] for name in self.measures}
        seeds = range(self.random_rankings)
        drawn = [random_scores(batch.removable, seed, first_sample=start) for seed in seeds]
        found["random"] = _mean([scorer.of(scores) for scores in drawn])
        if known is not None:
            found["evidence"] = scorer.of(known.values.astype(np.float64))
        return _table(found, self, answers, start)


class Scorer:
    """Scores attributions of one batch by chosen metrics."""

    def __init__(
        self,
        answers: Answers,
        metrics: list[Metric],
        steps: int,
        evidence: xr.DataArray | None,
        *,
        keep_curves: bool = False,
    ) -> None:
        self._answers, self._metrics, self._steps, self._evidence = answers, metrics, steps, evidence
        needs_effects = any("effects" in one.needs for one in metrics)
        self._effects = effects_of(answers) if needs_effects else None
        self._needs_curves = keep_curves or any("curves" in one.needs for one in metrics)
        self._keep_curves = keep_curves

    def of(self, attribution: Scores) -> xr.Dataset:
        """Return `score` and `reason` of an attribution, `[metric, sample]`."""
        array = xr.DataArray(attribution, dims=("sample", "token"), coords=self._answers.batch.coords())
        given: dict[Need, Any] = {"attribution": array, "effects": self._effects, "evidence": self._evidence}
        if self._needs_curves:
            given["curves"] = curves_of(self._answers, attribution, self._steps)
        scores = [one.function(*(given[need] for need in one.needs)) for one in self._metrics]
        table = xr.Dataset(
            {
                "score": (("metric", "sample"), np.stack([one.values for one in scores])),
                "reason": (("metric", "sample"), np.stack([one["reason"].values for one in scores])),
            }
        )
        return table.assign(_curves_alone(given["curves"])) if self._keep_curves else table

    def missing(self, reason: str) -> xr.Dataset:
        """Return NaN and a reason for every metric and sample."""
        shape = (len(self._metrics), len(self._answers.target))
        reasons = np.full(shape, reason, dtype=Text)
        dims = ("metric", "sample")
        table = xr.Dataset({"score": (dims, np.full(shape, np.nan)), "reason": (dims, reasons)})
        if not self._keep_curves:
            return table
        nowhere = np.full(self._answers.batch.sizes, np.nan)  # ranks nothing, so that its curves are NaN
        return table.assign(_curves_alone(curves_of(self._answers, nowhere, self._steps)))


def _curves_alone(curves: xr.Dataset) -> xr.Dataset:
    """Return the curves without what a table of scores has of its own."""
    return curves.reset_coords(["target", "reason"], drop=True)


def _mean(tables: list[xr.Dataset]) -> xr.Dataset:
    """Return the mean over random rankings; what is undefined for one is so for all."""
    means = {
        name: np.mean([table[name].values for table in tables], axis=0)
        for name in tables[0].data_vars
        if name != "reason"
    }
    return tables[0].assign({name: tables[0][name].copy(data=mean) for name, mean in means.items()})


def _table(found: dict[str, xr.Dataset], work: Work, answers: Answers, start: int) -> xr.Dataset:
    """Return the scores of all measures of one batch, labeled."""
    whole = xr.concat(list(found.values()), dim="measure")
    labels = {
        name: ATTRIBUTIONS[what].label if isinstance(what, str) and name == what else name
        for name, what in work.measures.items()
    }
    labels |= {"random": "a random ranking", "evidence": "the evidence itself"}
    samples = whole.sizes["sample"]
    whole = whole.assign_coords(
        measure=np.array(list(found), dtype=Text),
        metric=np.array([one.name for one in work.metrics], dtype=Text),
        sample=np.arange(start, start + samples),
        target=("sample", answers.target),
        label=("measure", np.array([labels[name] for name in found], dtype=Text)),
    )
    told = attributes_of(answers)
    del told["passes"]
    return whole.assign_attrs(**told, steps=work.steps, random_rankings=work.random_rankings)
