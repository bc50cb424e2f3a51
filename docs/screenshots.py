"""Make the pictures of the dashboard, docs/images/inspect.png and compare.png: `python docs/screenshots.py`.

The real app is served over the sample models on a free port of this machine and opened in Chromium.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from playwright.sync_api import sync_playwright

import clsight
from clsight_app.server import address_of, listen, server_of

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
MODELS = ("digits-learned", "digits-zeros", "digits-fixed-random", "digits-random-per-forward")
VIEWS = {
    "inspect": "/?model=digits-learned&sample=0&direction=attends_to&layer=2&head=2",
    "compare": "/compare?model=digits-learned&sample=0&direction=attends_to&layer=2&head=2",
}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
LARGEST = 300_000


@contextmanager
def served() -> Iterator[str]:
    """Serve the sample models for the length of a block; give the address."""
    models = [clsight.sample_models_dir() / name for name in MODELS]
    with listen("127.0.0.1", 0) as listener:
        server = server_of(models, listener)
        Thread(target=server.run, daemon=True).start()
        yield address_of(listener)
        server.close()


def take(address: str, chromium: str) -> Iterator[Path]:
    """Open each view, wait until all of it is drawn, and yield its picture."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        for name, view in VIEWS.items():
            page.goto(address + view)
            page.locator(".curves .main-svg").last.wait_for(timeout=60_000)
            page.wait_for_load_state("networkidle")
            page.wait_for_timeout(500)  # for the last figure to reach its final size
            page.screenshot(path=IMAGES / f"{name}.png", full_page=True)
            yield IMAGES / f"{name}.png"
        browser.close()


def main() -> int:
    """Make all pictures; return 1 if there is no browser or a picture is too large for the README."""
    sys.path.insert(0, str(ROOT / "tools"))
    from browsers import advice, find_browser

    chromium = find_browser()
    if chromium is None:
        sys.stderr.write(f"{advice()}\n")
        return 1
    sizes = {}
    with served() as address:
        for picture in take(address, chromium):
            sizes[picture] = picture.stat().st_size
            sys.stdout.write(f"{picture.relative_to(ROOT)}: {sizes[picture] / 1e3:.0f} kB\n")
    return int(max(sizes.values()) > LARGEST)


if __name__ == "__main__":
    sys.exit(main())
