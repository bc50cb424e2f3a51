"""The real app in a process of its own, and a page of a real Chromium that watches what goes wrong."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

import clsight
from hostile_model import save_hostile_model
from ill_model import save_ill_model
from serving import free_port, server
from text_model import text_model_path

ROOT = Path(__file__).resolve().parents[2]
MODELS = ("digits-learned", "digits-zeros", "digits-fixed-random", "digits-random-per-forward")
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
expect.set_options(timeout=60_000)  # the first capture of a cold server, on a machine that is busy
SERVE = """
import sys
from pathlib import Path
from clsight_app import serve
serve([Path(name) for name in sys.argv[2:]], host="127.0.0.1", port=int(sys.argv[1]), open_browser=False)
"""


@dataclass
class Watched:
    """A page, with what its console said and which hosts it asked."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def watch(self) -> None:
        """Note console errors and warnings, exceptions, failed answers and the host of each request."""
        self.page.on("console", lambda said: self._note(said.text, said.type in {"error", "warning"}))
        self.page.on("pageerror", lambda error: self._note(str(error), True))
        self.page.on("response", lambda answer: self._note(answer.url, answer.status >= 400))
        self.page.on("request", self._request)

    def _note(self, text: str, is_complaint: bool) -> None:
        if is_complaint:
            self.complaints.append(text)

    def _request(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme not in {"data", "blob"}:
            self.hosts.add(address.netloc)


@pytest.fixture(scope="session")
def app_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the sample models and a hostile one on a free port of this machine; stopped at the end."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    paths = [str(clsight.sample_models_dir() / name) for name in MODELS]
    paths.append(str(save_hostile_model(tmp_path_factory.mktemp("models"))))
    paths += [str(text_model_path()), str(save_ill_model(tmp_path_factory.mktemp("ill")))]
    with server([sys.executable, "-c", SERVE, str(port), *paths], url=address, folder=ROOT):
        yield address


@pytest.fixture(scope="session")
def browser(browser_executable: str) -> Iterator[Browser]:
    """Start Chromium; fails, never skips, when there is none."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser_executable, args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def watched(browser: Browser, app_address: str) -> Iterator[Watched]:
    """Return a fresh page, not yet opened, that fails the test if its console complains."""
    context = browser.new_context(
        base_url=app_address, viewport={"width": 1280, "height": 900}, color_scheme="light"
    )
    watched = Watched(context.new_page())
    watched.watch()
    yield watched
    context.close()
    assert watched.complaints == []
    assert watched.hosts == {urlsplit(app_address).netloc}
