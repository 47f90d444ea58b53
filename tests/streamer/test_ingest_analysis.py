"""Handing frames on and taking results back: each ends up under its own frame id, whatever the order."""

import time
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the filters
import numpy as np
import pytest

from streamer.check import check_file
from streamer.compression import decode
from streamer.config import AnalysisConfig, RecordConfig
from streamer.link import Task
from streamer.records import AnalyserInfo, FrameFailure, FrameStatus, Policy
from tests.streamer.ingest_run import (
    SHAPE,
    Analyser,
    image_of,
    result_of,
    running,
    series_of,
    wait_for_rows,
)

WAIT = AnalysisConfig(policy=Policy.WAIT, queue_frames=4)
LATEST = AnalysisConfig(policy=Policy.LATEST, batch_frames=1)


def _status(path: Path) -> list[int]:
    with h5py.File(path) as file:
        return file["entry/ledger/status"][:].tolist()


def _answer_in_order(analyser: Analyser, n_frames: int) -> list[Task]:
    tasks = [analyser.next_task() for _ in range(n_frames)]
    for task in tasks:
        analyser.answer(result_of(task))
    return tasks


def _answer_one_by_one(analyser: Analyser, n_frames: int) -> None:
    for _ in range(n_frames):
        analyser.answer(result_of(analyser.next_task()))


def test_wait_hands_every_frame_on_with_its_payload(tmp_path: Path) -> None:
    with running(tmp_path / "run.nxs", WAIT) as (detector, run, analyser):
        end = analyser()
        detector.send(*series_of(range(12), 12))
        seen = []
        for _ in range(12):
            task = end.next_task()
            np.testing.assert_array_equal(decode(task.frame), image_of(task.frame.header.frame_id))
            assert (task.pixel_size_A, task.saturation_value) == (0.25, 60_000)
            seen.append(task.frame.header.frame_id)
            end.answer(result_of(task))
        summary = run.finish()
    assert seen == list(range(12))
    assert [summary[name] for name in ("recorded", "analysed", "skipped", "lost")] == [12, 12, 0, 0]
    assert summary["latency_p50_ms"] == pytest.approx(500, rel=0.01), "published half a second after arrival"
    assert _status(tmp_path / "run.nxs") == [FrameStatus.ANALYSED] * 12
    assert check_file(tmp_path / "run.nxs").ok


def test_results_land_under_their_frames_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    with running(path, AnalysisConfig(policy=Policy.WAIT, queue_frames=20)) as (detector, run, analyser):
        end = analyser()
        detector.send(*series_of(range(10), 10))
        tasks = [end.next_task() for _ in range(10)]
        for i in (9, 0, 4, 7, 1, 2, 8, 3, 6, 5):
            end.answer(result_of(tasks[i]))
        run.finish()
    with h5py.File(path) as file:
        ledger, summary, columns, changes = (
            file[f"entry/{name}"] for name in ("ledger", "summary", "columns", "changes")
        )
        for frame_id in range(10):
            row = ledger["result_row"][frame_id]
            assert summary["frame_id"][row] == frame_id
            assert summary["total_atoms"][row] == 10 * frame_id
            assert summary["drift"][row].tolist() == [frame_id, -1]
            rows = slice(columns["first_row"][row], columns["first_row"][row] + summary["n_columns"][row])
            assert columns["y"][rows].tolist() == [frame_id + 0.5] * (frame_id % 4)
            assert columns["count"][rows].tolist() == [frame_id % 7 + 1] * (frame_id % 4)
            assert columns["track_id"][rows].tolist() == [100 * frame_id] * (frame_id % 4)
            assert summary["fused_atoms"][row] == 10.5 * frame_id
            mine = changes["frame_id"][:] == frame_id
            assert changes["after"][mine].tolist() == list(range(1, frame_id % 3 + 1))
            assert changes["track_id"][mine].tolist() == [frame_id] * (frame_id % 3)
            received, analysed = ledger["t_received"][frame_id], ledger["t_analysed"][frame_id]
            assert analysed == pytest.approx(received + 0.25)
    assert check_file(path).ok


