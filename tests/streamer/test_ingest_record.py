"""Recording over real sockets: what is sent is in the file, bit for bit, and what is not is named."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the filters
import msgspec
import numpy as np
import pytest

from streamer.check import check_file
from streamer.config import RecordConfig, RunConfig
from streamer.errors import RecordingError, UsageError
from streamer.records import Compression, Frame, FrameStatus, SeriesEnd, SeriesKey, SeriesStart
from streamer.result_paths import expect_new_file
from streamer.sources import Scheme
from tests.streamer.ingest_run import (
    KEY,
    SHAPE,
    T0,
    Detector,
    frame_of,
    image_of,
    record,
    running,
    series_of,
    start_of,
    wait_for_rows,
)

OTHER = SeriesKey(6, "01HRCJF82A")
MISSING, RECORDED, DAMAGED = FrameStatus.MISSING, FrameStatus.RECORDED, FrameStatus.DAMAGED


def _ledger(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    with h5py.File(path) as file:
        return {name: column[:] for name, column in file["entry/ledger"].items()}


def _status(path: Path) -> list[int]:
    return _ledger(path)["status"].tolist()


def _reasons(path: Path) -> dict[int, str]:
    ledger = _ledger(path)
    rows = zip(ledger["frame_id"].tolist(), ledger["reason"].tolist(), strict=True)
    return {frame_id: reason.decode() for frame_id, reason in rows if reason}


def _expect_frames(path: Path, frame_ids: list[int]) -> None:
    """The stack holds exactly these frames, in this order, pixel for pixel."""
    with h5py.File(path) as file:
        stack = file["entry/stack"]
        assert stack["indices_image"][:].tolist() == frame_ids
        assert stack["intensity"].shape == (len(frame_ids), *SHAPE)
        for row, frame_id in enumerate(frame_ids):
            np.testing.assert_array_equal(stack["intensity"][row], image_of(frame_id))


def _encoded(frame: Frame) -> bytes:
    return b"".join(Detector.v2_encoder().encode(frame))


@pytest.mark.parametrize("scheme", [Scheme.DECTRIS2, Scheme.ATOMSTREAM])
def test_every_frame_is_recorded_bit_for_bit(tmp_path: Path, scheme: Scheme) -> None:
    summary = record(tmp_path / "run.nxs", *series_of(range(40), 40), scheme=scheme)
    _expect_frames(tmp_path / "run.nxs", list(range(40)))
    assert [summary[name] for name in ("planned", "received", "recorded", "lost")] == [40, 40, 40, 0]
    assert summary["paths"] == [str(tmp_path / "run.nxs")]
    assert summary["ended_by"] == "end message"
    report = check_file(tmp_path / "run.nxs")
    assert report.ok
    assert (report.state, report.decoded) == ("complete", 40)


@pytest.mark.parametrize("compression", list(Compression))
def test_chunks_are_the_payloads_as_they_came(tmp_path: Path, compression: Compression) -> None:
    frames = [frame_of(i, compression=compression) for i in range(3)]
    record(tmp_path / "run.nxs", start_of(3), *frames, SeriesEnd(KEY))
    with h5py.File(tmp_path / "run.nxs") as file:
        for row, frame in enumerate(frames):
            mask, chunk = file["entry/stack/intensity"].id.read_direct_chunk((row, 0, 0))
            assert chunk == frame.payload
            assert mask == (compression is Compression.NONE)
    _expect_frames(tmp_path / "run.nxs", [0, 1, 2])


@pytest.mark.parametrize("first", list(Compression))
def test_a_change_of_compression_in_mid_series_loses_nothing(tmp_path: Path, first: Compression) -> None:
    kinds = [first, *Compression, first]
    frames = [frame_of(i, compression=kind) for i, kind in enumerate(kinds)]
    summary = record(tmp_path / "run.nxs", start_of(len(kinds)), *frames, SeriesEnd(KEY))
    assert summary["lost"] == 0
    _expect_frames(tmp_path / "run.nxs", list(range(len(kinds))))
    assert check_file(tmp_path / "run.nxs").ok


@pytest.mark.parametrize("dtype", ["|u1", "<u2", "<u4"])
def test_every_pixel_type_is_recorded(tmp_path: Path, dtype: str) -> None:
    frame = frame_of(0, dtype=np.dtype(dtype))
    record(tmp_path / "run.nxs", SeriesStart(KEY, 1, SHAPE, np.dtype(dtype)), frame, SeriesEnd(KEY))
    with h5py.File(tmp_path / "run.nxs") as file:
        assert file["entry/stack/intensity"].dtype == dtype
        np.testing.assert_array_equal(file["entry/stack/intensity"][0], image_of(0, dtype=np.dtype(dtype)))


def test_lost_late_and_repeated_frames_are_named(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    summary = record(path, *series_of([0, 1, 5, 3, 5, 6], 8))
    _expect_frames(path, [0, 1, 5, 3, 6])
    assert _status(path) == [RECORDED, RECORDED, MISSING, RECORDED, MISSING, RECORDED, RECORDED, MISSING]
    assert _reasons(path) == {3: "came late", 7: "planned, never came"}
    counted = {
        name: summary[name] for name in ("planned", "received", "recorded", "missing", "duplicates", "lost")
    }
    assert counted == {"planned": 8, "received": 5, "recorded": 5, "missing": 3, "duplicates": 1, "lost": 3}
    assert _ledger(path)["stack_row"].tolist() == [0, 1, -1, 3, -1, 2, 4, -1]
    report = check_file(path)
    assert (report.lost, report.problems) == (3, ())
    named = list(map(str, report.losses))
    assert named[:2] == ["2 missing (never came): 2, 4", "1 missing (planned, never came): 7"]


def test_times_and_start_are_those_of_the_source(tmp_path: Path) -> None:
    record(tmp_path / "run.nxs", *series_of([0, 2], 3))
    ledger = _ledger(tmp_path / "run.nxs")
    np.testing.assert_allclose(ledger["t_detector"], [T0, np.nan, T0 + 0.02], rtol=0, atol=1e-6)
    assert np.all(ledger["t_recorded"][[0, 2]] >= ledger["t_received"][[0, 2]])
    with h5py.File(tmp_path / "run.nxs") as file:
        stack = file["entry/stack"]
        np.testing.assert_allclose(stack["time"][:], [0, 0.02], atol=1e-6)
        assert stack["time"].attrs["units"] == "s"
        assert stack["axis_i"].attrs["units"] == "nm"
        np.testing.assert_allclose(stack["axis_i"][:3], [0, 0.025, 0.05])


def test_a_time_in_another_unit_costs_no_recording(tmp_path: Path) -> None:
    frame = frame_of(0)
    frame = replace(frame, header=replace(frame.header, t_detector=1e9 * T0))
    path = tmp_path / "run.nxs"
    summary = record(path, start_of(1), frame, SeriesEnd(KEY), scheme=Scheme.ATOMSTREAM)
    assert (summary["recorded"], summary["recording_error"]) == (1, "")
    assert np.isnan(_ledger(path)["t_detector"]).all()


def test_the_file_is_laid_out_before_the_first_frame(tmp_path: Path) -> None:
    """Making it takes as long as some hundred frames of a fast stream."""
    path = tmp_path / "run.nxs"
    with running(path) as (detector, run, _):
        detector.send(start_of(1))
        wait_for_rows(path, "entry/ledger/frame_id", 0)
        detector.send(frame_of(0), SeriesEnd(KEY))
        run.finish()
    _expect_frames(path, [0])
    with h5py.File(path) as file:
        assert file["entry/start_time"][()] == b"2023-11-14T22:13:20.000000+00:00", "the first frame's time"
        assert file["entry/stack/time"].attrs["t_start_unix_s"] == T0


def test_strays_of_another_series_are_counted_and_not_recorded(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    frames = [frame_of(i) for i in range(4)]
    summary = record(
        path,
        SeriesEnd(OTHER),
        start_of(4),
        frames[0],
        frame_of(90, OTHER),
        SeriesEnd(OTHER),
        *frames[1:],
        SeriesEnd(KEY),
    )
    _expect_frames(path, [0, 1, 2, 3])
    assert (summary["strays"], summary["lost"], summary["n_series"]) == (3, 0, 1)
    with h5py.File(path) as file:
        log = [line.decode() for line in file["entry/process/log/text"]]
    assert any("frame 90 of series 6" in line for line in log)


def test_a_missing_end_is_replaced_by_silence(tmp_path: Path) -> None:
    summary = record(tmp_path / "run.nxs", start_of(3), *(frame_of(i) for i in range(3)))
    assert "no end message" in summary["ended_by"]
    assert summary["lost"] == 0
    assert check_file(tmp_path / "run.nxs").ok


def test_silence_ends_a_run_where_that_is_asked_for(tmp_path: Path) -> None:
    summary = record(tmp_path / "run.nxs", start_of(0), frame_of(0), idle_timeout_s=0.3)
    assert "silence" in summary["ended_by"]
    assert check_file(tmp_path / "run.nxs").ok


def test_a_new_start_without_an_end_opens_a_second_file(tmp_path: Path) -> None:
    summary = record(tmp_path / "run.nxs", *series_of(range(3), 4, OTHER)[:-1], *series_of(range(5), 5))
    assert summary["paths"] == [str(tmp_path / name) for name in ("run.nxs", "run-2.nxs")]
    _expect_frames(tmp_path / "run.nxs", [0, 1, 2])
    _expect_frames(tmp_path / "run-2.nxs", [0, 1, 2, 3, 4])
    assert _reasons(tmp_path / "run.nxs") == {3: "planned, not here when another series began"}
    assert (summary["n_series"], summary["received"], summary["missing"]) == (2, 8, 1)
    with h5py.File(tmp_path / "run.nxs") as file:
        assert file["entry/process/end_reason"][()] == b"another series began"


def test_an_acquisition_after_the_end_belongs_to_another_run(tmp_path: Path) -> None:
    summary = record(tmp_path / "run.nxs", *series_of([0, 2], 3, OTHER), *series_of(range(3), 3))
    _expect_frames(tmp_path / "run.nxs", [0, 2])
    assert (summary["n_series"], summary["missing"]) == (1, 1)


def test_images_without_a_start_are_kept_under_another_name(tmp_path: Path) -> None:
    leftovers = [frame_of(i, OTHER) for i in (97, 98, 99)]
    summary = record(tmp_path / "run.nxs", *leftovers, SeriesEnd(OTHER), *series_of(range(3), 3))
    _expect_frames(tmp_path / "run.nxs", [0, 1, 2])
    _expect_frames(tmp_path / "run-nostart.nxs", [97, 98, 99])
    assert len(summary["paths"]) == 2
    assert any("no start message" in note for note in summary["notes"])


def test_a_series_that_was_joined_late_ends_with_its_end(tmp_path: Path) -> None:
    summary = record(tmp_path / "run.nxs", *(frame_of(i) for i in (5, 6)), SeriesEnd(KEY))
    assert summary["ended_by"] == "end message"
    assert summary["missing"] == 5, "the frames before the recorder joined are not in the file"
    _expect_frames(tmp_path / "run-nostart.nxs", [5, 6])


def test_frames_that_the_end_message_overtook_are_recorded(tmp_path: Path) -> None:
    summary = record(tmp_path / "run.nxs", *series_of([0, 1, 3], 4), SeriesEnd(KEY), frame_of(2))
    _expect_frames(tmp_path / "run.nxs", [0, 1, 3, 2])
    assert summary["lost"] == 0


def test_damaged_messages_are_counted_and_named(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    whole = [_encoded(frame_of(i)) for i in range(6)]
    lying = _encoded(frame_of(3)).replace(
        (SHAPE[0] * SHAPE[1] * 2).to_bytes(8, "big"), (77).to_bytes(8, "big")
    )
    summary = record(
        path, start_of(6), whole[0], b"garbage", b"", whole[1][:-100], whole[2], lying, whole[4], whole[5],
        SeriesEnd(KEY),
    )  # fmt: skip
    _expect_frames(path, [0, 2, 4, 5])
    assert _status(path) == [RECORDED, DAMAGED, RECORDED, DAMAGED, RECORDED, RECORDED]
    reasons = _reasons(path)
    assert reasons[1].startswith("truncated message: ")
    assert reasons[3].startswith("damaged payload: ")
    assert summary["bad_messages"]["truncated message"] >= 1
    assert summary["bad_messages"]["damaged payload"] == 1
    assert sum(summary["bad_messages"].values()) == 4
    assert (summary["received"], summary["recorded"], summary["damaged"], summary["lost"]) == (6, 4, 2, 2)
    assert check_file(path).problems == ()


def test_a_damaged_frame_that_comes_again_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    whole = [_encoded(frame_of(i)) for i in range(3)]
    summary = record(path, start_of(3), whole[0], whole[1][:-100], whole[1], whole[2], SeriesEnd(KEY))
    _expect_frames(path, [0, 1, 2])
    assert (summary["damaged"], summary["lost"]) == (0, 0)
    assert _reasons(path) == {1: "came again, undamaged"}
    assert check_file(path).ok


def test_another_shape_or_type_in_mid_series_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    smaller, wider = frame_of(1, shape=(24, 64)), frame_of(2, dtype=np.dtype("<u4"))
    summary = record(path, start_of(4), frame_of(0), smaller, wider, frame_of(3), SeriesEnd(KEY))
    _expect_frames(path, [0, 3])
    assert _status(path) == [RECORDED, DAMAGED, DAMAGED, RECORDED]
    assert "24 x 64 px of uint16" in _reasons(path)[1]
    assert summary["bad_messages"] == {"wrong geometry": 2}


def test_a_start_that_announces_another_geometry_is_not_believed(tmp_path: Path) -> None:
    start = start_of(2, shape=(10, 10))
    summary = record(tmp_path / "run.nxs", start, frame_of(0), frame_of(1), SeriesEnd(KEY))
    _expect_frames(tmp_path / "run.nxs", [0, 1])
    assert any("announced were 10 x 10 px" in note for note in summary["notes"])


def test_a_frame_id_that_jumps_is_damage_not_loss(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    summary = record(path, *series_of([0, 5_000_000, 1], 2))
    assert summary["bad_messages"] == {"frame id jump": 1}
    assert (summary["missing"], summary["received"]) == (0, 2)
    assert _status(path) == [RECORDED, RECORDED]


def test_a_message_over_the_limit_is_refused_and_the_run_goes_on(tmp_path: Path) -> None:
    large = b"\xd9\xd9\xf7" + b"x" * 5000
    summary = record(
        tmp_path / "run.nxs",
        start_of(2),
        frame_of(0),
        large,
        frame_of(1),
        SeriesEnd(KEY),
        message_limit_bytes=4000,
    )
    assert summary["bad_messages"] == {"message too large": 1}
    _expect_frames(tmp_path / "run.nxs", [0, 1])


def test_a_series_without_frames_leaves_a_file_that_says_so(tmp_path: Path) -> None:
    summary = record(tmp_path / "run.nxs", start_of(5), SeriesEnd(KEY))
    assert (summary["received"], summary["missing"]) == (0, 5)
    report = check_file(tmp_path / "run.nxs")
    assert (report.rows, report.missing, report.problems) == (5, 5, ())


def test_a_plan_far_beyond_the_frames_is_counted_without_rows(tmp_path: Path) -> None:
    summary = record(tmp_path / "run.nxs", *series_of(range(3), 10**9), max_gap_frames=100)
    assert summary["missing"] == 10**9 - 3
    report = check_file(tmp_path / "run.nxs")
    assert (report.rows, report.lost, report.problems) == (103, 10**9 - 3, ())


def test_a_stop_closes_a_valid_file_and_calls_nothing_missing(tmp_path: Path) -> None:
    with running(tmp_path / "run.nxs") as (detector, run, _):
        detector.send(start_of(100), *(frame_of(i) for i in range(5)))
        wait_for_rows(tmp_path / "run.nxs", "entry/ledger/frame_id", 5)
        summary = run.stop()
    assert (summary["recorded"], summary["missing"], summary["lost"]) == (5, 0, 0)
    assert summary["ended_by"] == "stopped on request"
    report = check_file(tmp_path / "run.nxs")
    assert report.ok
    assert report.state == "stopped"


def test_a_stop_before_the_first_message_leaves_no_file(tmp_path: Path) -> None:
    with running(tmp_path / "run.nxs") as (_, run, _analyser):
        summary = run.stop()
    assert (summary["paths"], summary["received"]) == ([], 0)
    assert list(tmp_path.iterdir()) == []


def test_without_a_path_nothing_is_recorded_and_everything_counted(tmp_path: Path) -> None:
    summary = record("", *series_of([0, 1, 3], 4))
    counted = [summary[name] for name in ("received", "recorded", "missing", "unrecorded", "lost")]
    assert counted == [3, 0, 1, 0, 1]


def test_a_file_that_exists_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.nxs").write_text("precious")
    with pytest.raises(UsageError, match="exists and is not overwritten"):
        record(tmp_path / "run.nxs")
    assert (tmp_path / "run.nxs").read_text() == "precious"


def test_a_name_taken_in_the_meantime_is_passed_over(tmp_path: Path) -> None:
    with running(tmp_path / "run.nxs") as (detector, run, _):
        (tmp_path / "run.nxs").write_text("precious")
        detector.send(*series_of(range(2), 2))
        summary = run.finish()
    assert (tmp_path / "run.nxs").read_text() == "precious"
    assert summary["paths"] == [str(tmp_path / "run-2.nxs")]


def test_a_folder_that_does_not_exist_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="does not exist"):
        record(tmp_path / "no" / "run.nxs")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc is Linux's: no file can be made in it")
def test_a_folder_that_cannot_be_written_to_is_one_clear_line_before_anything_is_received() -> None:
    with pytest.raises(RecordingError, match=r"^the folder /proc cannot be written to \(.+\)"):
        record(Path("/proc/run.nxs"))


def test_looking_whether_a_file_can_be_made_leaves_nothing_behind(tmp_path: Path) -> None:
    expect_new_file(tmp_path / "run.nxs")
    assert list(tmp_path.iterdir()) == []


def test_the_file_tells_how_it_came_about(tmp_path: Path) -> None:
    start = start_of(2)
    record(
        tmp_path / "run.nxs",
        start,
        frame_of(0),
        frame_of(1),
        SeriesEnd(KEY),
        record=RecordConfig(flush_frames=7),
    )
    with h5py.File(tmp_path / "run.nxs") as file:
        process = file["entry/process"]
        configuration = msgspec.toml.decode(process["configuration"][()], type=RunConfig)
        assert configuration.record == RecordConfig(path=str(tmp_path / "run.nxs"), flush_frames=7)
        assert process["start_message"][:].tobytes() == b"".join(Detector.v2_encoder().encode(start))
        assert process["series/unique_id"][()].decode() == KEY.unique_id
        assert process["counters/recorded"][()] == 2
        assert process["state"][()] == b"complete"
        assert process["versions/h5py"][()].decode() == h5py.__version__
        for name in ("particles", "channels", "summary", "columns/first_row"):
            assert name in file["entry"]
