"""The tables that stored notebooks draw from results are those of the results that lie beside them."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def cells(file):
    """Return the first cell of code, which imports, and those tagged ``results``, which draw on nothing else."""
    code = [cell for cell in json.loads(file.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    tagged = [cell for cell in code[1:] if "results" in cell["metadata"].get("tags", [])]
    return code[:1] + tagged if tagged else []


def drawn(cell):
    return ["".join(o["data"]["text/markdown"]) for o in cell["outputs"] if "text/markdown" in o.get("data", {})]


def test_tables_of_results_are_tagged():
    assert {file.stem[:2] for file in NOTEBOOKS if any(drawn(cell) for cell in cells(file))} == {"03", "05", "07"}


@pytest.fixture
def figures():
    """Close what the cells draw: nothing shows it here, so it would stay open for the tests that follow."""
    yield
    plt.close("all")


@pytest.mark.parametrize("file", [file for file in NOTEBOOKS if cells(file)], ids=lambda file: file.stem)
def test_stored_tables_are_of_these_results(file, figures, monkeypatch):
    monkeypatch.chdir(file.parent)
    monkeypatch.setenv("AELIB_SOURCE", "sample")
    monkeypatch.setenv("AELIB_FAST", "1")
    monkeypatch.setenv("MPLBACKEND", "agg")
    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    for cell in cells(file):
        done = shell.run_cell("".join(cell["source"]))
        done.raise_error()
        if stored := drawn(cell):
            assert stored == [done.result.data]
