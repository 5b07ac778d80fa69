"""Figures in the prose of the notebooks: each is in what its section shows, with its unit, or asserted.

A section reaches from heading to heading. The first one and "What we found" sum up: for them the whole notebook counts.
"""

import ast
import itertools
import re
from pathlib import Path

import nbformat
import pytest
from test_claims import multiplications

from aelib import benchmark, data, models, zoo

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# Code, formulas, links, and the bottleneck sizes that a sentence is about.
NO_PROSE = re.compile(
    r"`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\]\([^)]*\)|https?://\S+|\bK = \d+(?:(?:,|,? and| to) \d+(?![.\d]))*",
    re.DOTALL,
)
UNITS = {
    **{"dB": "dB|decibels?", "%": "%|per cent", "bpp": "bpp|bits? per pixel", "B": "B|bytes?", "bits": "bits?"},
    **{"nats": "nats", "ms": "ms", "kB": "kB", "MB": "MB|megabytes?", "million": "million", "times": "times"},
    **{"epochs": "epochs?", "images": "images|digits|photographs|pictures"},
}
WORDS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
WORDS |= {
    "eleven": 11,
    "twelve": 12,
    "fourteen": 14,
    "twenty": 20,
    "thirty": 30,
    "forty": 40,
    "fifty": 50,
    "hundred": 100,
}
WORDS |= {"half a": 0.5}
DIGITS, WORD, UNIT = r"\d+(?:,\d{3})*(?:\.\d+)?", "|".join(WORDS), "|".join(UNITS.values())
LISTS = "|".join(
    rf"(?:{number})(?:,\s+(?:{number}))*(?:,?\s+(?:and|to|or|of)\s+(?:almost\s+)?(?:{number}))?"
    for number in (DIGITS, WORD)
)
FIGURE = re.compile(rf"(?<![\w.,])(?<!\w-)(?:({LISTS})\s*({UNIT})|({DIGITS}))(?!\w)", re.IGNORECASE)

# Figures that no notebook measured: notebook to figure to reason.
EXEMPT = {
    "01": {"24 in 24 bits per pixel": "three values of 8 bits", "3.3 in 3.3 bits": "log2 of ten classes"},
    "03": dict.fromkeys(["51 in 51 times", "30 in 30 times", "55 in 55 million"], "counted below")
    | {"500 in 500 epochs": "its source says so: test_claims.py", "30 in 30 epochs": "the task of an exercise"},
    "04": {"10 in 10 %": "chance among ten classes", "ten in ten digits": "the classes"},
    "07": {"100 in 100 bytes": "the task of an exercise"},
}


def unit_of(word):
    return next((unit for unit, words in UNITS.items() if re.fullmatch(words, word or "", re.IGNORECASE)), "")


def in_digits(number):
    return str(WORDS.get(number.lower(), number)).replace(",", "")


def figures(text):
    """The numbers in a text: each in digits, with its unit or none, and with what it stands in."""
    for found in FIGURE.finditer(text):
        numbers, unit, bare = found.groups()
        for number in re.findall(f"{DIGITS}|{WORD}", numbers or bare, re.IGNORECASE):
            yield in_digits(number), unit_of(unit), f"{number} in {' '.join(found[0].split())}"


def column_units(head):
    """The unit of each column of a table: "PSNR (dB)" stands over its own, or in front for all, as does "in dB at"."""
    own = [unit_of("".join(re.findall(rf"\(({UNIT})\)$", name.strip()))) for name in head.strip("|").split("|")]
    everywhere = own[0] or unit_of("".join(re.findall(rf"\bin ({UNIT}) at \|", head)))
    return [unit or everywhere for unit in own]


def shown(cell):
    """The numbers that a reader sees in the outputs of a cell as text, with their units."""
    for output in cell.get("outputs", []):
        formats, units = output.get("data", {}), []
        text = formats.get("text/markdown", formats.get("text/plain", "")) + output.get("text", "")
        for line in text.splitlines():
            if re.search(r"^epoch |^ +\(|kernel_size|<Figure", line):  # networks, and training epoch by epoch
                continue
            parts = line.strip("|").split("|") if line.startswith("|") else [line]
            for part, unit in zip(parts, units or itertools.repeat(""), strict=False):
                yield from ((float(number), own or unit) for number, own, _ in figures(part))
            units = (units or column_units(line)) if line.startswith("|") else []


