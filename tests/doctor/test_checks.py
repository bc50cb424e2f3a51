"""Each thing that a check can find is found in a model made for it, and not in its healthy twin."""

import pytest

from clsight.doctor import CHECKS
from doctor.case import diagnosed
from doctor.cases import CASES


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_finding_is_told_of_the_ill_model(case):
    findings = diagnosed(case.ill(), **case.options)
    found = [item for item in findings if item.check == case.check and item.severity == case.severity]
    assert any(case.told in item.sentence for item in found), "\n".join(findings.lines(every=True))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_finding_is_not_told_of_the_healthy_twin(case):
    findings = diagnosed(case.twin(), **case.options)
    found = [item for item in findings if item.check == case.check]
    assert {item.severity for item in found} == {"ok"}, "\n".join(findings.lines(every=True))


def test_each_thing_that_a_check_can_find_has_a_case():
    can_be_found = {(name, severity) for name, check in CHECKS.items() for severity in check.finds}
    assert {(case.check, case.severity) for case in CASES} == can_be_found
