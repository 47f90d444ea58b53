"""Commands to a running ingest, over the real control port: what they do to the file and its ledger."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import msgpack
import pytest

from pipeline.control_port import ControlPort
from streamer.check import check_file
from streamer.clock import RunClock
from streamer.config import AnalysisConfig, ControlConfig, RecordConfig
from streamer.control import Displayed, NextFile, Note, Query, Record, Reply, Request, decode_request
from streamer.control_client import ask
from streamer.errors import MessageError
from streamer.records import FrameFailure, FrameStatus, SeriesEnd
from tests.streamer.ingest_run import (
    KEY,
    SHAPE,
    TIMEOUT_S,
    Analyser,
    Detector,
    IngestRun,
    frame_of,
    result_of,
    running,
    start_of,
    wait_for_rows,
)

LEDGER = "entry/ledger/frame_id"


class Run:
    """A detector, ingest, and whoever asks."""

    def __init__(
        self, port: ControlPort, detector: Detector, ingest: IngestRun, analyser: Callable[[], Analyser]
    ) -> None:
        self._address = port.remote.control
        self.detector, self.ingest, self.analyser = detector, ingest, analyser

    def ask(self, request: Request) -> Reply:
        """Ask, again while ingest has not found the control port yet."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            reply = ask(self._address, request, TIMEOUT_S)
            if not reply.error.startswith("the run is not ready") or time.monotonic() > deadline:
                return reply

    def send(self, path: Path, ids: range, first_id: int = 0) -> None:
        """Send frames, and wait until a reader of `path`, whose ledger begins with `first_id`, sees them."""
        self.detector.send(*(frame_of(i) for i in ids))
        wait_for_rows(path, LEDGER, ids[-1] + 1 - first_id)

    def end(self) -> dict[str, Any]:
        self.detector.send(SeriesEnd(KEY))
        return self.ingest.finish()


@contextmanager
def controlled(path: Path | str, **options: Any) -> Iterator[Run]:
    with (
        ControlPort(ControlConfig(), (), RunClock.start()) as port,
        running(path, remote=port.remote, **options) as (detector, ingest, analyser),
    ):
        yield Run(port, detector, ingest, analyser)


def ledger_of(path: Path) -> dict[str, list[Any]]:
    with h5py.File(path) as file:
        return {name: column[:].tolist() for name, column in file["entry/ledger"].items()}


def notes_of(path: Path) -> list[tuple[str, int, str]]:
    with h5py.File(path) as file:
        notes = file["entry/process/notes"]
        rows = zip(notes["source"], notes["frame_id"], notes["text"], strict=True)
        return [(source.decode(), int(frame_id), text.decode()) for source, frame_id, text in rows]


