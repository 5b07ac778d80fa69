"""What README.md says of the attempts to break aelib, from ``results/fuzz.json`` and ``results/mutants.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fuzz
import mutants

from aelib import tables


def _stored(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def fuzzed() -> str:
    """Return the sentences on damaged streams and files."""
    if not fuzz.RESULTS.is_file():
        return "Not measured yet."
    rows = _stored(fuzz.RESULTS)["rows"]
    total, refused, read = (sum(row[key] for row in rows) for key in ("inputs", "refused", "read"))
    slowest, largest = (max(rows, key=lambda row: row[key]) for key in ("longest_seconds", "largest_growth_mib"))
    states = len({row["code"] for row in rows})
    code = f"{states} states of the code, whose hashes are" if states > 1 else "one state of the code, whose hash is"
    findings = [f"{row['target']}: {finding}" for row in rows for finding in row["findings"]]
    return (
        f"{len(rows)} decoders and loaders were each given {min(row['inputs'] for row in rows):,} damaged streams or "
        f"files: {refused:,} of {total:,} were refused with ValueError, {read:,} read. "
        f"The slowest took {slowest['longest_seconds']:.2f} s ({slowest['target']}; {fuzz.SECONDS:.0f} s is allowed), "
        f"the largest {largest['largest_growth_mib']:.0f} MiB of memory ({largest['target']}; {fuzz.MEBIBYTES} MiB are "
        f"allowed). Findings: {'; '.join(findings) or 'none'}. "
        f"Measured on {code} in results/fuzz.json, and not on what came later."
    )


def mutated() -> str:
    """Return the table of changes that tests found."""
    if not mutants.RESULTS.is_file():
        return "Not measured yet."
    rows = []
    for group, (found, total) in _stored(mutants.RESULTS)["groups"].items():
        modules = ", ".join(f"`{module}`" for module in mutants.GROUPS[group])
        rows.append([f"{group} ({modules})", f"{found:,} of {total:,}", f"{100 * found / total:.1f} %"])
    return tables.markdown(["changes made by mutmut that a test notices", "of all", "share"], rows)


def blocks() -> dict[str, str]:
    """Return what stands between the markers of README.md."""
    return {"fuzz": fuzzed(), "mutants": mutated()}
