"""What ``make gpu-test`` leaves behind: what became of every test, on which GPU, with which versions.

A test that is skipped proves nothing, so such a session fails: it is run to prove something. What is known is
written after every test: a library that crashes the process, or a machine that is taken away, costs no more
than the test that ran.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import describe_gpu_machine

__all__ = ["GpuReport"]


class GpuReport:
    """Writes ``gpu-test.json``.

    Parameters
    ----------
    folder : pathlib.Path
        Where to.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "gpu-test.json"
        self._tests: dict[str, dict[str, Any]] = {}
        self._machine = describe_gpu_machine()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the outcome of a test; of its three phases the one that says most."""
        if report.when != "call" and report.passed:
            return
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        self._tests[report.nodeid] = {
            "outcome": report.outcome, "seconds": round(report.duration, 3),
            "figures": dict(report.user_properties), "why": why,
        }  # fmt: skip
        self._write()

    @property
    def _counts(self) -> dict[str, int]:
        outcomes = [test["outcome"] for test in self._tests.values()]
        return {name: outcomes.count(name) for name in ("passed", "failed", "skipped")}

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the file even if nothing has run; a session without proof is a failed one."""
        self._write()
        if session.exitstatus == 0 and (self._counts["skipped"] or not self._counts["passed"]):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _write(self) -> None:
        results = {"machine": self._machine, **self._counts, "tests": self._tests}
        self._path.parent.mkdir(exist_ok=True, parents=True)
        self._path.write_text(json.dumps(results, indent=1) + "\n")

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say where the file is, and what was not proven."""
        terminalreporter.write_line(f"results in {self._path}")
        if skipped := self._counts["skipped"]:
            terminalreporter.write_line(f"{skipped} of {len(self._tests)} tests were skipped: no proof")