def test_wait_stops_taking_in_while_the_analyser_is_busy(tmp_path: Path) -> None:
    with running(tmp_path / "run.nxs", WAIT) as (detector, run, analyser):
        end = analyser()
        detector.send(*series_of(range(30), 30))
        wait_for_rows(tmp_path / "run.nxs", "entry/ledger/frame_id", 5)
        held = [end.next_task() for _ in range(4)]
        assert not end.has_task(300), "four frames may be unanswered, not more"
        for task in held:
            end.answer(result_of(task))
        _answer_in_order(end, 4)
        _answer_one_by_one(end, 22)
        summary = run.finish()
    assert (summary["analysed"], summary["skipped"], summary["lost"]) == (30, 0, 0)


def test_a_source_that_is_not_listened_to_is_not_silent(tmp_path: Path) -> None:
    """Networks may take minutes to load for another shape, and the source waits for them."""
    wait = AnalysisConfig(policy=Policy.WAIT, queue_frames=1)
    with running(tmp_path / "run.nxs", wait, idle_timeout_s=0.3) as (detector, run, analyser):
        end = analyser()
        wait_until_joined(end)
        detector.send(*series_of(range(6), 6))
        first = end.next_task()
        time.sleep(1.0)
        end.answer(result_of(first))
        for _ in range(5):
            end.answer(result_of(end.next_task()))
        summary = run.finish()
    assert (summary["recorded"], summary["analysed"], summary["missing"]) == (6, 6, 0)


def test_wait_loses_nothing_of_several_messages_in_one(tmp_path: Path) -> None:
    """A detector in a hurry sends several CBOR items as the parts of one ZeroMQ message."""
    with running(tmp_path / "run.nxs", WAIT) as (detector, run, analyser):
        detector.send_as_one(*series_of(range(12), 12))
        wait_for_rows(tmp_path / "run.nxs", "entry/ledger/frame_id", 1)
        _answer_one_by_one(analyser(), 12)
        summary = run.finish()
    assert (summary["recorded"], summary["analysed"], summary["lost"]) == (12, 12, 0)


def test_wait_waits_for_the_first_analyser(tmp_path: Path) -> None:
    with running(tmp_path / "run.nxs", WAIT) as (detector, run, analyser):
        detector.send(*series_of(range(3), 3))
        wait_for_rows(tmp_path / "run.nxs", "entry/ledger/frame_id", 1)
        _answer_in_order(analyser(), 3)
        assert run.finish()["analysed"] == 3


