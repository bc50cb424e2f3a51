"""What differs between models side by side: in one sentence, and as a table of their answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import xarray as xr

from clsight import analysis
from clsight_app.views.head import class_name, probabilities
from clsight_app.views.wording import percent

REDRAWN: Final = (
    "random_per_forward draws CLS anew at each forward pass: this is one draw, the same at each visit."
)


@dataclass(frozen=True)
class Answer:
    """One line of the table: a member, its model, what it answers, and how far its attention moved.

    Args:
        member: Its name along `strategy`.
        model: The model behind it.
        predicted: The predicted class; empty where the model does not classify.
        probability: Of the predicted class.
        moved: Share of CLS attention that lies elsewhere than in the reference; empty for the reference.
    """

    member: str
    model: str
    predicted: str
    probability: str
    moved: str


def moved_share(stacked: xr.Dataset, reference: str, *, layer: int) -> dict[str, float]:
    """Return for each other member the share of CLS attention that lies elsewhere than in the reference.

    Half the sum of absolute differences between the mean rows over heads (the total variation distance).

    Args:
        stacked: Records of one example, stacked along `strategy`.
        reference: The member to compare with.
        layer: Label of the layer.

    Returns:
        By member; each in [0, 1], 0 = the same map.
    """
    means = analysis.mean_attends_to(stacked).isel(sample=0).sel(layer=layer)
    moved = abs(analysis.difference(means, to=reference)).sum("token") / 2
    return {str(name): float(moved.sel(strategy=name)) for name in moved["strategy"].values}


def comparison_sentence(stacked: xr.Dataset, reference: str, *, layer: int, direction: str) -> str:
    """Return what differs in one layer, in one sentence; means over heads.

    Args:
        stacked: Records of one example, stacked along `strategy`.
        reference: The member to compare with.
        layer: Label of the layer.
        direction: `attends_to` or `attended_by`.
    """
    if direction == "attended_by":
        received = analysis.mean_attended_by(stacked).isel(sample=0).sel(layer=layer).mean("head")
        shares = {str(name): float(received.sel(strategy=name)) for name in received["strategy"].values}
        return f"In layer {layer}, the other tokens give CLS {_listed(shares, ' of their attention')}."
    listed = _listed(moved_share(stacked, reference, layer=layer), " of its attention to other tokens")
    return f"In layer {layer}, compared with {reference}, CLS moves {listed}."


def answers(stacked: xr.Dataset, reference: str, models: Mapping[str, str], *, layer: int) -> list[Answer]:
    """Return a line for each member: its prediction, and how far its CLS attention moved.

    Args:
        stacked: Records of one example, stacked along `strategy`.
        reference: The member to compare with.
        models: The model behind each member.
        layer: Label of the layer.
    """
    moved = moved_share(stacked, reference, layer=layer)
    return [
        Answer(member, model, *_predicted(stacked.sel(strategy=member)), _moved(member, moved))
        for member, model in models.items()
    ]


def notes(stacked: xr.Dataset) -> list[str]:
    """Return what a reader must know of these records, each as a sentence."""
    members = stacked.attrs.get("members", {})
    strategies = {member.get("strategy") for member in members.values()} | {stacked.attrs.get("strategy")}
    redrawn = [REDRAWN] if "random_per_forward" in strategies else []
    return [*redrawn, *(f"{note.rstrip('.')}." for note in stacked.attrs.get("notes", []))]


def _listed(shares: Mapping[str, float], of_what: str) -> str:
    """Return the shares in one list, what they are shares of told with the first."""
    of = dict.fromkeys(shares, "") | {next(iter(shares)): of_what}
    *most, last = (f"{percent(share)}{of[name]} in {name}" for name, share in shares.items())
    return f"{', '.join(most)} and {last}" if most else last


def _predicted(record: xr.Dataset) -> tuple[str, str]:
    if "logits" not in record:
        return "", ""
    chances = probabilities(record)
    best = int(chances.argmax())
    return class_name(record, best), percent(chances[best])


def _moved(member: str, moved: Mapping[str, float]) -> str:
    return percent(moved[member]) if member in moved else "reference"
