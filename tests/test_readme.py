import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_tables_are_what_the_command_draws():
    run = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "readme.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_every_figure_and_link_of_the_readme_exists():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r'src="([^"]+)"', readme) + re.findall(r"\]\(([^)#:]+)\)", readme)
    assert len(targets) >= 12
    assert [target for target in targets if not (ROOT / target).is_file()] == []


def test_run_times_are_of_all_notebooks():
    stored = json.loads((ROOT / "results" / "notebooks.json").read_text(encoding="utf-8"))
    assert set(stored["seconds"]) == {file.stem for file in (ROOT / "notebooks").glob("*.ipynb")}
