"""All that a GPU has to show, in one command: tests, the demonstration against its truth, speed.

The most important comes first. Each step is a process of its own: one that fails, crashes or takes too long
costs the others nothing. ``gpu-check.json`` is written after each, so that a session which is cut off leaves
what it had; beside it lie ``gpu-test.json`` (written after each test), ``gpu.json`` (after each row) with
figures, and in ``gpu-check.log`` all that was said.

It needs no network, and installs nothing: it runs with the Python that runs it. Tests and rows of a library
that is not there (TensorRT, PyTorch) are left out, and named. Engines stay in the user's cache, so that a
second call goes on where time ran out::

    python -m benchmarks.gpu_check --minutes 9
    python -m benchmarks.gpu_check --minutes 9 --steps speed
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from benchmarks.common import RESULTS
from benchmarks.gpu import describe_gpu_machine
from pipeline.backends.cuda_device import why_no_device

__all__ = ["Step", "main", "run_steps", "steps_for"]

BACKENDS = ("tensorrt", "torch")
STEPS = ("tests", "demo", "speed")
_TAIL = 3000  # characters of what a step said last


@dataclass(frozen=True, slots=True)
class Step:
    """A command, and how long it may take [s], however much time there is."""

    name: str
    command: list[str]
    limit_s: float


def main(arguments: list[str] | None = None) -> int:
    """Run the steps; 0 if all of them passed."""
    options = _options(arguments)
    if reason := why_no_device():
        print(f"benchmarks.gpu_check: {reason}; nothing was checked", file=sys.stderr)
        return 1
    missing = [name for name in BACKENDS if find_spec(name) is None]
    report = {"machine": describe_gpu_machine(), "left_out": missing, "steps": {}}
    end_s = time.monotonic() + 60 * options.minutes
    with TemporaryDirectory() as scratch:
        steps = [s for s in steps_for(missing, options.out, Path(scratch)) if s.name in options.steps]
        passed = run_steps(steps, report, options.out, end_s)
    print(f"left out, as they are not installed: {', '.join(missing) or 'none'}")
    return 0 if passed else 1


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="in all; a step that runs then is ended")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args(arguments)


def steps_for(missing: list[str], out: Path, scratch: Path) -> list[Step]:
    """Return all steps, without what needs a library that is missing."""
    here = [name for name in BACKENDS if name not in missing]
    # A test that crashes or hangs ends its worker, which pytest-xdist replaces. What other people's libraries
    # warn of is no reason for a test to fail on a machine whose versions nobody chose.
    tests = ["pytest", "tests/pipeline/test_gpu.py", "-m", "gpu", "-n", "1", "-W", "default"]
    tests += ["--timeout-method", "thread", "--gpu-results", str(out)]
    if missing:
        tests += ["-k", " and ".join(f"not {name}" for name in missing)]
    demo = ["pipeline.cli", "demo", "--headless", "--frames", "300", "--batch", "16"]
    demo += ["--backend", (*here, "auto")[0], "--out", str(scratch / "demo.nxs")]
    speed = ["benchmarks.gpu", "--sizes", "1024", "512", "--batches", "16", "--seconds", "2"]
    speed += ["--out", str(out), "--backends", *here]
    commands = {"tests": (tests, 1500.0), "demo": (demo, 600.0)}
    if here:
        commands["speed"] = speed, 1800.0
    return [Step(name, [sys.executable, "-m", *words], limit) for name, (words, limit) in commands.items()]


def run_steps(steps: list[Step], report: dict[str, Any], out: Path, end_s: float) -> bool:
    """Run them one after the other until `end_s` (monotonic clock); return whether all have passed.

    `report` gets what came of each, and is written to `out` after each.
    """
    out.mkdir(exist_ok=True, parents=True)
    for step in steps:
        report["steps"][step.name] = result = _result(step, end_s - time.monotonic(), out / "gpu-check.log")
        (out / "gpu-check.json").write_text(json.dumps(report, indent=1) + "\n")
        print(f"{result['said']}\n=== {step.name}: {result['outcome']}, {result['seconds']} s", flush=True)
    return all(result["outcome"] == "passed" for result in report["steps"].values())


def _result(step: Step, left_s: float, path: Path) -> dict[str, Any]:
    started = time.monotonic()
    with path.open("a+b") as log:
        before = log.tell()
        log.write(f"=== {' '.join(step.command)}\n".encode())
        log.flush()
        outcome = _outcome(step.command, min(step.limit_s, left_s), log)
        log.seek(before)
        said = log.read().decode(errors="replace")[-_TAIL:]
    seconds = round(time.monotonic() - started, 1)
    return {"outcome": outcome, "seconds": seconds, "command": step.command, "said": said}


def _outcome(command: list[str], limit_s: float, log: Any) -> str:
    if limit_s <= 0:
        return "not run: no time was left"
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        status = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        _kill_all_of(process)
        return f"ended after {limit_s:.0f} s"
    return "passed" if status == 0 else f"failed with status {status}"


def _kill_all_of(process: subprocess.Popen[bytes]) -> None:
    """End a process and its children: pytest's workers, or a run's processes."""
    for one in [*psutil.Process(process.pid).children(recursive=True), process]:
        one.kill()
    process.wait()


if __name__ == "__main__":
    sys.exit(main())
