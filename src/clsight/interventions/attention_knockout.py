"""What does the answer lose if others cannot ask CLS, or CLS not them? `clsight.interventions.knockout`.

A path is a set of pairs of query and key: all others that ask CLS (`column`), CLS that asks all others
(`row`), CLS that asks itself (`self`). It is cut in four flavors:

- `mask`: no weight, and the other weights of the query renormalized; zero where no key is left.
- `zero`: the weights as they are, on a value of zero.
- `mean`: on the mean value: of CLS over the samples; for `row` of all other real tokens of the batch.
- `resample`: on the value of CLS in the next sample (the first after the last); for `row` on the values of
  the next sample's other real tokens, in order, from the first again where it has fewer.

Values of others are those of a pass in which nothing is cut. Where CLS is a sink, `mask` changes much and
`zero` little: its key is needed, its value is not.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm.auto import tqdm

from clsight.hooks.model_call import model_call
from clsight.interventions.choices import (
    Asked,
    Heads,
    Layers,
    cell_dims,
    chosen_heads,
    chosen_names,
    chosen_sites,
)
from clsight.interventions.cuts import FLAVORS, PATHS
from clsight.interventions.draws import check_draws, seeds_of, spread_notes
from clsight.interventions.effects import WORDS
from clsight.interventions.knocking import Knocking, cells_of
from clsight.interventions.passes import Passes
from clsight.interventions.registry import intervention
from clsight.interventions.results import coordinates, result_attributes, variables_of

if TYPE_CHECKING:
    from clsight.loading import Subject


@intervention(
    question="What does the answer lose when attention to, from or of CLS is cut, per layer and head?",
    definition=(
        "Change of the predicted class's logit, KL divergence (natural log), cosine distance of the final "
        "CLS state and change of the prediction, between an untouched pass and one in which a path is cut: "
        "by mask with renormalization, by value zero, by mean value, by value of another input."
    ),
    unit="",
    range="logit: any number; KL: 0 to infinity; cosine distance: 0 to 2; prediction changed: 0 to 1",
    cost="one forward pass per cell, flavor and draw",
    paper="Attention knockout: Geva et al. 2023, arXiv 2304.14767; controls: Parodi 2026, arXiv 2604.14433",
    trust=(
        "A cut may take the model to states it never saw: where flavors disagree, none alone says whether "
        "CLS is used, and what another head can replace shows no effect."
    ),
    dims=("flavor", "sample", "layer", "head"),
)
def knockout(
    subject_or_module: "Subject | nn.Module",
    inputs: Any,
    *,
    path: str = "column",
    flavors: str | Sequence[str] = FLAVORS,
    layers: Layers = None,
    heads: Heads = None,
    per: str | Sequence[str] | None = ("layer", "head"),
    output: Callable[[Any], Tensor] | None = None,
    draws: int = 10,
    seed: int = 0,
    progress: bool = True,
    **asked: Unpack[Asked],
) -> xr.Dataset:
    """Return what the answer loses when a path of attention is cut, `[flavor, sample, layer, head]`.

    Cut is what others ask of CLS (`column`), CLS of others (`row`) or CLS of itself (`self`): by `mask` with
    renormalization, or by a value of `zero`, of the `mean`, or of another input (`resample`). One flavor may
    show a large effect and another none: read all four. The model is left as it was.

    Args:
        subject_or_module: As for `clsight.capture`, with `inputs`, `cls_index`, `token_mask` and `within`.
        inputs: One batch; `mean` and `resample` take values from its other samples.
        path: `column`, `row` or `self`.
        flavors: Some of `mask`, `zero`, `mean`, `resample`.
        layers: Indices or names; None for all.
        heads: Indices; None for all.
        per: What is cut in one pass: `("layer", "head")`, `"layer"` or None (all at once).
        output: From the module's output to its logits; by default found as `clsight.Recorder` does.
        draws: Passes of a model that draws at random; the means are returned, with their spread as `…_std`.
        seed: Start of the random streams in the first draw.
        progress: Show a progress bar on the error stream.

    Returns:
        `logit_change` (cut minus untouched, of the class predicted without the cut), `kl` in nats,
        `prediction_changed` in [0, 1], `cls_distance` in [0, 2]; `attrs["absent"]` says what is not there.

    Raises:
        CaptureError: As `clsight.capture`; on an unknown name or index; if nothing can be compared.
    """
    names, dims = chosen_names("flavors", flavors, FLAVORS), cell_dims(per)
    (path,) = chosen_names("path", path, PATHS)
    check_draws(draws, seed)
    with Passes(model_call(subject_or_module, inputs, **asked), output=output) as passes:
        knocking = Knocking(passes, path, names, seed=seed)
        plan = knocking.plan
        sites, chosen = chosen_sites(plan.sites, layers), chosen_heads(plan.heads, heads)
        cells, seeds = list(cells_of(sites, chosen, dims)), seeds_of(draws, seed, has_drawn=plan.has_drawn)
        total = len(seeds) * len(names) * len(cells)
        with tqdm(total=total, desc="knockout", unit="pass", disable=not progress) as bar:
            drawn = [knocking.effects(one, cells, bar) for one in seeds]
    where = coordinates(plan.record, {"layer": [site.layer for site in sites], "head": chosen}, dims)
    sizes = (len(names), *(where[dim].size for dim in dims))
    values = {name: _arranged([one[name] for one in drawn], sizes) for name in drawn[0]}
    variables, spread = variables_of(values, ("flavor", "sample", *dims), WORDS, has_drawn=plan.has_drawn)
    settings = {"path": path, "draws": len(seeds), "draw_seed": seed}
    absent, notes = {**knocking.absent, **spread}, [*spread_notes(seeds), *knocking.notes]
    return xr.Dataset(
        variables,
        coords={"flavor": np.array(names, dtype=np.dtypes.StringDType()), **where},
        attrs=result_attributes(plan.record, "knockout", absent=absent, notes=notes, **settings),
    )


def _arranged(drawn: list[NDArray[np.float64]], sizes: tuple[int, ...]) -> NDArray[np.float64]:
    """Return `[draw, flavor, sample, *cells]` from one `[flavor, cell, sample]` per draw."""
    values = np.stack(drawn)
    return np.moveaxis(values.reshape(len(drawn), *sizes, values.shape[-1]), -1, 2)
