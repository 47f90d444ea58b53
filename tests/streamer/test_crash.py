"""The recording process is killed, the disk fills up: what was kept can be read, and the rest is named."""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - registers the filters
import numpy as np
import pytest
import zmq

from streamer.check import check_file, repair
from streamer.clock import RunClock
from streamer.config import AnalysisConfig, RecordConfig, RunConfig, SourceConfig
from streamer.errors import RecordingError, UsageError
from streamer.ingest import run_ingest
from streamer.records import Frame, SeriesEnd
from streamer.result_tables import FileState, file_state
from streamer.worker import Worker
from tests.streamer.ingest_run import (
    KEY,
    TIMEOUT_S,
    Analyser,
    Detector,
    frame_of,
    image_of,
    record,
    result_of,
    running,
    start_of,
    wait_for_rows,
)


@contextmanager
def _ingest_process(
    path: Path, flush_frames: int = 8, flush_interval_s: float = 0.05, queue_frames: int = 50
) -> Iterator[tuple[Detector, Analyser, Worker]]:
    """Ingest in a process of its own, as in a real run."""
    with zmq.Context() as context:
        detector = Detector(context)
        config = RunConfig(
            source=SourceConfig(address=detector.address),
            record=RecordConfig(path=str(path), flush_frames=flush_frames, flush_interval_s=flush_interval_s),
            analysis=AnalysisConfig(queue_frames=queue_frames),
        )
        worker = Worker("ingest", run_ingest, config, RunClock.start(), "")
        try:
            info = worker.wait_ready(TIMEOUT_S)
            analyser = Analyser(context, info["analysers"])
            try:
                yield detector, analyser, worker
            finally:
                analyser.close()
        finally:
            worker.request_stop()
            worker.join(TIMEOUT_S)
            worker.close()
            detector.close()


def _kill(worker: Worker) -> None:
    assert worker.pid is not None
    os.kill(worker.pid, 9)
    worker.join(TIMEOUT_S)


def _killed_recording(path: Path, n_frames: int, n_results: int) -> None:
    """Record some frames and results, and kill the process as soon as a reader sees them."""
    with _ingest_process(path) as (detector, analyser, worker):
        detector.send(start_of(1000), *(frame_of(i) for i in range(n_frames)))
        for _ in range(n_results):
            analyser.answer(result_of(analyser.next_task()))
        wait_for_rows(path, "entry/summary/frame_id", n_results)
        wait_for_rows(path, "entry/ledger/frame_id", n_frames)
        _kill(worker)


