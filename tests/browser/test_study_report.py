"""The report of a study in a real Chromium: figures appear, nothing is asked, it fits a narrow screen."""

import pytest
from playwright.sync_api import expect

from clsight.reporting import write_study_report
from reporting.made_hostile import SHOWN, hostile_study

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    page, _, _ = write_study_report(hostile_study(folder / "made"), folder / "report.html")
    return page


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390)])
def test_report_draws_its_figures_and_asks_nothing(browser, page_file, scheme, width):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(page_file.as_uri())
    expect(page).to_have_title(SHOWN)  # the name, not what its script would have made of it
    expect(page.locator("h1")).to_have_text(SHOWN)
    page.locator("summary").nth(1).click()
    places = page.locator("[data-figure]")
    for number in range(places.count()):
        places.nth(number).scroll_into_view_if_needed()
        expect(places.nth(number).locator(".main-svg").first).to_be_visible()
    paper = places.first.locator(".main-svg").first.evaluate("node => getComputedStyle(node).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(26, 27, 30)"}[scheme]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    expect(page).to_have_title(SHOWN)
    context.close()
    assert said == []
    assert asked == [page_file.as_uri()]
