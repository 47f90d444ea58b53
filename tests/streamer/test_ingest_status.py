"""What ingest says of itself while it runs, and how much memory it takes."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import zmq

from streamer.clock import RunClock
from streamer.config import AnalysisConfig, RecordConfig, RunConfig, SourceConfig
from streamer.counters import Counters
from streamer.file_layout import FileSpec
from streamer.ingest import run_ingest
from streamer.ledger import Ledger
from streamer.records import Compression
from streamer.result_file import ResultWriter
from streamer.window_link import RunStatus, decode_status
from streamer.worker import Control
from tests.streamer.ingest_run import DTYPE, SHAPE, T0, TIMEOUT_S, Detector, frame_of, series_of, start_of


def _until_ended(subscriber: "zmq.Socket[bytes]") -> Sequence[RunStatus]:
    seen = []
    while not seen or seen[-1].state != "ended":
        assert subscriber.poll(1000 * TIMEOUT_S), "no status came"
        seen.append(decode_status([memoryview(part) for part in subscriber.recv_multipart()]))
    return seen


def _statuses_of_a_run(path: str) -> Sequence[RunStatus]:
    """Record three of four frames into `path`; return what was said meanwhile."""
    with zmq.Context() as context, context.socket(zmq.SUB) as subscriber:
        subscriber.subscribe(b"")
        port = subscriber.bind_to_random_port("tcp://127.0.0.1")
        detector = Detector(context)
        config = RunConfig(
            source=SourceConfig(address=detector.address),
            record=RecordConfig(path=path),
            analysis=AnalysisConfig(enabled=False),
        )
        arguments = (Control.local(), config, RunClock.start(), f"tcp://127.0.0.1:{port}")
        thread = threading.Thread(target=run_ingest, args=arguments)
        thread.start()
        assert subscriber.poll(1000 * TIMEOUT_S)
        detector.send(*series_of([0, 1, 3], 4))
        seen = _until_ended(subscriber)
        thread.join(TIMEOUT_S)
        detector.close()
    return seen


def test_the_status_is_published_until_the_end(tmp_path: Path) -> None:
    seen = _statuses_of_a_run(str(tmp_path / "run.nxs"))
    assert (seen[0].state, seen[0].received, seen[0].recording) == ("waiting", 0, True)
    last = seen[-1]
    assert (last.received, last.recorded, last.missing, last.bad_messages) == (3, 3, 1, 0)
    assert all(status.t_first <= status.t for status in seen if status.state == "running")
    assert last.path == str(tmp_path / "run.nxs")
    assert last.bytes_written > 0
    assert last.bytes_free > 0
    assert last.recording_error == ""


def test_the_status_says_that_recording_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError("the network drive is gone")

    monkeypatch.setattr(ResultWriter, "append_frame", fail)
    last = _statuses_of_a_run(str(tmp_path / "run.nxs"))[-1]
    assert (last.received, last.recorded, last.unrecorded) == (3, 0, 3)
    assert last.recording_error == "the network drive is gone"


def test_a_run_without_a_file_does_not_say_that_it_records() -> None:
    assert not any(status.recording for status in _statuses_of_a_run(""))


def test_memory_does_not_grow_with_the_series(tmp_path: Path) -> None:
    spec = FileSpec(start_of(0), SHAPE, DTYPE, Compression.BSLZ4, T0)
    writer, ledger = ResultWriter(tmp_path / "run.nxs", spec), Ledger(100)
    ledger.attach(writer.ledger)
    frame = frame_of(0)
    resident = []
    for i in range(180_001):
        ledger.place(i)
        row = writer.append_frame(replace(frame, header=replace(frame.header, frame_id=i)), 0.01 * i)
        ledger.record(i, T0, T0, T0, row)
        if i % 32 == 31:
            writer.flush()
            ledger.flush()
        if i % 30_000 == 0:
            resident.append(psutil.Process().memory_info().rss)
    writer.finish("complete", "end message", T0, 0, Counters(), {})
    # Between frame 90,000 and frame 180,000; what was written of their ledger alone is 5 MiB.
    assert resident[-1] - resident[3] < 2 * 2**20
