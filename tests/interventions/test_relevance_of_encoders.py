"""Chefer's rule of CVPR 2021 on every encoder of the zoo: relevance, or the operation without a rule."""

import numpy as np
import pytest
import torch

import clsight
from clsight.hooks.calls import tensors_in
from clsight.interventions import chefer_lrp
from encoder_zoo import ZOO

pytestmark = pytest.mark.slow

GATED = ("ModernBERT, sdpa", "ModernBERT, eager", "eva02", "eva02, norm before the projection")
REFUSED = {
    **dict.fromkeys(GATED, "got `mul`"),
    "SqueezeBERT, eager": "got `convolution`",
    "XLNet (CLS last), eager": "got one of shape (9, 3, 3, 8) for 3 samples of 9 tokens",
    "cait (row only)": "got CLS is the only query",
    "cait (row only), unfused": "got CLS is the only query",
}
SAMPLES = 3


def reading(cls_index):
    """Return a target: one channel of what the model gives for CLS."""

    def read(output):
        states = next(one for one in tensors_in(output) if one.dim() >= 2 and one.is_floating_point())
        if states.dim() == 2:
            return states[:, 0]
        order = torch.arange(len(states))
        return states[order, torch.as_tensor(cls_index), 0]

    return read


def in_float64(given):
    is_real = isinstance(given, torch.Tensor) and given.is_floating_point()
    return given.double() if is_real else given


def of_one(given, sample):
    is_batch = isinstance(given, torch.Tensor) and len(given) == SAMPLES
    return given[[sample]] if is_batch else given


@pytest.mark.parametrize("name", [name for name in ZOO if name not in REFUSED])
def test_relevance_of_an_encoder_is_finite_and_that_of_each_sample_alone(name):
    encoder = ZOO[name]
    module = encoder.build().double()
    inputs = {key: in_float64(given) for key, given in encoder.inputs().items()}
    cls = encoder.cls_index
    result = chefer_lrp(module, inputs, cls_index=cls, target=reading(cls))
    found = result.chefer_lrp
    np.testing.assert_array_equal(np.isfinite(found), result.token_mask)
    assert float(found.min()) >= 0 < float((found - found.round()).max())
    for sample in range(SAMPLES):
        alone = {key: of_one(given, sample) for key, given in inputs.items()}
        own = cls if isinstance(cls, int) else cls[sample]
        expected = chefer_lrp(module, alone, cls_index=own, target=reading(own)).chefer_lrp
        np.testing.assert_allclose(found[sample], expected[0], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", REFUSED)
def test_encoder_with_an_operation_that_has_no_rule_is_refused_by_its_name(name):
    encoder = ZOO[name]
    module, inputs = encoder.build(), encoder.inputs()
    with pytest.raises(clsight.CaptureError) as refused:
        chefer_lrp(module, inputs, cls_index=encoder.cls_index, target=reading(encoder.cls_index))
    assert REFUSED[name] in str(refused.value)
