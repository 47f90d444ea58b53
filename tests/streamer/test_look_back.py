"""Frames of the seconds around an event, kept at full rate in a file that otherwise has every n-th."""

import time
from contextlib import closing
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - registers the filters
import numpy as np
import pytest

from pipeline.archive import read_run
from streamer.check import check_file
from streamer.config import AnalysisConfig, RecordConfig, RunConfig, TriggerConfig, expect_channels
from streamer.errors import RecordingError, UsageError
from streamer.files import open_file
from streamer.look_back import LookBack
from streamer.records import Compression, Frame, FrameStatus
from tests.streamer.ingest_run import (
    RECORD_ONLY,
    SHAPE,
    frame_of,
    image_of,
    result_of,
    running,
    series_of,
    wait_for_rows,
)

EVERY = 10


def raw_frame(frame_id: int, shape: tuple[int, int] = SHAPE) -> Frame:
    return frame_of(frame_id, compression=Compression.NONE, shape=shape)


def ring(**config: float) -> LookBack:
    return LookBack(RecordConfig(path="run.nxs", **config))  # type: ignore[arg-type]


def ids(look_back: LookBack) -> list[int]:
    found = []
    while (held := look_back.next_wanted()) is not None:
        found.append(held.frame.header.frame_id)
    return found


def test_it_holds_what_an_event_may_ask_for_and_no_more() -> None:
    held = ring(look_back_s=2.0, look_ahead_s=1.0)
    for i in range(100):
        held.add(raw_frame(i), 0.1 * i)
    held.forget(5.0)
    assert held.keep(5.0, "event") == 0.0
    assert ids(held) == list(range(30, 61)), "from 3 s to 6 s"
    assert held.keep_until == 6.0
    held.keep(9.0, "another")
    assert ids(held) == list(range(70, 100))


def test_its_memory_is_bounded_and_what_is_missing_is_said() -> None:
    held = ring(look_back_s=200.0, look_back_MiB=1)
    for i in range(1000):
        held.add(raw_frame(i, shape=(64, 64)), float(i))  # 8 KiB
        assert held.n_bytes <= 2**20
    short_s = held.keep(999.0, "event")
    kept = ids(held)
    assert kept == list(range(kept[0], 1000))
    assert 100 < len(kept) < 128
    assert short_s == pytest.approx(kept[0] - 1 - 799.0)
    assert held.n_bytes == 0


def test_without_any_nothing_is_held_and_to_ask_is_an_error() -> None:
    held = ring()
    held.add(raw_frame(0), 0.0)
    assert held.n_bytes == 0
    with pytest.raises(RecordingError, match="give it --look-back-s or --look-ahead-s"):
        held.keep(0.0, "event")


def test_a_thinned_recording_names_what_it_leaves_out_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    record = RecordConfig(every=EVERY)
    with running(path, RECORD_ONLY, record=record) as (detector, run, _):
        detector.send(*series_of(range(35), 35))
        summary = run.finish()
    assert (summary["received"], summary["recorded"], summary["paused"], summary["lost"]) == (35, 4, 31, 0)
    report = check_file(path)
    assert (report.ok, report.recorded, report.paused) == (True, 4, 31)
    assert ["31 unrecorded (not one of those to be kept): 1-9, 11-19, 21-29, 31-34"] == [
        *map(str, report.losses)
    ]
    with h5py.File(path) as file:
        assert file["entry/stack/indices_image"][:].tolist() == [0, 10, 20, 30]
        assert file["Experiments/frames/axis-0"].attrs["scale"] == pytest.approx(0.1)  # ten frame times
    with closing(open_file(path)) as replayed:
        assert replayed.info.frame_time_s == pytest.approx(0.1)
        assert replayed.info.frame_time_from.endswith("frame_time_s x 10, as ids are 10 apart")
    assert read_run(path).start.frame_time_s == pytest.approx(0.01)  # as announced


