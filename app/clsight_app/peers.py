"""Which models can stand side by side on one example, and their records as one."""

from dataclasses import dataclass

import xarray as xr

import clsight
from clsight.errors import AppError, ClsightError
from clsight_app.catalog import Catalog
from clsight_app.state import Selection


@dataclass(frozen=True)
class Peers:
    """Models side by side.

    Args:
        stacked: Their records of one example, stacked along `strategy`.
        models: The model behind each member of `strategy`.
        reference: The member that the others are compared with.
        left_out: For each model that cannot stand beside the reference, why.
    """

    stacked: xr.Dataset
    models: dict[str, str]
    reference: str
    left_out: dict[str, str]


def peers_of(catalog: Catalog, selection: Selection) -> Peers:
    """Return the selected model and those that can be compared with it on the selected example.

    Raises:
        AppError: There is none besides the selected model itself.
        ClsightError: The selected model cannot be captured.
    """
    own = catalog.record(selection.model, selection.asked)
    records, left_out = {}, {}
    for model in catalog.peers(selection.model):
        try:
            record = catalog.record(model, selection.asked)
            clsight.stack({"own": own, "other": record})
            records[model] = record
        except ClsightError as error:
            left_out[model] = str(error)
    if len(records) < 2:
        raise _alone(selection.model, left_out)
    members = member_names({model: str(record.attrs["strategy"]) for model, record in records.items()})
    stacked = clsight.stack({members[model]: record for model, record in records.items()})
    models = {member: model for model, member in members.items()}
    return Peers(stacked, models, members[selection.model], left_out)


def member_names(strategies: dict[str, str]) -> dict[str, str]:
    """Return what each model is called beside the others: its strategy, where that is one of a kind."""
    given = list(strategies.values())
    distinct = all(strategy and given.count(strategy) == 1 for strategy in given)
    return strategies if distinct else {model: model for model in strategies}


def _alone(model: str, left_out: dict[str, str]) -> AppError:
    return AppError(
        model,
        expected="another loaded model with the same examples, layers and heads",
        got="none",
        where=" ".join(left_out.values()),
        next_step="Start the app with two models or more",
    )