def test_a_note_is_in_the_file_with_its_time_and_frame(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    with controlled(path) as run:
        run.detector.send(start_of(0))
        run.send(path, range(5))
        reply = run.ask(Note("CO on, 20 °C"))
        assert reply.ok, reply.error
        long_ago = run.ask(Note("before anything came", age_s=1000.0))
        assert run.end()["lost"] == 0
    assert (reply.frame_id, reply.recording, reply.path) == (4, True, str(path))
    assert notes_of(path) == [("note", 4, "CO on, 20 °C"), ("note", -1, "before anything came")]
    with h5py.File(path) as file:
        times = file["entry/process/notes/time"][:]
        received = file["entry/ledger/t_received"][:]
    assert times[0] == reply.t
    assert received[4] <= times[0]
    assert times[0] - times[1] == pytest.approx(1000.0, abs=TIMEOUT_S)
    assert long_ago.t == times[1]


def test_a_note_before_the_series_waits_for_its_file(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    with controlled(path) as run:
        assert run.ask(Note("sample in")).ok
        run.detector.send(start_of(2))
        run.send(path, range(2))
        run.end()
    assert notes_of(path) == [("note", -1, "sample in")]


def test_frames_while_recording_is_off_are_named_and_no_loss(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    with controlled(path) as run:
        run.detector.send(start_of(9))
        run.send(path, range(3))
        off = run.ask(Record(False))
        run.send(path, range(3, 7))
        on = run.ask(Record(True))
        run.send(path, range(7, 9))
        summary = run.end()
    assert (off.recording, on.recording) == (False, True)
    assert [summary[n] for n in ("received", "recorded", "paused", "lost")] == [9, 5, 4, 0]
    ledger = ledger_of(path)
    assert ledger["stack_row"] == [0, 1, 2, -1, -1, -1, -1, 3, 4]
    assert ledger["status"] == [FrameStatus.RECORDED] * 3 + [FrameStatus.UNRECORDED] * 4 + [1, 1]
    assert set(ledger["reason"][3:7]) == {b"recording was off"}
    assert notes_of(path) == [
        ("run", 2, "recording was switched off, from frame 3"),
        ("run", 6, "recording was switched on, from frame 7"),
    ]
    report = check_file(path)
    assert report.ok, report
    assert [str(loss) for loss in report.losses] == ["4 unrecorded (recording was off): 3-6"]
    assert not report.losses[0].lost


def test_recording_is_switched_off_before_there_is_a_file_to_note_it_in(tmp_path: Path) -> None:
    """A start message that does not say the pixels' type makes none, as those of some detectors."""
    path = tmp_path / "run.nxs"
    with controlled(path) as run:
        run.detector.send(replace(start_of(3), dtype=None))
        while run.ask(Query()).frame_id < 0:  # the start message has not come yet
            time.sleep(0.01)
        off = run.ask(Record(False))
        run.send(path, range(2))
        on = run.ask(Record(True))
        run.detector.send(frame_of(2))
        summary = run.end()
    assert (off.ok, off.error, off.recording, on.recording) == (True, "", False, True)
    assert [summary[n] for n in ("received", "recorded", "paused", "lost")] == [3, 1, 2, 0]
    assert notes_of(path) == [("run", 1, "recording was switched on, from frame 2")]


def test_frames_that_are_not_recorded_are_analysed(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    record = RecordConfig(paused=True)
    with controlled(path, analysis=AnalysisConfig(), record=record) as run:
        run.detector.send(start_of(3), *(frame_of(i) for i in range(3)), SeriesEnd(KEY))
        analyser = run.analyser()
        for _ in range(3):
            analyser.answer(result_of(analyser.next_task()))
        summary = run.ingest.finish()
    assert [summary[n] for n in ("recorded", "paused", "analysed", "lost")] == [0, 3, 3, 0]
    with h5py.File(path) as file:
        assert file["entry/stack/intensity"].shape == (0, *SHAPE)
        assert file["entry/summary/total_atoms"][:].tolist() == [0.0, 10.0, 20.0]
    assert ledger_of(path)["status"] == [FrameStatus.ANALYSED] * 3
    assert check_file(path).ok


def test_a_frame_that_is_not_recorded_can_be_lost_in_the_analysis(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    with controlled(path, analysis=AnalysisConfig(), record=RecordConfig(paused=True)) as run:
        run.detector.send(start_of(3), *(frame_of(i) for i in range(3)), SeriesEnd(KEY))
        analyser = run.analyser()
        for task in [analyser.next_task() for _ in range(3)]:
            failed = FrameFailure.of(task.frame.header, "backend: out of memory")
            analyser.answer(failed if task.frame.header.frame_id == 1 else result_of(task))
        summary = run.ingest.finish()
    assert [summary[n] for n in ("paused", "analysed", "damaged", "analysis_lost", "lost")] == [3, 2, 0, 1, 1]
    report = check_file(path)
    assert (report.analysis_lost, report.lost, report.problems) == (1, 1, ())
    assert str(report.losses[-1]) == "1 unrecorded (backend: out of memory): 1"
    assert report.losses[-1].lost


def test_the_next_file_goes_on_with_the_next_frame(tmp_path: Path) -> None:
    first, second = tmp_path / "run.nxs", tmp_path / "run-2.nxs"
    with controlled(first) as run:
        run.detector.send(start_of(10))
        run.send(first, range(4))
        reply = run.ask(NextFile())
        assert reply.ok, reply.error
        assert (reply.frame_id, reply.path) == (4, str(second))
        run.send(second, range(4, 10), first_id=4)
        summary = run.end()
    assert [summary[n] for n in ("planned", "received", "recorded", "lost")] == [10, 10, 10, 0]
    assert summary["paths"] == [str(first), str(second)]
    assert ledger_of(first)["frame_id"] == [0, 1, 2, 3]
    assert ledger_of(second)["frame_id"] == [4, 5, 6, 7, 8, 9]
    reports = [check_file(path) for path in (first, second)]
    assert [report.ok for report in reports] == [True, True], reports
    assert [report.state for report in reports] == ["stopped", "complete"]


def test_a_late_frame_goes_to_the_file_it_belongs_to(tmp_path: Path) -> None:
    first, second = tmp_path / "run.nxs", tmp_path / "run-2.nxs"
    # Unanswered frames keep the first file open.
    with controlled(first, analysis=AnalysisConfig(), result_timeout_s=TIMEOUT_S) as run:
        analyser = run.analyser()
        run.detector.send(start_of(6), *(frame_of(i) for i in (0, 1, 3)))
        wait_for_rows(first, LEDGER, 4)
        assert run.ask(NextFile()).ok
        run.detector.send(frame_of(2), frame_of(4), frame_of(5), SeriesEnd(KEY))
        tasks = [analyser.next_task() for _ in range(6)]
        for task in tasks:
            analyser.answer(result_of(task))
        summary = run.ingest.finish()
    assert [summary[n] for n in ("recorded", "analysed", "missing", "lost")] == [6, 6, 0, 0]
    assert {task.series for task in tasks} == {1}, "columns are followed from file to file"
    assert ledger_of(first)["stack_row"] == [0, 1, 3, 2]
    assert ledger_of(second)["frame_id"] == [4, 5]
    assert check_file(first).ok
    assert check_file(second).ok


def test_what_cannot_be_done_is_refused_by_name(tmp_path: Path) -> None:
    with controlled(tmp_path / "run.nxs") as run:
        early = run.ask(NextFile())
        too_long = run.ask(Note(300 * "x"))
        assert run.ask(Query()).ok
    assert "no frame has come yet" in early.error
    assert "at most 255" in too_long.error


def test_a_run_without_a_file_refuses_to_note(tmp_path: Path) -> None:
    with controlled("") as run:
        replies = [run.ask(request) for request in (Note("hello"), Record(True), NextFile())]
    assert {reply.error for reply in replies} == {
        "this run was started without a file; nothing can be recorded in it"
    }


def test_what_windows_drew_is_a_stage_of_the_series_it_came_in(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    with controlled(path) as run:
        assert run.ask(Displayed((9.0,))).ok  # of no series
        run.detector.send(start_of(0))
        run.send(path, range(2))
        assert run.ask(Displayed((0.02, 0.03))).ok
        assert run.ask(Displayed((0.05,))).ok
        summary = run.end()
    assert summary["stages_ms"]["received_to_displayed"]["max"] == 50.0
    with h5py.File(path) as file:
        p50, *_, longest = file["entry/process/latency/received_to_displayed"][:]
    assert longest == 0.05
    assert p50 == pytest.approx(0.03, rel=0.005)


@pytest.mark.parametrize("after_s", [[-0.1], [61.0], [0.1] * 101, [float("nan")], "soon", 0.1])
def test_a_display_time_that_cannot_be_is_refused(after_s: Any) -> None:
    with pytest.raises(MessageError):
        decode_request(msgpack.packb({"do": "displayed", "after_s": after_s}))
