import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest

import clsight
from clsight import analysis
from clsight.analysis import MEASURES
from clsight.schema import KEPT_BY
from kept_records import kept_record

ROOT = Path(__file__).resolve().parents[2]
SELECTIONS = [
    {"sample": 1},
    {"layer": [2, 0]},
    {"head": 3},
    {"sample": 0, "layer": 1, "head": 2},
]


def test_measures_lists_every_measure_of_version_one():
    assert set(MEASURES) >= {
        "entropy",
        "effective_tokens",
        "cls_self_attention",
        "lift",
        "mean_attends_to",
        "mean_attended_by",
    }


@pytest.mark.parametrize("name", list(MEASURES))
def test_measure_describes_itself(name):
    described = MEASURES[name]
    assert getattr(analysis, name) is described.function
    assert described.question.endswith("?")
    assert described.definition
    assert described.range
    assert re.fullmatch(r"O\(.+\).*; from the record", described.cost)
    assert described.trust.endswith(".")


@pytest.mark.parametrize("name", list(MEASURES))
def test_measure_needs_exactly_the_variables_it_lists(name):
    described, record = MEASURES[name], kept_record().record
    result = described.function(record[[*described.needs]].assign_attrs(record.attrs))
    assert result.dims == described.dims
    assert result.name == name
    assert result.attrs["long_name"]
    assert result.attrs["units"] == described.unit
    for needed in described.needs:
        lacking = record.drop_vars(needed)
        remedy = f"keep={KEPT_BY[needed]!r}" if needed in KEPT_BY else f"holds `{needed}`"
        with pytest.raises(
            clsight.RecordError, match=f"`{name}`: expected a record with `{needed}`, .*{remedy}"
        ):
            described.function(lacking)
        assert described.missing_from(lacking) == (needed,)
        assert (KEPT_BY.get(needed) in described.keep) is (needed in KEPT_BY)
    assert described.missing_from(record) == ()


@pytest.mark.parametrize("name", list(MEASURES))
@pytest.mark.parametrize(
    ("other", "got"),
    [
        (None, "None"),
        (kept_record().record["attends_to"], "an object of type DataArray"),
        ("a.zip", "'a.zip'"),
    ],
)
def test_measure_of_another_kind_of_object_is_one_sentence(name, other, got):
    with pytest.raises(clsight.RecordError, match=f"`{name}`: expected a record.*but got {got}"):
        MEASURES[name].function(other)


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("name", list(MEASURES))
def test_measure_of_a_selection_is_the_selection_of_the_measure(name, selection):
    described, function = MEASURES[name], MEASURES[name].function
    stacked = clsight.stack({"a": kept_record(seed=1).record, "b": kept_record(seed=2).record})
    for record in (kept_record().record, stacked, stacked.sel(strategy="b")):
        left = {dim: at for dim, at in selection.items() if dim in described.dims}
        averaged = {dim: np.atleast_1d(at) for dim, at in selection.items() if dim not in described.dims}
        expected = function(record.isel(averaged)).isel(left)
        by_position, by_label = function(record.isel(selection)), function(record.sel(selection))
        np.testing.assert_allclose(by_position, expected, rtol=1e-12)
        np.testing.assert_array_equal(by_position, by_label)


def test_a_new_file_in_the_folder_is_a_new_measure(tmp_path):
    (tmp_path / "largest_weight.py").write_text(
        "from clsight.analysis.registry import measure\n"
        "@measure(question='q?', definition='d', unit='', range='0 to 1', cost='c', paper='', trust='t.',\n"
        "         needs=('attends_to',), dims=('sample', 'layer', 'head'))\n"
        "def largest(record):\n"
        "    return record['attends_to'].max('token')\n"
    )
    program = (
        "import sys, importlib.util as u\n"
        "name = 'clsight.analysis'\n"
        "spec = u.find_spec(name)\n"
        f"spec.submodule_search_locations.append({str(tmp_path)!r})\n"
        "module = u.module_from_spec(spec); sys.modules[name] = module; spec.loader.exec_module(module)\n"
        "assert 'largest' in module.MEASURES\n"
        "assert module.largest is module.MEASURES['largest'].function\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_unknown_measure_names_the_nearest():
    with pytest.raises(AttributeError, match="Did you mean `entropy`"):
        _ = analysis.entropi


def test_what_to_keep_is_named_once():
    described = replace(MEASURES["entropy"], needs=("keys", "values", "rollout", "attends_to"))
    assert described.keep == ("keys_values", "rollout")
    assert MEASURES["entropy"].keep == ()


def test_missing_from_refuses_what_is_no_record():
    with pytest.raises(clsight.RecordError, match=r"`entropy`: expected a record, an xarray.Dataset"):
        MEASURES["entropy"].missing_from("a.zip")


def test_page_of_the_docs_lists_the_measures_as_they_are():
    page = run_path(str(ROOT / "docs" / "measures.py"))["page"]()
    written = (ROOT / "docs" / "measures.md").read_text(encoding="utf-8")
    assert written == page, "run `python docs/measures.py`"
    assert all(f"## {name}\n" in written for name in MEASURES)


def test_page_of_the_docs_names_every_function_that_is_no_measure():
    written = (ROOT / "docs" / "measures.md").read_text(encoding="utf-8")
    functions = {name for name in analysis.__all__ if name.islower()} - MEASURES.keys()
    assert {name for name in functions if f"- `{name}(" not in written} == set()


def test_all_names_every_measure_of_the_package():
    assert set(MEASURES) <= set(analysis.__all__)
    assert analysis.__all__ == sorted(analysis.__all__)
