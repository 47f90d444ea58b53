"""What a run survives besides what `test_supervisor` kills: window, supervisor, a batch, a slow disk."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import psutil
import pytest

from pipeline.plan import Companion
from pipeline.report import summarise
from pipeline.supervisor import supervise
from streamer.check import check_file
from streamer.config import AnalysisConfig
from streamer.records import FrameStatus
from streamer.result_file import ResultWriter
from streamer.result_tables import FileState, file_state
from tests.pipeline.run_parts import send_images, window_that_stays
from tests.pipeline.test_supervisor import (
    frames,
    is_worker,
    meanwhile,
    plan_of,
    recorded,
)
from tests.pipeline.tiny_networks import MATERIAL, frame_with_columns, write_networks
from tests.streamer.ingest_run import RECORD_ONLY, running, series_of, wait_for_rows
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
N = 12
BROKEN = 5


def test_a_killed_window_ends_nothing(tmp_path: Path) -> None:
    out, sign, said = tmp_path / "run.nxs", tmp_path / "window", list[str]()

    def kill_the_window() -> None:
        wait_until(lambda: sign.exists() and bool(sign.read_text()) and recorded(out) > 10)
        psutil.Process(int(sign.read_text())).kill()

    window = Companion(window_that_stays, (str(sign),))
    with meanwhile(kill_the_window):
        outcome = supervise(plan_of(out, frames(300), window=window, say=said.append))
    summary = summarise("live", outcome)
    assert summary["ok"], summary["problems"]
    assert (summary["recorded"], summary["analysed"]) == (300, 300)
    assert any(line.startswith("window: the process ended unexpectedly") for line in said)
    assert check_file(out).ok


@pytest.mark.timeout(400)
@pytest.mark.skipif(sys.platform == "win32", reason="the test kills by a POSIX signal")
def test_a_killed_supervisor_leaves_a_closed_file_and_no_process(tmp_path: Path) -> None:
    out = tmp_path / "run.nxs"
    command = [sys.executable, "-m", "tests.pipeline.run_supervisor", str(out)]
    with subprocess.Popen(command, cwd=ROOT) as run:
        try:
            wait_until(lambda: recorded(out) > 10, patience_s=200.0)  # all processes start from nothing
            workers = [child for child in psutil.Process(run.pid).children() if is_worker(child)]
            assert len(workers) == 3, "sender, ingest, analyser"
        finally:
            os.kill(run.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert alive == []
    assert file_state(out) is FileState.CLOSED
    report = check_file(out)
    # They notice that they are alone in any order: the sender may end its series before ingest stops, and
    # the analyser may be gone by then, so that ingest stops while it awaits the last results.
    n_unsent = report.planned - report.recorded
    assert (report.state, report.lost) in {("stopped", 0), ("stopped", n_unsent), ("complete", n_unsent)}
    assert report.problems == ()
    assert report.recorded > 10


def test_an_engines_error_in_one_batch_costs_that_batch_and_is_named(tmp_path: Path) -> None:
    """The denoiser answers NaN where a pixel is darker than half the vacuum."""
    out, images = tmp_path / "run.nxs", np.stack([frame_with_columns((64, 64), [(30, 30, 4)])] * N)
    images[BROKEN, 3, 3] = 1
    np.save(tmp_path / "images.npy", images)
    models = write_networks(tmp_path / "models", fragile=True)
    analysis = AnalysisConfig(
        backend="openvino", models=str(models), material=MATERIAL, batch_frames=2, threads=1
    )
    plan = plan_of(out, Companion(send_images, (str(tmp_path / "images.npy"),)), analysis=analysis)
    summary = summarise("live", supervise(plan))
    with h5py.File(out) as file:
        status, reasons = file["entry/ledger/status"][:], file["entry/ledger/reason"][:]
    lost = np.flatnonzero(status == FrameStatus.DAMAGED).tolist()
    assert BROKEN in lost
    assert len(lost) <= 2, "a batch"
    assert all(reasons[i].startswith(b"backend: ") for i in lost)
    assert summary["problems"] == [f"damaged frames: {len(lost)} (atomstream check names each)"]
    assert (summary["recorded"], summary["analysed"]) == (N, N - len(lost))
    report = check_file(out)
    assert (report.ok, report.problems, report.analysis_lost, report.lost) == (
        False,
        (),
        len(lost),
        len(lost),
    )


def test_a_disk_that_stands_still_holds_the_sender_back_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = ResultWriter.append_frame

    def slowly(writer: ResultWriter, *args: Any) -> int:
        time.sleep(1.5 if writer.n_frames == 10 else 0.002)
        return append(writer, *args)

    monkeypatch.setattr(ResultWriter, "append_frame", slowly)
    path = tmp_path / "run.nxs"
    with running(path, RECORD_ONLY, receive_queue_frames=4) as (detector, run, _):
        detector.send(*series_of(range(200), 200))
        summary = run.finish()
    assert (summary["recorded"], summary["lost"]) == (200, 0)
    assert check_file(path).ok


def test_a_clock_that_is_set_back_changes_no_time_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, wall = tmp_path / "run.nxs", time.time
    with running(path, RECORD_ONLY) as (detector, run, _):
        start, *messages = series_of(range(6), 6)
        detector.send(start, *messages[:3])
        wait_for_rows(path, "entry/ledger/frame_id", 3)
        monkeypatch.setattr(time, "time", lambda: wall() - 3600.0)
        detector.send(*messages[3:])
        assert run.finish()["lost"] == 0
    monkeypatch.undo()
    with h5py.File(path) as file:
        ledger, process = file["entry/ledger"], file["entry/process"]
        received, written = ledger["t_received"][:], ledger["t_recorded"][:]
        assert np.all(np.diff(received) > 0)
        assert np.all(written >= received)
        assert abs(process["t_end"][()] - wall()) < 600
