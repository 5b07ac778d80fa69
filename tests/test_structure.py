"""The shape of the project: layers, owners of third-party packages, notebooks, and files that must agree."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest

import aelib

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "aelib"

# A module imports from lower layers, and within its own layer only where NEIGHBOURS says so.
LAYERS = {
    **dict.fromkeys(
        ["images", "records", "storage", "files", "range_coder", "entropy", "containers", "guards", "losses"], 0
    ),
    **dict.fromkeys(["av1", "avif"], 0),
    **dict.fromkeys(["distributed", "capture", "schedule", "sweep", "mapped", "arguments"], 0),
    **dict.fromkeys(["sources", "data", "bottleneck", "residual", "models", "checkpoints", "metrics", "curves"], 1),
    **dict.fromkeys(["prior", "exact", "learned", "search"], 1),
    **dict.fromkeys(["augment", "cards"], 1),
    **dict.fromkeys(["train", "train_rate", "quantise", "codecs", "latent"], 2),
    **dict.fromkeys(["zoo", "benchmark", "ladders", "recipes"], 3),
    **dict.fromkeys(["pretrain", "train_codec", "plots", "tables", "__main__"], 4),
    **dict.fromkeys(["views"], 5),
    **dict.fromkeys(["markup", "upload"], 6),
    **dict.fromkeys(["widgets", "playground", "explorer"], 7),
}
NEIGHBOURS = {
    ("files", "images"),
    ("files", "guards"),
    ("mapped", "images"),
    ("mapped", "storage"),
    ("entropy", "range_coder"),
    ("files", "avif"),
    ("avif", "av1"),
    ("avif", "containers"),
    ("avif", "guards"),
    ("data", "sources"),
    ("codecs", "quantise"),
    ("residual", "bottleneck"),
}
NEIGHBOURS |= {("models", "bottleneck"), ("models", "residual")}
NEIGHBOURS |= {("exact", "prior"), ("train_rate", "train"), ("learned", "prior"), ("learned", "residual")}
NEIGHBOURS |= {("search", "prior"), ("search", "learned")}
NEIGHBOURS |= {("capture", "distributed"), ("schedule", "losses")}
OWNERS = {
    "torchvision": "sources",
    "PIL": "files",
    "sklearn": "latent",
    "skimage": "metrics",
    "bjontegaard": "curves",
    "imagecodecs": "codecs",
    "safetensors": "zoo",
    "matplotlib": "plots",
    "anywidget": "playground",
}
DRAWERS = {"utils", "util", "helpers", "helper", "common", "misc"}
SOURCES = sorted(PACKAGE.rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def module_of(file):
    """The module of aelib, or the subpackage, that a file belongs to."""
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(source):
    """All dotted names that Python source imports, also inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, so that a reader can search for them"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def forbidden(module, source):
    """The imports in the source of `module` that break a rule of the table above."""
    for name in imported(source):
        package, *inner = name.split(".")
        if package == "aelib" and inner and inner[0] != module:
            other = inner[0]
            if LAYERS.get(other, 99) >= LAYERS[module] and (module, other) not in NEIGHBOURS:
                yield f"{module} imports {name}"
        elif OWNERS.get(package, module) != module:
            yield f"{module} imports {name}, which only {OWNERS[package]} should"


# --- the package


def test_every_module_has_its_layer():
    assert {module_of(file) for file in SOURCES} - {"__init__"} == set(LAYERS)


def test_the_package_lists_its_modules_by_layer_and_neighbours_in_order():
    table = re.split(r"^=.*\n", aelib.__doc__, flags=re.MULTILINE)[1]
    rows = re.split(r"^(?=\d)", table, flags=re.MULTILINE)[1:]
    listed = {name: int(row[0]) for row in rows for name in re.findall(r"[a-z_][a-z_0-9]+", row)}
    assert listed == LAYERS
    order = list(listed)
    assert [pair for pair in NEIGHBOURS if order.index(pair[0]) < order.index(pair[1])] == []


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_come_from_lower_layers_and_packages_have_one_owner(file):
    module = module_of(file)
    if module == "__init__":
        assert list(imported(file.read_text())) == [], "importing aelib does nothing"
    else:
        assert list(forbidden(module, file.read_text())) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("images", "from aelib import zoo"),
        ("models", "import aelib.metrics"),
        ("train", "def f():\n    from aelib.widgets import render"),
        ("sources", "from aelib.data import load"),
        ("data", "import torchvision.datasets"),
        ("zoo", "from PIL import Image"),
        ("zoo", "from aelib import unknown"),
    ],
)
def test_a_broken_rule_is_found(module, source):
    assert len(list(forbidden(module, source))) == 1


