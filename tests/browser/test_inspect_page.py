"""The Inspect page in a real Chromium: the way a user goes, and the link that reopens what he saw."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from clsight_app import ids

pytestmark = pytest.mark.browser

HEADING = f"#{ids.DETAIL} h2"
SENTENCE = ".sentence"
VIEW = "/?model=digits-zeros&sample=4&direction=attended_by&layer=1&head=3"


def opened(page: Page, address: str = "/") -> Page:
    """Open a view and wait until its maps are drawn."""
    page.goto(address)
    expect(page.locator(f"#{ids.ATTENDED_BY} .main-svg").first).to_be_visible(timeout=60_000)
    return page


def settled(page: Page) -> str:
    """Return what the page says, once the curves are there and the doctor has spoken too."""
    expect(page.locator(f"#{ids.DOCTOR} details.doctor")).to_be_visible(timeout=60_000)
    expect(page.locator(".curves .main-svg").last).to_be_visible()
    text: str = page.locator("main").inner_text()
    return text


def selection(page: Page) -> dict[str, str]:
    """Return what the address selects."""
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


def choose_model(page: Page, name: str) -> None:
    page.locator(f"#{ids.MODEL}").click()
    page.get_by_role("option", name=name, exact=True).click()


def outline(page: Page) -> dict[str, float]:
    """Return the rectangle around the selected tile as it is drawn, in the grid's own coordinates."""
    drawn: dict[str, float] = page.evaluate(
        f"""() => {{
            const plot = document.querySelector('#{ids.GRID} .js-plotly-plot');
            const {{x, y, width, height}} = plot.querySelector('.shapelayer path').getBBox();
            const {{xaxis, yaxis}} = plot._fullLayout;
            const across = (pixels) => xaxis.p2l(pixels - xaxis._offset);
            const down = (pixels) => yaxis.p2l(pixels - yaxis._offset);
            return {{x0: across(x), x1: across(x + width), y0: down(y), y1: down(y + height)}};
        }}"""
    )
    return drawn


def click_tile(page: Page, layer: int, head: int) -> None:
    """Click into the middle of a tile."""
    place = page.evaluate(
        """([id, layer, head]) => {
            const plot = document.querySelector(`#${id} .js-plotly-plot`);
            const box = plot.getBoundingClientRect();
            const {xaxis, yaxis} = plot._fullLayout;
            return [box.left + xaxis._offset + xaxis.l2p(head), box.top + yaxis._offset + yaxis.l2p(layer)];
        }""",
        [ids.GRID, layer, head],
    )
    page.mouse.move(*place)
    page.mouse.click(*place)


def test_page_opens_with_grid_sentence_and_numbers(watched):
    page = opened(watched.page)
    expect(page).to_have_title("clsight")
    expect(page.locator("html")).to_have_attribute("lang", "en")
    expect(page.locator(f"#{ids.GRID} .main-svg").first).to_be_visible()
    expect(page.locator(SENTENCE)).to_have_text(
        re.compile(r"^CLS gives .* of its attention to itself in layer \d")
    )
    expect(page.get_by_role("textbox", name="Model")).to_have_value("digits-learned")
    expect(page.get_by_role("rowheader", name="Effective tokens")).to_be_visible()


def test_choosing_a_model_changes_address_and_sentence(watched):
    page = opened(watched.page)
    before = page.locator(SENTENCE).inner_text()
    choose_model(page, "digits-zeros")
    expect(page.locator(SENTENCE)).not_to_have_text(before)
    assert selection(page)["model"] == "digits-zeros"


def test_next_and_previous_change_the_example(watched):
    page = opened(watched.page)
    page.get_by_role("button", name="Next example").click()
    expect(page).to_have_url(re.compile("sample=1"))
    expect(page.get_by_label("Example, 0 to 19")).to_have_value("1")
    page.get_by_role("button", name="Next example").click()
    expect(page).to_have_url(re.compile("sample=2"))
    page.get_by_role("button", name="Previous example").click()
    expect(page).to_have_url(re.compile("sample=1"))


def test_typing_an_example_opens_it(watched):
    page = opened(watched.page)
    page.get_by_label("Example, 0 to 19").fill("17")
    expect(page).to_have_url(re.compile("sample=17"))


def test_direction_redraws_the_grid(watched):
    page = opened(watched.page)
    weights = f"() => Array.from(document.querySelector('#{ids.GRID} .js-plotly-plot').calcdata[0][0].z[0])"
    before = page.evaluate(weights)
    page.get_by_text("CLS is attended by", exact=True).first.click()
    expect(page).to_have_url(re.compile("direction=attended_by"))
    page.wait_for_function(f"before => JSON.stringify(({weights})()) !== before", arg=str_of(page, before))


def str_of(page: Page, values: object) -> str:
    """Return values as the page itself writes them."""
    text: str = page.evaluate("values => JSON.stringify(values)", values)
    return text


def test_a_measure_takes_the_place_of_the_weights_and_its_card_tells_its_trust(watched):
    page = opened(watched.page)
    page.get_by_role("textbox", name="Shown in the grid").click()
    page.get_by_role("option", name="Attends to vs attended by").click()
    expect(page).to_have_url(re.compile("measure=attends_to_vs_attended_by"))
    card = page.locator(f"#{ids.MEASURE_CARD}")
    expect(card).to_contain_text("Does CLS read the others in this head")
    card.locator("summary").click()
    expect(card.get_by_text("Trust", exact=True)).to_be_visible()
    click_tile(page, layer=2, head=1)
    expect(page.locator(HEADING)).to_have_text("Layer 2, head 1")
    page.reload()
    expect(page.get_by_role("textbox", name="Shown in the grid")).to_have_value("Attends to vs attended by")
    expect(page.locator(HEADING)).to_have_text("Layer 2, head 1")