def test_latest_skips_what_the_analyser_cannot_take_and_records_everything(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    with running(path, LATEST) as (detector, run, analyser):
        end = analyser()
        messages = series_of(range(30), 30)
        detector.send(*messages[:-1])
        wait_for_rows(path, "entry/ledger/frame_id", 30)
        tasks = []
        while end.has_task(200):
            tasks.append(end.next_task())
        for task in tasks:
            end.answer(result_of(task))
        detector.send(messages[-1])
        summary = run.finish()
    assert 0 < len(tasks) <= 2, "one frame being analysed and one ready"
    assert (summary["analysed"], summary["skipped"]) == (len(tasks), 30 - len(tasks))
    assert (summary["recorded"], summary["lost"]) == (30, 0)
    with h5py.File(path) as file:
        ledger = file["entry/ledger"]
        skipped = ledger["status"][:] == FrameStatus.SKIPPED
        assert set(ledger["reason"][skipped].tolist()) == {b"the analysers were busy"}
    assert check_file(path).ok


def test_latest_without_an_analyser_records_on(tmp_path: Path) -> None:
    with running(tmp_path / "run.nxs", LATEST) as (detector, run, _):
        detector.send(*series_of(range(10), 10))
        summary = run.finish()
    assert (summary["recorded"], summary["skipped"], summary["lost"]) == (10, 10, 0)


def test_every_nth_frame_can_be_analysed(tmp_path: Path) -> None:
    with running(tmp_path / "run.nxs", AnalysisConfig(every=5)) as (detector, run, analyser):
        end = analyser()
        detector.send(*series_of(range(11), 11))
        assert [t.frame.header.frame_id for t in _answer_in_order(end, 3)] == [0, 5, 10]
        summary = run.finish()
    assert (summary["analysed"], summary["skipped"], summary["lost"]) == (3, 8, 0)


def test_a_failure_is_in_the_ledger_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    with running(path, WAIT) as (detector, run, analyser):
        end = analyser()
        detector.send(*series_of(range(3), 3))
        tasks = [end.next_task() for _ in range(3)]
        end.answer(FrameFailure.of(tasks[1].frame.header, "payload does not decode"))
        end.answer(result_of(tasks[0]))
        end.answer(result_of(tasks[2]))
        summary = run.finish()
    assert _status(path) == [FrameStatus.ANALYSED, FrameStatus.DAMAGED, FrameStatus.ANALYSED]
    assert (summary["damaged"], summary["recorded"], summary["lost"]) == (1, 3, 1)
    report = check_file(path)
    assert report.problems == ()
    assert list(map(str, report.losses)) == ["1 damaged (payload does not decode): 1"]
    assert (report.ok, report.lost, report.analysis_lost, report.decoded) == (False, 1, 1, 3)


def test_a_result_that_never_comes_is_named_and_the_file_closed(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    with running(path, WAIT, result_timeout_s=0.3) as (detector, run, analyser):
        end = analyser()
        detector.send(*series_of(range(3), 3))
        end.answer(result_of(end.next_task()))
        summary = run.finish()
    assert (summary["analysed"], summary["analysis_lost"], summary["lost"]) == (1, 2, 2)
    assert _status(path) == [FrameStatus.ANALYSED, FrameStatus.RECORDED, FrameStatus.RECORDED]
    assert "2 recorded (no result within 0.3 s): 1-2" in map(str, check_file(path).losses)


def test_a_stop_skips_what_was_not_analysed_yet(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    with running(path, WAIT, result_timeout_s=0.3) as (detector, run, _):
        detector.send(*series_of(range(9), 9))
        wait_for_rows(path, "entry/ledger/frame_id", 1)
        summary = run.stop()
    assert (summary["recorded"], summary["skipped"], summary["lost"]) == (1, 1, 0)
    assert check_file(path).ok


def test_an_answer_nobody_waits_for_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    with running(path, WAIT) as (detector, run, analyser):
        end = analyser()
        detector.send(*series_of(range(2), 2))
        first, second = end.next_task(), end.next_task()
        for task in (first, first, second):
            end.answer(result_of(task))
        summary = run.finish()
    assert summary["analysed"] == 2
    assert any("was not waited for" in note for note in summary["notes"])
    assert check_file(path).ok


def test_maps_are_stored_where_the_analyser_sends_them(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    maps: dict[int, dict[str, Any]] = {
        0: {"denoised": np.full(SHAPE, 0.5, np.float16), "atom_count": np.full(SHAPE, 3, np.float16)},
        1: {},
        2: {"denoised": np.full((8, 8), 0.5, np.float16), "atom_count": np.zeros((8, 8), np.float16)},
        3: {"denoised": np.full(SHAPE, 1.5, np.float16), "atom_count": np.full(SHAPE, 4, np.float16)},
    }
    record = RecordConfig(maps_every=1)
    with running(path, WAIT, record=record) as (detector, run, analyser):
        end = analyser()
        detector.send(*series_of(range(4), 4))
        for _ in range(4):
            task = end.next_task()
            end.answer(result_of(task, **maps[task.frame.header.frame_id]))
        summary = run.finish()
    with h5py.File(path) as file:
        stored = file["entry/maps"]
        assert stored["frame_id"][:].tolist() == [0, 3]
        assert (stored["denoised"].dtype, stored["denoised"].shape) == (np.float16, (2, *SHAPE))
        assert stored["denoised"][:, 0, 0].tolist() == [0.5, 1.5]
        assert stored["atom_count"][:, 5, 5].tolist() == [3, 4]
    assert any("frame 2: its maps do not have" in note for note in summary["notes"])


def test_the_file_names_the_engine_and_its_networks(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    info = AnalyserInfo("openvino", "CPU", "FP32", "2025.3", {"a.onnx": "ab" * 32, "b.onnx": "cd" * 32})
    with running(path, WAIT) as (detector, run, analyser):
        ends = [analyser(), analyser()]
        for end in ends:
            end.introduce(info)
        detector.send(*series_of(range(2), 2))
        for _ in range(2):
            end = ends[0] if ends[0].has_task(500) else ends[1]
            end.answer(result_of(end.next_task()))
        run.finish()
    with h5py.File(path) as file:
        analysis = file["entry/process/analysis"]
        assert [analysis[name][()].decode() for name in ("backend", "device", "precision", "version")] == [
            "openvino", "CPU", "FP32", "2025.3",
        ]  # fmt: skip
        assert analysis["models/name"][:].tolist() == [b"a.onnx", b"b.onnx"]
        assert analysis["models/sha256"][:].tolist() == [b"ab" * 32, b"cd" * 32]
        percentiles = file["entry/process/latency/received_to_published"][:]
        np.testing.assert_allclose(percentiles, 0.5, rtol=0.01)


def test_every_stage_is_timed_and_stored(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    steps = {"t_decoded": 0.01, "t_batched": 0.03, "t_analysed": 0.07, "t_published": 0.15}
    with running(path, WAIT) as (detector, run, analyser):
        end = analyser()
        detector.send(*series_of(range(3), 3))
        for _ in range(3):
            task = end.next_task()
            end.answer(result_of(task, **{name: task.t_received + s for name, s in steps.items()}))
        summary = run.finish()
    stages = {
        "received_to_decoded": 10.0, "decoded_to_batched": 20.0, "batched_to_computed": 40.0,
        "computed_to_published": 80.0, "received_to_published": 150.0,
    }  # fmt: skip
    with h5py.File(path) as file:
        latency = file["entry/process/latency"]
        assert latency["percentile"][:].tolist() == [50, 99, 99.9, 100]
        for name, ms in stages.items():
            np.testing.assert_allclose(1000 * latency[name][:], ms, rtol=0.01)
            assert summary["stages_ms"][name]["max"] == pytest.approx(ms, rel=1e-3)
        assert (latency["received_to_recorded"][:] > 0).all()
        ledger = file["entry/ledger"]
        waited = ledger["t_batched"][:] - ledger["t_decoded"][:]
        np.testing.assert_allclose(waited, 0.02, rtol=1e-3)
    assert summary["latency_max_ms"] == pytest.approx(150.0, rel=1e-3)
    assert "detector_to_received" in summary["stages_ms"], "the detector's times lie in the past"


def test_what_a_dead_analyser_had_is_given_to_another(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    with running(path, WAIT) as (detector, run, analyser):
        first = analyser()
        detector.send(*series_of(range(8), 8))
        held = [first.next_task() for _ in range(4)]
        first.report_loss("analyser-1 died", "analyser-1")
        second = analyser()
        for frame_id in range(8):
            task = second.next_task()
            assert task.frame.header.frame_id == frame_id, "the oldest first"
            np.testing.assert_array_equal(decode(task.frame), image_of(frame_id))
            second.answer(result_of(task))
            if frame_id == 2:
                first.answer(result_of(held[2]))  # it was not dead, and answers what another has answered
        summary = run.finish()
    assert (summary["analysed"], summary["analysis_lost"], summary["lost"]) == (8, 0, 0)
    with h5py.File(path) as file:
        assert sorted(file["entry/summary/frame_id"][:]) == list(range(8)), "each once"
    assert check_file(path).ok


def test_a_frame_that_kills_analysers_is_given_up_and_named(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    with running(path, AnalysisConfig(queue_frames=1)) as (detector, run, analyser):
        detector.send(*series_of(range(3), 3))
        for number in (1, 2, 3):
            end = analyser(room=1)
            assert end.next_task().frame.header.frame_id == 0
            end.report_loss(f"analyser-{number} died", f"analyser-{number}")
        _answer_one_by_one(analyser(room=1), 2)
        summary = run.finish()
    assert (summary["analysed"], summary["analysis_lost"]) == (2, 1)
    assert "1 recorded (analyser-3 died): 0" in map(str, check_file(path).losses)


def test_under_latest_what_a_dead_analyser_had_is_named_and_late_answers_count(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    with running(path, LATEST) as (detector, run, analyser):
        end = analyser()
        *frames, last = series_of(range(2), 2)
        wait_until_joined(end)
        detector.send(*frames)
        held = [end.next_task() for _ in range(2)]
        end.report_loss("analyser-1 died", "analyser-1")
        end.answer(result_of(held[1]))
        detector.send(last)
        summary = run.finish()
    assert (summary["analysed"], summary["analysis_lost"], summary["lost"]) == (1, 1, 1)
    assert "1 recorded (analyser-1 died): 0" in map(str, check_file(path).losses)


@pytest.mark.parametrize("analysis", [WAIT, LATEST])
def test_analysers_that_are_told_to_end_with_the_run_lose_nothing(
    tmp_path: Path, analysis: AnalysisConfig
) -> None:
    """A service manager sends its signal to all processes of a run."""
    path = tmp_path / "run.nxs"
    with running(path, analysis) as (detector, run, analyser):
        end = analyser()
        wait_until_joined(end)
        detector.send(*series_of(range(2), 100)[:-1])
        for _ in range(2):
            end.next_task()
        run.control.request_stop()
        end.report_loss("analyser-1 died", "analyser-1")
        end.report_loss("no analyser is left")
        summary = run.finish()
    assert (summary["recorded"], summary["skipped"], summary["analysis_lost"]) == (2, 2, 0)
    assert check_file(path).ok


def test_without_any_analyser_left_frames_are_recorded_and_named(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    with running(path, WAIT) as (detector, run, analyser):
        end = analyser()
        detector.send(*series_of(range(40), 40))
        end.answer(result_of(end.next_task()))
        end.report_loss("analyser-1 died", "analyser-1")
        end.report_loss("no analyser is left")
        summary = run.finish()
    assert (summary["recorded"], summary["analysed"], summary["analysis_lost"]) == (40, 1, 39)
    assert "39 recorded (no analyser is left): 1-39" in map(str, check_file(path).losses)


def wait_until_joined(end: Analyser) -> None:
    """Wait for the first greeting: from then on tasks come."""
    while not end.heard:
        assert not end.has_task(100)


def test_results_of_a_series_that_was_replaced_go_to_its_own_file(tmp_path: Path) -> None:
    with running(tmp_path / "run.nxs", WAIT) as (detector, run, analyser):
        end = analyser()
        other = series_of(range(2), 2)
        first = series_of(range(2), 2, key=type(other[0].key)(6, "other"))[:-1]  # type: ignore[union-attr]
        detector.send(*first, *other)
        for task in [end.next_task() for _ in range(4)]:
            end.answer(result_of(task))
        summary = run.finish()
    assert (summary["analysed"], summary["lost"]) == (4, 0)
    for name in ("run.nxs", "run-2.nxs"):
        assert _status(tmp_path / name) == [FrameStatus.ANALYSED] * 2
        assert check_file(tmp_path / name).ok
