"""Findings as text, HTML and JSON, the worst first."""

import json

import pytest

from clsight.doctor.findings import Findings, error, note, ok, warning


def hand_made(name="digits"):
    found = (
        ok("All is well."),
        note("A sink.", why="It parks.", next_step="Look elsewhere."),
        error("[CLS] never enters.", why="Nothing <b>is</b> shown.", next_step="Pass it."),
        warning("It is redrawn " + "again and " * 12 + "again.", why="Two answers.", next_step="Fix it."),
    )
    return Findings(name, found, {"mask_is_honored": "no mask"}, ("reconstructed forward",))


def test_findings_are_ordered_by_severity():
    findings = hand_made()
    assert [finding.severity for finding in findings] == ["error", "warning", "note", "ok"]
    assert findings.errors == (findings[0],)
    assert findings.warnings == (findings[1],)
    assert findings.notes == (findings[2],)
    assert findings.passed == findings[3:]


def test_summary_counts_in_words():
    assert hand_made().summary == "1 error, 1 warning, 1 note; 1 check in order, 1 not applicable"
    assert Findings("m", ()).summary == "0 errors, 0 warnings, 0 notes; 0 checks in order, 0 not applicable"


def test_text_is_as_wide_as_asked_and_names_severity_in_words():
    lines = list(hand_made().lines(width=60))
    assert max(map(len, lines)) <= 60
    assert lines[0].startswith("digits: 1 error")
    assert "Reconstructed forward." in lines
    assert "ERROR    [CLS] never enters." in lines
    assert "         Why:  Two answers." in lines
    assert not any("All is well" in line for line in lines)


def test_text_tells_the_rest_when_asked():
    lines = list(hand_made().lines(every=True))
    assert lines[-2:] == ["OK       All is well.", "-        mask_is_honored: no mask."]


def test_str_is_the_text_of_a_terminal():
    assert str(hand_made()) == "\n".join(hand_made().lines(width=80))


@pytest.mark.parametrize("name", ["a\x1b[31mb", "a\nb"])
def test_text_holds_no_control_characters(name):
    assert "\x1b" not in str(hand_made(name))
    assert str(hand_made(name)).splitlines()[0].startswith("a\\")


def test_json_holds_everything():
    told = json.loads(hand_made().to_json())
    assert told["model"] == "digits"
    assert told["labels"] == ["reconstructed forward"]
    assert told["not_applicable"] == {"mask_is_honored": "no mask"}
    assert told["findings"][0] == {
        "severity": "error",
        "sentence": "[CLS] never enters.",
        "why": "Nothing <b>is</b> shown.",
        "next_step": "Pass it.",
        "check": "",
    }


def test_html_escapes_what_it_shows():
    page = hand_made("<script>")._repr_html_()
    assert "<script>" not in page
    assert "Nothing &lt;b&gt;is&lt;/b&gt; shown." in page
