"""The widgets in a real browser: notebook 06 in JupyterLab, and from disk the page that needs no kernel."""

import base64
import os
import re
from dataclasses import dataclass

import lab
import numpy as np
import pytest
import skimage.data
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from aelib import explorer, files, zoo

NOTEBOOK = explorer.TEMPLATE.parents[1] / "notebooks" / "06_bottleneck_slider.ipynb"
SIZES = {"CIFAR-10": zoo.sizes("cifar10", "conv"), "MNIST": zoo.sizes("mnist", "conv")}
HEIGHT = 800

pytestmark = pytest.mark.browser
expect.set_options(timeout=lab.MINUTE)


@pytest.fixture(scope="module")
def chromium():
    if lab.CHROMIUM is None:
        message = "no Chromium on the PATH: the widgets were NOT tried in a browser (Debian: apt-get install chromium)"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    with lab.browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def heard():
    """What browsers complained about, and requests that a page should not make."""
    return []


@pytest.fixture(autouse=True)
def silence(heard):
    yield
    found = heard.copy()
    heard.clear()
    assert found == []


def _listen(page, heard):
    page.on("pageerror", lambda error: heard.append(f"{error}"))
    page.on("console", lambda message: heard.append(message.text) if message.type == "error" else None)


@pytest.fixture(scope="module")
def left_at():
    """Where the slider stands when all cells have run: its readout and the alt text of its picture."""
    return []


