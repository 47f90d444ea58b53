"""A whole run that keeps every tenth frame: a trigger fires, and all frames around it are in the file."""

import json
import subprocess
import sys
import threading
from itertools import islice
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - registers the filters
import numpy as np
import pytest

from pipeline.cli import main
from simulator.demo_states import load_states
from simulator.movie import Movie, MovieSettings
from streamer.check import check_file
from streamer.records import FrameStatus

pytestmark = pytest.mark.timeout(240)

ROOT = Path(__file__).parents[2]
N, EVERY, SIZE = 200, 10, 256
RULE = """
[[trigger]]
name = "dark"
when = "n_columns"
below = 0.5
for_frames = 100
rearm_s = 1000.0
keep = true
"""


def test_a_trigger_of_a_real_run_keeps_the_frames_before_it(tmp_path: Path) -> None:
    out, config = tmp_path / "run.nxs", tmp_path / "rules.toml"
    config.write_text(RULE)
    command = [sys.executable, "-m", "pipeline.cli", "demo", "--headless", "--json", "--backend", "null"]
    command += ["--frames", str(N), "--size", str(SIZE), "--fps", "40", "--out", str(out)]
    command += ["--config", str(config), "--record-every", str(EVERY)]
    command += ["--look-back-s", "1", "--look-ahead-s", "0.5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["received"], summary["analysed"], summary["lost"]) == (N, N, 0)
    assert "received_to_triggered" in summary["stages_ms"]
    assert "from received to acted on" in done.stderr
    images = [frame.image for frame in islice(Movie(MovieSettings(size_px=SIZE), load_states()), N)]
    with h5py.File(out) as file:
        notes = file["entry/process/notes"]
        fired = int(notes["frame_id"][list(notes["source"][:]).index(b"trigger")])
        t, rows = file["entry/ledger/t_received"][:], file["entry/ledger/stack_row"][:]
        around = (t >= t[fired] - 1.0) & (t <= t[fired] + 0.5)
        assert around.sum() > 20
        assert ((rows >= 0) == (around | (np.arange(N) % EVERY == 0))).all()
        for frame_id in np.flatnonzero(rows >= 0):
            stored = file["entry/stack/intensity"][rows[frame_id]]
            np.testing.assert_array_equal(stored, images[frame_id], err_msg=f"frame {frame_id}")
        assert (file["entry/ledger/status"][:] == FrameStatus.ANALYSED).all()
    assert summary["paused"] == N - summary["recorded"]
    assert check_file(out).ok


def test_frames_are_kept_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run.nxs"
    command = [sys.executable, "-m", "pipeline.cli", "demo", "--headless", "--backend", "null", "--paused"]
    command += ["--frames", str(N), "--size", str(SIZE), "--fps", "20", "--out", str(out)]
    command += ["--look-back-s", "30"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        address = next(line for line in run.stderr if "control: " in line).split()[4]
        rest = threading.Thread(target=run.stderr.read)
        rest.start()
        asked = 0
        while asked < 50:
            assert main(["tell", address, "status", "--json"]) == 0
            asked = json.loads(capsys.readouterr().out)["frame_id"]
        assert main(["tell", address, "keep", "--json"]) == 0
        t_asked = json.loads(capsys.readouterr().out)["t"]
        assert run.wait(120) == 0
        rest.join()
    with h5py.File(out) as file:
        kept = file["entry/ledger/stack_row"][:] >= 0
        np.testing.assert_array_equal(kept, file["entry/ledger/t_received"][:] <= t_asked)
        assert 50 <= kept.sum() < N
    assert check_file(out).ok
