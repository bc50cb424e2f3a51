"""The parts of the page Data set: heads as points and as a table, one head over samples, extreme examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr
from dash import dcc, html
from numpy.typing import ArrayLike, NDArray

from clsight import figures
from clsight.analysis import joint_map
from clsight.figures.theme import SEQUENTIAL
from clsight_app import ids
from clsight_app.components.controls import measure_label
from clsight_app.components.graph import graph
from clsight_app.components.labels import labeled
from clsight_app.components.token_strip import token_strip
from clsight_app.dataset import DatasetView, Measured
from clsight_app.views import dataset as views

_NO_KEYS: Final = 'This record has no keys of tokens: capture it with keep=["keys_values"].'
_MOST_ROWS: Final = 400


@dataclass(frozen=True)
class Card:
    """One example among the most extreme.

    Args:
        position: Its place in the record.
        title: What it is called.
        value: Its value of the measure, in words.
        href: The address that shows it in Inspect; empty where no model shows the same.
        image: The picture that was cut into patches, if it is known.
    """

    position: int
    title: str
    value: str
    href: str = ""
    image: ArrayLike | None = None


def heads_panel(heads: xr.Dataset, shown: DatasetView, *, dark: bool) -> html.Section:
    """Return the heads as points over two measures."""
    x, y = (views.axis_table(heads, name) for name in (shown.x, shown.y))
    figure = figures.head_scatter(x, y, selected=(shown.layer, shown.head), dark=dark)
    figure.update_layout(legend={"font": {"size": 11}}, margin={"l": 60, "r": 12})
    return html.Section(
        [
            html.H2("Heads"),
            html.P(
                "A point is a head, its bars are 95 % intervals. Click one to select it.", className="hint"
            ),
            graph(
                figure,
                component_id=ids.DATASET_SCATTER,
                title="Heads over two measures",
                style={"height": "400px"},
            ),
        ]
    )


def head_panel(
    measured: Measured, heads: xr.Dataset, shown: DatasetView, members: NDArray[np.int64], *, dark: bool
) -> html.Section:
    """Return the numbers of the selected head, and how its measure spreads over samples."""
    lines = views.head_lines(heads, layer=shown.layer, head=shown.head)
    kind, groups = views.groups_of(measured.record)
    values = measured.values[shown.y].sel(layer=shown.layer, head=shown.head, drop=True).isel(sample=members)
    named = [groups[one] for one in members]
    order = np.argsort(named, kind="stable")
    box = figures.sample_spread(
        values.isel(sample=order), [named[one] for one in order], title=views.title_of(shown.y), dark=dark
    )
    title = f"{measure_label(shown.y)} over samples" + (f", by {kind}" if kind else "")
    return html.Section(
        [
            html.H2(f"Layer {shown.layer}, head {shown.head}"),
            _head_table(lines),
            graph(box, component_id="data-set-spread", title=title, style={"height": "260px"}),
        ]
    )


def _head_table(lines: Sequence[views.HeadLine]) -> html.Table:
    top = ("measure", "mean", "95 % interval", "four of five samples")
    rows = [
        html.Tr(
            [
                html.Th(line.name, scope="row"),
                *(html.Td(part, className="number") for part in (line.mean, line.interval, line.spread)),
            ],
            title=line.reason,
        )
        for line in lines
    ]
    head = html.Thead(
        html.Tr([html.Th(name, scope="col", className="number" if name != "measure" else "") for name in top])
    )
    return html.Table(
        [html.Caption("Over samples"), head, html.Tbody(rows)], className="numbers over-samples"
    )


def places_panel(measured: Measured, shown: DatasetView, members: NDArray[np.int64], *, dark: bool) -> Any:
    """Return weight by place, and the queries of CLS among the keys of tokens."""
    one = measured.record.isel(sample=members).sel(layer=shown.layer, head=shown.head)
    ways = ("row", "column") if "row" in one.coords else ("distance",)
    profiles = [
        graph(
            figures.place_profile(
                views.profile_of(one, by=by),
                title=f"{by} of patches" if by != "distance" else "distance to CLS, in tokens",
                dark=dark,
            ),
            component_id=f"data-set-profile-{by}",
            title=f"Weight by {by}",
            remark="line: mean; band: four of five samples",
            style={"height": "260px"},
        )
        for by in ways
    ]
    return html.Section(
        [
            html.H2("Where this head looks"),
            html.Div(profiles, className="pair"),
            html.H2("Queries of CLS among keys of tokens"),
            *_joint(one, dark=dark),
        ],
        className="wide",
    )


def _joint(one: xr.Dataset, *, dark: bool) -> list[Any]:
    if "keys" not in one or "query" not in one:
        return [html.P(_NO_KEYS, className="hint")]
    figure = figures.query_key_scatter(joint_map(one), dark=dark).update_layout(margin={"l": 60, "r": 12})
    hint = "Principal components. Moved and scaled together so that no weight changes; distance is no score."
    return [
        html.P(hint, className="hint"),
        graph(figure, component_id="data-set-joint", title="Queries and keys", style={"height": "420px"}),
    ]


def examples_panel(
    measured: Measured, shown: DatasetView, cards: Mapping[str, Sequence[Card]], *, dark: bool
) -> html.Section:
    """Return the most extreme examples of the selected head, each with what CLS attends to there."""
    parts: list[Any] = [html.H2(f"Most extreme by {measure_label(shown.y)}")]
    for title, group in cards.items():
        if not group:
            continue
        parts.append(html.H3(title))
        drawn = [_card(measured.record, shown, card, dark=dark) for card in group]
        parts.append(html.Div(drawn, className="cards"))
    if len(parts) == 1:
        parts.append(html.P("This measure has no value in any of these samples.", className="hint"))
    return html.Section(parts, className="wide", id=ids.DATASET_EXAMPLES)


def _card(record: xr.Dataset, shown: DatasetView, card: Card, *, dark: bool) -> html.Article:
    link = [dcc.Link("Open in Inspect", href=card.href, className="link")] if card.href else []
    return html.Article(
        [
            html.P(html.Strong(card.title)),
            html.P([card.value, " ", *link], className="remark"),
            _map(record, shown, card, dark=dark),
        ],
        className="card",
    )


def _map(record: xr.Dataset, shown: DatasetView, card: Card, *, dark: bool) -> Any:
    """Return what CLS attends to in one example: over the picture, as patches, or as tokens."""
    one = record.isel(sample=[card.position]).sel(layer=[shown.layer], head=[shown.head])
    if "row" not in one.coords:
        real = np.flatnonzero(one["token_mask"].values[0])
        weights = one["attends_to"].values[0, 0, 0, real]
        texts = one["token_text"].values[0, real].tolist()
        return token_strip(texts, weights, colorscale=SEQUENTIAL, maximum=max(float(weights.max()), 1e-9))
    place: dict[str, Any] = {"sample": int(one["sample"].item()), "dark": dark}
    if card.image is None:
        figure = figures.layer_head_grid(one, **place)
        figure.update_xaxes(visible=False).update_yaxes(visible=False)
    else:
        figure = figures.patch_overlay(one, card.image, layer=shown.layer, head=shown.head, **place)
    figure.update_coloraxes(showscale=False).update_traces(showscale=False, selector={"type": "heatmap"})
    figure.update_layout(margin={"l": 4, "r": 4, "b": 4})
    return graph(
        figure,
        component_id=f"data-set-example-{card.position}",
        title="CLS attends to",
        style={"aspectRatio": "3 / 2.1"},
    )


def heads_table(heads: xr.Dataset) -> html.Details:
    """Return the means of all heads as a table, the alternative to the points; folded."""
    names = heads["measure"].values.tolist()
    rows = [
        html.Tr(
            [html.Th(f"layer {layer}, head {head}", scope="row")]
            + [
                html.Td(views.told(name, float(one["estimate"].sel(measure=name))), className="number")
                for name in names
            ]
        )
        for layer in heads["layer"].values.tolist()
        for head in heads["head"].values.tolist()
        for one in [heads.sel(layer=layer, head=head)]
    ][:_MOST_ROWS]
    top = [html.Th("head", scope="col")]
    top += [html.Th(measure_label(name), scope="col", className="number") for name in names]
    table = html.Table(
        [html.Thead(html.Tr(top)), html.Tbody(rows)], className="numbers", id=ids.DATASET_TABLE
    )
    scrolled = html.Div(table, className="scroller", tabIndex="0", **labeled("All heads, means over samples"))
    return html.Details([html.Summary("All heads as a table"), scrolled])