def test_every_owner_uses_what_it_owns():
    used = {(name.split(".")[0], module_of(file)) for file in SOURCES for name in imported(file.read_text())}
    # scikit-image is the oracle of the tests and is not needed in the package.
    assert {pair for pair in OWNERS.items() if pair[0] != "skimage"} <= used


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_modules_are_short_and_no_drawers(file):
    assert not DRAWERS & set(file.relative_to(PACKAGE).with_suffix("").parts)
    assert len(file.read_text().splitlines()) <= 250


def run_python(code):
    return subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


NO_NETWORK = """
import socket, sys
def refuse(*arguments, **options):
    raise AssertionError(f"an import reached for the network: {arguments}")
socket.socket.connect = socket.getaddrinfo = refuse
"""


def test_importing_the_package_imports_nothing_heavy():
    run_python(
        f"{NO_NETWORK}\nimport aelib\n"
        "heavy = {'torch', 'torchvision', 'matplotlib', 'ipywidgets', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )


def test_everything_but_the_official_download_works_without_torchvision():
    run_python(
        f"{NO_NETWORK}\nsys.modules['torchvision'] = None\n"
        "import importlib, pkgutil, aelib\n"
        "for module in pkgutil.walk_packages(aelib.__path__, 'aelib.'):\n"
        "    importlib.import_module(module.name)\n"
        "from aelib import data, models, train\n"
        "images = data.load('cifar10', 'train', source='sample').images[:20]\n"
        "train.fit(models.build('conv', 2), images, images, train.Settings(epochs=1), device='cpu')\n"
    )


# --- the notebooks


def test_the_notebooks_are_numbered_and_complete():
    names = [file.stem for file in NOTEBOOKS]
    assert [name[:3] for name in names] == [f"{number:02}_" for number in range(1, len(names) + 1)]
    expected = ["01_data", "02_train_mnist", "03_train_cifar10", "04_latent_space", "05_jpeg_comparison"]
    assert names[:6] == [*expected, "06_bottleneck_slider"]


@pytest.fixture(params=NOTEBOOKS, ids=lambda file: file.stem)
def notebook(request):
    loaded = nbformat.read(request.param, as_version=4)
    loaded.file = request.param
    return loaded


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_a_notebook_is_valid_and_small(notebook):
    file = notebook.pop("file")
    nbformat.validate(notebook)
    assert file.stat().st_size < 1_000_000
    assert len(notebook.cells) <= 25


def test_notebook_cells_are_short(notebook):
    lines = [cell.source.splitlines() for cell in code_of(notebook)]
    assert max(map(len, lines)) <= 15
    code = [line for cell in lines for line in cell if line.strip() and not line.strip().startswith("#")]
    assert len(code) <= 110


def test_notebook_code_is_a_script(notebook):
    source = "\n".join(cell.source for cell in code_of(notebook))
    nodes = list(ast.walk(ast.parse(source)))
    assert not [node.name for node in nodes if isinstance(node, ast.ClassDef)]
    assert len([node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]) <= 1


def test_a_notebook_opens_with_its_question(notebook):
    first = notebook.cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    assert "?" in first.source


def test_only_readme_says_how_long_a_notebook_runs(notebook):
    """There it is measured; a figure in the notebook would go stale."""
    prose = [" ".join(cell.source.split()) for cell in notebook.cells if cell.cell_type == "markdown"]
    assert "**Run time**: see README's table of notebooks" in prose[0]
    own = re.compile(r"\b(?:runs?|run time|takes?|about|within)\b[^.:;]*\b(?:seconds|minutes?|hours?)\b", re.IGNORECASE)
    assert [found[0] for text in prose for found in own.finditer(text)] == []


def test_a_notebook_shows_its_parameters_and_asserts_its_claims(notebook):
    cells = code_of(notebook)
    assert [cell for cell in cells if "AELIB_FAST" in cell.source], "no cell of parameters"
    assert [node for node in ast.walk(ast.parse(cells[-1].source)) if isinstance(node, ast.Assert)]


def test_notebook_outputs_are_those_of_one_clean_run(notebook):
    cells = code_of(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert pictures, "a reader on GitHub sees no figure"
    assert "widgets" not in notebook.metadata, "saved widget state"
    assert not [cell for cell in notebook.cells if "execution" in cell.metadata], "time stamps"


# --- files that must agree


def requirements(lines):
    """Name to lower bound."""
    found = [re.fullmatch(r"([\w-]+)(?:>=([\w.]+))?", line) for line in lines]
    return {match[1]: match[2] for match in found}


def test_conda_gets_the_environment_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = re.findall(r"^ +- ([\w-]+(?:>=[\w.]+)?)$", (ROOT / "environment.yml").read_text(), re.MULTILINE)
    conda = requirements(line for line in lines if line not in ("pip", "conda-forge"))
    conda["torch"] = conda.pop("pytorch")
    assert f">={conda.pop('python')}" == project["requires-python"]
    assert conda == requirements(project["dependencies"])


def test_the_readme_names_targets_that_exist():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert {"notebooks", "test", "lab"} <= set(named) <= set(targets)


def test_jupyterlab_takes_files_of_one_size_wherever_it_is_started():
    """In `make lab`, in the two commands of the README, and in what browser tests and latencies start with."""
    option = "\"--ServerApp.tornado_settings={'websocket_max_message_size': 134217728}\""
    assert f"UPLOADS := {option}" in (ROOT / "Makefile").read_text()
    assert f"UPLOADS = {option}" in (ROOT / "benchmarks" / "lab.py").read_text()
    commands = re.findall(r"`([^`]*\bjupyter lab\b[^`]*)`", (ROOT / "README.md").read_text())
    assert len(commands) == 2
    assert all(command.endswith(option) for command in commands)
    assert 134217728 == 128 << 20, "as the README says"
    assert "128 MiB" in (ROOT / "README.md").read_text()


def test_what_measures_the_slider_is_installed_with_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = requirements([*project["dependencies"], *project["optional-dependencies"]["dev"]])
    sources = [(ROOT / "benchmarks" / name).read_text() for name in ("lab.py", "slider.py")]
    used = {name.split(".")[0].replace("_", "-") for source in sources for name in imported(source)}
    assert {"psutil", "jupyter-client", "playwright"} <= used
    own = {file.stem for file in (ROOT / "benchmarks").glob("*.py")}
    assert used <= {*declared, *sys.stdlib_module_names, "--future--", "aelib", *own}


def test_no_file_knows_a_machine_or_a_registry():
    folders = [".ci", "aelib", "benchmarks", "notebooks", "results", "tests"]
    files = [file for folder in folders for file in (ROOT / folder).rglob("*")] + list(ROOT.iterdir())
    kinds = {".py", ".ipynb", ".json", ".md", ".toml", ".yml", ".txt", ".css", ".html", ""}
    texts = [file for file in files if file.is_file() and file.suffix in kinds and "_checkpoints" not in str(file)]
    texts = [file for file in texts if file.name != ".coverage"]  # what `make coverage` leaves, no text
    assert len(texts) > 30
    # Put together, so that this file does not find itself.
    patterns = ["/" + "root/", "/" + "work/", "//" + r"registry\.", "index" + "-url"]
    for file in texts:
        found = re.search("|".join(patterns), file.read_text(encoding="utf-8"))
        assert found is None, f"{found[0]} in {file.relative_to(ROOT)}"
