"""What all benchmarks share: the machine's description, medians, and where results go."""

import json
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import machine

__all__ = ["describe_machine", "median_of", "write_results"]

RESULTS = Path(__file__).parent / "results"
_QUIET_LOAD = 0.3


def describe_machine() -> dict[str, Any]:
    """Return what a figure depends on, the commit included; call it before the measurement."""
    return {**machine.describe_machine(), "commit": _commit()}


def median_of(values: Sequence[float]) -> dict[str, float]:
    """Return the median with the lowest and highest value."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def write_results(name: str, results: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Write ``NAME-CPU-UNIT-N-cores.json``, with a GPU ``NAME.json``, into `folder`; returns its path.

    Says so when the machine was not quiet: the figures then mislead.
    """
    load = results["machine"]["load"]
    if load > _QUIET_LOAD:
        print(f"the machine was busy (load {load}): do not commit these figures", file=sys.stderr)
    folder.mkdir(exist_ok=True, parents=True)
    machine = results["machine"]
    path = folder / f"{name if 'gpu' in machine else f'{name}-{_slug(machine)}'}.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    return path


def _slug(machine: dict[str, Any]) -> str:
    return re.sub(
        r"[^a-z0-9]+", "-", f"{machine['cpu']} {machine['vector_unit']} {machine['cores']} cores".lower()
    ).strip("-")


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    except OSError:  # a machine without git
        return "unknown"
    return done.stdout.strip() or "unknown"
