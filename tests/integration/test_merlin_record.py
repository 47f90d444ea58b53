"""``atomstream record`` from LiberTEM's Merlin simulator: the file holds its frames bit for bit."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the filter that reads the frames
import numpy as np
import psutil
import pytest

from tests.integration.make_venvs import MERLIN
from tests.streamer.files.writers import write_mib
from tests.waiting import free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),  # its first run compiles for minutes
    pytest.mark.skipif(bool(MERLIN.missing), reason=MERLIN.missing),
]

ROOT = Path(__file__).parents[2]
START_S = 90.0
N = 12


@contextmanager
def simulator(folder: Path, *options: str) -> Iterator[tuple[np.ndarray[Any, Any], int, int]]:
    """Start the simulator on frames of our own; yields them, the data port and the control port."""
    frames = np.random.default_rng(1).poisson(40, (N, 64, 256)).astype("<u2")
    frames[:, 0, 0] = 0x0102  # the byte order shows
    write_mib(folder / "merlin.mib", frames)
    (folder / "merlin.hdr").write_text(
        f"HDR,\t\nFrames in Acquisition (Number):\t{N}\nFrames per Trigger (Number):\t4\n"
        "Counter Depth (number):\t12\nEnd\t"
    )
    ports = [free_port() for _ in range(3)]
    named = zip(("--data-port", "--control-port", "--trigger-port"), map(str, ports), strict=True)
    # It binds every interface unless told otherwise.
    command = [
        MERLIN.python, "-m", "libertem_live.detectors.merlin.sim", folder / "merlin.hdr",
        "--host", "127.0.0.1", "--nav-shape", "3", "4", *options, *(word for pair in named for word in pair),
    ]  # fmt: skip
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_for_ports(process, ports)
            yield frames, ports[0], ports[1]
        finally:
            process.kill()
            process.wait()


def wait_for_ports(process: "subprocess.Popen[bytes]", ports: list[int]) -> None:
    """Wait until the simulator listens, without connecting: it would take that for its client."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        connections = psutil.Process(process.pid).net_connections("tcp")
        listening = {c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN}
        if listening >= set(ports):
            assert {c.laddr.ip for c in connections} == {"127.0.0.1"}
            return
        time.sleep(0.1)
    raise AssertionError("LiberTEM's simulator has not started")


def record(source: str, path: Path, *options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "pipeline.cli", "record", source, "--out", str(path), "--json", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    summary: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == (0 if summary["ok"] else 1), done.stderr
    return summary


def expect_frames(path: Path, frames: np.ndarray[Any, Any]) -> None:
    with h5py.File(path) as file:
        assert np.array_equal(file["entry/stack/intensity"][:], frames)
        assert file["entry/stack/indices_image"][:].tolist() == list(range(N))


def test_an_acquisition_that_runs_already_is_recorded(tmp_path: Path) -> None:
    with simulator(tmp_path, "--cached", "MEM") as (frames, port, _):
        summary = record(f"merlin://127.0.0.1:{port}", tmp_path / "run.nxs")
    assert summary["ok"], summary["problems"]
    assert (summary["planned"], summary["recorded"]) == (N, N)
    assert (summary["ended_by"], summary["bad_messages"]) == ("end message", {})
    expect_frames(tmp_path / "run.nxs", frames)


def test_an_acquisition_is_started_through_the_control_port_and_garbage_before_it_is_named(
    tmp_path: Path,
) -> None:
    with simulator(tmp_path, "--garbage") as (frames, port, control_port):
        source = f"merlin://127.0.0.1:{port}"
        summary = record(source, tmp_path / "run.nxs", "--control-port", str(control_port))
    assert summary["ok"], summary["problems"]
    assert summary["bad_messages"] == {"bad message": 1}
    expect_frames(tmp_path / "run.nxs", frames)