def test_measure_of_layers_alone_keeps_the_head_on_a_click(watched):
    page = opened(watched.page, "/?measure=mean_attends_to&layer=0&head=3")
    expect(page.locator(f"#{ids.MEASURE_CARD}")).to_contain_text("on average over heads")
    click_tile(page, layer=1, head=0)
    expect(page.locator(HEADING)).to_have_text("Layer 1, head 3")


def test_inside_of_a_head_follows_the_chosen_token(watched):
    page = opened(watched.page, "/?layer=1&head=2")
    page.get_by_label(re.compile("Look inside")).check()
    panel = page.locator(f"#{ids.INSIDE_PANEL}")
    expect(panel).to_contain_text("× q·k (measured")
    page.get_by_label("Token for query × key, 0 to 16").fill("5")
    expect(panel).to_contain_text("CLS × patch row 1, column 0")
    expect(page).to_have_url(re.compile("token=5&inside=1"))
    page.reload()
    expect(panel).to_contain_text("CLS × patch row 1, column 0")
    expect(panel.locator(".main-svg").last).to_be_visible()


def test_click_on_a_tile_selects_its_head(watched):
    page = opened(watched.page, VIEW)
    click_tile(page, layer=0, head=2)
    expect(page.locator(HEADING)).to_have_text("Layer 0, head 2")
    click_tile(page, layer=2, head=1)
    expect(page.locator(HEADING)).to_have_text("Layer 2, head 1")
    assert {name: selection(page)[name] for name in ("layer", "head")} == {"layer": "2", "head": "1"}
    around = {"x0": 0.52, "x1": 1.48, "y0": 1.52, "y1": 2.48}
    assert outline(page) == pytest.approx(around, abs=0.01)
    page.set_viewport_size({"width": 900, "height": 900})  # drawn anew, at another size
    page.wait_for_timeout(500)
    assert outline(page) == pytest.approx(around, abs=0.01)


def test_same_tile_can_be_clicked_again_after_the_keys_left_it(watched):
    page = opened(watched.page)
    for _ in range(2):
        click_tile(page, layer=1, head=2)
        expect(page.locator(HEADING)).to_have_text("Layer 1, head 2")
        page.keyboard.press("ArrowRight")
        expect(page.locator(HEADING)).to_have_text("Layer 1, head 3")


def test_arrow_keys_move_the_selection(watched):
    page = opened(watched.page)
    for key, heading in (
        ("ArrowDown", "Layer 1, head 0"),
        ("ArrowRight", "Layer 1, head 1"),
        ("ArrowUp", "Layer 0, head 1"),
        ("ArrowLeft", "Layer 0, head 0"),
    ):
        page.keyboard.press(key)
        expect(page.locator(HEADING)).to_have_text(heading)


def test_arrow_keys_stay_with_a_control_that_has_the_focus(watched):
    page = opened(watched.page)
    page.get_by_label("Example, 0 to 19").focus()
    page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="Next example").click()
    expect(page).to_have_url(re.compile("sample=1"))
    expect(page.locator(HEADING)).to_have_text("Layer 0, head 0")


def test_link_reopens_the_same_view(watched):
    page = opened(watched.page, VIEW)
    seen = settled(page)
    expect(page.locator(HEADING)).to_have_text("Layer 1, head 3")
    expect(page.get_by_role("textbox", name="Model")).to_have_value("digits-zeros")
    page.reload()
    opened(page, page.url)
    assert settled(page) == seen
    assert page.url.endswith(VIEW)


def test_back_returns_to_the_view_before(watched):
    page = opened(watched.page, VIEW)
    page.keyboard.press("ArrowUp")
    expect(page.locator(HEADING)).to_have_text("Layer 0, head 3")
    page.go_back()
    expect(page.locator(HEADING)).to_have_text("Layer 1, head 3")


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("?model=digits-zero", "Did you mean `digits-zeros`?"),
        ("?sample=20", "expected a number from 0 to 19, but got 20"),
        ("?layer=x", "expected a whole number from 0 on, but got 'x'"),
        ("?model=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E", "<img src=x onerror=alert(1)>"),
    ],
)
def test_broken_link_is_told_and_repaired(watched, query, told):
    page = watched.page
    page.goto(f"/{query}")
    expect(page.get_by_role("alert").first).to_contain_text(told)
    page.get_by_role("link", name="Open the first view").click()
    expect(page.locator(HEADING)).to_have_text("Layer 0, head 0")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_redrawn_cls_is_told_and_its_view_stays(watched):
    page = opened(watched.page, "/?model=digits-random-per-forward&sample=2")
    expect(page.get_by_text("draws CLS anew at each forward pass")).to_be_visible()
    seen = settled(page)
    opened(page, page.url)
    assert settled(page) == seen


def test_dark_scheme_reaches_page_and_figures_and_stays(watched):
    page = opened(watched.page)
    color = f"() => document.querySelector('#{ids.GRID} .js-plotly-plot').layout.shapes[0].line.color"
    light = page.evaluate(color)
    page.locator(f"#{ids.COLOR_SCHEME}").click()
    expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", "dark")
    page.wait_for_function(f"light => ({color})() !== light", arg=light)
    opened(page, page.url)
    expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", "dark")
    assert page.evaluate(color) != light


@pytest.mark.parametrize("path", ["/", "/compare"])
def test_page_fits_a_narrow_screen(watched, path):
    page = watched.page
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(path)
    expect(page.locator(".curves .main-svg").last).to_be_visible()
    page.wait_for_timeout(500)  # for the figures to reach their final size
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
