"""How soon the slider answers, what it keeps in memory, how large its pages are: ``python benchmarks/slider.py``.

Times in the kernel are those of a real one, with its messages on their way. Times in Chromium run from the key press to
the decoded picture; every picture was shown before. They are taken twice: at the pace of a person who looks, and with
each key pressed as soon as the picture of the last one is there, while its curve may still be on its way.
"""

from __future__ import annotations

import ast
import gc
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lab
import psutil
import record
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import run_kernel
from playwright.sync_api import Browser, Locator

from aelib import explorer, markup, views, zoo
from aelib.views import Choice
from aelib.widgets import BottleneckExplorer, families

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results" / "slider.json"
NOTEBOOK = HERE.parent / "notebooks" / "06_bottleneck_slider.ipynb"
GIF = HERE.parent / "results" / "figures" / "degradation.gif"
PACKAGES = ("aelib", "anywidget", "ipykernel", "ipywidgets", "jupyterlab", "playwright", "torch")
MOVES = 50
LOOK_MS = 300
BATCHES = 20  # of MOVES; in one go, messages would pile up faster than the client reads them, and count as memory
CLIENT_SECONDS = 300
WATCH = """picture => {
    const shown = () => picture.querySelector('img[alt*=": autoencoder, K ="]');
    let old = shown().src, pressed = null;
    window.latencies = [];
    addEventListener("keydown", (event) => { pressed = event.timeStamp; }, true);
    new MutationObserver(async () => {
        const image = shown();
        if (pressed === null || !image || image.src === old) return;
        const start = pressed;
        [old, pressed] = [image.src, null];
        await image.decode();
        latencies.push(performance.now() - start);
    }).observe(picture, { childList: true, subtree: true });
}"""


def milliseconds(work: Callable[[], Any]) -> float:
    """Return how long `work` takes."""
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def summary(times: list[float]) -> dict[str, float]:
    """Return the median and the largest of some times in ms."""
    return {"count": len(times), "median_ms": statistics.median(times), "worst_ms": max(times)}


# These run in the kernel.


def moves(widget: BottleneckExplorer) -> list[float]:
    """Return the times of moves back and forth over all sizes in ms."""
    sizes = list(widget.size.options)
    path = (sizes[1:] + sizes[-2::-1]) * MOVES
    return [milliseconds(lambda size=size: setattr(widget.size, "value", size)) for size in path[:MOVES]]


def first_visit(name: str) -> float:
    """Return the time in ms to show one model that is new, where JPEG and all other sizes were shown before."""
    card = zoo.card(name)
    widget = BottleneckExplorer(card.dataset, card.architecture)
    others = [size for size in widget.size.options if size != card.latent_dim]
    widget.size.value = others[0]
    forget_models()
    for size in others:
        views.coded(Choice(card.dataset, card.architecture, size))
    return milliseconds(lambda: setattr(widget.size, "value", card.latent_dim))


def first_switches() -> dict[str, float]:
    """Return the times in ms to show other data, another network and other images, where only the first were shown."""
    times = {}
    for control, value in (("dataset", "mnist"), ("architecture", "dense"), ("group", "ship")):
        forget_models(keep=())
        widget = BottleneckExplorer()
        switch = partial(setattr, getattr(widget, control), "value", value)
        times[control] = milliseconds(switch)
    return times


def forget_models(keep: tuple[str, ...] = ("_sample", "originals", "jpegs")) -> None:
    """Clear every cache of models and of what is shown, but for some: the images and JPEG's versions of them."""
    for name, function in [*vars(zoo).items(), *vars(views).items(), *vars(markup).items()]:
        if hasattr(function, "cache_clear") and name not in keep:
            function.cache_clear()


def resident_megabytes() -> float:
    """Return how much memory this process holds."""
    gc.collect()
    return psutil.Process().memory_info().rss / 1e6


# The rest asks a kernel and two pages.


def ask(client: BlockingKernelClient, code: str, expression: str = "None") -> Any:
    """Run `code` in a kernel and return the value of `expression` there."""
    wanted = {"value": f"json.dumps({expression})"}
    reply = client.execute_interactive(
        code, user_expressions=wanted, timeout=CLIENT_SECONDS, output_hook=lambda message: None
    )["content"]
    answer = reply["user_expressions"]["value"] if reply["status"] == "ok" else reply
    if answer["status"] != "ok":
        raise RuntimeError("\n".join(answer["traceback"]))
    return json.loads(ast.literal_eval(answer["data"]["text/plain"]))


