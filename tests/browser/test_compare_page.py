"""The Compare page in a real Chromium: four strategies on one example, and a link between the pages."""

import re

import pytest
from playwright.sync_api import Page, expect

from clsight_app import ids

pytestmark = pytest.mark.browser

TRACES = f"() => document.querySelector('#{ids.STRATEGIES} .js-plotly-plot')._fullData.length"


def opened(page: Page, address: str = "/compare") -> Page:
    page.goto(address)
    expect(page.locator(f"#{ids.STRATEGIES} .main-svg").first).to_be_visible(timeout=60_000)
    return page


def test_page_shows_the_four_strategies_and_their_differences_to_learned(watched):
    page = opened(watched.page)
    table = page.get_by_role("table")
    for strategy in ("learned", "zeros", "fixed_random", "random_per_forward"):
        expect(table.get_by_role("rowheader", name=strategy, exact=True)).to_be_visible()
    expect(page.locator(".sentence")).to_have_text(re.compile("compared with learned, CLS moves .* in zeros"))
    assert page.evaluate(TRACES) == 2
    expect(page.locator(".curves .js-plotly-plot")).to_have_count(3)


def test_another_reference_changes_the_differences(watched):
    page = opened(watched.page)
    page.locator(f"#{ids.MODEL}").click()
    page.get_by_role("option", name="digits-zeros", exact=True).click()
    expect(page.locator(".sentence")).to_have_text(re.compile("compared with zeros, CLS moves .* in learned"))
    expect(page).to_have_url(re.compile("model=digits-zeros"))


def test_layer_control_changes_the_address(watched):
    page = opened(watched.page)
    page.locator(f"#{ids.LAYER}").get_by_text("2", exact=True).click()
    expect(page.locator(".sentence")).to_have_text(re.compile("^In layer 2"))
    expect(page).to_have_url(re.compile("layer=2"))


def test_pages_keep_the_selection(watched):
    page = opened(watched.page, "/compare?sample=6&layer=1")
    page.get_by_role("link", name="Inspect").click()
    expect(page.locator(f"#{ids.DETAIL} h2")).to_have_text("Layer 1, head 0")
    expect(page.get_by_label("Example, 0 to 19")).to_have_value("6")
    page.get_by_role("link", name="Compare").click()
    expect(page.locator(".sentence")).to_have_text(re.compile("^In layer 1"))
    expect(page).to_have_url(re.compile("/compare.*sample=6"))


def test_unknown_page_names_those_that_exist(watched):
    page = watched.page
    page.goto("/statistics")
    expect(page.get_by_role("alert").first).to_contain_text(
        "The pages are Inspect, Compare, Data set, Trust."
    )
    page.get_by_role("link", name="Open the first view").click()
    expect(page.locator(f"#{ids.DETAIL} h2")).to_have_text("Layer 0, head 0")