def test_a_trigger_keeps_every_frame_before_and_after_it_bit_for_bit(tmp_path: Path) -> None:
    path, n, event = tmp_path / "run.nxs", 120, 60
    record = RecordConfig(every=EVERY, look_back_s=0.4, look_ahead_s=0.2)
    trigger = TriggerConfig(name="many", when="total_atoms", above=10.0 * event - 5, keep=True, rearm_s=100.0)
    analysis = AnalysisConfig(backend="null", queue_frames=8)
    with running(path, analysis, record=record, trigger=(trigger,)) as (detector, run, analyser):
        end, answered = analyser(), 0
        for message in series_of(range(n), n):
            detector.send(message)
            time.sleep(0.01)
            while end.has_task(0):
                end.answer(result_of(end.next_task()))
                answered += 1
        for _ in range(n - answered):
            end.answer(result_of(end.next_task()))
        summary = run.finish()
    assert (summary["received"], summary["analysed"], summary["lost"]) == (n, n, 0)
    with h5py.File(path) as file:
        ledger = {name: column[:] for name, column in file["entry/ledger"].items()}
        rows, t = ledger["stack_row"], ledger["t_received"]
        around = (t >= t[event] - 0.4) & (t <= t[event] + 0.2)
        assert around[[event - 1, event + 1]].all()
        assert not around.all()
        assert (rows[around] >= 0).all(), "every frame around the event is there"
        kept_otherwise = ledger["frame_id"] % EVERY == 0
        assert ((rows >= 0) == (around | kept_otherwise)).all(), "and no other than every tenth"
        for frame_id in np.flatnonzero(rows >= 0):
            np.testing.assert_array_equal(file["entry/stack/intensity"][rows[frame_id]], image_of(frame_id))
            assert file["entry/stack/indices_image"][rows[frame_id]] == frame_id
        times = file["entry/stack/time"][:][rows[around]]
        np.testing.assert_allclose(np.diff(times), 0.01, atol=1e-5)  # the detector's clock, in order
        assert (ledger["status"] == FrameStatus.ANALYSED).all()
        assert (ledger["t_recorded"][around] > 0).all()
        reasons = ledger["reason"].astype(str)
        left_out = ~kept_otherwise & (t <= t[event])  # at first, whether it was analysed by then or not
        assert set(reasons[around & left_out]) == {"kept for trigger many"}
        assert set(reasons[rows < 0]) == {"not one of those to be kept"}
        assert file["entry/process/notes/text"][0].startswith(b"many: total_atoms 600 is above 595")
    assert summary["paused"] == n - (around | kept_otherwise).sum()
    assert check_file(path).ok


def test_a_frame_that_is_kept_after_all_says_for_whom(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    record = RecordConfig(paused=True, look_back_s=60.0)
    trigger = TriggerConfig(name="loss", when="lost", above=0.0, keep=True)
    with running(path, RECORD_ONLY, record=record, trigger=(trigger,)) as (detector, run, _):
        start, *frames, end = series_of([0, 1, 2, 4], 5)
        detector.send(start, *frames)
        wait_for_rows(path, "entry/stack/intensity", 4)  # written, though recording is off: an event's frames
        detector.send(end)
        summary = run.finish()
    assert (summary["recorded"], summary["missing"]) == (4, 1)
    with h5py.File(path) as file:
        assert file["entry/ledger/status"][:].tolist() == [1, 1, 1, 0, 1]
        assert set(file["entry/ledger/reason"][:3].tolist()) == {b"kept for trigger loss"}
    assert check_file(path).problems == ()


def test_what_is_still_to_be_written_at_the_end_is_written(tmp_path: Path) -> None:
    path, n = tmp_path / "run.nxs", 400
    record = RecordConfig(every=1000, look_back_s=60.0)
    trigger = TriggerConfig(name="loss", when="lost", above=0.0, keep=True)
    with running(path, RECORD_ONLY, record=record, trigger=(trigger,)) as (detector, run, _):
        start, *frames, end = series_of([*range(n - 1), n], n + 1)
        detector.send(start, *frames)
        detector.send(end)
        summary = run.finish()
    assert summary["missing"] == 1
    with h5py.File(path) as file:
        rows = file["entry/ledger/stack_row"][:]
        assert (rows >= 0).sum() == summary["recorded"] == n
        assert file["entry/stack/intensity"].shape[0] == n
    assert check_file(path).problems == ()


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (RecordConfig(), "trigger 'x' is to keep frames, but this run is not recorded"),
        (RecordConfig(path="run.nxs"), "look_back_s and .look_ahead_s are both 0: give --look-back-s"),
    ],
)
def test_a_trigger_that_has_nothing_to_keep_is_refused(record: RecordConfig, message: str) -> None:
    trigger = TriggerConfig(name="x", when="lost", above=0.0, keep=True)
    with pytest.raises(UsageError, match=message):
        expect_channels(RunConfig(record=record, trigger=(trigger,)))
