"""The page that needs no kernel and no network."""

import base64
import json
import re
import sys
from html.parser import HTMLParser

import pytest

from aelib import explorer, views, zoo
from aelib.views import Choice

QUALITIES = [1, 4, 7]


class Page(HTMLParser):
    """The tags of a page with their attributes, and what stands in each script and style."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.blocks, self._inside = [], [], None
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag in ("script", "style"):
            self._inside = tag
            self.blocks.append([tag, dict(attributes), ""])

    def handle_endtag(self, tag):
        if tag == self._inside:
            self._inside = None

    def handle_data(self, text):
        if self._inside:
            self.blocks[-1][2] += text

    def frames(self):
        (text,) = [text for _, attributes, text in self.blocks if attributes.get("type") == "application/json"]
        return json.loads(text)


@pytest.fixture(scope="module")
def source():
    return explorer.page()


@pytest.fixture(scope="module")
def page(source):
    return Page(source)


def each_frame(page):
    for own in page.frames().values():
        for row in own["frames"]:
            yield from row


def test_the_page_is_one_small_file(source):
    assert len(source.encode()) < 5_000_000
    assert source.startswith("<!doctype html>")
    assert '<meta charset="utf-8">' in source


def test_nothing_is_loaded_from_elsewhere(source, page):
    assert not re.search(r"https?:|wss?:|@import|url\(|\bimport\b.*\bfrom\b|\bfetch\(|XMLHttpRequest", source)
    frames = [Page("".join(frame.values())) for frame in each_frame(page)]
    tags = [*page.tags, *(tag for frame in frames for tag in frame.tags)]
    assert not {"link", "iframe", "object", "embed", "base"} & {tag for tag, _ in tags}
    loaded = [value for _, own in tags for key, value in own.items() if key.split(":")[-1] in ("src", "href", "srcset")]
    assert len(loaded) >= 5 * len(frames)
    assert all(value.startswith("data:image/png;base64,") for value in loaded)


def test_every_size_and_quality_is_there(page):
    frames = page.frames()
    assert list(frames) == ["cifar10", "mnist"]
    for dataset, own in frames.items():
        assert own["label"] == {"cifar10": "CIFAR-10", "mnist": "MNIST"}[dataset]
        assert own["sizes"] == zoo.sizes(dataset, "conv")
        assert own["qualities"] == [f"quality {quality} of 7" for quality in QUALITIES]
        assert [len(row) for row in own["frames"]] == [len(QUALITIES)] * len(own["sizes"])
        for size, row in zip(own["sizes"], own["frames"], strict=True):
            for quality, frame in zip(QUALITIES, row, strict=True):
                choice = Choice(dataset, "conv", size, quality)
                view = views.render(choice)
                assert all(line in frame["caption"] for line in view.caption.replace("'", "&#x27;").split("\n"))
                pngs = re.findall(r'src="data:image/png;base64,([^"]+)"', frame["picture"])
                assert [base64.b64decode(png, validate=True) for png in pngs] == [row.png for row in view.rows]
                assert "here {:.1f} bytes, {:.1f} dB".format(*views.coded(choice).point) in frame["curve"]


def test_the_caption_is_read_out_once(source, page):
    assert [own["id"] for _, own in page.tags if "aria-live" in own] == ["caption"]
    assert source.count("aria-live") == 1, "one in the page, none in the frames"


def test_the_script_finds_what_it_asks_for(page):
    """Nothing here runs it; the browser tests do. This finds a renamed id or key on machines without a browser."""
    ids = {own["id"] for _, own in page.tags if "id" in own}
    (script,) = [text for tag, own, text in page.blocks if tag == "script" and "type" not in own]
    asked = set(re.findall(r'(?:element|getElementById)\("(\w+)"\)', script))
    assert {"frames", "size", "quality", "picture", "caption", "curve", "play", "datasets"} <= asked <= ids
    labels = {own["for"] for tag, own in page.tags if tag == "label"}
    assert labels == {"size", "quality"}
    own = page.frames()["mnist"]
    assert set(re.findall(r"\bown\.(\w+)", script)) <= set(own)
    assert set(re.findall(r"\bframe\.(\w+)", script)) == set(own["frames"][0][0])


NAUGHTY = '</script><script>alert("1")</script>\n<!-- <script> \u2028 \\ FRAMES \xe9'


def test_no_text_breaks_out_of_the_script(monkeypatch):
    monkeypatch.setattr(explorer, "frame", lambda choice: {"picture": NAUGHTY, "caption": "", "curve": "--></SCRIPT >"})
    source = explorer.page()
    page = Page(source)
    assert [tag for tag, _, _ in page.blocks] == ["style", "script", "script"]
    assert all(frame["picture"] == NAUGHTY for frame in each_frame(page))
    assert all(frame["curve"] == "--></SCRIPT >" for frame in each_frame(page))
    data = source.split('type="application/json">')[1].split("</script>")[0]
    assert json.loads(data) == page.frames(), "a browser and a plain search agree where the data end"
    assert "<" not in data


@pytest.mark.parametrize("arguments", [[], ["folder/page.html"]])
def test_the_command_writes_the_page(monkeypatch, tmp_path, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(explorer, "page", lambda: "\xe9" * 50_000)
    monkeypatch.setattr(sys, "argv", ["explorer", *arguments])
    explorer.main()
    name = (arguments or ["explorer.html"])[0]
    assert (tmp_path / name).read_text(encoding="utf-8") == "\xe9" * 50_000
    assert capsys.readouterr().out.replace("\\", "/") == f"{name}: 0.1 MB\n"
    assert [file.name for file in tmp_path.rglob("*.*")] == [name.split("/")[-1]]
