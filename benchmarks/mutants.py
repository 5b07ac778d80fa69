"""Count how many of the changes that mutmut made the tests found, for ``results/mutants.json``; 1 if too few were."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import record

RESULTS = Path(__file__).parent.parent / "results" / "mutants.json"
LEAST = 0.9  # of each group
GROUPS = {
    "entropy": ("aelib.entropy", "aelib.range_coder"),
    "metrics": ("aelib.metrics",),
    "rate accounting": ("aelib.benchmark", "aelib.codecs.base", "aelib.containers", "aelib.curves"),
}
FOUND = {"killed", "timeout"}  # a test failed, or never came to its end; whatever else happened counts as not found


def counted(lines: str) -> dict[str, Counter[str]]:
    """Return how many mutants of each module came to which end, from what ``mutmut results --all true`` prints.

    >>> counted("    aelib.entropy.x_encode__mutmut_1: killed")
    {'aelib.entropy': Counter({'killed': 1})}
    """
    ends: dict[str, Counter[str]] = defaultdict(Counter)
    for module, end in re.findall(r"^ *([\w.]+?)\.x[_ǁ]\S*: (.+)$", lines, re.MULTILINE):
        ends[module][end] += 1
    return dict(ends)


def judged(ends: dict[str, Counter[str]]) -> dict[str, tuple[int, int]]:
    """Return of each group how many mutants were found, and of how many.

    Raises
    ------
    ValueError
        A module has no mutants or is in no group: then something else was changed than what is counted.
    """
    if set(ends) != (named := {module for modules in GROUPS.values() for module in modules}):
        raise ValueError(f"expected mutants of {sorted(named)}, got some of {sorted(ends)}")
    return {
        group: (
            sum(ends[module][end] for module in modules for end in FOUND),
            sum(ends[module].total() for module in modules),
        )
        for group, modules in GROUPS.items()
    }


def main() -> int:
    """Print a line for each module and group, and all mutants that were not found; 1 if a group falls short."""
    command = [sys.executable, "-m", "mutmut", "results", "--all", "true"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    ends = counted(lines)
    print(*(line for line in lines.splitlines() if line.rpartition(": ")[2] not in FOUND), sep="\n")
    for module, of in sorted(ends.items()):
        print(f"{module:18}", ", ".join(f"{count} {end}" for end, count in of.most_common()))
    groups = judged(ends)
    for group, (found, total) in groups.items():
        print(f"{group:18} {found} of {total} found, {found / total:.1%}; at least {LEAST:.0%} are expected")
    record.write(RESULTS, ("aelib", "mutmut", "pytest"), {"groups": groups})
    return int(any(found < LEAST * total for found, total in groups.values()))


if __name__ == "__main__":
    raise SystemExit(main())
