"""Figures in the prose of the notebooks: each is in what the notebook shows, or asserted by it."""

import ast
import json
import re
from pathlib import Path

import nbformat
import pytest
from test_claims import NUMBER

from aelib import benchmark, data, models, zoo

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NO_PROSE = re.compile(r"`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\]\([^)]*\)|https?://\S+", re.DOTALL)  # code, formulas, links
UNITS = r"million|times|dB|%|bpp|bytes?|bits?|nats|ms|kB|MB"
LIST = rf"{NUMBER}(?:,\s+{NUMBER})*(?:,?\s+(?:and|to|or|of)\s+{NUMBER})?"
FIGURE = re.compile(rf"(?<![\w.,]){LIST}\s*(?:{UNITS})(?!\w)|(?<![\w.,])\d[\d,]*\.\d+(?!\w)")

# Figures that no notebook measured: notebook to figure to reason.
EXEMPT = {
    "01": {"24 in 24 bits": "three values of 8 bits", "3.3 in 3.3 bits": "log2 of ten classes"},
    "03": {"55 in 55 million": "counted in test_claims.py, as README says it too"},
    "04": {"10 in 10 %": "chance among ten classes"},
    "07": {"100 in 100 bytes": "the task of an exercise"},
}


def figures(prose):
    """The figures in a text that somebody must have measured, with what they stand in: a fraction, or a unit."""
    for found in FIGURE.finditer(NO_PROSE.sub(" ", prose)):
        for number in re.findall(NUMBER, found[0]):
            yield number, " ".join(found[0].split())


def shown(notebook):
    """What a reader sees of the outputs as text, but for networks and training epoch by epoch."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            text = data.get("text/markdown", data.get("text/plain", "")) + output.get("text", "")
            yield from (line for line in text.splitlines() if not re.search(r"^epoch |^ +\(|kernel_size|<Figure", line))


def numbers_asserted(notebook):
    """The constants of the settings and of the cells with assertions."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and re.search(r"\bassert\b|AELIB_FAST", cell.source):
            for node in ast.walk(ast.parse(cell.source)):
                if isinstance(node, ast.Constant) and type(node.value) in (int, float):
                    yield abs(float(node.value))


def numbers_stored(value):
    """All numbers in what was read from JSON."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from numbers_stored(part)
    elif type(value) in (int, float):
        yield float(value)


def missing(notebook, stored=()):
    """The figures of the prose that nothing bears out. Those in per cent are not borne out by others, nor bear them."""
    parts = re.findall(rf"(?<![\w.,-])({NUMBER})(?!\w) ?(%)?", "\n".join(shown(notebook)))
    found = {unit: [float(number.replace(",", "")) for number, has in parts if has == unit] for unit in ("", "%")}
    asserted = list(numbers_asserted(notebook))
    found[""] += [*asserted, *stored]
    found["%"] += [*asserted, *(100 * share for share in asserted)]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for number, where in figures(cell.source):
                value, last = float(number.replace(",", "")), 10.0 ** -len(number.partition(".")[2])
                known = found["%" if where.endswith("%") else ""]
                if not any(abs(other - value) <= 0.5001 * last for other in known):
                    yield f"{number} in {where}"


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_every_figure_in_the_prose_is_shown_or_asserted(file):
    notebook = nbformat.read(file, as_version=4)
    ladder = json.loads((ROOT / "results" / "ladder.json").read_text(encoding="utf-8"))["mean_psnr"]["cifar10"]
    stored = list(numbers_stored(ladder)) if "03" in file.stem else []
    assert set(missing(notebook, stored)) == set(EXEMPT.get(file.stem[:2], {}))


@pytest.fixture
def notebook():
    cells = [
        nbformat.v4.new_markdown_cell("PNG takes 12 bytes or 3.25 bpp, JPEG 40 and 50 bytes, `x = 3.5`: 25 % or 7 dB."),
        nbformat.v4.new_code_cell(
            "x = 7", outputs=[nbformat.v4.new_output("stream", text="PNG 12.3 B, 3.249 bpp, 50%")]
        ),
        nbformat.v4.new_code_cell("assert abs(y - 0.25) < 0.01"),
    ]
    return nbformat.v4.new_notebook(cells=cells)


def test_a_figure_that_nothing_bears_out_is_found(notebook):
    """Not even by a setting of a cell that draws, nor by a share that happens to be as large."""
    assert list(missing(notebook)) == ["40 in 40 and 50 bytes", "50 in 40 and 50 bytes", "7 in 7 dB"]
    assert list(missing(notebook, [40.4, 50.0])) == ["7 in 7 dB"]


def test_notebook_05_says_which_autoencoders_were_measured():
    (file,) = (ROOT / "notebooks").glob("05_*")
    prose = " ".join(cell.source for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "markdown")
    assert "every shipped conv and dense autoencoder" in prose
    assert "residual and ordered ones are not among these results" in prose
    for dataset in data.CLASSES:
        own = {
            series
            for series in benchmark.read_folder(ROOT / "results", dataset)
            if series.split("-")[0] in models.ARCHITECTURES
        }
        assert own == {name.partition("-")[2] for kind in ("conv", "dense") for name in zoo.names(dataset, kind)}
