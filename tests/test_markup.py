import base64
import itertools
import math
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from aelib import files, markup, recipes, views, zoo
from aelib.views import Choice, Row, View

NAUGHTY = """<script>alert("1")</script> & 'more'"""
FAMILIES = [tuple(family.split("-")) for family in recipes.SIZES]


class Page(HTMLParser):
    """What a browser makes of HTML: open tags, attributes of the pictures, and the text."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.images, self.words, self.open = set(), [], [], []
        self.feed(source)
        self.close()
        assert self.open == [], "not closed"

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag == "img":
            self.images.append(dict(attributes))
        elif tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, "closed in another order"

    def handle_data(self, text):
        self.words.append(text)


def png_of(image):
    start = "data:image/png;base64,"
    assert image["src"].startswith(start)
    return base64.b64decode(image["src"].removeprefix(start), validate=True)


# --- rows and captions


def test_view_html_holds_every_row():
    view = views.render(Choice("mnist", "conv", 8, 5, count=3))
    page = Page(markup.view_html(view, 252))
    assert [png_of(image) for image in page.images] == [row.png for row in view.rows]
    assert len({image["alt"] for image in page.images}) == len(view.rows)
    for image, row in zip(page.images, view.rows, strict=True):
        for words in (view.title, row.label, row.note, *row.cells):
            assert words in image["alt"]
    for row in view.rows:
        cells = (part for cell in row.cells for part in cell.split(", "))
        assert {row.label, row.note, *cells} <= set(page.words)
    assert "252px" in markup.view_html(view, 252)


def test_columns_html_holds_every_picture(noise):
    first, second = (files.write_picture(noise(1, 3, 5, width)[0], "PNG") for width in (300, 4))
    rows = (Row("original", "", first), Row("JPEG", "17 bytes", second))
    page = Page(markup.columns_html(View("Your picture", rows, "")))
    assert [png_of(image) for image in page.images] == [first, second]
    for image, shape in zip(page.images, ("300/5", "4/5"), strict=True):
        assert f"aspect-ratio:{shape};" in image["style"], "its height is known before it is decoded"
    assert [image["alt"] for image in page.images] == ["Your picture: original", "Your picture: JPEG: 17 bytes"]
    assert [word for word in page.words if word.strip()] == ["original", "JPEG: 17 bytes"]


def test_the_caption_keeps_its_lines():
    view = View("", (), "first\n1 < 2 & 3")
    for live in (True, False):
        page = Page(markup.caption_html(view, live=live))
        assert page.words == ["first", "1 < 2 & 3"]
        assert "br" in page.tags


def test_a_caption_is_read_out_when_it_changes_once():
    view = View("", (), "words")
    assert markup.caption_html(view).count('aria-live="polite"') == 1
    assert "aria-live" not in markup.caption_html(view, live=False)


@pytest.mark.parametrize(
    "draw", [lambda view: markup.view_html(view, 100), markup.columns_html, markup.caption_html], ids="vcc"
)
def test_no_text_becomes_markup(draw):
    view = View(NAUGHTY, (Row(NAUGHTY, NAUGHTY, b"", (NAUGHTY,)),), NAUGHTY)
    page = Page(draw(view))
    assert "script" not in page.tags
    assert all(NAUGHTY in image["alt"] for image in page.images)
    assert NAUGHTY in " ".join(page.words)


# --- the curve


def local(tag):
    return tag.rsplit("}", 1)[-1]


def drawn(choice):
    """The curve of a choice as XML, its dot (x, y), its texts and its coloured lines by stroke and dash."""
    root = ElementTree.fromstring(markup.curve_svg(choice))
    dots = [node for node in root.iter() if local(node.tag) == "circle"]
    assert len(dots) == 1
    lines = {}
    for group in root.iter("g"):
        if "stroke-width" in group.attrib:
            curve, _sample = group.findall("polyline")
            places = [tuple(map(float, place.split(","))) for place in curve.get("points").split()]
            lines[group.get("stroke"), group.get("stroke-dasharray")] = places
    return root, (float(dots[0].get("cx")), float(dots[0].get("cy"))), list(root.iter("text")), lines


def rulers(texts):
    """Functions from bytes to x and from dB to y, read off the labels of the axes."""
    sizes = {int(text.text): float(text.get("x")) for text in texts if text.get("text-anchor") == "middle"}
    marks = [text for text in texts if text.get("text-anchor") == "end" and text.text.isdecimal()]
    levels = {int(text.text): float(text.get("y")) - 4 for text in marks}  # set 4 pixels low, to stand beside the line
    assert len(sizes) >= 5
    assert len(levels) >= 5
    (s0, x0), (s1, x1) = min(sizes.items()), max(sizes.items())
    (l0, y0), (l1, y1) = min(levels.items()), max(levels.items())
    for size, x in sizes.items():  # logarithmic throughout
        assert x == pytest.approx(x0 + (x1 - x0) * math.log(size / s0) / math.log(s1 / s0), abs=0.11)
    return (
        lambda size: x0 + (x1 - x0) * math.log(size / s0) / math.log(s1 / s0),
        lambda level: y0 + (y1 - y0) * (level - l0) / (l1 - l0),
    )


@pytest.mark.parametrize(("dataset", "architecture"), FAMILIES)
def test_the_curve_is_drawn_to_scale(dataset, architecture):
    choice = Choice(dataset, architecture, zoo.offered(dataset, architecture)[1], 4, count=2)
    _, dot, texts, lines = drawn(choice)
    x, y = rulers(texts)
    own = views.coded(choice).point
    assert dot == pytest.approx((x(own[0]), y(own[1])), abs=0.15)  # three roundings to 0.1 pixels
    points = views.points(choice)
    assert len(lines) == len(points) == 4
    assert [text.text for text in texts][-4:] == list(points)
    for line, curve in zip(lines.values(), points.values(), strict=True):
        assert line, "an empty curve"
        expected = [(x(size), y(level)) for size, level in curve]
        assert all(min(math.dist(place, other) for other in expected) < 0.25 for place in line)
        inside = [place for place in expected if 40 <= place[0] <= 326 and 0 <= place[1] <= 260]
        assert len(line) == len(inside)
    by_size, by_quality = itertools.islice(lines.values(), 2)
    assert len(by_quality) == 8
    assert dot in by_size
    assert dot in by_quality


# The lowest quality, the highest, and the most bytes that there are.
EXTREMES = [
    Choice("cifar10", "conv", 2, 0, "horse", 1),
    Choice("mnist", "dense", 4, 0, "0"),
    Choice("mnist", "conv", 64, 7, "1", 1),
    Choice("cifar10", "conv", 256, 7, "automobile", 1),
]


@pytest.mark.parametrize("choice", EXTREMES, ids=lambda choice: f"{choice.dataset}-{choice.latent_dim}-{choice.group}")
@pytest.mark.parametrize("narrow", [False, True])
def test_nothing_is_drawn_outside_the_picture(choice, narrow, monkeypatch):
    """Weights of another day may do better or worse than the axes go; then the dot stands at the edge."""
    if narrow:
        monkeypatch.setitem(markup._AXES, choice.dataset, (20.0, 100.0, 12.0, 28.0))
        monkeypatch.setattr(markup, "curve_svg", markup.curve_svg.__wrapped__)
    root, dot, texts, lines = drawn(choice)
    _, _, width, height = map(float, root.get("viewBox").split())
    places = [dot, *itertools.chain(*lines.values()), *((float(text.get("x")), float(text.get("y"))) for text in texts)]
    assert all(0 <= x <= width and 0 <= y <= height for x, y in places)
    below = max(float(text.get("y")) for text in texts if text.get("text-anchor") == "middle")
    assert dot[1] < below, "below the axis"
    if not narrow:
        x, y = rulers(texts)
        size, psnr = views.coded(choice).point
        assert dot == pytest.approx((x(size), y(psnr)), abs=0.15), "off the axes"


def test_the_curve_says_in_words_where_the_choice_stands():
    choice = Choice("mnist", "conv", 16, 3, "7", 2)
    root, *_ = drawn(choice)
    size, psnr = views.coded(choice).point
    label = root.get("aria-label")
    assert label.endswith(f"here {size:.1f} bytes, {psnr:.1f} dB")
    assert root.find("title").text == label
    assert root.get("role") == "img"


def test_curves_differ_in_colour_or_dashes():
    *_, lines = drawn(Choice("mnist", "conv", 16, 3, "7", 2))
    assert len(lines) == 4
    assert all(re.fullmatch("#[0-9A-F]{6}", stroke) for stroke, _ in lines)
