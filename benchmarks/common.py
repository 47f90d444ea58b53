"""What all benchmarks share: the machine's description, medians, and where results go."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

__all__ = ["describe_machine", "median_of", "write_results"]

RESULTS = Path(__file__).parent / "results"
_QUIET_LOAD = 0.3
_PACKAGES = ("numpy", "pyzmq", "h5py", "openvino", "dectris-compression", "tensorrt", "cupy-cuda13x", "torch")


def describe_machine() -> dict[str, Any]:
    """Return what a figure depends on; call it before the measurement, `load` is what else was running."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_GiB": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES if _installed(name)},
        "commit": _commit(),
        "load": round(psutil.getloadavg()[0], 2),
        "when": time.strftime("%Y-%m-%d %H:%M"),
    }


def median_of(values: Sequence[float]) -> dict[str, float]:
    """Return the median with the lowest and highest value."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def write_results(name: str, results: dict[str, Any]) -> Path:
    """Write ``results/NAME.json``; says so when the machine was not quiet, as the figures then mislead."""
    load = results["machine"]["load"]
    if load > _QUIET_LOAD:
        print(f"the machine was busy (load {load}): do not commit these figures", file=sys.stderr)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    return path


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except ModuleNotFoundError:
        return False


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    return done.stdout.strip() or "unknown"
