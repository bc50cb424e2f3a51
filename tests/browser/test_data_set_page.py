"""The Data set page in a real Chromium: computed, chosen by mouse and keys, reopened, led to Inspect."""

import csv
import re
import sys
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

import clsight
from clsight_app import ids
from hostile_model import NAME, save_hostile_model
from serving import free_port, server
from whole_sets import ROOT, SERIES, save_series_model

pytestmark = pytest.mark.browser

FILE = "inner/digits <b>.zarr.zip"
SERVE = """
import sys
from pathlib import Path
from clsight_app import serve
root, *models = map(Path, sys.argv[2:])
serve(models, host="127.0.0.1", port=int(sys.argv[1]), open_browser=False, roots=[root])
"""
SCATTER = f"#{ids.DATASET_SCATTER}"


@pytest.fixture(scope="module")
def app_address(tmp_path_factory):
    """Serve models of pictures, words and sequences, and a folder with a record file."""
    folder, root = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("root")
    (root / "inner").mkdir()
    digits = clsight.sample_models_dir() / "digits-learned"
    subject = clsight.load(digits)
    clsight.save_record(clsight.capture(subject, subject.examples[:12]), root / FILE)
    paths = [root, digits, save_hostile_model(folder), save_series_model(folder)]
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with server([sys.executable, "-c", SERVE, str(port), *map(str, paths)], url=address, folder=ROOT):
        yield address


def opened(page: Page, query: str = "") -> Page:
    page.goto(f"/data-set{query}")
    expect(page.get_by_label(re.compile("^Samples, 1 to"))).to_be_visible()
    return page


def computed(page: Page, query: str = "") -> Page:
    opened(page, query)
    page.get_by_role("button", name="Compute").click()
    expect(page.locator(f"{SCATTER} .main-svg").first).to_be_visible()
    return page


def heading(page: Page) -> str:
    text: str = page.get_by_role("heading", name=re.compile("^Layer ")).inner_text()
    return text


@pytest.mark.parametrize("model", ["digits-learned", NAME, SERIES])
def test_heads_and_extremes_of_each_kind_of_model_are_shown(watched, model):
    page = computed(watched.page, f"?{urlencode({'model': model})}")
    expect(page.get_by_text(re.compile(r"^Over \d+ samples, the most focused head"))).to_be_visible()
    expect(page.get_by_role("heading", name="Queries of CLS among keys of tokens")).to_be_visible()
    expect(page.get_by_role("link", name="Open in Inspect").first).to_be_visible()
    page.get_by_text("All heads as a table").click()
    expect(page.locator(f"#{ids.DATASET_TABLE} tbody tr").first).to_be_visible()


def test_link_reopens_the_view_and_a_reload_keeps_it(watched):
    page = computed(watched.page, "?layer=1&head=2&x=max_share&group=7")
    expect(page.get_by_text(re.compile("^Over 2 samples|^Over 3 samples"))).to_be_visible()
    seen = page.locator(f"#{ids.DATASET_PAGE}").inner_text()
    page.reload()
    expect(page.locator(f"{SCATTER} .main-svg").first).to_be_visible()
    assert page.locator(f"#{ids.DATASET_PAGE}").inner_text() == seen
    assert heading(page) == "Layer 1, head 2"


def test_click_on_a_point_selects_its_head(watched):
    page = computed(watched.page)
    place = page.evaluate(
        """(scatter) => {
            const plot = document.querySelector(scatter + ' .js-plotly-plot');
            const box = plot.getBoundingClientRect();
            const {xaxis, yaxis} = plot._fullLayout;
            const point = plot.calcdata[2][3];
            const [x, y] = [xaxis._offset + xaxis.c2p(point.x), yaxis._offset + yaxis.c2p(point.y)];
            return [box.left + x, box.top + y];
        }""",
        SCATTER,
    )
    page.mouse.click(*place)
    expect(page.get_by_role("heading", name="Layer 2, head 3")).to_be_visible()
    expect(page).to_have_url(re.compile("layer=2&head=3"))
    expect(page.get_by_label("Layer", exact=True)).to_have_value("2")


def test_keyboard_alone_computes_and_selects(watched):
    page = opened(watched.page)
    page.get_by_label(re.compile("^Samples, 1 to")).focus()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Compute")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(f"{SCATTER} .main-svg").first).to_be_visible()
    page.get_by_label("Head", exact=True).focus()
    page.keyboard.press("ArrowUp")
    expect(page.get_by_role("heading", name="Layer 0, head 1")).to_be_visible()
    expect(page).to_have_url(re.compile("head=1"))
    expect(page.get_by_label("Head", exact=True)).to_be_focused()


def test_class_is_chosen_and_left_again(watched):
    page = computed(watched.page)
    page.get_by_role("textbox", name="Class").click()
    page.get_by_role("option", name="7", exact=True).click()
    expect(page).to_have_url(re.compile("group=7"))
    expect(page.get_by_text(re.compile(r"^Sample \d+, class (?!7)"))).to_have_count(0)
    page.get_by_role("textbox", name="Class").click()
    page.get_by_role("option", name="All", exact=True).click()
    expect(page.get_by_text(re.compile("^Over 20 samples"))).to_be_visible()


def test_record_file_is_chosen_and_its_examples_lead_to_inspect(watched):
    page = opened(watched.page)
    page.get_by_role("textbox", name="Samples from").click()
    page.get_by_role("option", name=FILE).click()
    page.get_by_role("button", name="Compute").click()
    expect(page.get_by_text(re.compile("^Over 12 samples"))).to_be_visible()
    expect(page.get_by_text("This record has no keys of tokens")).to_be_visible()
    page.get_by_role("link", name="Open in Inspect").first.click()
    expect(page.get_by_role("heading", name="Layer 0, head 0")).to_be_visible()
    expect(page).to_have_url(re.compile(r"/\?model=digits-learned&sample=\d+"))


def test_heads_are_exported_as_csv(watched, tmp_path):
    page = computed(watched.page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Export CSV").click()
    download.value.save_as(tmp_path / "heads.csv")
    lines = list(csv.DictReader((tmp_path / "heads.csv").read_text(encoding="utf-8").splitlines()))
    assert len(lines) == 5 * 12


def test_broken_link_is_told(watched):
    page = watched.page
    page.goto("/data-set?record=..%2Fsecret.zarr.zip")
    expect(page.get_by_role("alert").first).to_contain_text("expected a record file below a root")


def test_dark_scheme_reaches_the_points(watched):
    page = computed(watched.page)
    color = f"() => document.querySelector('{SCATTER} .js-plotly-plot').data[0].marker.color"
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
