"""Which tokens does CLS use in each layer, by what it becomes without their values? `value_zeroing`.

The score of token j is how far the state of CLS that leaves the layer moves when the value of token j is zero
in every head, with all weights as they are: half the squared chord between the two states, which is
1 − cosine without its rounding. It looks at one layer at a time, from the states that really enter it.
"""

from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from torch import nn
from tqdm.auto import tqdm

from clsight.hooks.model_call import model_call
from clsight.interventions.choices import Asked, Layers, chosen_sites
from clsight.interventions.draws import check_draws, seeds_of, spread_notes
from clsight.interventions.passes import Passes
from clsight.interventions.registry import intervention
from clsight.interventions.results import coordinates, result_attributes, variables_of, with_token_mask
from clsight.interventions.zeroing import Zeroing

if TYPE_CHECKING:
    from clsight.loading import Subject

_WORDS = {
    "value_zeroing": ("change of CLS without the token's value", ""),
    "value_zeroing_share": ("share of the change of CLS", ""),
}


@intervention(
    question="Which tokens does CLS use in each layer, by what it becomes without their values?",
    definition=(
        "Half the squared chord, that is 1 − cosine, between CLS leaving the layer and CLS leaving it if "
        "the value of a token were zero in every head, weights unchanged; its share of the sum over tokens."
    ),
    unit="",
    range="change: 0 to 2; share: 0 to 1, summing to 1 over real tokens",
    cost="one forward pass, and two runs of each layer",
    paper="Mohebbi et al. 2023, arXiv 2301.12971",
    trust=(
        "It looks at one layer alone: what other tokens hold too shows no effect, and what a later layer "
        "makes of the change is not asked. Shares make noise look like use where all changes are tiny."
    ),
    dims=("sample", "layer", "token"),
)
def value_zeroing(
    subject_or_module: "Subject | nn.Module",
    inputs: Any,
    *,
    layers: Layers = None,
    draws: int = 10,
    seed: int = 0,
    progress: bool = True,
    **asked: Unpack[Asked],
) -> xr.Dataset:
    """Return how far CLS moves in each layer without the value of each token, `[sample, layer, token]`.

    Mohebbi et al. 2023 (arXiv:2301.12971), for CLS alone: two runs of each layer for all tokens together. A
    layer that mixes positions outside of attention is run once per token; `attrs["one_by_one"]` names it.

    Args:
        subject_or_module: As for `clsight.capture`, with `inputs`, `cls_index`, `token_mask` and `within`.
        inputs: One batch.
        layers: Indices or names; None for all.
        draws: Passes of a model that draws at random; the means are returned, with their spread as `…_std`.
        seed: Start of the random streams in the first draw.
        progress: Show a progress bar on the error stream.

    Returns:
        `value_zeroing`, in [0, 2], and `value_zeroing_share`, in [0, 1], which sums to 1 over real tokens;
        both NaN at padding. The share is NaN where no token changes CLS.

    Raises:
        CaptureError: As `clsight.capture`; on class attention, half precision, an unknown layer, and layers
            whose submodule is not run on one sequence.
    """
    check_draws(draws, seed)
    with Passes(model_call(subject_or_module, inputs, **asked)) as passes:
        zeroing = Zeroing(passes, seed)
        plan = zeroing.plan
        sites, seeds = chosen_sites(plan.sites, layers), seeds_of(draws, seed, has_drawn=plan.has_drawn)
        total = len(seeds) * len(sites)
        with tqdm(total=total, desc="value zeroing", unit="layer", disable=not progress) as bar:
            raw = np.stack([zeroing.distances(one, sites, bar) for one in seeds])
    raw = np.where(plan.token_mask.cpu().numpy()[:, None], raw, np.nan)
    drawn = {"value_zeroing": raw, "value_zeroing_share": _shares(raw)}
    variables, absent = variables_of(drawn, ("sample", "layer", "token"), _WORDS, has_drawn=plan.has_drawn)
    settings = {"draws": len(seeds), "draw_seed": seed, "one_by_one": zeroing.one_by_one}
    notes = [*spread_notes(seeds), *_unmoved(raw)]
    return xr.Dataset(
        with_token_mask(variables, plan.record),
        coords=coordinates(plan.record, {"layer": [site.layer for site in sites]}, ("layer", "token")),
        attrs=result_attributes(plan.record, "value_zeroing", absent=absent, notes=notes, **settings),
    )


def _shares(raw: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return changes over their sum along the last dim, NaN where that is zero."""
    total = np.nansum(raw, axis=-1, keepdims=True)
    shares: NDArray[np.float64] = np.divide(raw, total, out=np.full_like(raw, np.nan), where=total > 0)
    return shares


def _unmoved(raw: NDArray[np.float64]) -> list[str]:
    """Return a sentence on the samples and layers in which no token changes CLS."""
    unmoved = (np.nansum(raw, axis=-1) == 0).any(0)  # [sample, layer]
    if not unmoved.any():
        return []
    count = f"{int(unmoved.sum())} of {unmoved.size}"
    return [f"No token changes CLS in {count} pairs of sample and layer: their shares are NaN"]