def kernel_figures() -> dict[str, Any]:
    """Return times and memory in a fresh kernel."""
    with run_kernel(kernel_name="python3", extra_arguments=["--log-level=ERROR"]) as client:
        ask(client, f"import json, sys; sys.path.insert(0, {str(HERE)!r}); import slider")
        ask(client, "made = slider.milliseconds(lambda: globals().update(widget=slider.BottleneckExplorer()))")
        figures = {"first_display_ms": ask(client, "pass", "made")}
        ask(client, "slider.moves(widget)")  # fills the caches
        figures["move"] = summary(ask(client, "pass", "slider.moves(widget)"))
        before = ask(client, "pass", "slider.resident_megabytes()")
        for _ in range(BATCHES):
            ask(client, "slider.moves(widget)")
        growth = ask(client, "pass", "slider.resident_megabytes()") - before
        figures["memory"] = {"moves": BATCHES * MOVES, "before_mb": before, "growth_mb": growth}
        figures["first_switch_ms"] = ask(client, "pass", "slider.first_switches()")
        names = [zoo.model_name(*family, size) for family in families() for size in zoo.offered(*family)]
        times = {name: ask(client, "pass", f"slider.first_visit({name!r})") for name in names}
    slowest = max(times, key=lambda name: times[name])
    return figures | {"first_visit": summary(list(times.values())) | {"worst_model": slowest}}


def key_to_picture(area: Locator, handle: Locator) -> dict[str, dict[str, float]]:
    """Return the times from the key press to the decoded picture, back and forth over all sizes shown before."""
    page, steps = area.page, len(zoo.sizes("cifar10", "conv")) - 1
    area.evaluate("element => element.scrollIntoView()")
    handle.focus()
    page.keyboard.press("Home")
    picture = area.locator('img[alt*=": autoencoder, K ="]')
    for size in zoo.sizes("cifar10", "conv"):
        area.locator(f'img[alt*="autoencoder, K = {size}: autoencoder"]').wait_for()
        page.keyboard.press("ArrowRight")
    picture.wait_for()
    area.evaluate(WATCH)
    figures = {}
    for pace, pause in (("looking", LOOK_MS), ("at once", 0)):
        page.evaluate("latencies = []")
        for move in range(MOVES):
            page.wait_for_timeout(pause)
            page.keyboard.press("ArrowLeft" if move // steps % 2 == 0 else "ArrowRight")
            page.wait_for_function("count => latencies.length === count", arg=move + 1)
        figures[pace] = summary(page.evaluate("latencies"))
        page.keyboard.press("End")
        page.wait_for_timeout(2 * LOOK_MS)
    return figures


def notebook_figures(browser: Browser) -> dict[str, dict[str, float]]:
    """Return the times in notebook 06 in JupyterLab."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"AELIB_FAST": "", "AELIB_SOURCE": "sample"}
        with lab.serve(NOTEBOOK, Path(folder), settings) as address:
            page = lab.new_page(browser)
            lab.run_all_cells(page, address)
            cell = page.locator(".jp-CodeCell", has=page.locator(".widget-play"))
            cell.get_by_role("button", name="convolutional").click()
            cell.get_by_role("button", name="CIFAR-10").click()
            area = cell.locator(".jp-OutputArea-output")
            area.locator('img[alt*="CIFAR-10, convolutional"]').first.wait_for()
            return key_to_picture(area, cell.locator(".noUi-handle").nth(0))


def page_figures(browser: Browser) -> tuple[dict[str, dict[str, float]], int]:
    """Return the times on the page that needs no kernel, and its bytes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "explorer.html"
        file.write_text(explorer.page(), encoding="utf-8")
        page = lab.new_page(browser)
        page.goto(file.as_uri())
        return key_to_picture(page.locator("body"), page.locator("#size")), file.stat().st_size


def main() -> None:
    """Print the figures and write them as JSON."""
    kernel = kernel_figures()
    with lab.browser() as browser:
        chromium = browser.version
        in_lab = notebook_figures(browser)
        on_page, page_bytes = page_figures(browser)
    figures = {
        "kernel": kernel,
        "key_to_picture": {"jupyterlab": in_lab, "explorer.html": on_page},
        "bytes": {"explorer.html": page_bytes, GIF.name: GIF.stat().st_size},
    }
    record.write(RESULTS, PACKAGES, {"versions": {"chromium": chromium}, "figures": figures})
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
