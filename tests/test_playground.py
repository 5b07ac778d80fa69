"""Widgets for pictures of one's own, on the kernel's side."""

import html
import io
import itertools

import matplotlib.pyplot as plt
import pytest
import torch
import traitlets
from PIL import Image

from aelib import files, markup, playground, plots, upload, zoo
from aelib import images as im


@pytest.fixture(scope="module")
def picture(photographs):
    return im.tile(photographs[:4], columns=2)[:, :40, :36]


@pytest.fixture
def explorer(picture):
    """The widget with a picture in it."""
    explorer = playground.PictureExplorer()
    choose_file(explorer, "first.png", files.write_picture(picture, "PNG"))
    return explorer


@pytest.fixture
def digits():
    return playground.DigitExplorer()


def choose_file(explorer, name, content):
    """Send what the browser sends when the reader chooses a file."""
    file = {"name": name, "type": "", "size": len(content), "last_modified": 0, "content": memoryview(content)}
    explorer.upload.set_state({"value": [file]})


def shown(explorer):
    return explorer.view, explorer.picture.value, explorer.caption.value


# --- pictures


def test_a_chosen_file_is_shown(explorer, picture):
    assert explorer.view == upload.compare(picture, f"cifar10-conv-{explorer.size.value}", 7)
    assert explorer.caption.value == markup.caption_html(explorer.view)
    assert explorer.picture.value == markup.columns_html(explorer.view)
    assert explorer.message.value == ""


def test_every_option_of_every_control(explorer, picture):
    sizes, seen = {"cifar10": zoo.sizes("cifar10", "conv"), "mnist": zoo.sizes("mnist", "conv")}, set()
    assert [name for _, name in explorer.dataset.options] == ["mnist", "cifar10"]

    def check():
        dataset, size, quality = explorer.dataset.value, explorer.size.value, explorer.quality.value
        expected = upload.with_channels(picture, 3 if dataset == "cifar10" else 1)
        assert explorer.view == upload.compare(expected, f"{dataset}-conv-{size}", quality)
        assert html.escape(explorer.view.caption.split("\n")[1]) in explorer.caption.value
        seen.add(explorer.caption.value)

    for dataset in ("mnist", "cifar10"):
        explorer.dataset.value = dataset
        assert list(explorer.size.options) == sizes[dataset]
        for size in sizes[dataset]:
            explorer.size.value = size
            check()
        for quality in range(8):
            explorer.quality.value = quality
            check()
        assert (explorer.quality.min, explorer.quality.max) == (0, 7)
    assert len(seen) == len(sizes["mnist"]) + len(sizes["cifar10"]) + 2 * 7  # the last quality was there before


def test_another_data_set_keeps_the_nearest_size(explorer):
    explorer.size.value = 256
    explorer.dataset.value = "mnist"
    assert explorer.size.value == 64
    explorer.dataset.value = "cifar10"
    assert explorer.size.value == 64


@pytest.mark.parametrize("dataset", ["mnist", "cifar10"])
def test_controls_wait_for_a_picture(dataset):
    explorer = playground.PictureExplorer(dataset)
    explorer.size.value, explorer.quality.value = 8, 0
    explorer.dataset.value = "mnist"
    assert shown(explorer) == (None, "", "")
    assert "4096x4096" in explorer.message.value


def test_a_file_is_decoded_once(monkeypatch, picture):
    decoded, read = [], files.read_photograph
    monkeypatch.setattr(files, "read_photograph", lambda content: decoded.append(content) or read(content))
    explorer, file = playground.PictureExplorer(), files.write_picture(picture, "PNG")
    choose_file(explorer, "first.png", file)
    explorer.size.value, explorer.quality.value, explorer.dataset.value = 4, 2, "mnist"
    assert explorer.view == upload.compare(upload.with_channels(picture, 1), "mnist-conv-4", 2)
    assert decoded == [file]


def test_words_stand_there_while_it_works(monkeypatch, picture):
    explorer, said = playground.PictureExplorer(), []
    for module, name in ((files, "read_photograph"), (upload, "compare")):
        work = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *of, work=work: said.append(explorer.message.value) or work(*of))
    choose_file(explorer, "<b>.png", files.write_picture(picture, "PNG"))
    assert said == ["Opening &lt;b&gt;.png ...", "Coding 36 x 40 pixels ..."]
    explorer.size.value = 4
    assert said[2:] == ["Coding 36 x 40 pixels ..."]
    assert explorer.message.value == ""


