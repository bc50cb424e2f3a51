"""`clsight study report`: three whole files from a real study, self-contained, names literal; refusals."""

import json
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from click.testing import CliRunner

from clsight.cli import main
from clsight.study.engines import LocalEngine
from clsight.study.running import run_study
from clsight.study.store import Store
from reporting.made_hostile import EVIL, SHOWN, hostile_study
from study.made_runs import failing_for_zeros, small_study

pytestmark = pytest.mark.slow
ASKING = ("src", "href", "srcset", "action", "data", "poster")


def run(*arguments):
    return CliRunner().invoke(main, ["study", "report", *map(str, arguments)], catch_exceptions=False)


class Elements(HTMLParser):
    """The elements of a page, and its text outside scripts and styles."""

    def __init__(self, page):
        super().__init__()
        self.found, self.text, self.skipping = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.skipping = tag if tag in ("script", "style") else self.skipping

    def handle_endtag(self, tag):
        self.skipping = "" if tag == self.skipping else self.skipping

    def handle_data(self, data):
        self.text.append("" if self.skipping else data)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return hostile_study(tmp_path_factory.mktemp("study") / "made")


@pytest.fixture(scope="module")
def page(store):
    assert run(store.folder).exit_code == 0
    return (store.folder / "report.html").read_text()


def test_report_writes_page_numbers_and_runs_beside_each_other(store, tmp_path):
    result = run(store.folder, "--out", tmp_path / "mine.html", "--metric", "loss")
    assert result.exit_code == 0
    names = ["mine.html", "mine.json", "mine.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    for line, name in zip(result.stdout.splitlines(), names, strict=True):
        assert re.fullmatch(rf"Wrote {re.escape(str(tmp_path / name))} \(\d+ kB\)\.", line)
    told = json.loads((tmp_path / "mine.json").read_text())
    assert told["name"] == SHOWN
    assert {one["metric"] for one in told["exploratory"]["contrasts"]} == {"loss"}
    assert told["declared"][0]["metric"] == "accuracy"  # what was declared does not follow the option
    table = pd.read_csv(tmp_path / "mine.csv")
    assert len(table) == 24
    assert table["state"].value_counts().to_dict() == {"finished": 23, "failed": 1}
    run_of = json.loads((store.folder / "runs" / table["key"][0] / "run.json").read_text())
    assert table["accuracy"][0] == run_of["outcome"]["accuracy"]


def test_page_asks_no_other_host(page):
    elements = Elements(page).found
    for tag, attributes in elements:
        assert tag not in ("link", "iframe", "img", "object", "base")
        assert not [name for name in ASKING if name in attributes], (tag, attributes)
    policies = [a["content"] for tag, a in elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none'; script-src 'unsafe-inline'; ")


def test_names_that_are_markup_stand_there_as_text(page):
    elements = Elements(page)
    assert [tag for tag, _ in elements.found if tag == "script"] == ["script"] * page.count("<script")
    assert "document.title='owned'</script>" not in page
    text = "".join(elements.text)
    assert text.count(SHOWN) > 10
    assert "<b>no</b>" in text


def test_page_tells_failures_limits_command_and_file(page):
    text = "".join(Elements(page).text)
    assert "23 of 24 compared runs are finished; 1 failed, 0 diverged." in text
    assert "ArithmeticError: <b>no</b>" in text
    assert "clsight study run study.toml --out study" in text
    assert "weight_decay = 0.05" in text
    assert "Are zeros bad?" in text
    assert "Learning rates were not tuned" in text
    assert "no difference was found none is claimed" in text


def test_report_of_no_study_is_answered_in_a_sentence(tmp_path):
    result = run(tmp_path)
    assert result.exit_code == 2
    assert result.stderr.strip() == (
        f"Error: `{tmp_path}`: expected the folder of a study, with its study.json, but got none. "
        "Make one: clsight study run FILE --out DIR."
    )
    assert list(tmp_path.iterdir()) == []


def test_report_of_a_study_without_finished_runs_says_so(tmp_path):
    run_study(
        small_study(NOTHING), Store(tmp_path / "s"), LocalEngine(1), work=failing_for_zeros, progress=False
    )
    result = run(tmp_path / "s")
    assert result.exit_code == 2
    assert result.stderr.strip() == (
        f"Error: `{tmp_path / 's'}`: expected a study with finished runs, but got none of 2. "
        "Run it first: clsight study run FILE --out DIR."
    )
    assert not (tmp_path / "s" / "report.html").exists()


def test_report_wants_a_name_of_a_page_and_a_known_metric(store, tmp_path):
    result = run(store.folder, "--out", tmp_path / "report.json")
    assert result.stderr.strip() == (
        "Error: `--out`: expected a name that ends in .html, but got report.json. "
        "Give a name such as report.html; the JSON and CSV files are written beside it."
    )
    unknown = run(store.folder, "--out", tmp_path / "r.html", "--metric", "acuracy")
    assert "`metric`: expected a number of the outcome, but got 'acuracy'. Did you mean" in unknown.stderr
    missing = run(store.folder, "--out", tmp_path / "none" / "r.html")
    assert missing.stderr.strip() == (
        f"Error: `{tmp_path / 'none' / 'r.html'}`: expected a file that can be written, but got No such file "
        "or directory. Give another name with --out."
    )
    assert list(tmp_path.iterdir()) == []


NOTHING = """
[study]
seeds = 2
[base]
task = "count"
[[block]]
name = "all fail"
base = { strategy = "zeros" }
"""


def test_the_hostile_name_is_what_the_study_says(store):
    assert store.plan()["name"] == SHOWN != EVIL
