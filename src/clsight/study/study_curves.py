"""Means over seeds along training and depth, and the attention of [CLS] on probe samples: to be drawn."""

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
import pandas as pd
import xarray as xr

from clsight.records import open_record
from clsight.statistics import bootstrap
from clsight.study.contrasts import Condition
from clsight.study.results import ArmResults

IN_TRAINING: Final = {
    "accuracy": "accuracy on validation data",
    "drift": "distance of the vector of [CLS] from its start",
}
"""Columns of a run's history that are drawn, and what they are."""
ENTROPY: Final = "cls_entropy"
OVER_DEPTH: Final = {
    "cls_to_cls": "weight that [CLS] gives itself",
    "others_to_cls": "weight that other tokens give [CLS]",
    "others_to_cls_if_silent": "weight that others would give a [CLS] whose key is zero (softmax-plus-one)",
    ENTROPY: "entropy of the row of [CLS], over that of even attention",
}
"""Metrics that a run has per layer."""


def training_curves(condition: Condition, column: str) -> xr.Dataset | None:
    """Return the mean over seeds of a column of the history, at each step.

    Args:
        condition: Its arms are drawn.
        column: A key of `IN_TRAINING`.

    Returns:
        `estimate`, `low`, `high`, `n` with dims `arm`, `step`; a run that diverged ends there. None where no
        run has such a number.
    """
    found = {}
    for arm in condition.arms:
        runs = {seed: pd.read_csv(run.history)[["step", column]] for seed, run in arm.runs.items()}
        rows = [
            xr.DataArray(table[column].astype(float), dims="step", coords={"step": table["step"]})
            for table in runs.values()
        ]
        if rows and any(row.notnull().any() for row in rows):
            found[arm.strategy_label] = xr.concat(rows, pd.Index(list(runs), name="seed"), join="outer")
    return _means(found)


def depth_curves(condition: Condition, metric: str) -> xr.Dataset | None:
    """Return the mean over seeds of a metric of each layer (0 is the first).

    Args:
        condition: Its arms are drawn.
        metric: A key of `OVER_DEPTH`.

    Returns:
        `estimate`, `low`, `high`, `n` with dims `arm`, `layer`. None where no run has such a number.
    """
    found = {}
    for arm in condition.arms:
        layers = [layer for layer in range(_layers(arm)) if arm.values(f"{metric}_{layer}").notnull().any()]
        if layers:
            rows = [arm.values(f"{metric}_{layer}") for layer in layers]
            found[arm.strategy_label] = xr.concat(rows, pd.Index(layers, name="layer"), join="outer")
    return _means(found)


def even_share(condition: Condition) -> float:
    """Return the weight that even attention gives each token, mean over runs; NaN if unknown."""
    shares = [float(arm.values("even_share").mean()) for arm in condition.arms if arm.runs]
    known = [share for share in shares if not math.isnan(share)]
    return float(np.mean(known)) if known else math.nan


def probe_maps(condition: Condition, layer: int = -1) -> xr.DataArray | None:
    """Return the weights of [CLS] on the tokens of the probe samples after training, mean over heads.

    All arms are shown with the same seed, the first that is finished in each: the same samples, and models
    that differ in nothing but [CLS].

    Args:
        condition: Its arms are drawn.
        layer: Place of the layer; −1 is the last.

    Returns:
        Weights in [0, 1] with dims `arm`, `sample`, `token`, padding NaN; the coordinates `seed`, `layer`,
        `label` and `token_name`. None where no arm has a record.
    """
    there = [arm for arm in condition.arms if any(run.record.is_file() for run in arm.runs.values())]
    seeds = set.intersection(*(_recorded(arm) for arm in there)) if there else set()
    if not seeds:
        return None
    seed = min(seeds)
    found = [_map_of(arm, seed, layer) for arm in there]
    return xr.concat(
        found, pd.Index([arm.strategy_label for arm in there], name="arm"), join="outer"
    ).assign_coords(seed=seed)


def _map_of(arm: ArmResults, seed: int, layer: int) -> xr.DataArray:
    record = open_record(arm.runs[seed].record)
    last = record["attends_to"].isel(step=-1, layer=layer).mean("head").where(record["token_mask"])
    names = [str(name) for name in record["token_text"].isel(sample=0).values]
    kept = last.reset_coords(drop=True).assign_coords(
        sample=record["sample"], token=record["token"], layer=int(record["layer"].isel(layer=layer))
    )
    kept = kept.assign_coords(token_name=("token", names))
    return kept.assign_coords(label=record["label"]) if "label" in record.coords else kept


def _means(found: Mapping[str, xr.DataArray]) -> xr.Dataset | None:
    if not found:
        return None
    joined = xr.concat(list(found.values()), pd.Index(list(found), name="arm"), join="outer")
    return bootstrap(joined, over="seed", skipna=True)


def _recorded(arm: ArmResults) -> set[int]:
    return {seed for seed, run in arm.runs.items() if run.record.is_file()}


def _layers(arm: ArmResults) -> int:
    return max((run.planned.settings.layers for run in arm.runs.values()), default=0)
