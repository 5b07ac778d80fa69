import io
import json
import re
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import gif
import learned_training
import pytest
import readme
from PIL import Image, ImageSequence

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PICTURES = sorted(set(re.findall(r'src="([^"]+)"', README) + re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)))
ENDS = {"PNG": b"IEND\xaeB`\x82", "GIF": b";", "JPEG": b"\xff\xd9"}  # which Pillow does not ask for


def test_the_tables_are_what_the_command_draws():
    run = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "readme.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_every_figure_and_link_of_the_readme_exists():
    targets = PICTURES + re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(targets) >= 12
    assert [target for target in targets if not (ROOT / target).is_file()] == []


def check_whole(file):
    """Read a picture to its end."""
    if file.suffix == ".svg":
        xml.etree.ElementTree.parse(file)
        return
    with Image.open(file) as picture:
        for frame in ImageSequence.Iterator(picture):
            frame.load()
        assert file.read_bytes().endswith(ENDS[picture.format]), f"expected a whole {picture.format}, got {file}"


def test_the_readme_names_pictures():
    assert {Path(picture).suffix for picture in PICTURES} >= {".png", ".gif"}


@pytest.mark.parametrize("picture", PICTURES)
def test_the_pictures_of_the_readme_are_whole(picture):
    check_whole(ROOT / picture)


@pytest.mark.parametrize("file_format", ENDS)
def test_a_picture_that_is_cut_off_is_found(file_format, tmp_path):
    Image.linear_gradient("L").save(buffer := io.BytesIO(), file_format)
    whole, file = buffer.getvalue(), tmp_path / f"some.{file_format.lower()}"
    file.write_bytes(whole)
    check_whole(file)
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises((OSError, SyntaxError, AssertionError)):
            check_whole(file)


def test_a_drawing_that_is_cut_off_is_found(tmp_path):
    file = tmp_path / "some.svg"
    file.write_text("<svg><g></g></svg>")
    check_whole(file)
    file.write_text("<svg><g></g>")
    with pytest.raises(xml.etree.ElementTree.ParseError):
        check_whole(file)


WRITERS = {
    "01_data.png": readme.write_figures,
    "ladder.png": readme.write_sizes,
    "rate_distortion_mnist.png": lambda: readme.write_curves("mnist"),
    "learned_training.png": learned_training.main,
    "degradation.gif": gif.main,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_picture_that_cannot_be_written_leaves_the_old_one(name, tmp_path, monkeypatch):
    """As on a disk that is full."""
    monkeypatch.setattr(readme, "FIGURES", tmp_path)
    monkeypatch.setattr(readme, "notebooks", lambda: [ROOT / "notebooks" / "01_data.ipynb"])
    monkeypatch.setattr(learned_training, "FIGURE", tmp_path / "learned_training.png")
    monkeypatch.setattr(gif, "FILE", tmp_path / "degradation.gif")
    monkeypatch.setattr(gif, "frame", lambda choice: Image.new("RGB", (8, 8)))  # the real ones take seconds
    monkeypatch.setattr(sys, "argv", ["none"])
    (tmp_path / name).write_bytes(b"old")

    def fail(path, content):
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="no space left"):
        WRITERS[name]()
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [(name, b"old")]


def test_run_times_are_of_all_notebooks():
    stored = json.loads((ROOT / "results" / "notebooks.json").read_text(encoding="utf-8"))
    assert set(stored["seconds"]) == {file.stem for file in (ROOT / "notebooks").glob("*.ipynb")}


def test_contributing_is_short_and_names_what_there_is():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    places = re.findall(r"`(?:[^`]*python )?((?:aelib|tests|benchmarks|notebooks)/[\w./]*)[^`]*`", text)
    assert len(places) >= 10
    assert [place for place in places if not (ROOT / place).exists()] == []
    source = "\n".join(
        file.read_text() for folder in ("aelib", "tests", "benchmarks") for file in (ROOT / folder).rglob("*.py")
    )
    names = set(re.findall(r"`(?!AELIB_)([A-Z_]{5,})`", text))
    assert {"LAYERS", "CLAIMS", "IMPORTS", "RECIPES"} <= names
    assert [name for name in names if not re.search(rf"^{name}\b", source, re.MULTILINE)] == []
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"test", "peers", "ladder", "readme"} <= set(re.findall(r"`make ([a-z-]+)`", text)) <= set(targets)