BAD = {
    "empty.png": (b"", "got 0 bytes that do not decode: no known format"),
    "words.txt": (b"Dear all,\nplease find attached", "no known format"),
    "cut.png": (files.write_picture(torch.full((3, 40, 40), 9, dtype=torch.uint8), "PNG")[:60], "got 60 bytes"),
    "wide.png": (
        files.write_picture(torch.zeros(1, 1, 5000, dtype=torch.uint8), "PNG"),
        "4096x4096 pixels, got 5000x1",
    ),
    "<img src=x onerror=alert(1)>.png": (b"no picture", "no known format"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_gets_a_sentence_and_the_old_picture_stays(explorer, name):
    content, reason = BAD[name]
    before = shown(explorer)
    choose_file(explorer, name, content)
    assert explorer.message.value.startswith(f"{html.escape(name)} was not opened: ")
    assert reason in explorer.message.value
    assert "<img" not in explorer.message.value
    assert "Traceback" not in explorer.message.value
    assert shown(explorer) == before
    explorer.quality.value = 0  # still of the old picture
    assert explorer.view.caption.startswith("Your picture, 36 x 40 pixels")
    assert explorer.view != before[0]


def test_a_bad_file_comes_first_and_a_good_one_after(picture):
    explorer = playground.PictureExplorer()
    choose_file(explorer, "words.txt", b"no picture")
    assert "was not opened" in explorer.message.value
    assert shown(explorer) == (None, "", "")
    explorer.size.value = 4  # nothing to show yet
    choose_file(explorer, "good.png", files.write_picture(picture, "PNG"))
    assert explorer.view == upload.compare(picture, "cifar10-conv-4", 7)
    assert explorer.message.value == ""


def test_a_file_can_be_shown_without_the_button(picture):
    explorer = playground.PictureExplorer()
    explorer.show_file(files.write_picture(picture, "WEBP", lossless=True))
    assert explorer.view == upload.compare(picture, f"cifar10-conv-{explorer.size.value}", 7)
    explorer.show_file(b"nothing")
    assert explorer.message.value.startswith("your file was not opened: expected")


@pytest.mark.parametrize("error", [RuntimeError, ValueError])
def test_a_fault_of_our_own_is_not_blamed_on_the_file(explorer, monkeypatch, error):
    def broken(*_):
        raise error("no picture today")

    monkeypatch.setattr(upload, "compare", broken)
    for change in (
        lambda: explorer.size.set_state({"index": 0}),
        lambda: setattr(explorer.quality, "value", 3),
        lambda: setattr(explorer.dataset, "value", "mnist"),
        lambda: choose_file(explorer, "good.png", files.write_picture(torch.ones(3, 9, 9, dtype=torch.uint8), "PNG")),
    ):
        with pytest.raises(error, match="no picture today"):
            change()
        assert explorer.message.value == "", "it does not go on coding"


def test_an_unknown_data_set_is_refused():
    with pytest.raises(traitlets.TraitError, match="Invalid selection"):
        playground.PictureExplorer("fashion")


def formats_of(widget):
    bundle = widget._repr_mimebundle_()
    return bundle[0] if isinstance(bundle, tuple) else bundle


def check_still(widget, width):
    """A reader without a kernel sees the words and one labelled picture."""
    formats = formats_of(widget)
    assert "application/vnd.jupyter.widget-view+json" in formats
    assert formats["text/plain"] == f"{widget.view.title}\n{widget.view.caption}"
    with Image.open(io.BytesIO(formats["image/png"])) as picture:
        assert picture.format == "PNG"
        assert picture.width > width
    assert plt.get_fignums() == []
    return formats["image/png"]


@pytest.fixture
def drawn(monkeypatch):
    """What is drawn as labelled rows."""
    calls, draw = [], plots.picture_rows
    monkeypatch.setattr(plots, "picture_rows", lambda rows, **more: calls.append((rows, more)) or draw(rows, **more))
    return calls


def test_a_reader_without_a_kernel_sees_the_pictures(explorer, drawn, picture):
    explorer.size.value = 64
    first = check_still(explorer, 700)
    ((rows, options),) = drawn
    (padded,) = rows.values()
    pictures = padded[..., 1:-1]
    assert set(padded[..., [0, -1]].flatten().tolist()) == {255}
    assert torch.equal(pictures[0], picture)
    assert torch.equal(pictures[1], upload.by_blocks(picture, "cifar10-conv-64", 7).picture)
    assert options["captions"][0] == "original"
    for row, text in zip(explorer.view.rows[1:], options["captions"][1:], strict=True):
        assert text == f"{row.label}\n{row.note}"
    explorer.size.value = 2
    assert check_still(explorer, 700) != first


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 3), (1000, 1200)])
def test_pictures_of_any_shape_can_be_seen_without_a_kernel(shape):
    explorer = playground.PictureExplorer()
    explorer.show_file(files.write_picture(torch.full((1, *shape), 99, dtype=torch.uint8), "PNG"))
    check_still(explorer, 700)


