"""The Trust page in a real Chromium: computed on demand, canceled, reloaded, exported."""

import csv
import re
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from clsight_app import ids
from clsight_app.trusting import METRIC_NAMES
from hostile_model import NAME
from whole_sets import SERIES, serving_three_kinds

pytestmark = pytest.mark.browser

TABLE = f"#{ids.TRUST_TABLE}"


@pytest.fixture(scope="module")
def app_address(tmp_path_factory):
    """Serve models of pictures, words and sequences; stopped at the end."""
    with serving_three_kinds(tmp_path_factory.mktemp("models")) as address:
        yield address


def opened(page: Page, query: str = "") -> Page:
    """Open the page and wait until its controls follow the address."""
    page.goto(f"/trust{query}")
    expect(page.get_by_label(re.compile("^Examples, 1 to"))).to_be_visible()
    return page


def computed(page: Page, query: str = "?measures=attention,rollout&samples=4") -> Page:
    """Open the page, compute what the link asks for and wait for the result."""
    opened(page, query)
    page.get_by_role("button", name="Compute").click()
    expect(page.locator(TABLE)).to_be_visible()
    expect(page.locator(f"#{ids.TRUST_CURVES}-insertion .main-svg").first).to_be_visible()
    return page


@pytest.mark.parametrize("model", ["digits-learned", NAME, SERIES])
def test_measures_of_each_kind_of_model_stand_beside_a_random_ranking(watched, model):
    query = urlencode({"model": model, "measures": "attention,rollout", "samples": 3})
    page = computed(watched.page, f"?{query}")
    expect(page.locator(f"{TABLE} tbody tr")).to_have_count(3)
    expect(page.locator(f"{TABLE} tbody th")).to_have_text(["raw attention", "rollout", "a random ranking"])
    expect(page.locator(f"{TABLE} thead th")).to_have_count(1 + len(METRIC_NAMES))
    expect(page.get_by_role("textbox", name="Model")).to_have_value(model)


def test_link_reopens_the_result_and_a_reload_keeps_it(watched):
    page = computed(watched.page)
    expect(page).to_have_url(re.compile(r"measures=attention,rollout&samples=4&.*job=[0-9a-f]{16}$"))
    seen = page.locator(f"#{ids.TRUST_PAGE}").inner_text()
    page.reload()
    expect(page.locator(f"#{ids.TRUST_CURVES}-insertion .main-svg").first).to_be_visible()
    assert page.locator(f"#{ids.TRUST_PAGE}").inner_text() == seen
    expect(page.get_by_role("checkbox", name="rollout")).to_be_checked()
    expect(page.get_by_role("checkbox", name="ALTI")).not_to_be_checked()


def test_work_is_told_canceled_between_batches_and_can_be_done_again(watched):
    page = opened(watched.page, "?model=digits-zeros")
    for name in ("integrated gradients", "ALTI"):
        page.get_by_role("checkbox", name=name).check()
    page.get_by_role("button", name="Compute").click()
    expect(page.get_by_role("progressbar")).to_be_visible()
    address = page.url
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text(re.compile(r"^Canceled after \d+ of 20 examples\.$"))).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_be_disabled()
    expect(page.locator(TABLE)).to_have_count(0)
    page.get_by_role("button", name="Compute").click()
    expect(page.locator(TABLE)).to_be_visible(timeout=120_000)
    assert page.url == address


def test_work_goes_on_while_the_page_is_away(watched):
    page = opened(watched.page, "?model=digits-zeros&samples=12")
    page.get_by_role("button", name="Compute").click()
    expect(page).to_have_url(re.compile("job="))
    address = page.url
    page.goto("/compare")
    page.goto(address)
    expect(page.locator(TABLE)).to_be_visible()


def test_result_that_is_not_there_any_more_is_told_and_computed_again(watched):
    page = opened(watched.page, "?measures=rollout&samples=2&job=0123456789abcdef")
    expect(page.get_by_text("This result is not kept on the server any more.")).to_be_visible()
    page.get_by_role("button", name="Compute").click()
    expect(page.locator(TABLE)).to_be_visible()


def test_nothing_chosen_is_told(watched):
    page = opened(watched.page, "?measures=rollout")
    page.get_by_role("checkbox", name="rollout").uncheck()
    page.get_by_role("button", name="Compute").click()
    expect(page.get_by_role("alert").first).to_contain_text("expected at least one measure, but got none")


def test_broken_link_is_told(watched):
    page = watched.page
    page.goto("/trust?measures=%3Cb%3E")
    expect(page.get_by_role("alert").first).to_contain_text("but got '<b>'")


def test_each_metric_tells_question_direction_source_and_what_it_does_not_show(watched):
    page = opened(watched.page)
    expect(page.locator(".card")).to_have_count(len(METRIC_NAMES))
    card = page.locator(".card", has=page.get_by_role("heading", name="Comprehensiveness", exact=True))
    for part in ("How much of the answer is lost", "Higher is better.", "arXiv 1911.03429", "random ranking"):
        expect(card).to_contain_text(part)


def test_table_is_exported_as_csv(watched, tmp_path):
    page = computed(watched.page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Export CSV").click()
    download.value.save_as(tmp_path / "table.csv")
    lines = list(csv.DictReader((tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()))
    assert len(lines) == 3 * len(METRIC_NAMES)
    assert {line["measure"] for line in lines} == {"attention", "rollout", "random"}


def test_code_is_copied(watched):
    page = computed(watched.page)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_text("Copy as Python").click()
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator(f"#{ids.PYTHON}").text_content()
    assert "clsight.faithfulness.score_batches(" in copied


def test_keyboard_alone_chooses_and_computes(watched):
    page = opened(watched.page, "?measures=rollout&samples=2")
    page.get_by_role("checkbox", name="raw attention").focus()
    page.keyboard.press("Space")
    expect(page.get_by_role("checkbox", name="raw attention")).to_be_checked()
    page.get_by_label("Examples, 1 to 20").focus()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Compute")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(f"{TABLE} tbody tr")).to_have_count(3)


def test_model_control_leads_to_the_other_model(watched):
    page = computed(watched.page)
    page.locator(f"#{ids.MODEL}").click()
    page.get_by_role("option", name="digits-zeros", exact=True).click()
    expect(page).to_have_url(re.compile("model=digits-zeros"))
    expect(page.locator(TABLE)).to_have_count(0)
    page.get_by_role("button", name="Compute").click()
    expect(page.locator(TABLE)).to_be_visible()
    expect(page).to_have_url(re.compile("model=digits-zeros.*job="))


def test_dark_scheme_reaches_the_curves(watched):
    page = computed(watched.page)
    color = f"() => document.querySelector('#{ids.TRUST_CURVES}-deletion .js-plotly-plot').data[1].line.color"
    light = page.evaluate(color)
    page.locator(f"#{ids.COLOR_SCHEME}").click()
    page.wait_for_function(f"light => ({color})() !== light", arg=light)


@pytest.mark.parametrize("width", [390, 1280])
def test_page_fits_its_screen_before_and_after(watched, width):
    page = watched.page
    page.set_viewport_size({"width": width, "height": 844})
    opened(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    computed(page)
    page.wait_for_timeout(500)  # for the figures to reach their final size
    assert page.evaluate("document.documentElement.scrollWidth") <= width
