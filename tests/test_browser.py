"""Notebook 06 in JupyterLab, in a real browser: the slider moves by keyboard and by mouse, the picture follows."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from aelib import zoo

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "06_bottleneck_slider.ipynb"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
MINUTES = 60_000  # playwright counts milliseconds

pytestmark = pytest.mark.browser


@pytest.fixture
def lab(tmp_path):
    """Serve a copy of the notebook, with settings of its own, and return the address of the copy."""
    if CHROMIUM is None:
        message = "no Chromium on the PATH: the slider was NOT tried in a browser (Debian: apt-get install chromium)"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    shutil.copy(NOTEBOOK, tmp_path)
    settings = tmp_path / "config" / "labconfig" / "page_config.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {f"JUPYTER_{kind.upper()}_DIR": str(tmp_path / kind) for kind in ("config", "data", "runtime")}
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"]
    options += ["--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True", f"--notebook-dir={tmp_path}"]
    with (tmp_path / "server.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            env=os.environ
            | own
            | {"AELIB_FAST": "1", "AELIB_SOURCE": "sample", "IPYTHONDIR": str(tmp_path / "ipython")},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(address, server)
            yield f"{address}/lab/workspaces/slider/tree/{NOTEBOOK.name}?reset"
        finally:
            server.terminate()
            server.wait(timeout=60)


@pytest.fixture
def page(lab):
    """Open the notebook in Chromium and run all its cells."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(2 * MINUTES)
        page.goto(lab)
        # Before that, running the cells would end in a dialog that asks for a kernel.
        page.wait_for_function(f"{_WIDGET}?.sessionContext?.session?.kernel?.status === 'idle'")
        page.evaluate("window.jupyterapp.commands.execute('application:toggle-left-area')")
        page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }")
        page.wait_for_function(f"{_CELLS}.every(cell => cell.executionCount > 0) || {_ERRORS}.length > 0")
        assert page.evaluate(_ERRORS) == []
        # Replies to cells overtake pictures and errors on their way here; this is the last picture that they make.
        page.locator('.jp-OutputArea img[alt*="test images 8 to"]').wait_for()
        page.wait_for_function(f"{_WIDGET}.sessionContext.session.kernel.status === 'idle'")
        assert page.evaluate(_ERRORS) == []
        yield page
        browser.close()


_WIDGET = "window.jupyterapp?.shell.currentWidget"
_CELLS = f"{_WIDGET}.content.widgets.map(cell => cell.model).filter(cell => cell.type === 'code')"
_ERRORS = f"{_CELLS}.flatMap(cell => cell.outputs.toJSON()).filter(output => output.output_type === 'error')"


def _wait_for(address, server):
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(f"{address}/api/status", timeout=5):
                return
        except OSError:
            assert server.poll() is None, "JupyterLab ended before it answered; see server.log"
            assert time.monotonic() < deadline, "JupyterLab did not answer within two minutes; see server.log"
            time.sleep(0.2)


def _shown(page):
    """Return alt text, picture and words of the slider."""
    image = page.locator('.jp-OutputArea img[alt*="autoencoder, K ="]')
    words = page.locator(".widget-html-content", has_text="values through")
    return image.get_attribute("alt"), image.get_attribute("src"), words.inner_text()


def _wait_for_size(page, size):
    page.locator(f'.jp-OutputArea img[alt*="autoencoder, K = {size}:"]').wait_for()
    page.locator(".widget-html-content", has_text=f"through {size} numbers").wait_for()
    return _shown(page)


def _click(page, name):
    """Press a button and wait for its picture, after which the slider has its new sizes too."""
    page.get_by_role("button", name=name).click()
    page.locator(f'.jp-OutputArea img[alt*="{name}"]').wait_for()


def _screenshots(page, folder):
    """Take the slider at two widths; nothing may stick out of the window."""
    for width in (1280, 800):
        page.set_viewport_size({"width": width, "height": 800})
        image = page.locator('.jp-OutputArea img[alt*="autoencoder, K ="]')
        image.scroll_into_view_if_needed()
        page.wait_for_timeout(500)
        page.screenshot(path=folder / f"slider-{width}.png")
        box = image.bounding_box()
        assert box["width"] >= 200
        assert box["x"] + box["width"] <= width


def test_slider_follows_keyboard_and_mouse(page, tmp_path):
    sizes = zoo.sizes("cifar10", "conv")
    _click(page, "MNIST")
    _click(page, "convolutional")
    _click(page, "CIFAR-10")
    handle = page.locator(".jp-OutputArea .noUi-handle")
    handle.focus()
    page.keyboard.press("Home")
    seen = [_wait_for_size(page, sizes[0])]
    for size in sizes[1:]:
        page.keyboard.press("ArrowRight")
        seen.append(_wait_for_size(page, size))
    for part in zip(*seen, strict=True):
        assert len(set(part)) == len(sizes)

    track = page.locator(".jp-OutputArea .noUi-target").bounding_box()
    grip = handle.bounding_box()
    page.mouse.move(grip["x"] + grip["width"] / 2, grip["y"] + grip["height"] / 2)
    page.mouse.down()
    page.mouse.move(track["x"] - 5, grip["y"] + grip["height"] / 2, steps=12)
    page.mouse.up()
    assert _wait_for_size(page, sizes[0]) == seen[0]

    _click(page, "MNIST")
    assert all(new != old for new, old in zip(_shown(page), seen[0], strict=True))
    _screenshots(page, tmp_path)
