"""What a measured figure depends on: the machine, its software, and what else was running."""

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

__all__ = ["describe_machine"]

_PACKAGES = (
    "atomstream", "numpy", "pyzmq", "h5py", "openvino", "dectris-compression", "tensorrt", "cupy-cuda12x",
    "cupy-cuda13x", "torch",
)  # fmt: skip
_VECTOR_UNITS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2", "avx")


def describe_machine() -> dict[str, Any]:
    """Say what the figures depend on; `load` is what else was running before they were taken."""
    return {
        "cpu": _cpu_name(),
        "vector_unit": _vector_unit(),
        "cores": os.cpu_count(),
        "memory_GiB": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: found for name in ("atomstream", *_PACKAGES) if (found := _version(name))},
        "load": round(psutil.getloadavg()[0], 2),
        "when": time.strftime("%Y-%m-%d %H:%M"),
    }


def _cpu_name() -> str:
    return _cpu_info("model name") or platform.processor()


def _vector_unit() -> str:
    """Return the best that the networks can use: processors of one name differ by a factor of five."""
    flags = _cpu_info("flags").split()
    return next((unit for unit in _VECTOR_UNITS if unit in flags), "")


def _cpu_info(field: str) -> str:
    """Return a field of the first processor; empty where the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
