"""From a control to the address, over real models: what changes, what stays, what a broken link becomes."""

import pytest

from clsight.errors import AppError
from clsight_app import navigation
from clsight_app.state import Selection, from_query, to_query

HERE = Selection("digits-zeros", 3, "attended_by", 2, 1)


def gone(catalog, change, query=None):
    """Return the selection of the address after a change."""
    return from_query(navigation.query_after(catalog, to_query(HERE) if query is None else query, change))


def test_query_after_changes_the_model_and_keeps_the_rest(catalog):
    after = gone(catalog, lambda now: now.changed(model="digits-learned"))
    assert after == HERE.changed(model="digits-learned")


def test_query_after_is_silent_when_nothing_changes(catalog):
    assert navigation.query_after(catalog, to_query(HERE), lambda now: now) is None
    assert navigation.query_after(catalog, "", lambda now: now) is None


def test_query_after_fits_what_the_model_does_not_have(catalog):
    after = gone(catalog, lambda now: now.changed(sample=99, layer=99, head=99))
    assert (after.sample, after.layer, after.head) == (19, 2, 3)


def test_query_after_repairs_a_broken_link(catalog):
    after = gone(catalog, lambda now: now.changed(sample=5), query="?model=nobody&sample=x")
    assert after == Selection("digits-learned", 5)


@pytest.mark.parametrize(
    ("key", "layer", "head"), [("ArrowUp", 1, 1), ("ArrowDown", 2, 1), ("ArrowRight", 2, 2)]
)
def test_move_follows_the_arrow_keys_within_the_grid(catalog, key, layer, head):
    after = navigation.move(catalog, HERE, key)
    assert (after.layer, after.head) == (layer, head)


def test_step_stops_at_the_last_example(catalog):
    assert navigation.step(catalog, HERE.changed(sample=18), 1).sample == 19
    assert navigation.step(catalog, HERE.changed(sample=19), 1).sample == 19


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
