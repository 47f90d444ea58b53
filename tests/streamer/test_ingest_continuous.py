"""Runs that wait for the next series when one is over."""

import time
from pathlib import Path

import h5py
import pytest

from streamer.check import check_file
from streamer.config import AnalysisConfig, TriggerConfig
from streamer.records import SeriesEnd, SeriesKey
from tests.streamer.ingest_run import (
    KEY,
    TIMEOUT_S,
    frame_of,
    result_of,
    running,
    series_of,
    wait_for_rows,
)


def test_a_continuous_run_records_one_series_after_the_other(tmp_path: Path) -> None:
    """Each ends twice, as when the detector is disarmed, and the last one by the same name as one before."""
    path = tmp_path / "run.nxs"
    with running(path, continuous=True) as (detector, run, _):
        for number, key in enumerate((KEY, SeriesKey(8, "next"), KEY), start=1):
            detector.send(*series_of(range(3 + number), 3 + number, key), SeriesEnd(key))
            deadline = time.monotonic() + TIMEOUT_S
            while len(run.told) < number and time.monotonic() < deadline:
                time.sleep(0.01)
        summary = run.stop()
    names = ["run.nxs", "run-2.nxs", "run-3.nxs"]
    assert [Path(name).name for name in summary["paths"]] == names
    assert [(s["series_id"], s["recorded"], s["lost"]) for s in summary["series"]] == [
        (7, 4, 0), (8, 5, 0), (7, 6, 0)
    ]  # fmt: skip
    assert (summary["recorded"], summary["lost"], summary["strays"], summary["n_series"]) == (15, 0, 0, 3)
    assert summary["ended_by"] == "stopped on request"
    lines = zip((7, 8, 7), (4, 5, 6), names, strict=True)
    assert run.told == [f"series {number}: {n} frames in {tmp_path / name}" for number, n, name in lines]
    for name in names:
        assert check_file(tmp_path / name).ok


def test_what_comes_late_of_a_series_that_is_over_opens_no_other(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    with running(path, continuous=True, end_timeout_s=TIMEOUT_S) as (detector, run, _):
        detector.send(*series_of(range(4), 4))
        detector.send(frame_of(3), SeriesEnd(KEY))
        detector.send(*series_of(range(2), 2, SeriesKey(8, "next")))
        wait_for_rows(tmp_path / "run-2.nxs", "entry/ledger/frame_id", 2)
        summary = run.stop()
    assert (summary["n_series"], summary["recorded"]) == (2, 6)
    assert summary["strays"] + summary["duplicates"] == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["run-2.nxs", "run.nxs"]


def test_results_find_their_series_though_two_have_the_same_name(tmp_path: Path) -> None:
    """The second one's frames wait until the first one's results are there."""
    path, second = tmp_path / "run.nxs", tmp_path / "run-2.nxs"
    with running(path, AnalysisConfig(queue_frames=8), continuous=True) as (detector, run, make_analyser):
        detector.send(*series_of(range(3), 3), *series_of(range(3), 3))
        analyser = make_analyser()
        first = [analyser.next_task() for _ in range(3)]
        wait_for_rows(path, "entry/ledger/frame_id", 3)
        assert not analyser.has_task(300)
        for task in first:
            analyser.answer(result_of(task))
        later = [analyser.next_task() for _ in range(3)]
        for task in later:
            analyser.answer(result_of(task))
        wait_for_rows(second, "entry/summary/frame_id", 3)
        summary = run.stop()
    assert (summary["analysed"], summary["analysis_lost"], summary["n_series"]) == (6, 0, 2)
    assert [{task.series for task in tasks} for tasks in (first, later)] == [{1}, {2}], "drift begins anew"
    for file in (path, second):
        assert check_file(file).ok


@pytest.mark.parametrize("n_planned", [5, 500])
def test_a_stop_does_not_hide_what_a_series_before_it_has_lost(tmp_path: Path, n_planned: int) -> None:
    """It was over, and only its results were still to come; beyond the largest gap, frames have no row."""
    path, second, n_lost = tmp_path / "run.nxs", tmp_path / "run-2.nxs", n_planned - 3
    limits = {"continuous": True, "max_gap_frames": 10}
    with running(path, AnalysisConfig(), **limits) as (detector, run, make_analyser):
        analyser = make_analyser()
        detector.send(*series_of(range(3), n_planned), *series_of(range(2), 9, SeriesKey(8, "next"))[:-1])
        analyser.answer(result_of(analyser.next_task()))
        wait_for_rows(second, "entry/ledger/frame_id", 2)
        summary = run.stop()
    found = [(s["planned"], s["missing"], s["lost"]) for s in summary["series"]]
    assert found == [(n_planned, n_lost, n_lost), (9, 0, 0)]
    assert (summary["recorded"], summary["analysed"], summary["skipped"]) == (5, 1, 4)
    reports = [check_file(file) for file in (path, second)]
    assert [(r.state, r.missing, r.lost, r.problems) for r in reports] == [
        ("stopped", n_lost, n_lost, ()), ("stopped", 0, 0, ())
    ]  # fmt: skip


def test_losses_of_one_series_are_no_change_in_the_next(tmp_path: Path) -> None:
    path, second = tmp_path / "run.nxs", tmp_path / "run-2.nxs"
    rule = TriggerConfig(name="loss", when="lost", change=1.0, rearm_s=0.0)
    with running(path, trigger=(rule,), continuous=True) as (detector, run, _):
        for file_path, key, ids in ((path, KEY, [0, 2, 3]), (second, SeriesKey(8, "next"), [0, 1, 2, 3])):
            detector.send(*series_of(ids, 4, key)[:-1])
            wait_for_rows(file_path, "entry/ledger/frame_id", 4)
            time.sleep(0.1)  # ingest looks at losses every few milliseconds
        run.stop()
    notes = []
    for file_path in (path, second):
        with h5py.File(file_path) as file:
            notes.append(file["entry/process/notes/text"][:].tolist())
    assert notes == [[b"loss: lost went from 0 to 1"], []]


def test_silence_ends_a_continuous_run_where_it_is_limited(tmp_path: Path) -> None:
    with running(tmp_path / "run.nxs", continuous=True, idle_timeout_s=0.5) as (detector, run, _):
        detector.send(*series_of(range(3), 3))
        summary = run.finish()
    assert (summary["ended_by"], summary["recorded"], summary["lost"]) == ("silence for 0.5 s", 3, 0)
    assert [series["ended_by"] for series in summary["series"]] == ["end message"]
