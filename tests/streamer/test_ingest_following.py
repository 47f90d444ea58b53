"""Results of several analysers, sorted by ingest and finished by a follower: stand-ins on real sockets."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from streamer.check import check_file
from streamer.config import AnalysisConfig
from streamer.joining import Follow, Over
from streamer.link import Task
from streamer.records import AnalyserInfo, FrameFailure, FrameStatus, Policy
from streamer.unfollowed import Seen, Unfollowed, decode_unfollowed, encode_unfollowed
from tests.streamer.ingest_run import (
    Analyser,
    Detector,
    IngestRun,
    result_of,
    running,
    series_of,
    wait_for_line,
    wait_for_rows,
)
from tests.streamer.test_ingest_analysis import wait_until_joined

WAIT = AnalysisConfig(policy=Policy.WAIT, queue_frames=4, analysers=2)
NETWORKS = {"a.onnx": "ab" * 32}
FOLLOWED_PX = 5.0  # what the stand-in says of the drift along x


class Follower(Analyser):
    """The following end: takes unfollowed results, and finishes them as the test wishes."""

    def __init__(self, context: Any, address: str, name: str, networks: dict[str, str] = NETWORKS) -> None:
        super().__init__(context, address, name, join=Follow(name, networks))
        self._found: list[Unfollowed] = []

    def _take_parts(self, parts: list[memoryview]) -> None:
        self._found.append(decode_unfollowed(parts))

    def has_one(self, wait_ms: int = 20_000) -> bool:
        while not self._found and self._read(wait_ms):
            pass
        return bool(self._found)

    def next_id(self) -> int:
        """Take the next result, and leave it unanswered."""
        assert self.has_one(), "nothing to be followed came"
        return self._found.pop(0).result.frame_id

    def follow(self, n: int = 1) -> list[int]:
        """Finish the next results; return their frames' ids."""
        ids = []
        for _ in range(n):
            assert self.has_one(), "nothing to be followed came"
            found = self._found.pop(0)
            ids.append(found.result.frame_id)
            np.testing.assert_array_equal(found.binned, ids[-1])
            self.answer(replace(found.result, drift_px=(float(ids[-1]), FOLLOWED_PX)))
        return ids


def unfollowed(task: Task) -> list[Any]:
    """Make what an analyser answers that works beside others."""
    result = result_of(task, drift_px=(np.nan, np.nan))
    counts = np.ones((len(result.columns), 4), np.float32) / 4
    seen = Seen(counts, task.frame.header.shape, 0.25, 0.5)
    return encode_unfollowed(
        Unfollowed(result, seen, (24, 32), np.full((4, 6), task.frame.header.frame_id, np.float32))
    )


@contextmanager
def sorted_run(
    path: Path, analysis: AnalysisConfig = WAIT, **limits: Any
) -> Iterator[tuple[Detector, IngestRun, Any, Follower, tuple[Analyser, Analyser]]]:
    """Start ingest, a follower and two analysers that have joined."""
    with running(path, analysis, **limits) as (detector, run, analyser):
        follower = analyser(kind=Follower, name="follower-1")
        ends = (analyser(name="analyser-1"), analyser(name="analyser-2"))
        for end in (follower, *ends):
            wait_until_joined(end)
        yield detector, run, analyser, follower, ends


def tasks_of(ends: tuple[Analyser, ...], n: int) -> dict[int, tuple[Analyser, Task]]:
    """Wait until analysers have so many tasks in all; return who has which frame."""
    tasks: dict[int, tuple[Analyser, Task]] = {}
    for _ in range(1000):
        for end in ends:
            while end.has_task(5):
                task = end.next_task()
                tasks[task.frame.header.frame_id] = (end, task)
        if len(tasks) >= n:
            return tasks
    raise AssertionError(f"only {sorted(tasks)} came")


def answer(tasks: dict[int, tuple[Analyser, Task]], *frame_ids: int) -> None:
    for frame_id in frame_ids:
        end, task = tasks[frame_id]
        end.send(unfollowed(task))


def drift_x(path: Path) -> dict[int, float]:
    """Return by frame id, in the order of the rows, what the file says of the drift along x."""
    with h5py.File(path) as file:
        ids, drift = (file[f"entry/summary/{name}"][:] for name in ("frame_id", "drift"))
    return dict(zip(ids.tolist(), drift[:, 1].tolist(), strict=True))


