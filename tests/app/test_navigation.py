"""What the server tells the browser of the models, and what a link must name to be shown."""

import pytest

from clsight.errors import AppError
from clsight_app import navigation
from clsight_app.catalog import Catalog
from clsight_app.state import Selection, to_query

HERE = Selection("digits-zeros", 3, "attended_by", 2, 1)


def test_told_bounds_the_examples_of_every_model(catalog):
    told = navigation.told(catalog)
    assert told["first"] == "digits-learned"
    assert told["samples"] == dict.fromkeys(catalog.models, 20)
    assert told["labels"]["digits-zeros"] == "Example, 0 to 19"


def test_told_starts_with_the_learned_model_wherever_it_stands(sample_paths):
    assert navigation.told(Catalog(sample_paths[::-1]))["first"] == "digits-learned"


@pytest.mark.parametrize("sample", [0, 99])
def test_limits_are_the_sizes_of_the_record(catalog, sample):
    assert navigation.limits(catalog, "digits-zeros", sample) == {
        "model": "digits-zeros",
        "layers": 3,
        "heads": 4,
    }


def test_limits_are_not_told_when_the_model_has_no_examples(tmp_path, sample_paths):
    bare = tmp_path / "bare"
    bare.mkdir()
    for part in ("config.json", "model.safetensors"):
        (bare / part).write_bytes((sample_paths[1] / part).read_bytes())
    assert navigation.limits(Catalog([bare]), "bare", 0) == {"model": "bare"}


def test_located_gives_selection_and_record(catalog):
    selection, record = navigation.located(catalog, to_query(HERE))
    assert selection == HERE
    assert record is catalog.record("digits-zeros", 3)


@pytest.mark.parametrize(
    ("query", "subject"),
    [
        ("?model=nobody", "model"),
        ("?sample=20", "sample"),
        ("?layer=3", "layer"),
        ("?head=4", "head"),
        ("?head=-1", "head"),
        ("?direction=both", "direction"),
    ],
)
def test_located_tells_what_is_not_there(catalog, query, subject):
    with pytest.raises(AppError, match=f"^`{subject}`: expected "):
        navigation.located(catalog, query)
