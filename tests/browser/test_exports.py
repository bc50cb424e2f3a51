"""What a view is saved as, in a real Chromium: pictures, files, and Python that follows it."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from clsight_app import ids

pytestmark = pytest.mark.browser
VIEW = "/?model=digits-zeros&sample=4&direction=attends_to&layer=1&head=3"


@pytest.mark.parametrize(
    ("name", "begins"), [("Grid (PNG)", b"\x89PNG"), ("Grid (SVG)", b"<svg"), ("Record", b"PK")]
)
def test_view_is_saved(watched, name, begins):
    page = watched.page
    page.goto(VIEW)
    expect(page.locator(f"#{ids.GRID} .main-svg").first).to_be_visible()
    with page.expect_download() as saved:
        page.locator(f"#{ids.EXPORTS}").get_by_text(name, exact=True).click()
    assert Path(saved.value.path()).read_bytes().startswith(begins)


def test_code_follows_the_selected_head(watched):
    page = watched.page
    page.goto(VIEW)
    code = page.locator(f"#{ids.CODE}")
    page.locator(f"#{ids.EXPORTS} summary").click()
    expect(code).to_contain_text("selected=(1, 3)")
    page.keyboard.press("ArrowUp")
    expect(code).to_contain_text("selected=(0, 3)")