def asserted(node):
    """The numbers in assertions, but for those that say where (indices, keys), how (options), or how near."""
    match node:
        case ast.Constant(value=bool()) | ast.keyword() | ast.Call(func=ast.Name("range")):
            parts = []
        case ast.Constant(value=int() | float()):
            parts = []
            yield float(node.value)
        case ast.Subscript() | ast.Attribute():
            parts = [node.value]
        case ast.Call(func=ast.Attribute()):
            parts = [node.func]
        case ast.Dict():
            parts = node.values
        case ast.Call(func=ast.Name("round")):
            parts = node.args[:1]
        case ast.Compare(left=ast.Call(func=ast.Name("abs" | "max"))):
            parts = [node.left]
        case _:
            parts = ast.iter_child_nodes(node)
    for part in parts:
        yield from asserted(part)


def parts_of(notebook):
    """The figures of the prose and the numbers shown, each with its section, and the numbers asserted."""
    section, summing_up, prose, known, claimed = 0, {1}, [], [], []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            known += [(section, *pair) for pair in shown(cell)]
            claimed += asserted(ast.parse(cell.source)) if re.search(r"\bassert\b", cell.source) else []
            continue
        for text in re.split(r"^(?=#)", cell.source, flags=re.MULTILINE):
            section += text.startswith("#")
            summing_up |= {section} if text.startswith("## What we found") else set()
            place = None if section in summing_up else section
            prose += [(place, *figure) for figure in figures(NO_PROSE.sub(" ", text))]
    return [figure for figure in prose if figure[2] or "." in figure[1]], known, claimed


def is_borne_out(place, digits, unit, known, claimed):
    """Whether a figure is what was shown, with its unit and in its section, or asserted, rounded to its last digit."""
    here = [value for section, value, of in known if place in (None, section) and (of == unit or not unit)]
    said = claimed + [100 * share for share in claimed if unit == "%"]
    half, value = 0.5 * 10.0 ** -len(digits.partition(".")[2]), float(digits)
    # What is shown is rounded itself, and may lie just between.
    return any(abs(one - value) < 1.001 * half for one in here) or any(abs(one - value) < 0.999 * half for one in said)


def missing(notebook):
    """The figures of the prose that nothing bears out."""
    prose, known, claimed = parts_of(notebook)
    return [where for place, digits, unit, where in prose if not is_borne_out(place, digits, unit, known, claimed)]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_every_figure_in_the_prose_is_shown_or_asserted(file):
    notebook = nbformat.read(file, as_version=4)
    assert set(missing(notebook)) == set(EXEMPT.get(file.stem[:2], {}))


def test_multiplications_of_notebook_03():
    """55 million for a residual network, where conv has two; 51 and 30 times as many at K = 64 and 256."""
    residual, conv = ({k: multiplications(models.build(kind, k)) for k in (64, 256)} for kind in ("residual", "conv"))
    assert [round(residual[256] / 1e6), round(conv[256] / 1e6)] == [55, 2]
    assert [round(residual[k] / conv[k]) for k in (64, 256)] == [51, 30]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("24.5 decibels, 3 or 4 per cent", ["24.5 dB", "3 %", "4 %"]),
        ("152 and 1,714 bytes, from 23 to almost 400 bytes", ["152 B", "1714 B", "23 B", "400 B"]),
        ("Nine bytes, half a decibel, two to three times as many", ["9 B", "0.5 dB", "2 times", "3 times"]),
        ("two bits per pixel or 1.5 bpp, at -0.9 %, of 0.25", ["2 bpp", "1.5 bpp", "0.9 %", "0.25 "]),
        ("at K = 64, 0.2 dB; at K = 16, 64 and 256 of x-3 bytes and `7 dB`, [5 dB](6 dB)", ["0.2 dB", "5 dB"]),
    ],
)
def test_figures_are_found_with_their_units(text, numbers):
    assert [f"{number} {unit}" for number, unit, _ in figures(NO_PROSE.sub(" ", text))] == numbers


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("PNG 12.3 B, 50%\nepoch 7  train 0.5\nmean 2.5", [(12.3, "B"), (50, "%"), (2.5, "")]),
        ("| K | mean PSNR (dB) |\n| -- | -- |\n| 8 | 20.5 |\n\n9", [(8, ""), (20.5, "dB"), (9, "")]),
        ("| mean PSNR (dB) | K = 2 |\n| PCA | 14.9 |", [(2, ""), (14.9, "dB")]),
        ("| set | PSNR in dB at | 8 B |\n| a | PCA | 14.9 |\n| b | kept | 7 % |", [(8, "B"), (14.9, "dB"), (7, "%")]),
    ],
)
def test_what_is_shown_has_its_unit_from_behind_or_above(text, numbers):
    cell = nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("stream", text=text)])
    assert list(shown(cell)) == numbers


