"""The Inspect page as a function of the address: regions, clicks, words in place of pictures, errors."""

import json
import re

import pytest
import torch

from clsight.analysis import MEASURES
from clsight_app.catalog import Catalog, Source
from clsight_app.pages import inspect
from encoder_builders import randomize
from hostile_model import CLASSES, NAME, save_hostile_model
from user_modules import HEADS, Series


def page_text(view):
    """Return a view as the JSON that goes to the browser."""
    parts = [view["status"], view["detail"]]
    return json.dumps(parts, default=lambda part: part.to_plotly_json(), ensure_ascii=False)


def test_grid_shows_the_record_of_the_address(catalog):
    view = inspect.view(catalog, "?model=digits-zeros&sample=4&layer=2&head=1", dark=False)
    weights = catalog.record("digits-zeros", 4)["attends_to"].values
    drawn = inspect.grid(catalog, "?model=digits-zeros&sample=4&layer=2&head=1", dark=False)["grid"]
    assert view["panels"] == "panels"
    assert float(drawn.data[0].z[0, 0]) == pytest.approx(weights[0, 0, 0, 0])
    assert "Layer 2, head 1" in page_text(view)


def test_direction_draws_the_column(catalog):
    view = inspect.grid(catalog, "?sample=4&direction=attended_by", dark=False)
    column = catalog.record("digits-learned", 4)["attended_by"].values
    first_patches = view["grid"].data[0].z[1, :4]  # below CLS itself, where row and column meet
    assert first_patches.tolist() == pytest.approx(column[0, 0, 0, 1:5].tolist())


def test_detail_has_both_directions_over_the_image(catalog):
    text = page_text(inspect.view(catalog, "", dark=False))
    assert '"attends-to-map"' in text
    assert '"attended-by-map"' in text
    assert text.count("data:image/png;base64,") == 2


@pytest.mark.parametrize("dark", [False, True])
def test_figures_follow_the_color_scheme(catalog, dark):
    color = inspect.grid(catalog, "", dark=dark)["grid"].layout.shapes[0].line.color
    assert color == ("#ff922b" if dark else "#e8590c")


def test_error_hides_the_panels_and_is_told(catalog):
    view = inspect.view(catalog, "?layer=7", dark=False)
    assert (view["panels"], view["detail"]) == ("panels waiting", [])
    assert "`layer`: expected a number from 0 to 2, but got 7." in page_text(view)


def test_what_was_inferred_and_assumed_of_a_state_dict_is_told_with_the_map(tmp_path):
    torch.save(randomize(Series()).state_dict(), tmp_path / "mine.pt")
    catalog = Catalog([Source.of(tmp_path / "mine.pt", {"heads": HEADS, "norm": "pre"})])
    text = page_text(inspect.view(catalog, "", dark=False))
    [note] = catalog.subject("mine.pt").notes
    assert note.startswith("Reconstructed forward. Inferred: 2 layers (`encoder.layers`), width 24,")
    assert "; assumed: relu (torch's default)" in note
    assert note in text


def test_words_are_shown_as_literal_strips_without_their_padding(tmp_path):
    catalog = Catalog([save_hostile_model(tmp_path)])
    assert catalog.models == (NAME,)
    text = page_text(inspect.view(catalog, "?sample=1", dark=False))
    strips = [
        json.loads(json.loads(f'"{part}"')) for part in re.findall(r'"data-strip": "((?:[^"\\]|\\.)*)"', text)
    ]
    assert [len(strip["tokens"]) for strip in strips] == 2 * [1 + 5]
    assert any(json.dumps(name, ensure_ascii=False)[1:-1] in text for name in CLASSES)


@pytest.mark.parametrize("name", sorted(MEASURES))
def test_every_measure_is_shown_with_its_question_and_its_trust(catalog, name):
    view = inspect.grid(catalog, f"?model=digits-zeros&sample=4&measure={name}", dark=False)
    card = json.dumps(view["card"], default=lambda part: part.to_plotly_json(), ensure_ascii=False)
    assert json.dumps(MEASURES[name].question, ensure_ascii=False) in card
    assert json.dumps(MEASURES[name].trust, ensure_ascii=False) in card
    assert len(view["grid"].data) == 1


def test_measure_in_the_grid_is_that_of_the_record(catalog):
    view = inspect.grid(catalog, "?sample=4&measure=entropy&layer=1&head=2", dark=False)
    entropy = MEASURES["entropy"].function(catalog.record("digits-learned", 4)).values[0]
    assert view["grid"].data[0].z[::2, ::2].ravel().tolist() == pytest.approx(entropy.ravel().tolist())
    assert view["grid"].layout.shapes[0].y0 < 1 < view["grid"].layout.shapes[0].y1


def test_measure_follows_the_direction(catalog):
    record = catalog.record("digits-learned", 4)
    view = inspect.grid(catalog, "?sample=4&measure=entropy&direction=attended_by", dark=False)
    entropy = MEASURES["entropy"].function(record, direction="attended_by").values[0]
    assert view["grid"].data[0].z[0, 0] == pytest.approx(entropy[0, 0])


def test_measure_that_the_model_lacks_is_told_in_place_of_the_grid(tmp_path):
    torch.save(randomize(Series()).state_dict(), tmp_path / "mine.pt")
    catalog = Catalog([Source.of(tmp_path / "mine.pt", {"heads": HEADS, "norm": "pre"})])
    record = catalog.record("mine.pt", 0, MEASURES["gradient_times_attention"].keep)
    lacks = MEASURES["gradient_times_attention"].missing_from(record)
    view = inspect.grid(catalog, "?measure=gradient_times_attention", dark=False)
    card = json.dumps(view["card"], default=lambda part: part.to_plotly_json(), ensure_ascii=False)
    assert (view["grid_size"] == {"display": "none"}) == bool(lacks)
    assert ("This view cannot be shown" in card) == bool(lacks)


def test_link_to_a_head_that_is_not_there_leaves_the_grid(catalog):
    view = inspect.grid(catalog, "?sample=4", dark=False, shown="?sample=4&layer=9")
    assert view["grid"].layout.shapes[0].y0 < 0 < view["grid"].layout.shapes[0].y1


def test_curves_are_of_the_selected_head(catalog):
    told = json.dumps(
        inspect.depth(catalog, "?head=3", dark=False), default=lambda part: part.to_plotly_json()
    )
    assert "Bold: head 3." in told
    assert inspect.depth(catalog, "?head=9", dark=False) == []


def test_grid_without_tied_axes_has_the_height_it_asks_for(catalog):
    size = inspect.grid(catalog, "?measure=hidden_norm", dark=False)["grid_size"]
    assert re.fullmatch(r"\d{3,4}px", size["height"])


def test_inside_of_a_head_is_shown_on_demand(catalog):
    assert inspect.view(catalog, "?layer=1&head=2", dark=False)["inside"] == []
    inside = inspect.view(catalog, "?sample=2&layer=1&head=2&inside=1&token=5", dark=False)["inside"]
    told = json.dumps(inside, default=lambda part: part.to_plotly_json(), ensure_ascii=False)
    record = catalog.record("digits-learned", 2, ["keys_values"])
    dot = float(record["query"].values[0, 1, 2] @ record["keys"].values[0, 1, 2, 5])
    assert f"Query × key, sum {dot:.3g}." in told
    assert "CLS × patch row 1, column 0" in told


def test_token_that_is_not_there_is_told(catalog):
    view = inspect.view(catalog, "?inside=1&token=17", dark=False)
    assert "`token`: expected a number from 0 to 16, but got 17." in page_text(view)
