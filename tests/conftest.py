"""Fixtures for every test: leaks fail, and tests of the GPU skip with the reason."""

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import psutil
import pytest
from tqdm import tqdm

from pipeline.backends.cuda_device import why_no_device

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

# How long an example takes tells how busy the machine is, and nothing else; what hangs is ended all the same.
hypothesis.settings.register_profile("atomstream", deadline=None)
hypothesis.settings.load_profile("atomstream")

tqdm.monitor_interval = 0  # the thread that would watch progress bars outlives them

_SETTLE_S = 3.0
_HELPERS = ("resource_tracker", "forkserver")


def _threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.is_alive()}


def _children() -> set[psutil.Process]:
    return {child for child in psutil.Process().children(recursive=True) if not _is_helper(child)}


def _is_helper(child: psutil.Process) -> bool:
    try:
        return child.status() == psutil.STATUS_ZOMBIE or any(h in " ".join(child.cmdline()) for h in _HELPERS)
    except psutil.Error:
        return True


def _sockets() -> set[tuple[int, object, object]]:
    return {
        (c.fd, c.laddr, c.raddr) for c in psutil.Process().net_connections("inet") if c.status != "TIME_WAIT"
    }


def _settle(before: set[object], read: Callable[[], set[object]]) -> set[object]:
    """Return what `read` still shows above `before` after a grace period."""
    deadline = time.monotonic() + _SETTLE_S
    while (extra := read() - before) and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.02)
    return extra


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Fail a test that leaves a thread, a process or an internet socket behind."""
    readers = {"threads": _threads, "processes": _children, "sockets": _sockets}
    before = {name: read() for name, read in readers.items()}
    yield
    left = {name: _settle(before[name], read) for name, read in readers.items()}
    if leaks := {name: extra for name, extra in left.items() if extra}:
        pytest.fail(f"the test left behind {leaks}")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add where ``make gpu-test`` leaves its results."""
    parser.addoption("--gpu-results", type=Path, metavar="FOLDER", help="and fail where a test is skipped")


def pytest_configure(config: pytest.Config) -> None:
    """Report on the GPU's tests, if asked to: in the process that all results come to."""
    if (folder := config.getoption("--gpu-results")) and not hasattr(config, "workerinput"):
        from tests.gpu_report import GpuReport

        config.pluginmanager.register(GpuReport(folder))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip GPU tests where no CUDA device answers."""
    reason = why_no_device()
    for item in items:
        if reason and item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason=reason))
