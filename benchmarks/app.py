"""How fast is the dashboard? The page Inspect in a real Chromium, over a server in a process of its own.

    python benchmarks/app.py [--clicks 40] [--text-model FOLDER]

Models of 12 layers and 12 heads with random weights: 197 tokens (a picture of 14 × 14 patches) and 512
tokens (words). A time begins at the mouse button or the key, in the page, and ends in the frame after all
that belongs to it is drawn: for a click the heading and both maps. Bytes are those of the answer,
uncompressed, as the server sends it. "sample" goes to an example whose record is there. "start" is from the
start of the command to the first byte, and to the first grid. With --text-model, the time from Enter behind
a typed sentence to its grid.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page, Response, sync_playwright

from clsight.models import ClassificationTransformer, ModelConfig
from clsight.saving import save_model

ROOT = Path(__file__).resolve().parents[1]
SIZES = {"12x12-197": "patch", "12x12-512": "token"}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
PORT = 8077
WINDOW = {"width": 1280, "height": 2000}  # holds the grid whole: what is out of sight cannot be clicked
CLSIGHT = "from clsight.cli import main; main()"
GRID = "#layer-head-grid .js-plotly-plot"
WATCH = """() => {
    window.began = 0;
    for (const name of ["mouseup", "keydown"]) {
        document.addEventListener(name, () => { window.began = performance.now(); }, true);
    }
    window.count = function (plot) {
        if (plot.counted === undefined) {
            plot.counted = 0;
            plot.on("plotly_afterplot", () => { plot.counted += 1; });
        }
        return plot.counted;
    };
    window.plots = (where) => [...document.querySelectorAll(where + " .js-plotly-plot")];
    window.remember = (where) => {
        window.before = new Map(window.plots(where).map((plot) => [plot, window.count(plot)]));
    };
    window.anew = (plot) =>
        window.before.has(plot) ? window.count(plot) > window.before.get(plot) : plot.calcdata;
    window.drawn = (where, ready) => new Promise((resolve, reject) => {
        const end = performance.now() + 20000;
        const look = () => {
            if (performance.now() > end) return reject(new Error("not drawn within 20 s"));
            if (!(window.plots(where).every(window.anew) && ready())) return requestAnimationFrame(look);
            requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - window.began), 0));
        };
        look();
    });
}"""


def save_models(folder: Path) -> list[Path]:
    """Write the models with three examples each; return their folders."""
    draw = np.random.default_rng(0)
    inputs = {
        "patch": draw.random((3, 28, 28), dtype=np.float32),
        "token": draw.integers(0, 1000, (3, 511)),
    }
    further = {
        "patch": {"image_size": (28, 28), "patch_size": (2, 2)},
        "token": {"vocabulary": 1000, "max_time": 511},
    }
    for name, kind in SIZES.items():
        config = ModelConfig(
            classes=10, width=144, heads=12, layers=12, embedding=kind, seed=1, **further[kind]
        )
        arrays = {"inputs": inputs[kind], "labels": np.array([0, 1, 2])}
        save_model(ClassificationTransformer(config), folder / name, arrays=arrays)
    return [folder / name for name in SIZES]


@contextmanager
def served(models: list[Path]) -> Iterator[tuple[str, float, float]]:
    """Run `clsight app` for the length of a block; give its address, its start, the time to a first byte."""
    command = [sys.executable, "-c", CLSIGHT, "app", "--no-browser", "--port", str(PORT)]
    began = time.perf_counter()
    with subprocess.Popen([*command, *map(str, models)], stdout=subprocess.DEVNULL) as server:
        try:
            yield f"http://127.0.0.1:{PORT}", began, _first_byte(server, began)
        finally:
            server.terminate()


def _first_byte(server: subprocess.Popen[bytes], began: float) -> float:
    while server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}", timeout=60) as answer:
                answer.read(1)
                return time.perf_counter() - began
        except OSError:
            time.sleep(0.02)
    raise RuntimeError("the server ended")


def opened(browser: Browser, address: str) -> tuple[Page, list[tuple[str, int]]]:
    """Return a page with its grid and its curves drawn, and a list that grows with what is sent to it."""
    page = browser.new_page(viewport=WINDOW)
    sent: list[tuple[str, int]] = []

    def note(response: Response) -> None:
        if "_dash-update-component" in response.url:
            sent.append((response.request.post_data or "", len(response.body())))

    page.on("response", note)
    page.goto(address)
    page.locator(f"{GRID} .main-svg").first.wait_for(timeout=120_000)
    page.locator(".curves .main-svg").last.wait_for(timeout=120_000)
    page.wait_for_load_state("networkidle")
    page.evaluate(WATCH)
    return page, sent


def click(page: Page, layer: int, head: int) -> float:
    """Click a tile; return the milliseconds until the head is drawn."""
    place = page.evaluate(
        """([grid, layer, head]) => {
            const plot = document.querySelector(grid);
            const box = plot.getBoundingClientRect();
            const {xaxis, yaxis} = plot._fullLayout;
            return [box.left + xaxis._offset + xaxis.l2p(head), box.top + yaxis._offset + yaxis.l2p(layer)];
        }""",
        [GRID, layer, head],
    )
    page.mouse.move(*place)
    page.wait_for_timeout(60)  # the hover is plotly's own
    page.evaluate("window.remember('#detail')")
    page.mouse.click(*place)
    ready = f"document.querySelector('#detail h2').textContent === 'Layer {layer}, head {head}'"
    took: float = page.evaluate(f"() => window.drawn('#detail', () => {ready})")
    page.wait_for_timeout(250)  # for the curves below, which are no part of it
    return took


def next_sample(page: Page, sample: int) -> float:
    """Go to the next or the previous example; return the milliseconds until the grid is drawn."""
    page.evaluate("window.remember('#layer-head-grid')")
    page.get_by_role("button", name="Next example" if sample else "Previous example").click()
    took: float = page.evaluate("() => window.drawn('#layer-head-grid', () => true)")
    page.wait_for_timeout(600)
    return took


def typed(page: Page, text: str) -> float:
    """Type a sentence; return the milliseconds from Enter until its grid is drawn."""
    page.get_by_label("Your own text").fill(text)
    page.evaluate("window.remember('#layer-head-grid')")
    page.keyboard.press("Enter")
    took: float = page.evaluate("() => window.drawn('#layer-head-grid', () => true)")
    page.wait_for_timeout(800)
    return took


def told(times: list[float]) -> str:
    """Return median and 95th percentile in milliseconds."""
    return f"median {statistics.median(times):6.0f} ms, p95 {np.quantile(times, 0.95):6.0f} ms"


def measure(browser: Browser, address: str, model: str, clicks: int) -> Iterator[str]:
    """Yield a line for each number of one model."""
    page, sent = opened(browser, f"{address}/?model={model}")
    draw = np.random.default_rng(1)
    cells = [tuple(map(int, draw.integers(0, 12, 2))) for _ in range(clicks)]
    cells = [cell for before, cell in zip([(0, 0), *cells], cells, strict=False) if cell != before]
    times = [click(page, *cell) for cell in cells]
    views = [size for asked, size in sent if "detail.children" in asked and "panels" in asked]
    yield f"{model:12} click -> head drawn    {told(times)}, {statistics.median(views) / 1e3:.0f} kB"
    next_sample(page, 1)
    next_sample(page, 0)
    times = [next_sample(page, (turn + 1) % 2) for turn in range(10)]
    grids = [size for asked, size in sent if "layer-head-grid.figure" in asked]
    yield f"{model:12} sample -> grid drawn   {told(times)}, {max(grids) / 1e3:.0f} kB"
    page.close()


def main() -> None:
    """Print a line for each number."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clicks", type=int, default=40)
    parser.add_argument("--text-model", type=Path)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tools"))
    from browsers import find_browser

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=FLAGS)
        models = save_models(Path(folder)) + ([options.text_model] if options.text_model else [])
        with served(models) as (address, began, first_byte):
            page = browser.new_page(viewport=WINDOW)
            page.goto(address)
            page.locator(f"{GRID} .main-svg").first.wait_for(timeout=120_000)
            print(
                f"start -> first byte {first_byte:.1f} s, -> first grid {time.perf_counter() - began:.1f} s"
            )
            page.close()
            for model in SIZES:
                for line in measure(browser, address, model, options.clicks):
                    print(line, flush=True)
            if options.text_model:
                page, _ = opened(browser, f"{address}/?model={options.text_model.resolve().name}")
                sentences = [
                    f"The soup number {number} was cold, but nobody apologized." for number in range(8)
                ]
                print(f"{'text':12} Enter -> grid drawn    {told([typed(page, one) for one in sentences])}")
        browser.close()


if __name__ == "__main__":
    main()
