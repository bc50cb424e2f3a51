"""What takes the model itself to know: its weights, its gradients, or passes in which one thing is changed.

Each public function is one line here. `INTERVENTIONS` lists them with what each asks and what it costs.
"""

from clsight.interventions.attention_knockout import knockout as knockout
from clsight.interventions.effective_weights import effective_attention as effective_attention
from clsight.interventions.flows import attention_flow as attention_flow
from clsight.interventions.integrated import integrated_gradients as integrated_gradients
from clsight.interventions.layerwise_relevance import chefer_lrp as chefer_lrp
from clsight.interventions.lenses import logit_lens as logit_lens
from clsight.interventions.logit_shares import direct_logit_attribution as direct_logit_attribution
from clsight.interventions.query_parts import query_decomposition as query_decomposition
from clsight.interventions.registry import INTERVENTIONS as INTERVENTIONS
from clsight.interventions.relevance import chefer as chefer
from clsight.interventions.residual_norms import norm_weighted_residual as norm_weighted_residual
from clsight.interventions.token_mixing import alti as alti
from clsight.interventions.token_mixing import globenc as globenc
from clsight.interventions.zeroed_values import value_zeroing as value_zeroing

__all__ = [
    "INTERVENTIONS",
    "alti",
    "attention_flow",
    "chefer",
    "chefer_lrp",
    "direct_logit_attribution",
    "effective_attention",
    "globenc",
    "integrated_gradients",
    "knockout",
    "logit_lens",
    "norm_weighted_residual",
    "query_decomposition",
    "value_zeroing",
]