def test_results_are_followed_in_the_order_of_their_frames(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    with sorted_run(path) as (detector, run, _, follower, ends):
        detector.send(*series_of(range(4), 4))
        tasks = tasks_of(ends, 4)
        answer(tasks, 3, 1)
        assert not follower.has_one(50)
        answer(tasks, 0)
        assert follower.follow(2) == [0, 1]
        answer(tasks, 2)
        assert follower.follow(2) == [2, 3]
        summary = run.finish()
        assert follower.hears(Over).reason == "end message"
    assert (summary["analysed"], summary["lost"]) == (4, 0)
    assert drift_x(path) == dict.fromkeys(range(4), FOLLOWED_PX)
    assert list(drift_x(path)) == [0, 1, 2, 3]
    assert check_file(path).ok


def test_a_frame_that_fails_or_is_answered_whole_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    with sorted_run(path) as (detector, run, _, follower, ends):
        detector.send(*series_of(range(3), 3))
        tasks = tasks_of(ends, 3)
        answer(tasks, 2)
        end, task = tasks[0]
        end.answer(FrameFailure.of(task.frame.header, "broken"))
        end, task = tasks[1]
        end.answer(result_of(task))  # of an engine that has nothing to be followed
        assert follower.follow() == [2]
        summary = run.finish()
    assert (summary["analysed"], summary["damaged"]) == (2, 1)
    assert drift_x(path) == {1: -1.0, 2: FOLLOWED_PX}


def test_the_order_waits_for_whoever_does_a_dead_analysers_frame(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    scant = AnalysisConfig(policy=Policy.WAIT, queue_frames=1, analysers=2)  # two frames for each
    with sorted_run(path, scant) as (detector, run, _, follower, ends):
        detector.send(*series_of(range(4), 4))
        tasks = tasks_of(ends, 4)
        dead = tasks[0][0]
        (other,) = (end for end in ends if end is not dead)
        answer(tasks, *(n for n, (end, _) in tasks.items() if end is other))
        dead.report_loss("it died", dead.name)
        again = tasks_of((other,), 2)  # though all that the run may hold waits to be followed
        assert set(again) == {n for n, (end, _) in tasks.items() if end is dead}
        answer(again, *again)
        assert follower.follow(4) == [0, 1, 2, 3]
        summary = run.finish()
    assert (summary["analysed"], summary["lost"]) == (4, 0)


def test_what_a_dead_follower_had_is_recorded_as_it_is_until_another_comes(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    *messages, last = series_of(range(7), 7)
    with sorted_run(path) as (detector, run, analyser, follower, ends):
        detector.send(*messages[:4])  # the start, and frames 0 to 2
        answer(tasks_of(ends, 3), 0, 1, 2)
        assert follower.follow() == [0]
        assert follower.next_id() == 1
        follower.report_loss("follower-1 died", "follower-1")
        wait_for_line(path, "follower-1 died: results are recorded without drift and tracks")
        wait_for_rows(path, "entry/summary/frame_id", 3)
        detector.send(*messages[4:6])
        answer(tasks_of(ends, 2), 3, 4)
        wait_for_rows(path, "entry/summary/frame_id", 5)
        second = analyser(kind=Follower, name="follower-2")
        wait_until_joined(second)
        detector.send(*messages[6:], last)
        answer(tasks_of(ends, 2), 5, 6)
        assert second.follow(2) == [5, 6]
        summary = run.finish()
    assert (summary["analysed"], summary["lost"]) == (7, 0)
    followed = drift_x(path)
    assert list(followed) == list(range(7))
    assert [n for n, x in followed.items() if x == FOLLOWED_PX] == [0, 5, 6]
    with h5py.File(path) as file:
        assert set(file["entry/ledger/status"][:].tolist()) == {FrameStatus.ANALYSED}


def test_results_that_wait_count_as_handed_on(tmp_path: Path) -> None:
    with sorted_run(tmp_path / "run.nxs") as (detector, run, _, follower, ends):
        detector.send(*series_of(range(12), 12))
        tasks = tasks_of(ends, 4)
        answer(tasks, 1, 2, 3)
        assert not any(end.has_task(50) for end in ends), "four of twelve are out, and none is done"
        answer(tasks, 0)
        follower.has_one()
        assert not any(end.has_task(50) for end in ends), "nothing is followed yet"
        assert follower.follow(4) == [0, 1, 2, 3]
        for first in (4, 8):
            answer(tasks_of(ends, 4), *range(first, first + 4))
            assert follower.follow(4) == list(range(first, first + 4))
        assert run.finish()["analysed"] == 12


def test_under_latest_a_frame_is_skipped_for_which_results_that_wait_leave_no_room(tmp_path: Path) -> None:
    latest = AnalysisConfig(policy=Policy.LATEST, analysers=2)
    with sorted_run(tmp_path / "run.nxs", latest) as (detector, run, _, follower, ends):
        *messages, last = series_of(range(6), 6)
        detector.send(*messages[:5])
        tasks = tasks_of(ends, 4)
        answer(tasks, 0, 1, 2, 3)
        follower.has_one()
        detector.send(*messages[5:], last)  # frames 4 and 5
        wait_for_rows(tmp_path / "run.nxs", "entry/ledger/frame_id", 6)
        assert follower.follow(4) == [0, 1, 2, 3]
        summary = run.finish()
    assert (summary["analysed"], summary["skipped"], summary["lost"]) == (4, 2, 0)


def test_frames_of_an_analyser_that_hangs_are_done_by_another_and_it_may_come_back(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    *messages, last = series_of(range(8), 8)
    with sorted_run(path, result_timeout_s=1.0) as (detector, run, _, follower, ends):
        detector.send(*messages[:5])  # the start, and frames 0 to 3
        tasks = tasks_of(ends, 4)
        hung = tasks[0][0]
        (other,) = (end for end in ends if end is not hung)
        late = {n for n, (end, _) in tasks.items() if end is hung}
        answer(tasks, *(set(tasks) - late))
        again = tasks_of((other,), len(late))
        assert set(again) == late
        answer(again, *again)
        assert follower.follow(4) == [0, 1, 2, 3]
        answer(tasks, *late)
        wait_for_line(path, f"{hung.name} answers again")
        detector.send(*messages[5:], last)
        more = tasks_of(ends, 4)
        assert {end for end, _ in more.values()} == {*ends}
        answer(more, *more)
        assert follower.follow(4) == [4, 5, 6, 7]
        summary = run.finish()
    assert (summary["analysed"], summary["lost"]) == (8, 0)
    assert drift_x(path) == dict.fromkeys(range(8), FOLLOWED_PX)


def test_a_follower_that_hangs_does_not_hold_the_run_up(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    with sorted_run(path, result_timeout_s=1.0) as (detector, run, _, follower, ends):
        detector.send(*series_of(range(8), 8))
        answer(tasks_of(ends, 4), 0, 1, 2, 3)
        assert follower.follow() == [0]
        answer(tasks_of(ends, 1), 4)
        rest = tasks_of(ends, 3)  # room for all that is left: what the follower holds is recorded
        answer(rest, *rest)
        summary = run.finish()
    assert (summary["analysed"], summary["lost"]) == (8, 0)
    assert [n for n, x in drift_x(path).items() if x == FOLLOWED_PX] == [0]
    assert any("follower-1 has answered nothing for too long" in note for note in summary["notes"])


def test_what_waits_for_an_analyser_that_hangs_is_followed_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    *messages, last = series_of(range(3), 3)
    with sorted_run(path, result_timeout_s=0.3) as (detector, run, _, follower, ends):
        detector.send(*messages)
        answer(tasks_of(ends, 3), 1, 2)
        detector.send(last)
        assert follower.follow(2) == [1, 2]
        summary = run.finish()
    assert (summary["analysed"], summary["analysis_lost"]) == (2, 1)


def test_a_follower_that_hangs_costs_no_result(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    *messages, last = series_of(range(3), 3)
    with sorted_run(path, result_timeout_s=0.3) as (detector, run, _, follower, ends):
        detector.send(*messages)
        answer(tasks_of(ends, 3), 0, 1, 2)
        assert follower.follow() == [0]
        detector.send(last)
        summary = run.finish()
    assert (summary["analysed"], summary["lost"]) == (3, 0)
    assert list(drift_x(path)) == [0, 1, 2]


def test_a_follower_with_other_networks_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    with running(path, WAIT) as (detector, run, make):
        make(kind=Follower, name="follower-1", networks={"a.onnx": "cd" * 32})
        end = make(info=AnalyserInfo("openvino", networks=NETWORKS))
        wait_until_joined(end)
        detector.send(*series_of(range(2), 2))
        answer(tasks_of((end,), 2), 0, 1)
        summary = run.finish()
    assert summary["analysed"] == 2
    assert np.isnan(list(drift_x(path).values())).all()
    assert any("has not the analysers' networks" in note for note in summary["notes"])
