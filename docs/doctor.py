"""Write docs/doctor.md: what the doctor asks, and what it can find: `python docs/doctor.py`."""

from pathlib import Path

from clsight.doctor import CHECKS, SEVERITIES

PAGE = Path(__file__).with_name("doctor.md")
INTRODUCTION = """\
# The doctor

Is the map true, and does it mean what it says? `clsight doctor MODEL` in the terminal,
`clsight.diagnose(subject)` or `clsight.diagnose(module, inputs)` in Python. Each finding is a sentence with
its number, why it matters, and one next step. This page is written by `python docs/doctor.py`.

```python
findings = clsight.diagnose(module, inputs)  # two different samples or more
print(findings)  # the table of the terminal
findings.errors, findings.warnings  # tuples of findings
findings.to_json()
```

It costs a handful of forward passes in eval mode. Weights, modes, hooks and random streams are afterwards
as they were: what it changes on trial, such as the vector of [CLS], it puts back bit for bit, and no
capture of the same module runs meanwhile. `clsight doctor` ends with exit code 1 if there is an error, 2 if
the model cannot be loaded; `--all` also lists what is in order and what could not be looked at, and why;
`--json` prints everything.

A bare module is asked with the inputs it is given, a loaded model with its first 32 examples, or with
`--input`. Where the examples are clsight's own (synthetic series or pictures), the report says so. A file of
weights alone has no forward: its report is labeled "reconstructed forward", and only the class, `--model
package.module:factory`, can show whether [CLS] is used.

The sample models and MiniLM get no error and no warning, with one exception that is meant:
`digits-random-per-forward` draws [CLS] at each forward pass, to show what that costs, and gets the warning of
`cls_is_fixed`.

"""
CHECK_HEAD = """
## The checks, in order

| check | asks | finds |
|---|---|---|
"""
OWN = """
## A check of your own

A check is a generator in a file of `src/clsight/doctor/checks`, listed by its decorator; it gets an
`Examination`, which holds a record, a few watched passes and the layers, each made once and on demand:

```python
from clsight.doctor.examination import Examination
from clsight.doctor.findings import note, ok
from clsight.doctor.registry import check


@check(asks="Are there many tokens?", finds={"note": "more than 512"})
def few_tokens(examination: Examination):
    tokens = examination.record.sizes["token"]
    if tokens <= 512:
        yield ok(f"{tokens} tokens.")
    else:
        yield note(f"{tokens} tokens.", why="Maps get hard to read.", next_step="Cut the input.")
```

`tests/doctor/cases.py` has, for each thing that a check can find, a model that must trigger it and a
healthy twin that must not.
"""


def page() -> str:
    """Return the text of the page."""
    severities = [f"- **{name}**: {meaning}\n" for name, meaning in SEVERITIES.items()]
    rows = []
    for check in CHECKS.values():
        finds = "; ".join(f"**{severity}**: {what}" for severity, what in check.finds.items())
        rows.append(f"| `{check.name}` | {check.asks} | {finds} |\n")
    return INTRODUCTION + "".join(severities) + CHECK_HEAD + "".join(rows) + OWN


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
