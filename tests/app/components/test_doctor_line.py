"""The doctor's line above the maps: the worst finding first, everything on a click, nothing as markup."""

import json

from clsight.doctor import Finding, Findings
from clsight_app.components.doctor_line import doctor_line

NOTE = Finding("note", "A sink.", "It parks.", "Look elsewhere.", "no_sink")
ERROR = Finding("error", "[CLS] never enters.", "Nothing is shown.", "Pass it.", "cls_enters_encoder")
FINE = Finding("ok", "Rows sum to 1.", check="rows_sum_to_one")


def line_of(*found, labels=()):
    """Return the line as the JSON that goes to the browser, and its component."""
    line = doctor_line(Findings("m", found, {"mask_is_honored": "no mask"}, labels))
    line = line.children[0] if isinstance(line.children, list) else line.children
    return json.dumps(line, default=lambda part: part.to_plotly_json(), ensure_ascii=False), line


def text_of(line):
    """Return the text of the line that is seen before it is opened."""
    parts = line.children[0].children
    return "".join(part if isinstance(part, str) else part.children for part in parts)


def test_line_tells_the_worst_finding_and_counts_all():
    told, line = line_of(NOTE, ERROR, NOTE, FINE)
    assert text_of(line) == "Doctor: 1 error, 2 notes. [CLS] never enters."
    assert line.className == "doctor doctor-error"
    for part in ("Error: ", "Nothing is shown. Pass it.", "It parks. Look elsewhere."):
        assert part in told


def test_line_of_a_healthy_model_says_so():
    told, line = line_of(FINE)
    assert text_of(line) == "Doctor: nothing to report, 1 check in order."
    assert line.className == "doctor"
    assert "Rows sum to 1." in told
    assert "mask_is_honored: no mask." in told


def test_line_names_how_it_was_looked():
    _, line = line_of(NOTE, labels=("reconstructed forward",))
    assert text_of(line) == "Doctor: reconstructed forward; 1 note. A sink."


def test_an_error_asks_to_be_acknowledged_and_nothing_else_does():
    struck = doctor_line(Findings("m", (ERROR, NOTE)))
    assert struck.className == "doctor-has-errors"
    assert struck.children[1].checked is False
    assert doctor_line(Findings("m", (ERROR,)), acknowledged=True).children[1].checked is True
    assert "doctor-has-errors" not in str(doctor_line(Findings("m", (NOTE, FINE))))
