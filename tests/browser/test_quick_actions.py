"""Actions that come faster than views can be drawn: none is lost, and the page ends at its own address."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from clsight_app import ids
from hostile_model import NAME

pytestmark = pytest.mark.browser

HEADING = f"#{ids.DETAIL} h2"
PRESS = """([keys, pause]) => new Promise(done => {
    const left = [...keys];
    const one = () => {
        if (!left.length) return done();
        document.body.dispatchEvent(new KeyboardEvent("keydown", {key: left.shift(), bubbles: true}));
        setTimeout(one, pause);
    };
    one();
})"""
CLICK = "([name, times]) => { for (let i = 0; i < times; i++) document.getElementById(name).click(); }"


def opened(page: Page, address: str = "/") -> Page:
    """Open a view and wait until its maps are drawn."""
    page.goto(address)
    expect(page.locator(f"#{ids.ATTENDED_BY} .main-svg").first).to_be_visible(timeout=60_000)
    return page


def selected(page: Page) -> dict[str, str]:
    """Return what the address selects."""
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


def asked_views(page: Page) -> list[str]:
    """Return a list that grows with the id of each region that a page asks the server for."""
    asked: list[str] = []
    page.on(
        "request",
        lambda request: (
            asked.append("view") if f"{ids.PANELS}.className" in (request.post_data or "") else None
        ),
    )
    return asked


@pytest.mark.parametrize("pause", [0, 33, 120])
def test_quick_keys_end_at_the_cell_they_lead_to(watched, pause):
    page = opened(watched.page)
    page.evaluate(PRESS, [["ArrowRight", "ArrowRight", "ArrowDown", "ArrowRight", "ArrowLeft"], pause])
    expect(page).to_have_url(re.compile("layer=1&head=2$"))
    expect(page.locator(HEADING)).to_have_text("Layer 1, head 2")


def test_thirty_keys_ask_for_few_views_and_stop_at_the_edge(watched):
    page = opened(watched.page)
    asked = asked_views(page)
    page.evaluate(PRESS, [["ArrowRight"] * 15 + ["ArrowDown"] * 15, 5])
    assert {name: selected(page)[name] for name in ("layer", "head")} == {"layer": "2", "head": "3"}
    expect(page.locator(HEADING)).to_have_text("Layer 2, head 3")
    assert 0 < len(asked) < 10


def test_heading_equals_the_address_soon_after_the_last_key(watched):
    page = opened(watched.page)
    page.evaluate(PRESS, [["ArrowDown", "ArrowRight", "ArrowUp", "ArrowLeft"] * 7 + ["ArrowDown"], 33])
    expect(page.locator(HEADING)).to_have_text("Layer 1, head 0", timeout=4_000)
    page.wait_for_timeout(1_500)  # nothing that was asked for before comes after it
    assert page.locator(HEADING).inner_text() == "Layer 1, head 0"


@pytest.mark.parametrize(("name", "times", "sample"), [(ids.NEXT, 10, 10), (ids.NEXT, 25, 19)])
def test_each_of_many_immediate_clicks_counts(watched, name, times, sample):
    page = opened(watched.page)
    page.evaluate(CLICK, [name, times])
    expect(page).to_have_url(re.compile(f"sample={sample}&"))
    expect(page.get_by_label("Example, 0 to 19")).to_have_value(str(sample))
    page.wait_for_timeout(1_000)  # the example field reports what it shows a little later
    assert selected(page)["sample"] == str(sample)


def test_keys_while_a_model_is_being_chosen_are_kept(watched):
    page = opened(watched.page, "/?sample=11")
    page.locator(f"#{ids.MODEL}").click()
    page.get_by_role("option", name="digits-fixed-random", exact=True).click()
    page.evaluate("() => document.activeElement.blur()")
    page.evaluate(PRESS, [["ArrowDown", "ArrowRight"], 0])
    expect(page).to_have_url(re.compile("model=digits-fixed-random&sample=11&.*layer=1&head=1"))
    expect(page.locator(HEADING)).to_have_text("Layer 1, head 1")
    expect(page.get_by_role("textbox", name="Model")).to_have_value("digits-fixed-random")


def test_model_with_fewer_examples_and_heads_takes_the_nearest(watched):
    page = opened(watched.page, "/?model=digits-zeros&sample=19&layer=2&head=3")
    page.locator(f"#{ids.MODEL}").click()
    page.get_by_role("option", name=NAME, exact=True).click()
    expect(page.locator(HEADING)).to_be_visible()
    expect(page).not_to_have_url(re.compile("model=digits"))
    expect(page.get_by_role("alert")).to_have_count(0)
