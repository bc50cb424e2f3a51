"""Direct logit attribution against LXT 2.1, which benchmarks/attribution_peers.py ran.

In the last layer, where nothing but norms and a linear head follows, both are the same linear map: for norms,
LXT too holds the standard deviation fixed.
"""

import numpy as np
import pytest

import peer_cases as cases
from clsight.interventions import direct_logit_attribution

ATOL = 1e-14  # rounding, in float64 on both sides


@pytest.fixture(scope="module")
def lxt():
    return cases.numbers(cases.INTERVENTIONS, "lxt")


def last_attention(module, inputs, classes):
    terms = direct_logit_attribution(module, inputs, target=np.array(classes))
    return terms["attention"].isel(layer=-1).transpose("sample", "token", "head")


def test_each_head_and_token_has_twice_the_relevance_of_its_value_in_attnlrp(lxt):
    # AttnLRP halves the relevance of a product of two: one half is that of the weight
    module, inputs, classes = cases.bert_case()
    is_padding = inputs["attention_mask"].numpy() == 0
    expected = 2 * np.array(lxt["AttnLRP, last values"])
    assert is_padding.any()
    assert (expected[is_padding] == 0).all()
    expected[is_padding] = np.nan  # clsight has no number where there is no token
    np.testing.assert_allclose(last_attention(module, inputs, classes), expected, rtol=0, atol=ATOL)


def test_each_token_has_the_relevance_of_what_attention_reads_there_in_cp_lrp(lxt):
    module, pixels, classes = cases.torchvision_case()
    found = last_attention(module, {"x": pixels}, classes).sum("head")
    np.testing.assert_allclose(found, lxt["CP-LRP, last attention"], rtol=0, atol=ATOL)
