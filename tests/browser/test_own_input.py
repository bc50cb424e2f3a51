"""Inputs of the user's own in a real Chromium: typed text, a pair, an edit, merged words, a dropped file."""

import re
from urllib.parse import parse_qs, quote, urlsplit

import numpy as np
import pytest
from playwright.sync_api import Page, expect

import clsight
from clsight_app import ids

pytestmark = pytest.mark.browser
TOKENS = f"#{ids.ATTENDS_TO} .token"
HOSTILE = "<img src=x onerror=alert(1)> </s> $x$ שלום 🙂"


def opened(page: Page, query: str = "") -> Page:
    """Open the text model and wait until its strips are drawn."""
    page.goto(f"/?model=model{query}")
    expect(page.locator(TOKENS).first).to_be_visible(timeout=60_000)
    return page


def test_typed_text_is_drawn_and_its_link_reopens_it(watched):
    page = opened(watched.page)
    page.get_by_label("Your own text").fill("Tokenization was unbelievable.")
    page.keyboard.press("Enter")
    expect(page.locator(TOKENS).nth(1)).to_have_text("token")
    page.get_by_label("Second sentence").fill("Nobody noticed.")
    page.keyboard.press("Enter")
    expect(page.locator(f"#{ids.ATTENDS_TO} .segment")).to_have_text(["First sentence", "Second sentence"])
    asked = parse_qs(urlsplit(page.url).query)
    assert (asked["text"], asked["second"]) == (["Tokenization was unbelievable."], ["Nobody noticed."])
    page.reload()
    expect(page.locator(f"#{ids.ATTENDS_TO} .segment")).to_have_count(2)
    expect(page.get_by_label("Your own text")).to_have_value("Tokenization was unbelievable.")


def test_next_example_leaves_the_typed_text(watched):
    page = opened(watched.page, "&text=hello&second=world")
    page.get_by_role("button", name="Next example").click()
    expect(page.get_by_label("Your own text")).to_have_value("")
    expect(page).not_to_have_url(re.compile("text="))
    expect(page.locator(TOKENS).nth(1)).to_have_text("i")


def test_hostile_text_appears_literally(watched):
    page = opened(watched.page, f"&text={quote(HOSTILE)}&edited={quote('<b>bold</b>')}")
    shown = page.locator(f"#{ids.EDITED_MAPS} .token").all_inner_texts()
    assert {"<", "b", ">", "bold"} <= set(shown)
    assert page.locator("main img[src=x], main b").count() == 0


def test_edited_text_stands_beside_the_first(watched):
    page = opened(watched.page, "&layer=5&head=2")
    page.get_by_label("Change a word, and see both maps").fill("The committee refused the plan.")
    page.keyboard.press("Enter")
    edited = page.locator(f"#{ids.EDITED_MAPS} .token")
    expect(edited.nth(3)).to_have_text("refused")
    expect(page.locator(TOKENS).nth(3)).to_have_text("approved")
    expect(page).to_have_url(re.compile("edited=The"))


def test_subwords_are_merged_on_demand(watched):
    page = opened(watched.page, "&text=tokenization")
    expect(page.locator(TOKENS)).to_have_count(4)
    page.get_by_label(re.compile("Merge subwords")).check()
    expect(page.locator(TOKENS)).to_have_text(["[CLS]", "tokenization", "[SEP]"])
    page.reload()
    expect(page.locator(TOKENS)).to_have_count(3)


def test_dropped_file_is_shown(watched, tmp_path):
    page = watched.page
    page.goto("/?model=digits-zeros")
    example = clsight.load(clsight.sample_models_dir() / "digits-zeros").examples.inputs[4:5]
    np.save(tmp_path / "digit.npy", example)
    expect(page.locator(".sentence")).to_be_visible()
    before = page.locator(".sentence").inner_text()
    page.locator(f"#{ids.UPLOAD} input[type=file]").set_input_files(tmp_path / "digit.npy")
    expect(page).to_have_url(re.compile(r"given=[0-9a-f]{16}\.npy"))
    expect(page.locator(".sentence")).not_to_have_text(before)


def test_file_of_another_kind_is_told(watched, tmp_path):
    page = watched.page
    page.goto("/?model=digits-zeros&given=0123456789abcdef.npy")
    expect(page.get_by_role("alert").first).to_contain_text("Drop the file again")
