"""What the page Data set shows of samples that were measured: figures, numbers, examples, set to choices."""

from typing import Any

import numpy as np
import xarray as xr
from dash import html
from numpy.typing import NDArray

from clsight_app import navigation
from clsight_app.catalog import Catalog
from clsight_app.components import many_samples
from clsight_app.components.controls import measure_label
from clsight_app.components.many_samples import Card
from clsight_app.dataset import DatasetView, Measured
from clsight_app.state import Selection, checked_index, to_query
from clsight_app.views import dataset as views


def heads_of(catalog: Catalog, measured: Measured, job: str, group: str) -> xr.Dataset:
    """Return the heads over the samples of a group, made once for a job."""
    members = views.members_of(measured.record, group)
    table: xr.Dataset = catalog.remembered(
        ("heads", job, group), lambda: views.heads_over_samples(measured.values.isel(sample=members))
    )
    return table


def result(
    catalog: Catalog, measured: Measured, shown: DatasetView, job: str, *, dark: bool
) -> dict[str, Any]:
    """Return what the page shows of measured samples: the choices, and `result`.

    Raises:
        AppError: The address names a layer, head, class or measure that is not there.
    """
    sizes = measured.record.sizes
    checked_index("layer", shown.layer, sizes["layer"])
    checked_index("head", shown.head, sizes["head"])
    members = views.members_of(measured.record, shown.group)
    heads = heads_of(catalog, measured, job, shown.group)
    _, groups = views.groups_of(measured.record)
    remark = (
        "Intervals are at 95 %, a bootstrap over samples. Sink rate: share of samples in which the other "
    )
    parts = [
        html.P(views.headline(heads, len(members)), className="sentence"),
        html.P(remark + "tokens put more than 30 % on CLS.", className="fine-print"),
        html.Div(
            [
                many_samples.heads_panel(heads, shown, dark=dark),
                many_samples.head_panel(measured, heads, shown, members, dark=dark),
                many_samples.places_panel(measured, shown, members, dark=dark),
                many_samples.examples_panel(
                    measured, shown, _cards(catalog, measured, shown, members), dark=dark
                ),
            ],
            className="panels",
        ),
        many_samples.heads_table(heads),
    ]
    names = list(dict.fromkeys(groups))
    return {
        "choices": "job-controls",
        "x": shown.x,
        "y": shown.y,
        "group": f"={shown.group}" if shown.group else "all",
        "groups": [
            {"value": "all", "label": "All"},
            *({"value": f"={n}", "label": n} for n in sorted(names)),
        ],
        "layer": shown.layer,
        "layers": sizes["layer"] - 1,
        "head": shown.head,
        "heads": sizes["head"] - 1,
        "result": parts,
    }


def _cards(
    catalog: Catalog, measured: Measured, shown: DatasetView, members: NDArray[np.int64]
) -> dict[str, list[Card]]:
    """Return the most extreme examples, with a link where a loaded model shows the same."""
    record = measured.record
    values = measured.values[shown.y].sel(layer=shown.layer, head=shown.head)
    found = views.extremes(values, members)
    kind, groups = views.groups_of(record)

    def card(position: int) -> Card:
        sample = int(record["sample"].values[position])
        title = f"Sample {sample}" + (f", {kind} {groups[position]}" if kind else "")
        model = inspected(catalog, record, position)
        place = Selection(model=model, sample=sample, layer=shown.layer, head=shown.head)
        return Card(
            position,
            title,
            f"{measure_label(shown.y)} {views.told(shown.y, float(values[position]))}",
            href=f"/{to_query(place)}" if model else "",
            image=catalog.image(model, sample) if model else None,
        )

    return {"Highest": [card(one) for one in found.highest], "Lowest": [card(one) for one in found.lowest]}


def inspected(catalog: Catalog, record: xr.Dataset, position: int) -> str:
    """Return the loaded model in which Inspect shows the same weights for a sample; empty if none does."""
    model, sample = str(record.attrs.get("model", "")), int(record["sample"].values[position])
    if model not in catalog.models or sample >= navigation.sample_count(catalog, model):
        return ""
    if catalog.subject(model).provenance.get("sha256") != record.attrs.get("checkpoint_sha256"):
        return ""
    own = catalog.record(model, sample)["attends_to"].values[0]
    there = record["attends_to"].values[position]
    is_same = own.shape[:2] == there.shape[:2] and own.shape[2] <= there.shape[2]
    return model if is_same and np.allclose(own, there[:, :, : own.shape[2]], atol=1e-4) else ""