def test_numbers_that_are_asserted():
    source = "said = {('a', 2): 0.25}\nassert abs(y[3] - 4.5) < 0.07\nassert -52 < round(x, 1) == f.at(z, 6, low=7) * 8"
    assert list(asserted(ast.parse(source))) == [0.25, 4.5, 52, 8]


@pytest.fixture
def notebook():
    def shows(text):
        return nbformat.v4.new_code_cell("x = 7", outputs=[nbformat.v4.new_output("stream", text=text)])

    cells = [
        nbformat.v4.new_markdown_cell("# Title\nPNG takes 12 bytes or 3.25 bpp at 9 dB."),
        nbformat.v4.new_markdown_cell("## First\nJPEG takes 40 and 50 bytes: 25 % or 7 dB."),
        shows("JPEG 40.4 B, 49.6 dB, 25 dB, 7"),
        nbformat.v4.new_markdown_cell("That is two to three per cent.\n## Second\nPNG has 12 bytes, JPEG 40 bytes."),
        shows("PNG 12.3 B, 3.249 bpp, 2%"),
        nbformat.v4.new_code_cell("assert abs(y - 0.25) < 0.01"),
    ]
    return nbformat.v4.new_notebook(cells=cells)


def test_a_figure_that_nothing_bears_out_is_found(notebook):
    """Not even by a number of another unit or section, by a setting of a cell that draws, or by a tolerance."""
    assert missing(notebook) == [
        "9 in 9 dB",
        "50 in 40 and 50 bytes",
        "7 in 7 dB",
        "two in two to three per cent",
        "three in two to three per cent",
        "40 in 40 bytes",
    ]


def test_most_figures_would_be_missing_if_they_were_others():
    """One more in the last digit: left are intervals, and what stands close together in a table or in assertions."""
    noticed = []
    for file in NOTEBOOKS:
        prose, known, claimed = parts_of(nbformat.read(file, as_version=4))
        for place, digits, unit, where in prose:
            decimals = len(digits.partition(".")[2])
            other = f"{float(digits) + 10.0**-decimals:.{decimals}f}"
            if where not in EXEMPT.get(file.stem[:2], {}):
                noticed.append(not is_borne_out(place, other, unit, known, claimed))
    assert sum(noticed) > 0.65 * len(noticed) > 60


def test_notebook_05_says_which_autoencoders_were_measured():
    (file,) = (ROOT / "notebooks").glob("05_*")
    prose = " ".join(cell.source for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "markdown")
    assert (
        "every shipped autoencoder, conv and dense ones at eight\nqualities, residual and ordered ones at four" in prose
    )
    for dataset in data.CLASSES:
        points = {
            series: len(points)
            for series, points in benchmark.read_folder(ROOT / "results", dataset).items()
            if series.split("-")[0] in models.ARCHITECTURES
        }
        few = {"residual": 4, "ordered": 4}
        assert points == {name.partition("-")[2]: few.get(name.split("-")[1], 8) for name in zoo.names(dataset)}
