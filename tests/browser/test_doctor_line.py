"""The doctor's line in a real Chromium: after the map, one line high, opened by a click."""

import re

import pytest
from playwright.sync_api import expect

from clsight_app import ids
from ill_model import NAME

pytestmark = pytest.mark.browser
LINE = f"#{ids.DOCTOR} details.doctor"


def test_line_tells_the_warning_and_opens_on_a_click(watched):
    page = watched.page
    page.goto("/?model=digits-random-per-forward")
    line = page.locator(LINE)
    expect(line).to_contain_text("Doctor: 1 warning. [CLS] is redrawn at each forward pass")
    assert line.bounding_box()["height"] < 40
    line.locator("summary").first.click()
    expect(page.get_by_text("Make [CLS] a parameter, or fix one draw")).to_be_visible()
    expect(line.locator(".doctor-worst")).to_be_hidden()


def test_line_follows_the_model_and_keeps_its_place(watched):
    page = watched.page
    page.goto("/?model=digits-learned")
    expect(page.locator(LINE)).to_contain_text("nothing to report")
    before = page.locator(".sentence").bounding_box()["y"]
    page.locator(f"#{ids.MODEL}").click()
    page.get_by_role("option", name="digits-random-per-forward", exact=True).click()
    expect(page.locator(LINE)).to_contain_text("1 warning")
    assert page.locator(".sentence").bounding_box()["y"] == before


def test_maps_under_an_error_are_struck_through_until_it_is_acknowledged(watched):
    page = watched.page
    page.goto(f"/?model={NAME}")
    box = page.get_by_label("I have read this; show the maps unstruck")
    struck = f"() => getComputedStyle(document.querySelector('#{ids.PANELS} figure'), '::after').position"
    expect(box).not_to_be_checked()
    assert page.evaluate(struck) == "absolute"
    box.check()
    assert page.evaluate(struck) == "static"
    page.get_by_role("button", name="Next example").click()
    expect(page).to_have_url(re.compile("sample=1"))
    expect(box).to_be_checked()
    page.reload()
    expect(box).to_be_checked()
    page.goto("/?model=digits-learned")
    expect(page.locator(LINE)).to_contain_text("nothing to report")
    assert page.evaluate(struck) == "static"
