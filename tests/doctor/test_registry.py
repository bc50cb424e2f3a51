"""The list of checks: complete sentences, a page in the docs that is up to date, checks of one's own."""

from pathlib import Path
from runpy import run_path

import pytest

import clsight
from clsight.doctor import CHECKS, SEVERITIES, checks
from clsight.doctor.findings import note
from clsight.doctor.registry import check
from doctor import patients

ROOT = Path(__file__).resolve().parents[2]


def page():
    """Return what `python docs/doctor.py` would write."""
    return run_path(str(ROOT / "docs" / "doctor.py"))["page"]()


def test_page_of_the_docs_lists_the_checks_as_they_are():
    written = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
    assert written == page(), "run `python docs/doctor.py`"
    assert all(f"| `{name}` |" in written for name in CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_check_asks_a_question_and_finds_known_severities(name):
    described = CHECKS[name]
    assert described.name == name
    assert described.asks.endswith("?")
    assert set(described.finds) < set(SEVERITIES)
    assert described.finds
    assert not any(what.endswith(".") for what in described.finds.values())


def test_every_file_of_checks_is_imported():
    files = {path.stem for path in Path(checks.__path__[0]).glob("*.py")} - {"__init__"}
    assert {described.function.__module__.rpartition(".")[2] for described in CHECKS.values()} == files


def test_check_of_ones_own_is_made_with_the_others():
    @check(asks="Does it count?", finds={"note": "samples"})
    def counts(examination):
        yield note(f"{examination.samples} samples.", why="So.", next_step="None.")

    try:
        findings = clsight.diagnose(patients.healthy(), patients.series())
    finally:
        del CHECKS["counts"]
    assert [finding.sentence for finding in findings.notes] == ["4 samples."]


def test_healthy_model_passes_every_check_that_applies():
    findings = clsight.diagnose(patients.healthy(), patients.series())
    assert len(findings.passed) == len(findings)
    assert findings.not_applicable.keys() == {"forward_is_own", "padding_gets_nothing", "weights_loaded"}
