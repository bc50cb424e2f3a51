"""A model of words whose names are markup: everything appears literally, nothing runs, nothing is asked."""

from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect

from clsight_app import ids
from hostile_model import CLASSES, NAME

pytestmark = pytest.mark.browser


def test_hostile_names_appear_literally(watched):
    page = watched.page
    page.goto(f"/?{urlencode({'model': NAME, 'sample': 1})}")
    expect(page.locator(".answer")).to_contain_text("The model answers")
    answer = page.locator(".answer").inner_text()
    assert any(f"answers {name} with" in answer for name in CLASSES)
    expect(page.get_by_role("textbox", name="Model")).to_have_value(NAME)
    assert page.locator("main img[src=x], main b:text('bold'), main a[href*=example]").count() == 0


def test_words_are_a_strip_of_their_real_tokens(watched):
    page = watched.page
    page.goto(f"/?{urlencode({'model': NAME, 'sample': 1})}")
    for region in (ids.ATTENDS_TO, ids.ATTENDED_BY):
        tokens = page.locator(f"#{region} .token")
        expect(tokens).to_have_count(6)  # [CLS] and five real ids of seven
        expect(tokens.first).to_have_text("[CLS]")


def test_comparison_with_nothing_is_told(watched):
    page = watched.page
    page.goto(f"/compare?{urlencode({'model': NAME})}")
    expect(page.get_by_role("alert").first).to_contain_text("Start the app with two models or more.")
