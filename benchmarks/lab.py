"""A notebook in JupyterLab in Chromium: what the browser test and the slider's latencies start with."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
# As in `make lab`: the files of readers travel in one message, which JupyterLab cuts off at 10 MiB by default.
UPLOADS = "--ServerApp.tornado_settings={'websocket_max_message_size': 134217728}"
MINUTE = 60_000  # playwright counts milliseconds
_NOTEBOOK = "window.jupyterapp?.shell.currentWidget"
_KERNEL = f"{_NOTEBOOK}?.sessionContext?.session?.kernel"
_CELLS = f"{_NOTEBOOK}.content.widgets.map(cell => cell.model).filter(cell => cell.type === 'code')"
_ERRORS = f"{_CELLS}.flatMap(cell => cell.outputs.toJSON()).filter(output => output.output_type === 'error')"


@contextmanager
def serve(notebook: Path, folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Serve a copy of a notebook in an empty folder, with settings of its own, and give the address of the copy."""
    shutil.copy(notebook, folder)
    settings = folder / "config" / "labconfig" / "page_config.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {f"JUPYTER_{kind.upper()}_DIR": str(folder / kind) for kind in ("config", "data", "runtime")}
    own["IPYTHONDIR"] = str(folder / "ipython")
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"]
    options += ["--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True", f"--notebook-dir={folder}", UPLOADS]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            env={**os.environ, **own, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(address, server)
            yield f"{address}/lab/workspaces/slider/tree/{notebook.name}?reset"
        finally:
            server.terminate()
            server.wait(timeout=60)


@contextmanager
def browser() -> Iterator[Browser]:
    """Start Chromium."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield chromium
        finally:
            chromium.close()


def new_page(browser: Browser) -> Page:
    """Open a window of a usual size that waits for slow machines."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(2 * MINUTE)
    return page


def run_all_cells(page: Page, address: str) -> None:
    """Open a notebook, give it the width of the window, run all its cells, and raise where one fails."""
    page.goto(address)
    # Before that, running the cells would end in a dialog that asks for a kernel.
    page.wait_for_function(f"{_KERNEL}?.status === 'idle'")
    page.evaluate("window.jupyterapp.commands.execute('application:toggle-left-area')")
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }")
    page.wait_for_function(f"{_CELLS}.every(cell => cell.executionCount > 0) || {_ERRORS}.length > 0")
    wait_for_kernel(page)
    if errors := page.evaluate(_ERRORS):
        raise RuntimeError(f"expected cells without errors, got {errors}")


def wait_for_kernel(page: Page) -> None:
    """Wait until the kernel has done all that it was asked for, and until its messages about that are here.

    Replies overtake errors and widgets' messages, which come one after the other; so nothing is asked, and what follows
    all of them is the message that it is done.
    """
    page.evaluate(f"async () => {{ await {_KERNEL}.requestExecute({{ code: '', silent: true }}).done }}")


def _wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(f"{address}/api/status", timeout=5):
                return
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