@pytest.fixture(scope="module")
def notebook_page(chromium, heard, left_at, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    with lab.serve(NOTEBOOK, folder, {"AELIB_FAST": "", "AELIB_SOURCE": "sample"}) as address:
        page = lab.new_page(chromium)
        _listen(page, heard)
        lab.run_all_cells(page, address)
        left_at.append(_cell(page, ".widget-play").locator(".widget-readout").nth(0).text_content())
        left_at.append(page.locator('.jp-OutputArea img[alt*=": autoencoder, K ="]').get_attribute("alt"))
        yield page
        page.close()


@pytest.fixture(scope="module")
def explorer_page(chromium, heard, tmp_path_factory):
    file = tmp_path_factory.mktemp("explorer") / "explorer.html"
    file.write_text(explorer.page(), encoding="utf-8")
    page = lab.new_page(chromium)
    _listen(page, heard)
    page.on("request", lambda one: None if one.url.startswith(("file:", "data:")) else heard.append(one.url))
    page.goto(file.as_uri())
    yield page
    page.close()


@pytest.fixture
def notebook(notebook_page):
    notebook_page.set_viewport_size({"width": 1280, "height": HEIGHT})
    return notebook_page


@dataclass(kw_only=True)
class Slider:
    """Where the parts of the slider are, in the notebook and on the page alike."""

    page: Page
    root: Locator
    caption: Locator
    size: Locator
    track: Locator
    readout: Locator
    quality: Locator
    coarsest: int
    play: Locator
    below: Locator

    @property
    def picture(self):
        return self.root.locator('img[alt*=": autoencoder, K ="]')

    def start(self, dataset):
        """Show the smallest convolutional network for a data set, finely rounded."""
        self.root.evaluate("element => element.scrollIntoView()")
        self.root.get_by_text(dataset, exact=True).click()
        # After its picture the slider has its new sizes too.
        expect(self.picture).to_have_attribute("alt", re.compile(f"{dataset}, convolutional"))
        self.quality.focus()
        self.page.keyboard.press("End")
        self.size.focus()
        self.page.keyboard.press("Home")
        return self.shown(SIZES[dataset][0])

    def shown(self, size, quality=7):
        """Wait until everything shows a choice, and return alt text, picture, caption and what the curve says."""
        expect(self.picture).to_have_attribute("alt", re.compile(f"autoencoder, K = {size}: autoencoder"))
        expect(self.caption).to_have_text(re.compile(rf"K = {size}: .*\(quality {quality} of 7\)", re.DOTALL))
        caption = self.caption.inner_text()
        # The curve is what comes last.
        curve = self.root.locator(f'svg[aria-label*="here {re.search(r"mean of ([0-9.]+ bytes)", caption)[1]}"]')
        curve.wait_for()
        picture = (self.picture.get_attribute(name) for name in ("alt", "src"))
        return *picture, caption, curve.get_attribute("aria-label")

    def boxes(self):
        curve = self.root.get_by_role("img", name="mean PSNR")
        parts = (self.track, self.quality, self.play, self.caption, self.picture, curve, self.below)
        return [part.bounding_box() for part in parts]


def _cell(page, content):
    return page.locator(".jp-CodeCell", has=page.locator(f".jp-OutputArea {content}"))


@pytest.fixture(params=["notebook", "explorer"])
def slider(request):
    page = request.getfixturevalue(f"{request.param}_page")
    page.set_viewport_size({"width": 1280, "height": HEIGHT})
    if request.param == "explorer":
        return Slider(
            page=page,
            root=page.locator("body"),
            caption=page.locator("#caption"),
            size=page.locator("#size"),
            track=page.locator("#size"),
            readout=page.locator('output[for="size"]'),
            quality=page.locator("#quality"),
            coarsest=explorer.SHOWN_QUALITIES[0],
            play=page.locator("#play"),
            below=page.locator("#screen"),
        )
    cell = _cell(page, ".widget-play")
    cell.get_by_role("button", name="convolutional").click()
    return Slider(
        page=page,
        root=cell.locator(".jp-OutputArea-output"),
        caption=cell.locator(".widget-html-content", has_text="mean of"),
        size=cell.locator(".noUi-handle").nth(0),
        track=cell.locator(".noUi-target").nth(0),
        readout=cell.locator(".widget-readout").nth(0),
        quality=cell.locator(".noUi-handle").nth(1),
        coarsest=0,
        play=cell.locator(".widget-play button").nth(0),
        below=cell.locator("xpath=following-sibling::*[1]"),
    )


def test_the_reader_finds_the_slider_where_the_text_starts(notebook, left_at):
    readout, alt = left_at
    assert readout == "2"
    assert alt.startswith("CIFAR-10, convolutional autoencoder, K = 2: autoencoder, K = 2: ")


@pytest.mark.parametrize("dataset", SIZES)
def test_everything_follows_the_keyboard(slider, dataset):
    seen = [slider.start(dataset)]
    for size in SIZES[dataset][1:]:
        slider.page.keyboard.press("ArrowRight")
        seen.append(slider.shown(size))
    for part in zip(*seen, strict=True):
        assert len(set(part)) == len(seen)
    slider.page.keyboard.press("Home")
    assert slider.shown(SIZES[dataset][0]) == seen[0]


def test_everything_follows_the_mouse_while_it_drags(slider):
    sizes = SIZES["CIFAR-10"]
    first = slider.start("CIFAR-10")
    slider.page.keyboard.press("End")
    last = slider.shown(sizes[-1])
    track, mouse = slider.track.bounding_box(), slider.page.mouse
    places = [track["x"] + 8 + index / (len(sizes) - 1) * (track["width"] - 16) for index in range(len(sizes))]
    middle = track["y"] + track["height"] / 2
    mouse.move(places[-1], middle)
    mouse.down()
    mouse.move(places[3], middle, steps=6)
    assert slider.shown(sizes[3])[1] not in (first[1], last[1])
    mouse.move(places[0] - 12, middle, steps=6)
    assert slider.shown(sizes[0]) == first
    mouse.up()
    assert slider.shown(sizes[0]) == first


def test_play_sweeps_all_sizes(slider):
    sizes = SIZES["MNIST"]
    slider.start("MNIST")
    slider.readout.evaluate(
        "element => { window.swept = [element.textContent]; new MutationObserver(() => swept.push(element.textContent))"
        ".observe(element, { childList: true, characterData: true, subtree: true }); }"
    )
    slider.play.click()
    slider.shown(sizes[-1])
    # In the notebook it ends here, on the page it goes round.
    if slider.play.inner_text() == "Stop":
        slider.play.click()
    swept = [int(re.search(r"\d+", text)[0]) for text in slider.page.evaluate("swept") if text]
    assert list(dict.fromkeys(swept)) == sizes


def test_the_page_plays_once_for_those_who_want_less_motion(explorer_page):
    page = explorer_page
    page.emulate_media(reduced_motion="reduce")
    try:
        page.get_by_text("MNIST", exact=True).click()
        page.locator("#size").focus()
        for start in ("Home", "End"):  # from the end it starts again
            page.keyboard.press(start)
            page.locator("#play").click()
            expect(page.locator("#play")).to_have_text("Stop")
            expect(page.locator('output[for="size"]')).to_have_text("K = 4" if start == "Home" else "K = 2")
            expect(page.locator("#play")).to_have_text("Play")
            expect(page.locator('output[for="size"]')).to_have_text("K = 64")
            page.locator("#size").focus()
        page.wait_for_timeout(2000)
        expect(page.locator('output[for="size"]')).to_have_text("K = 64")
    finally:
        page.emulate_media(reduced_motion="no-preference")


def test_the_caption_asks_to_be_read_out(slider):
    slider.start("CIFAR-10")
    assert slider.caption.evaluate(
        "element => [...element.querySelectorAll('[aria-live]'), element.closest('[aria-live]')]"
        ".filter(Boolean).map(live => live.getAttribute('aria-live'))"
    ) == ["polite"]


def test_rounding_changes_picture_and_caption(slider):
    slider.start("CIFAR-10")
    slider.page.keyboard.press("End")
    size = SIZES["CIFAR-10"][-1]
    fine = slider.shown(size)
    slider.quality.focus()
    slider.page.keyboard.press("Home")
    coarse = slider.shown(size, slider.coarsest)
    assert all(new != old for new, old in zip(coarse, fine, strict=True))


only_in_the_notebook = pytest.mark.parametrize("slider", ["notebook"], indirect=True)


@only_in_the_notebook
@pytest.mark.parametrize(("dataset", "right", "nearest"), [("CIFAR-10", 0, 16), ("CIFAR-10", 6, 64), ("MNIST", 2, 4)])
def test_another_network_shows_its_nearest_size_and_nothing_jumps(slider, dataset, right, nearest):
    """The fully connected network has fewer sizes, and not this one."""
    old = slider.start(dataset)
    for index in range(right):
        slider.page.keyboard.press("ArrowRight")
        old = slider.shown(SIZES[dataset][index + 1])
    _watch_for_shifts(slider.root)
    boxes = slider.boxes()
    slider.root.get_by_role("button", name="fully connected").click()
    expect(slider.picture).to_have_attribute("alt", re.compile(f"fully connected autoencoder, K = {nearest}: auto"))
    new = slider.shown(nearest)
    assert "fully connected" in new[2]
    assert all(after != before for after, before in zip(new, old, strict=True))
    expect(slider.readout).to_have_text(f"{nearest}")
    lab.wait_for_kernel(slider.page)
    assert slider.boxes() == boxes
    assert slider.page.evaluate("shifts") == []
    assert _outside(slider.root) == []


@only_in_the_notebook
@pytest.mark.parametrize("seen", [8, 64])
def test_another_network_while_it_plays_goes_on_to_its_largest_size(slider, seen):
    slider.start("CIFAR-10")
    _watch_for_shifts(slider.root)
    slider.play.click()
    slider.shown(seen)
    slider.root.get_by_role("button", name="fully connected").click()
    expect(slider.picture).to_have_attribute("alt", re.compile("fully connected autoencoder, K = 256: autoencoder"))
    slider.shown(256)
    expect(slider.readout).to_have_text("256")
    slider.page.wait_for_timeout(2000)  # two steps of a player that did not notice its end
    slider.shown(256)
    slider.size.focus()
    slider.page.keyboard.press("Home")
    slider.shown(16)
    expect(slider.readout).to_have_text("16")
    assert slider.page.evaluate("shifts") == []


@pytest.mark.parametrize("width", [1280, 800])
@pytest.mark.parametrize("dataset", SIZES)
def test_nothing_jumps_and_nothing_sticks_out(slider, width, dataset):
    slider.page.set_viewport_size({"width": width, "height": HEIGHT})
    slider.start(dataset)
    _watch_for_shifts(slider.root)
    boxes = [slider.boxes()]
    for size in SIZES[dataset][1:]:
        slider.page.keyboard.press("ArrowRight")
        slider.shown(size)
        boxes.append(slider.boxes())
        assert _outside(slider.root) == []
    assert boxes == boxes[:1] * len(boxes)
    assert slider.page.evaluate("shifts") == []


def _watch_for_shifts(root):
    """Note what moves on screen, for a frame only or to stay, and has a part in `root`."""
    root.evaluate("""root => {
        window.shifts = [];
        window.watch?.disconnect();
        window.watch = new PerformanceObserver((list) => {
            for (const { sources } of list.getEntries())
                for (const { node, previousRect, currentRect } of sources)
                    if (root.contains(node)) shifts.push([node.nodeName, previousRect.toJSON(), currentRect.toJSON()]);
        });
        watch.observe({ type: "layout-shift" });
    }""")


def _outside(root):
    """Name the elements that stick out of the window or of their picture, or whose content is cut off."""
    return root.evaluate("""root => {
        const frame = root.closest(".jp-WindowedPanel-outer, body").getBoundingClientRect();
        const bad = [];
        for (const element of root.querySelectorAll("*:not(.noUi-target *, svg :not(text))")) {
            if (element.getClientRects().length === 0) continue;  // not on screen: options, scripts
            const limit = element.closest("text") ? element.ownerSVGElement.getBoundingClientRect() : frame;
            const { left, right } = element.getBoundingClientRect();
            const cut = getComputedStyle(element).overflow !== "visible" &&
                (element.scrollWidth > element.clientWidth + 1 || element.scrollHeight > element.clientHeight + 1);
            if (left < limit.left - 1 || right > limit.right + 1 || cut)
                bad.push(`${element.nodeName} ${element.getAttribute("class")}: ${element.textContent.slice(0, 99)}`);
        }
        return bad;
    }""")


@pytest.fixture
def photograph(tmp_path):
    file = tmp_path / "photograph.jpg"
    Image.fromarray(skimage.data.astronaut()[:128, 160:352]).resize((96, 64)).save(file, quality=95)
    return file


def _upload(cell, file):
    with cell.page.expect_file_chooser() as chooser:
        cell.locator(".widget-upload").click()
    chooser.value.set_files(file)


def _sources(images):
    return images.evaluate_all("images => images.map(image => image.src)")


def test_an_uploaded_photograph_is_shown_and_a_broken_file_leaves_it(notebook, photograph, tmp_path):
    cell = _cell(notebook, ".widget-upload")
    caption = cell.locator(".widget-html-content", has_text="Your picture,")
    images = cell.locator('img[alt^="Your picture"]')
    before = _sources(images)
    _upload(cell, photograph)
    expect(caption).to_contain_text("96 x 64 pixels")
    message = cell.get_by_text("was not opened")
    expect(message).to_have_count(0)
    uploaded = _sources(images)
    assert len(uploaded) == len(set(uploaded)) == 3
    assert not set(uploaded) & set(before)

    _watch_for_shifts(cell)
    cell.locator(".noUi-handle").nth(0).focus()
    notebook.keyboard.press("Home")
    expect(caption).to_contain_text("K = 2:")
    expect(images.nth(1)).not_to_have_attribute("src", uploaded[1])
    rough = _sources(images)
    assert rough[0] == uploaded[0]
    lab.wait_for_kernel(notebook)
    assert notebook.evaluate("shifts") == []

    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    _upload(cell, broken)
    expect(message).to_contain_text("broken.jpg was not opened: expected")
    lab.wait_for_kernel(notebook)
    assert _sources(images) == rough
    for width in (1280, 800):
        notebook.set_viewport_size({"width": width, "height": HEIGHT})
        assert _outside(cell.locator(".jp-OutputArea-output")) == []


def test_a_file_of_more_than_ten_mebibytes_arrives(notebook, tmp_path):
    """It travels in one message; JupyterLab's own limit would drop the connection to the kernel without a word."""
    file = tmp_path / "noise.png"
    noise = np.random.default_rng(0).integers(0, 256, (2000, 2000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, compress_level=0)
    assert 11 << 20 < file.stat().st_size < 12 << 20
    cell = _cell(notebook, ".widget-upload")
    images = cell.locator('img[alt^="Your picture"]')
    before = _sources(images)
    _upload(cell, file)
    expect(cell.get_by_text("Coding 2000 x 2000 pixels")).to_be_visible()
    expect(cell.locator(".widget-html-content", has_text="Your picture,")).to_contain_text("2000 x 2000 pixels")
    expect(cell.get_by_text("Coding")).to_have_count(0)
    uploaded = _sources(images)
    assert len(uploaded) == len(set(uploaded)) == 3
    assert not set(uploaded) & set(before)


def test_a_drawn_digit_goes_through_every_size(notebook):
    cell = _cell(notebook, "canvas")
    cell.evaluate("element => element.scrollIntoView()")
    canvas, digit = cell.locator("canvas"), cell.locator('img[alt*="digit, 784 bytes"]')
    taken = digit.get_attribute("src")
    square = canvas.bounding_box()
    notebook.mouse.move(square["x"] + 60, square["y"] + 30)
    notebook.mouse.down()
    notebook.mouse.move(square["x"] + 60, square["y"] + 190, steps=8)
    notebook.mouse.up()
    expect(digit).not_to_have_attribute("src", taken)
    drawn = digit.get_attribute("src")
    shown = files.read_picture(base64.b64decode(drawn.partition(",")[2]), "PNG", channels=1)[0, :, :28] > 127
    rows, columns = (shown.any(axis).nonzero().flatten() for axis in (1, 0))
    # 160 of 224 CSS pixels and a round pen of 24/280; drawn at the left, and moved to the middle.
    assert abs(len(rows) - 22.4) <= 1.5
    assert abs(len(columns) - 2.4) <= 1.5
    for places in (rows, columns):
        assert abs(float(places.double().mean()) - 13.5) <= 1

    cell.get_by_role("button", name="Wipe").click()
    expect(digit).to_have_attribute("src", taken)
    assert canvas.evaluate(
        "square => !square.getContext('2d').getImageData(0, 0, 280, 280).data.some((v, i) => i % 4 < 3 && v)"
    )
    cell.locator("select").select_option("3")
    expect(digit).not_to_have_attribute("src", re.compile("|".join(map(re.escape, (taken, drawn)))))
    for width in (1280, 800):
        notebook.set_viewport_size({"width": width, "height": HEIGHT})
        assert _outside(cell.locator(".jp-OutputArea-output")) == []
