"""How much can flow from CLS down to each input token, if attention weights are the widths of pipes?"""

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import maximum_flow

from clsight.hooks.forward import ClsIndex
from clsight.interventions.averaging import over_draws
from clsight.interventions.labeling import described, labeled
from clsight.interventions.opening import Opened, open_model
from clsight.interventions.registry import intervention
from clsight.interventions.requirements import need_all_to_ask, need_order, refuse_long
from clsight.interventions.sublayer import weight_rows

if TYPE_CHECKING:
    from clsight.interventions.opening import Model, Raw

PAPER = "Abnar & Zuidema 2020, Quantifying Attention Flow in Transformers, arXiv 2005.00928"
MOST_FLOW_TOKENS = 64
_UNIT = 2**29  # capacities are 32-bit whole numbers; a flow backward may double one


@intervention(
    question="How much can flow from CLS down to each input token, if weights are the widths of pipes?",
    definition="Maximum flow through capacities ½ (mean over heads of A + I), over its sum.",
    unit="",
    range="0 to 1, summing to 1",
    cost="one forward pass, and one maximum flow per token; stated limit",
    paper=PAPER,
    trust="Bounded by the narrowest place, it is nearly the same for all tokens; values do not count.",
    dims=("sample", "token"),
)
def attention_flow(
    model: "Model",
    inputs: "Raw",
    *,
    cls_index: ClsIndex | None = None,
    token_mask: Any = None,
    within: str | None = None,
    draws: int = 10,
    seed: int = 0,
    max_tokens: int = MOST_FLOW_TOKENS,
) -> xr.Dataset:
    """Return the maximum flow from CLS behind the last layer to each input token, divided by its sum.

    Capacities are ½ (mean over heads of A + I), between the real tokens of neighboring layers. They are
    rounded to multiples of 2⁻²⁹, which can move a flow by at most `rounding_bound`. Bounded by the narrowest
    place, flow tends to be nearly the same for all tokens. Values do not count. One maximum flow per token.

    Args:
        model: A module, or what `clsight.load` returned.
        inputs: As for `clsight.capture`; `cls_index`, `token_mask` and `within` too.
        cls_index: Position of CLS.
        token_mask: `[sample, token]`, True = real.
        within: Name of the submodule to look at.
        draws: Passes of a model that draws at random; the means are returned, with their spread as `…_std`.
        seed: Start of the random streams in the first draw.
        max_tokens: Longest sequence; time grows with its square or cube.

    Returns:
        `attention_flow` [sample, token], in [0, 1], summing to 1; `largest_flow` [sample, token], in
        [0, 1], before that division; NaN at padding.

    Raises:
        CaptureError: If the sequence is too long, not every key is a token that asks, or tokens move to other
            places between layers.
    """
    opening = partial(open_model, model, inputs, cls_index=cls_index, token_mask=token_mask, within=within)
    return over_draws(opening, partial(_flows, max_tokens=max_tokens), draws=draws, seed=seed)


def _flows(opened: Opened, max_tokens: int) -> xr.Dataset:
    """Return the result of one draw."""
    refuse_long(opened, max_tokens, asked_by="attention_flow")
    need_all_to_ask(
        opened,
        asked_by="attention_flow",
        next_step="Capture with keep='rollout', which needs no queries of other tokens",
    )
    need_order(opened, asked_by="attention_flow")
    flows = torch.from_numpy(np.stack([_of_sample(opened, s) for s in range(len(opened.token_mask))]))
    bound = len(opened.layers) * opened.record.sizes["token"] ** 2 * 0.5 / _UNIT
    per_token, words = ("sample", "token"), {"paper": PAPER}
    shares = flows / flows.sum(-1, keepdim=True)
    variables = {
        "attention_flow": labeled(opened, per_token, shares, long_name="attention flow", **words),
        "largest_flow": labeled(opened, per_token, flows, long_name="maximum flow", **words),
    }
    return described(opened, "attention_flow", variables, paper=PAPER, rounding_bound=bound)


def _of_sample(opened: Opened, sample: int) -> NDArray[np.float64]:
    """Return the maximum flow from CLS to each token of one sample, `[token]`."""
    real = np.flatnonzero(opened.token_mask[sample].cpu().numpy())
    queries = torch.from_numpy(real).to(opened.token_mask.device)
    weights = [
        weight_rows(layer.call, queries)[sample].double().mean(0)[:, queries].cpu().numpy()
        for layer in opened.layers
    ]
    source = int(np.flatnonzero(real == int(opened.position.index[sample]))[0])
    flows = np.zeros(opened.token_mask.shape[1])
    flows[real] = flows_down([0.5 * (matrix + np.eye(len(real))) for matrix in weights], source)
    return flows


def flows_down(capacities: list[NDArray[np.float64]], source: int) -> NDArray[np.float64]:
    """Return the maximum flow from one token behind the last layer to each token before the first: `[token]`.

    Args:
        capacities: Per layer, first layer first, `[upper token, lower token]`, in [0, 1].
        source: The token above the last layer.
    """
    tokens, layers = len(capacities[0]), len(capacities)
    graph = _network(capacities)
    start = layers * tokens + source
    return np.array([maximum_flow(graph, start, sink).flow_value / _UNIT for sink in range(tokens)])


def _network(capacities: list[NDArray[np.float64]]) -> csr_array:
    """Return the whole-number capacities between nodes `layer · tokens + token`, layer 0 the inputs."""
    tokens, size = len(capacities[0]), (len(capacities) + 1) * len(capacities[0])
    upper, lower = np.indices((tokens, tokens)).reshape(2, -1)
    rows = np.concatenate([(layer + 1) * tokens + upper for layer in range(len(capacities))])
    columns = np.concatenate([layer * tokens + lower for layer in range(len(capacities))])
    widths = np.rint(np.concatenate([matrix.ravel() for matrix in capacities]) * _UNIT).astype(np.int32)
    kept = widths > 0
    return csr_array(coo_array((widths[kept], (rows[kept], columns[kept])), shape=(size, size)))
