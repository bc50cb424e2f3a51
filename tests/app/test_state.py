"""The link of a view: selection to query string and back, and what a foreign link gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsight.errors import AppError
from clsight_app.state import (
    Selection,
    checked_index,
    checked_model,
    from_query,
    to_query,
)

MODELS = ("digits-learned", "digits-zeros")

selections = st.builds(
    Selection,
    model=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
    sample=st.integers(0, 999_999_999),
    direction=st.sampled_from(["attends_to", "attended_by"]),
    layer=st.integers(0, 200),
    head=st.integers(0, 200),
    measure=st.sampled_from(["", "entropy", "lift"]),
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    edited=st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    token=st.sampled_from(["", "0", "17"]),
)


@given(selections)
def test_query_gives_back_the_selection(selection: Selection) -> None:
    assert from_query(to_query(selection)) == selection


def test_query_is_readable() -> None:
    query = to_query(Selection(model="a & b", sample=3, direction="attended_by", layer=2, head=1))
    assert query == "?model=a+%26+b&sample=3&direction=attended_by&layer=2&head=1"


@pytest.mark.parametrize("query", ["", None, "?", "?utm_source=mail"])
def test_empty_query_gives_the_first_view(query: str | None) -> None:
    assert from_query(query) == Selection("", 0, "attends_to", 0, 0)


@pytest.mark.parametrize("number", ["-1", "two", "1.5", "٣", "1e3", "9" * 10])
def test_query_names_the_field_when_a_number_is_not_whole(number: str) -> None:
    with pytest.raises(AppError, match=r"`sample`: expected a whole number from 0 on, but got '"):
        from_query(f"?sample={number}")


def test_query_names_the_directions_when_one_is_unknown() -> None:
    with pytest.raises(AppError) as told:
        from_query("?direction=atends_to")
    assert str(told.value) == (
        "`direction`: expected one that exists, but got 'atends_to'. "
        "Did you mean `attends_to`? Options: attended_by, attends_to."
    )


def test_query_names_the_measures_when_one_is_unknown() -> None:
    with pytest.raises(
        AppError, match=r"expected one that exists, but got 'entrophy'\. Did you mean `entropy`"
    ):
        from_query("?measure=entrophy")


def test_text_longer_than_a_link_may_hold_is_refused() -> None:
    with pytest.raises(AppError, match="`text`: expected at most 10,000 characters, but got 10,001"):
        from_query("?text=" + "x" * 10_001)


def test_checked_model_takes_the_first_when_none_is_named() -> None:
    assert checked_model(Selection(), MODELS, first=MODELS[0]).model == "digits-learned"


def test_checked_model_keeps_a_loaded_one() -> None:
    assert checked_model(Selection(model="digits-zeros", head=2), MODELS, first=MODELS[0]).head == 2


def test_checked_model_names_the_nearest_when_unknown() -> None:
    with pytest.raises(AppError) as told:
        checked_model(Selection(model="digits-zero"), MODELS, first=MODELS[0])
    assert str(told.value) == (
        "`model`: expected one that is loaded, but got 'digits-zero'. "
        "Did you mean `digits-zeros`? Options: digits-learned, digits-zeros."
    )


def test_checked_index_tells_the_range() -> None:
    assert checked_index("layer", 2, 3) == 2
    with pytest.raises(AppError) as told:
        checked_index("layer", 3, 3)
    assert str(told.value) == (
        "`layer`: expected a number from 0 to 2, but got 3. The link asks for more than this model has. "
        "Choose from the controls above."
    )
