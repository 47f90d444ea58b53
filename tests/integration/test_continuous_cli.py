"""``record --continuous``: the source starts again, by the same name, and each series gets its file."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from simulator.sender import SenderSettings, send_stream
from streamer.check import check_file
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process"),
]

ROOT = Path(__file__).parents[2]
PATIENCE_S = 150.0


def test_a_source_that_comes_back_is_recorded_again(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    source, path = f"dectris2://127.0.0.1:{port}", tmp_path / "run.nxs"
    command = [sys.executable, "-m", "pipeline.cli", "record", source, "--out", str(path), "--continuous"]
    command += ["--connect-timeout-s", "60", "--json"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            for number, n_frames in enumerate((4, 6), start=1):
                images = np.full((n_frames, 16, 16), number, np.uint16)
                send_stream(images, SenderSettings(bind=f"tcp://127.0.0.1:{port}", n_planned=n_frames))
                wait_until_closed(tmp_path / ("run.nxs" if number == 1 else "run-2.nxs"))
            os.kill(process.pid, signal.SIGINT)
            output, errors = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    summary = json.loads(output.splitlines()[-1])
    assert (process.returncode, summary["problems"]) == (0, [])
    assert [(one["recorded"], one["ended_by"]) for one in summary["series"]] == [
        (4, "end message"),
        (6, "end message"),
    ]
    assert (summary["recorded"], summary["n_series"], summary["strays"]) == (10, 2, 0)
    assert f"series 1: 6 frames in {tmp_path / 'run-2.nxs'}" in errors


def wait_until_closed(path: Path) -> None:
    """Wait until a file is there, finished and whole."""
    wait_until(lambda: path.exists() and finished(path), f"{path.name} finished", PATIENCE_S)


def finished(path: Path) -> bool:
    try:
        return check_file(path).ok
    except (OSError, ValueError, RuntimeError):
        return False  # it is being written
