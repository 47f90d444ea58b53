"""``atomstream record`` from deapi's simulated DE-Server, in that package's environment.

The server keeps its newest frame only: what cannot be fetched in time is missing by name.
"""

import json
import os
import subprocess
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - registers the filter that reads the frames
import numpy as np
import pytest

from streamer.check import check_file
from streamer.records import FrameStatus
from tests.integration.make_venvs import DIRECT_ELECTRON
from tests.waiting import free_port

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(DIRECT_ELECTRON.missing), reason=DIRECT_ELECTRON.missing),
]


def test_what_was_fetched_is_recorded_and_what_was_skipped_is_missing(tmp_path: Path) -> None:
    port, path = free_port(), tmp_path / "run.nxs"
    server_command = [DIRECT_ELECTRON.python, "-m", "deapi.simulated_server.initialize_server", str(port)]
    command = [
        DIRECT_ELECTRON.python, "-m", "pipeline.cli", "record", f"de://127.0.0.1:{port}", "--out", str(path),
        "--start-frames", "4", "--connect-timeout-s", "60", "--json",
    ]  # fmt: skip
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(server_command, cwd=tmp_path, stdout=log, stderr=log)
        try:
            done = subprocess.run(
                command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False
            )
        finally:
            server.kill()
            server.wait()
    summary = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == (0 if summary["missing"] == 0 else 1), done.stderr
    assert summary["recorded"] == summary["received"] >= 1
    assert summary["ended_by"] == "end message"
    report = check_file(path)
    assert report.problems == ()
    assert (report.decoded, report.lost) == (summary["recorded"], summary["missing"])
    with h5py.File(path) as file:
        stack, status = file["entry/stack"], file["entry/ledger/status"][:]
        assert stack["intensity"].shape[1:] == (1024, 1024)
        assert np.all(stack["intensity"][:].max((1, 2)) > 0)
        assert np.flatnonzero(status == FrameStatus.RECORDED).tolist() == stack["indices_image"][:].tolist()
