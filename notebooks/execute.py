"""Execute the notebooks in full, each from a clean kernel, and store their outputs: ``python notebooks/execute.py``.

With names as arguments (``04_latent_space``) it runs only those. Nothing is stored of a run that is shortened by
AELIB_FAST, that has only the bundled sample to work on, or that fails.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from aelib import data, files, storage

HERE = Path(__file__).resolve().parent
TIMES = HERE.parent / "results" / "notebooks.json"
CELL_TIMEOUT = 1800  # seconds


def execute(file: Path) -> tuple[nbformat.NotebookNode, float]:
    """Run all cells, showing which one runs, and return the cleaned notebook and the seconds that it took."""
    notebook = nbformat.read(file, as_version=4)
    count, start = len(notebook.cells), time.perf_counter()

    def show(cell_index: int, **_: object) -> None:
        print(f"\r{file.stem:22} cell {cell_index + 1:2} of {count}", end="", flush=True)

    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(HERE)}},
        record_timing=False,
        store_widget_state=False,
        extra_arguments=["--log-level=ERROR"],
        on_cell_start=show,
    )
    client.execute()
    seconds = time.perf_counter() - start
    print(f"\r{file.stem:22} {count} cells in {seconds:.1f} s", flush=True)
    return clean(notebook), seconds


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Keep what a reader sees; what a cell wrote to stderr is shown here instead of stored."""
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({"tags": cell.metadata.tags} if "tags" in cell.metadata else {})
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                print(output.text, file=sys.stderr)
            if "metadata" in output:
                output.metadata = nbformat.from_dict({})
            # Of a kernel that is gone: in a trusted notebook JupyterLab would show an error instead of the picture.
            formats = output.get("data", {})
            formats.pop("application/vnd.jupyter.widget-view+json", None)
            if "image/png" in formats:
                formats["image/png"] = repacked(formats["image/png"])
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def repacked(encoded: str) -> str:
    """Return the same pixels in a smaller PNG: matplotlib stores an opacity that is always full."""
    picture = files.read_picture(base64.b64decode(encoded), "PNG", channels=3)
    return base64.b64encode(files.write_picture(picture, "PNG", optimize=True)).decode()


def store_time(name: str, seconds: float) -> None:
    """Note the run time of one notebook; times from a machine with another number of CPUs are dropped."""
    known: dict[str, Any] = json.loads(TIMES.read_text(encoding="utf-8")) if TIMES.exists() else {}
    times = known["seconds"] if known.get("cpu_count") == os.cpu_count() else {}
    record = {"schema": 1, "cpu_count": os.cpu_count(), "seconds": times | {name: round(seconds, 1)}}
    storage.write_whole(TIMES, (json.dumps(record, indent=1, sort_keys=True) + "\n").encode())


def main(names: list[str]) -> int:
    """Execute the notebooks `names`, or all; return 1 if one failed."""
    notebooks = {file.stem: file for file in sorted(HERE.glob("[0-9][0-9]_*.ipynb"))}
    wanted = [Path(name).stem for name in names] or list(notebooks)
    if unknown := set(wanted) - set(notebooks):
        print(f"expected names out of {', '.join(notebooks)}, got {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    # Here, and not first in a notebook, so that the progress of the downloads is seen.
    sources = {data.load(name, "test").source for name in data.CLASSES}
    keep = not os.environ.get("AELIB_FAST") and "sample" not in sources
    if "sample" in sources:
        os.environ["AELIB_SOURCE"] = "sample"  # or every kernel would wait for the network again
    if not keep:
        print("A fast run, or one on the bundled sample: the stored outputs stay as they are.")
    failed = []
    for name in wanted:
        try:
            notebook, seconds = execute(notebooks[name])
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            print(f"\n{name} failed: {error}", file=sys.stderr)
            failed.append(name)
            continue
        if keep:
            storage.write_whole(notebooks[name], (nbformat.writes(notebook) + "\n").encode())
            store_time(name, seconds)
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