def test_a_killed_recording_is_recognised_and_repaired(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    _killed_recording(path, 20, 6)
    assert file_state(path) is FileState.CRASHED
    with pytest.raises(OSError, match="already open for write"):
        h5py.File(path, "r")
    report = check_file(path)
    assert not report.ok
    assert "was never closed" in report.problems[0]
    assert report.decoded == 20

    report = repair(path)
    assert (report.state, report.problems) == ("repaired", ())
    assert (report.recorded, report.analysed, report.decoded) == (20, 6, 20)
    assert (report.lost, report.analysis_lost) == (14, 14), "handed on, and no result came before the end"
    assert list(map(str, report.losses)) == ["14 recorded (no result when the recording was killed): 6-19"]
    with h5py.File(path, "r") as file:
        for row in range(20):
            np.testing.assert_array_equal(file["entry/stack/intensity"][row], image_of(row))
        assert file["entry/summary/total_atoms"][:].tolist() == [10.0 * i for i in range(6)]
        assert file["Experiments/frames/axis-0"].attrs["size"] == 20
        assert file["entry/process/counters/analysed"][()] == 6
    assert repair(path) == report, "a second repair finds nothing to do"


@pytest.mark.parametrize("flush_frames", [8, 32])
def test_a_kill_costs_no_more_frames_than_a_flush_holds(tmp_path: Path, flush_frames: int) -> None:
    """Frames that an analyser has been given were taken in before: all but the last few are in the file."""
    n_frames, path = 100, tmp_path / "run.nxs"
    with _ingest_process(path, flush_frames, flush_interval_s=60.0, queue_frames=n_frames) as (
        detector,
        analyser,
        worker,
    ):
        detector.send(start_of(1000), *(frame_of(i) for i in range(n_frames)))
        for _ in range(n_frames):
            analyser.next_task()
        _kill(worker)
    report = repair(path)
    assert report.problems == ()
    assert n_frames - flush_frames <= report.recorded <= n_frames
    assert report.decoded == report.recorded


def test_what_came_longer_ago_than_the_flush_interval_is_safe(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    with _ingest_process(path, flush_frames=10_000, flush_interval_s=0.1) as (detector, _, worker):
        detector.send(start_of(1000), *(frame_of(i) for i in range(20)))
        wait_for_rows(path, "entry/ledger/frame_id", 20)  # though no other frame comes
        _kill(worker)
    assert repair(path).recorded == 20


def test_a_file_is_whole_after_a_kill_at_any_moment(tmp_path: Path) -> None:
    """The process is killed in the midst of a fast stream, several times, each time at another place."""
    for attempt in range(5):
        path = tmp_path / f"run{attempt}.nxs"
        with _ingest_process(path, flush_frames=2) as (detector, analyser, worker):
            detector.send(start_of(0), *(frame_of(i) for i in range(10)))
            wait_for_rows(path, "entry/ledger/frame_id", 1)
            for i in range(10, 60 + 17 * attempt):
                detector.send(frame_of(i))
                if analyser.has_task(0):
                    analyser.answer(result_of(analyser.next_task()))
            _kill(worker)
        report = repair(path)
        assert report.problems == ()
        assert report.recorded >= 1
        with h5py.File(path, "r") as file:
            stack = file["entry/stack"]
            for row, frame_id in enumerate(stack["indices_image"][:]):
                np.testing.assert_array_equal(stack["intensity"][row], image_of(frame_id))


def test_a_file_that_is_being_written_is_neither_checked_nor_repaired(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    with _ingest_process(path) as (detector, _, _worker):
        detector.send(start_of(10), frame_of(0))
        wait_for_rows(path, "entry/ledger/frame_id", 1)
        assert file_state(path) is FileState.BEING_WRITTEN
        for action in (check_file, repair):
            with pytest.raises(UsageError, match="being written"):
                action(path)


_READER = """
import sys, time
import h5py, hdf5plugin
path, wanted = sys.argv[1], int(sys.argv[2])
sums, deadline = [], time.monotonic() + 20
with h5py.File(path, "r", libver="latest", swmr=True) as file:
    stack = file["entry/stack"]
    while len(sums) < wanted and time.monotonic() < deadline:
        for name in ("intensity", "time", "indices_image"):  # the reverse of the order of writing
            stack[name].id.refresh()
        for row in range(len(sums), stack["intensity"].shape[0]):
            sums.append((int(stack["indices_image"][row]), int(stack["intensity"][row].sum())))
            if len(sums) == 5:
                print("seen", flush=True)
print(sums, flush=True)
"""


def test_another_process_reads_the_frames_while_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    with running(path, record=RecordConfig(flush_frames=2)) as (detector, run, _):
        detector.send(start_of(30), *(frame_of(i) for i in range(5)))
        wait_for_rows(path, "entry/ledger/frame_id", 5)
        reader = subprocess.Popen(
            [sys.executable, "-c", _READER, str(path), "30"], stdout=subprocess.PIPE, text=True
        )
        assert reader.stdout is not None
        assert reader.stdout.readline() == "seen\n", "the reader is at work before the rest is sent"
        detector.send(*(frame_of(i) for i in range(5, 30)), SeriesEnd(KEY))
        seen = reader.communicate(timeout=30)[0]
        assert run.finish()["lost"] == 0
    assert ast.literal_eval(seen) == [(i, int(image_of(i).sum())) for i in range(30)]


_ROOM_MIB = 24  # for about 80 frames of 275 kB; the tests send 120
_FRAMES = 120
_LARGE = frame_of(0, shape=(1024, 1024))


def _large(frame_id: int) -> Frame:
    return replace(_LARGE, header=replace(_LARGE.header, frame_id=frame_id))


def _mount(options: list[str], folder: Path) -> None:
    """Mount a file system for the tests; skip where that is not possible."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small file system needs root on Linux")
    made = subprocess.run(["mount", *options, str(folder)], capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {made.stderr.decode().strip()}")


@pytest.fixture(params=["tmpfs", "ext4"])
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A small file system: one whose space is looked up, and one where it is reserved."""
    folder, image = tmp_path / "disk", tmp_path / "image"
    folder.mkdir()
    if request.param == "tmpfs":
        _mount(["-t", "tmpfs", "-o", f"size={_ROOM_MIB}m", "tmpfs"], folder)
    else:
        if shutil.which("mkfs.ext4") is None:
            pytest.skip("mkfs.ext4 is not installed")
        memory = Path("/dev/shm")  # mkfs and umount wait for the disk, which others may keep busy for minutes
        image = memory / f"atomstream-test-{os.getpid()}" if memory.is_dir() else image
        with image.open("wb") as file:
            file.truncate((_ROOM_MIB + 2) * 2**20)
        subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", str(image)], check=True)
        _mount(["-o", "loop", str(image)], folder)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
    image.unlink(missing_ok=True)


@pytest.fixture
def file_limit() -> Iterator[Callable[[], None]]:
    """Let no file of this process grow beyond 24 MiB; the value lifts the limit."""
    resource = pytest.importorskip("resource", reason="limits on a file's size are POSIX's")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def lift() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    resource.setrlimit(resource.RLIMIT_FSIZE, (_ROOM_MIB * 2**20, before[1]))
    yield lift
    lift()


def test_a_write_that_fails_inside_hdf5_ends_the_recording_and_nothing_else(
    tmp_path: Path, file_limit: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a quota is used up, or a network volume goes away: nothing could be reserved or looked up."""
    path = tmp_path / "run.nxs"
    frames = [_large(i) for i in range(_FRAMES)]
    start = start_of(_FRAMES, shape=(1024, 1024))
    summary = record(path, start, *frames, SeriesEnd(KEY), record=RecordConfig(flush_frames=8))
    file_limit()
    assert "File too large" in summary["recording_error"]
    assert (summary["received"], summary["lost"]) == (_FRAMES, _FRAMES - summary["recorded"])

    # The writer, this process, still lives: a reader is told to wait.
    with pytest.raises(UsageError, match="being written"):
        repair(path)
    monkeypatch.setattr("streamer.result_tables._is_running", lambda pid, started: False)
    report = repair(path)
    assert report.problems == ()
    assert 50 < report.recorded <= summary["recorded"]
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["entry/stack/intensity"][50], image_of(0, (1024, 1024)))


def test_a_repair_that_has_no_room_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _killed_recording(tmp_path / "run.nxs", 9, 1)
    before = (tmp_path / "run.nxs").read_bytes()
    monkeypatch.setattr("streamer.repair.free_bytes", lambda path: 2**20)
    with pytest.raises(RecordingError, match="its disk is full"):
        repair(tmp_path / "run.nxs")
    assert (tmp_path / "run.nxs").read_bytes() == before


def test_a_full_disk_ends_the_recording_and_nothing_else(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = small_disk / "run.nxs"
    with running(path, AnalysisConfig(queue_frames=20)) as (detector, run, analyser):
        end = analyser()
        detector.send(start_of(_FRAMES, shape=(1024, 1024)))
        for i in range(_FRAMES):
            detector.send(_large(i))
            if i >= 10:
                end.answer(result_of(end.next_task()))
        detector.send(SeriesEnd(KEY))
        for _ in range(10):
            end.answer(result_of(end.next_task()))
        summary = run.finish()
    assert "RECORDING HAS STOPPED" in caplog.text
    assert "disk is full" in summary["recording_error"]
    assert (summary["received"], summary["analysed"]) == (_FRAMES, _FRAMES), "the analysis went on"
    assert 50 < summary["recorded"] < 90
    assert summary["lost"] == summary["unrecorded"] == _FRAMES - summary["recorded"]
    report = check_file(path)
    assert report.state == "failed"
    assert report.recorded == report.decoded == summary["recorded"]
    assert report.lost == summary["lost"] + report.analysis_lost
    assert report.analysis_lost <= 20, "results that came after the file was closed"
    assert report.problems == (f"recording stopped early: {summary['recording_error']}",)
