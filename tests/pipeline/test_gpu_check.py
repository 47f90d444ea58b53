"""The one command for a GPU: its steps do not hold each other up, and nothing that was learnt is lost."""

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from benchmarks import gpu_check
from benchmarks.gpu_check import Step, run_steps, steps_for
from pipeline.backends.cuda_device import device_count
from tests.gpu_report import GpuReport

without_gpu = pytest.mark.skipif(device_count() > 0, reason="this machine has a CUDA device")


def step(name: str, program: str, limit_s: float = 60.0) -> Step:
    return Step(name, [sys.executable, "-c", program], limit_s)


def runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_step_that_fails_crashes_or_hangs_costs_the_others_nothing(tmp_path: Path) -> None:
    sleep = "import time; time.sleep(99)"
    child = f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', '{sleep}'])"
    steps = [
        step("failing", "print('one thing'); raise SystemExit(3)"),
        step("crashing", "import os; os.abort()"),
        step("hanging", f"{child}; print('child', child.pid, flush=True); {sleep}", limit_s=2.0),
        step("fine", "print('three')"),
    ]
    report: dict[str, Any] = {"steps": {}}
    assert not run_steps(steps, report, tmp_path, time.monotonic() + 60.0)
    written = json.loads((tmp_path / "gpu-check.json").read_text())["steps"]
    outcomes = {name: result["outcome"] for name, result in written.items()}
    assert outcomes["failing"] == "failed with status 3"
    assert outcomes["crashing"].startswith("failed with status")
    assert outcomes["hanging"] == "ended after 2 s"
    assert outcomes["fine"] == "passed"
    assert "one thing" in written["failing"]["said"]
    assert not runs(int(written["hanging"]["said"].split()[-1]))
    assert "one thing" not in written["fine"]["said"]
    assert "three" in (tmp_path / "gpu-check.log").read_text()


def test_the_time_in_all_is_kept_and_what_has_not_run_is_named(tmp_path: Path) -> None:
    steps = [step("long", "import time; time.sleep(99)"), step("after", "pass")]
    report: dict[str, Any] = {"steps": {}}
    assert not run_steps(steps, report, tmp_path, time.monotonic() + 1.0)
    assert report["steps"]["long"]["outcome"] == "ended after 1 s"
    assert report["steps"]["after"]["outcome"] == "not run: no time was left"


def test_steps_that_pass(tmp_path: Path) -> None:
    assert run_steps([step("one", "pass")], {"steps": {}}, tmp_path, time.monotonic() + 60.0)


def test_what_needs_a_library_that_is_missing_is_left_out(tmp_path: Path) -> None:
    commands = {s.name: s.command for s in steps_for(["torch"], tmp_path, tmp_path)}
    assert commands["tests"][-2:] == ["-k", "not torch"]
    assert commands["speed"][-2:] == ["--backends", "tensorrt"]
    assert "tensorrt" in commands["demo"]
    everything = {s.name: s.command for s in steps_for([], tmp_path, tmp_path)}
    assert "-k" not in everything["tests"]
    assert everything["speed"][-3:] == ["--backends", "tensorrt", "torch"]
    neither = {s.name: s.command for s in steps_for(["tensorrt", "torch"], tmp_path, tmp_path)}
    assert "auto" in neither["demo"]
    assert "speed" not in neither


@without_gpu
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_check.main([]) == 1
    assert "nothing was checked" in capsys.readouterr().err


def test_it_needs_none_of_the_large_libraries_to_begin() -> None:
    """A machine has what it has: tests of TensorRT may run where PyTorch and OpenVINO are not installed."""
    program = (
        "import sys; sys.modules.update(dict.fromkeys(('openvino', 'torch', 'tensorrt', 'cupy', 'PySide6')));"
        "import benchmarks.gpu_check, tests.pipeline.test_gpu"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_each_test_is_written_as_soon_as_it_is_over(tmp_path: Path) -> None:
    report = GpuReport(tmp_path)
    for name, outcome in (("one", "passed"), ("two", "failed")):
        told: Any = SimpleNamespace(
            nodeid=name, when="call", outcome=outcome, passed=outcome == "passed", duration=0.1,
            longrepr="why", longreprtext="why", user_properties=[("figure", 1.0)],
        )  # fmt: skip
        report.pytest_runtest_logreport(told)
        assert json.loads((tmp_path / "gpu-test.json").read_text())["tests"][name]["outcome"] == outcome
