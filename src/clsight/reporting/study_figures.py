"""The figures of a study's page: tables of the study handed to pure functions that draw them."""

import math
from collections.abc import Sequence

import pandas as pd
import xarray as xr
from plotly.graph_objects import Figure

from clsight.figures import attention_maps, interval_forest, mean_curves
from clsight.reporting.page import Page
from clsight.study.answers import DIFFERENT, EQUIVALENT, Answer
from clsight.study.contrasts import UNCLEAR, Condition, Contrast, reading_of
from clsight.study.study_curves import (
    ENTROPY,
    IN_TRAINING,
    OVER_DEPTH,
    depth_curves,
    even_share,
    probe_maps,
    training_curves,
)

_References = Sequence[tuple[str, float]]


def declared_rows(answers: Sequence[Answer]) -> pd.DataFrame:
    """Return the rows of a forest plot of declared comparisons, with the column `metric`."""
    return pd.DataFrame(
        [
            {
                "label": one.pair.name,
                "metric": one.pair.metric,
                "estimate": float(one.interval["estimate"]),
                "low": float(one.interval["low"]),
                "high": float(one.interval["high"]),
                "margin": math.nan if one.pair.margin is None else one.pair.margin,
                "reading": _reading(one),
            }
            for one in answers
        ]
    )


def contrast_rows(contrasts: Sequence[Contrast]) -> pd.DataFrame:
    """Return the rows of a forest plot of exploratory differences, with the column `block`."""
    return pd.DataFrame(
        [
            {
                "label": _label(one),
                "block": one.condition.block,
                "estimate": float(one.interval["estimate"]),
                "low": float(one.interval["low"]),
                "high": float(one.interval["high"]),
                "margin": math.nan,
                "reading": one.reading,
            }
            for one in contrasts
        ]
    )


def drawn_forest(page: Page, rows: pd.DataFrame, metric: str, title: str) -> None:
    """Add a forest plot to a page."""
    name = f"difference in {metric.replace('_', ' ')}"
    page.figure(lambda dark: interval_forest(rows, on_axis=name, title=title, dark=dark))


def condition_figures(page: Page, condition: Condition) -> bool:
    """Add the curves and maps of a condition to a page, and tell whether there were any."""
    before = len(page.parts)
    for column, name in IN_TRAINING.items():
        means = training_curves(condition, column)
        if means is not None and bool((means["estimate"].fillna(0) != 0).any()):
            _add_curves(page, condition, means, name)
    even = even_share(condition)
    share = [] if math.isnan(even) else [(f"even: {even:.3f}", even)]
    for metric, name in OVER_DEPTH.items():
        means = depth_curves(condition, metric)
        if means is not None:
            _add_curves(page, condition, means, name, [("even", 1.0)] if metric == ENTROPY else share)
    _add_maps(page, condition)
    return len(page.parts) > before


def _add_curves(
    page: Page, condition: Condition, means: xr.Dataset, name: str, references: _References = ()
) -> None:
    along = "step" if "step" in means.dims else "layer"
    arms = [arm.strategy_label for arm in condition.arms]
    title = name[0].upper() + name[1:]

    def drawn(dark: bool) -> Figure:
        return mean_curves(
            means, along, on_axis=along, title=title, arms=arms, references=references, dark=dark
        )

    page.figure(drawn)


def _add_maps(page: Page, condition: Condition) -> None:
    weights = probe_maps(condition)
    if weights is None:
        return
    title = (
        f"What [CLS] attends to: layer {int(weights['layer'])}, seed {int(weights['seed'])}, mean over heads"
    )
    page.figure(lambda dark: attention_maps(weights, title=title, dark=dark))


def _reading(answer: Answer) -> str:
    if answer.verdict == DIFFERENT:
        return reading_of(answer.interval)
    return EQUIVALENT if answer.verdict == EQUIVALENT else UNCLEAR


def _label(contrast: Contrast) -> str:
    words = f"{contrast.arm.strategy_label} − {contrast.reference.strategy_label}"
    return f"{words} · {contrast.condition.words}" if contrast.condition.words else words
