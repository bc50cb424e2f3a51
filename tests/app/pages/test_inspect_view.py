"""The Inspect page as a function of the address: regions, clicks, words in place of pictures, errors."""

import json

import pytest
import torch
from dash import no_update

from clsight_app.catalog import Catalog, Source
from clsight_app.pages import inspect
from encoder_builders import randomize
from hostile_model import CLASSES, NAME, save_hostile_model
from user_modules import HEADS, Series


def page_text(view):
    """Return a view as the JSON that goes to the browser."""
    parts = [view["status"], view["detail"], view["depth"]]
    return json.dumps(parts, default=lambda part: part.to_plotly_json(), ensure_ascii=False)


def test_grid_shows_the_record_of_the_address(catalog):
    view = inspect.view(catalog, "?model=digits-zeros&sample=4&layer=2&head=1", dark=False)
    weights = catalog.record("digits-zeros", 4)["attends_to"].values
    assert view["panels"] == "panels"
    assert float(view["grid"].data[0].z[0, 0]) == pytest.approx(weights[0, 0, 0, 0])
    assert "Layer 2, head 1" in page_text(view)


def test_direction_draws_the_column(catalog):
    view = inspect.view(catalog, "?sample=4&direction=attended_by", dark=False)
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
    color = inspect.view(catalog, "", dark=dark)["grid"].layout.shapes[0].line.color
    assert color == ("#ff922b" if dark else "#e8590c")


def test_error_hides_the_panels_and_is_told(catalog):
    view = inspect.view(catalog, "?layer=7", dark=False)
    assert (view["panels"], view["grid"]) == ("panels waiting", no_update)
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
    shown = [span for span in text.split('"className": "token"')][1:]
    assert len(shown) == 2 * (1 + 5)
    assert any(json.dumps(name, ensure_ascii=False)[1:-1] in text for name in CLASSES)