def test_without_a_picture_there_is_none_to_see():
    formats = formats_of(playground.PictureExplorer())
    assert "application/vnd.jupyter.widget-view+json" in formats
    assert "image/png" not in formats


# --- digits


def strokes(top, left, height, width):
    """Pixels as the canvas sends them: a grey bar on black, row by row."""
    return [200 if top <= row < top + height and left <= column < left + width else 0 for row, column in SQUARE]


SQUARE = list(itertools.product(range(28), range(28)))


def test_every_test_digit_can_be_taken(digits, samples):
    sample, seen = samples["mnist", "test"], set()
    assert list(digits.digit.options) == [str(digit) for digit in range(10)]
    for digit in digits.digit.options[::-1]:
        digits.digit.value = digit
        first = sample.images[sample.labels.tolist().index(int(digit))]
        assert digits.view == upload.through_every_size(first)
        assert digits.caption.value == markup.caption_html(digits.view)
        seen.add(digits.picture.value)
        assert all(row.note in digits.picture.value for row in digits.view.rows)
    assert len(seen) == 10


def test_a_reader_without_a_kernel_sees_the_digits(digits, drawn, samples):
    first = check_still(digits, 600)
    ((rows, options),) = drawn
    zero = samples["mnist", "test"].images[samples["mnist", "test"].labels.tolist().index(0)]
    view, count = upload.through_every_size(zero), len(zoo.sizes("mnist", "conv"))
    assert torch.equal(rows["digit"], zero.expand(count, 1, 28, 28))
    assert torch.equal(im.tile(rows["autoencoder"], count), files.read_picture(view.rows[1].png, "PNG"))
    assert [text.replace("\n", ", ") for text in options["captions"]] == list(view.rows[1].cells)
    digits.digit.value = "7"
    assert check_still(digits, 600) != first


def test_a_drawing_is_shown_in_the_middle(digits):
    digits.canvas.set_state({"pixels": strokes(2, 3, 15, 3)})
    drawing = torch.tensor(strokes(7, 13, 15, 3), dtype=torch.uint8).reshape(1, 28, 28)
    assert torch.equal(im.untile(files.read_picture(digits.view.rows[0].png, "PNG"), (28, 28))[0], drawing)
    assert digits.view == upload.through_every_size(drawing)
    assert "Your digit" in digits.caption.value


def test_wiping_brings_the_test_digit_back(digits):
    digits.digit.value = "4"
    before = shown(digits)
    digits.canvas.pixels = strokes(4, 4, 20, 3)
    assert shown(digits) != before
    digits.clear.click()
    assert digits.canvas.cleared == 1, "what the canvas listens to"
    digits.canvas.pixels = [0] * 784  # its answer
    assert shown(digits) == before
    digits.clear.click()
    assert digits.canvas.cleared == 2


def test_an_error_comes_out_of_the_assignment(digits, monkeypatch):
    def broken(*_):
        raise RuntimeError("no digit today")

    monkeypatch.setattr(upload, "through_every_size", broken)
    with pytest.raises(RuntimeError, match="no digit today"):
        digits.digit.value = "5"
    with pytest.raises(RuntimeError, match="no digit today"):
        digits.canvas.pixels = strokes(4, 4, 20, 3)


def test_the_canvas_brings_its_script():
    script = playground.Canvas()._esm
    assert 'model.set("pixels"' in script
    assert "change:cleared" in script
    assert "http" not in script
