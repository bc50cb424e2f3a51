"""Every encoder that a capture is compared on, asked by the doctor: nothing breaks, and no false alarm."""

import pytest

import clsight
from clsight.doctor.diagnosis import FAILED
from encoder_zoo import ZOO

pytestmark = pytest.mark.slow
SATURATED = {"MobileBERT, sdpa", "MobileBERT, eager"}  # its random weights give scores in the thousands


@pytest.mark.parametrize("name", ZOO)
def test_encoder_raises_no_false_alarm(name):
    encoder = ZOO[name]
    findings = clsight.diagnose(encoder.build(), encoder.inputs(), cls_index=encoder.cls_index)
    # Bare torch encoders are given random tokens: none of them is a [CLS], and the doctor sees it.
    errors = {"input_at_cls"} if encoder.library == "torch" else set()
    assert {finding.check for finding in findings.errors} == errors
    warnings = {"scores_are_not_saturated"} if name in SATURATED else set()
    assert {finding.check for finding in findings.warnings} == warnings
    assert not [reason for reason in findings.not_applicable.values() if FAILED in reason]
