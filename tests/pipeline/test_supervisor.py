"""Whole runs with real processes: sender, ingest, analyser (null backend), and what goes wrong among them."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import msgspec
import psutil
import pytest

from pipeline.plan import Companion, RunOutcome, RunPlan
from pipeline.report import format_summary, summarise
from pipeline.supervisor import supervise
from streamer.check import check_file, repair
from streamer.config import AnalysisConfig, IngestConfig, RecordConfig, RunConfig, SourceConfig
from streamer.errors import AtomstreamError, SourceUnreachableError, UsageError, WorkerError
from streamer.records import FrameStatus
from tests.waiting import wait_until

from .run_parts import (
    analyser_that_takes_its_time,
    ingest_that_closes_slowly,
    ingest_whose_source_fails,
    send_and_fail,
    send_frames,
    window_closed_after,
    window_closed_on,
    window_that_crashes,
)

ENDLESS = 1_000_000


def plan_of(out: Path, sender: Companion | None, **more: Any) -> RunPlan:
    analysis = more.pop("analysis", AnalysisConfig(backend="null"))
    config = RunConfig(
        record=RecordConfig(path=str(out)), analysis=analysis, ingest=IngestConfig(result_timeout_s=10.0)
    )
    return RunPlan(config=config, say=more.pop("say", lambda text: None), sender=sender, **more)


def frames(n_frames: int, rate_hz: float = 100.0) -> Companion:
    return Companion(send_frames, (n_frames, rate_hz))


@contextmanager
def meanwhile(action: Callable[[], None]) -> Iterator[None]:
    """Do something in a thread while the run goes on in this one; its error is raised here."""
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            action()
        except BaseException as error:
            errors.append(error)
            signal.raise_signal(signal.SIGINT)  # or the run would never end

    thread = threading.Thread(target=guarded)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if errors:
        raise errors[0]


def processes() -> list[psutil.Process]:
    """All processes of the run."""
    return [child for child in psutil.Process().children() if is_worker(child)]


def process(name: str) -> psutil.Process:
    """One of the run's processes: sender, ingest, analyser-1, follower-1, …"""
    started = {child.name: child.pid for child in multiprocessing.active_children()}
    return psutil.Process(started[f"atomstream-{name}"])


def is_worker(child: psutil.Process) -> bool:
    try:
        return "spawn_main" in " ".join(child.cmdline())
    except psutil.Error:
        return False  # it has just ended


def recorded(path: Path) -> int:
    """How many frames a concurrent reader sees."""
    try:
        with h5py.File(path, "r", libver="latest", swmr=True) as file:
            return int(file["entry/stack/intensity"].shape[0])
    except OSError:
        return 0


def expect_closed(path: Path, outcome: RunOutcome, state: str) -> dict[int, int]:
    """Check that a file is closed and whole; returns how many ledger rows have each status."""
    with h5py.File(path, "r") as file:
        n_recorded = outcome.ingest["recorded"]
        assert file["entry/process/state"][()].decode() == state
        assert file["entry/stack/intensity"].shape == (n_recorded, 64, 64)
        status = file["entry/ledger/status"][:].tolist()
        assert sum(file["entry/ledger/stack_row"][:] >= 0) == n_recorded
    return {value: status.count(value) for value in set(status)}


def test_a_run_records_and_analyses_every_frame(tmp_path: Path) -> None:
    out = tmp_path / "run.nxs"
    outcome = supervise(plan_of(out, frames(150)))
    summary = summarise("demo", outcome)
    assert summary["ok"], summary["problems"]
    counts = [summary[name] for name in ("sent", "received", "recorded", "analysed", "skipped", "missing")]
    assert counts == [150, 150, 150, 150, 0, 0]
    assert summary["backend"] == "null"
    assert summary["files"] == [str(out)]
    assert 0 < summary["latency_p50_ms"] <= summary["latency_p99_ms"] <= summary["latency_p999_ms"]
    assert all(summary["peak_rss_mib"][name] > 10 for name in ("sender", "ingest", "analyser-1"))
    assert expect_closed(out, outcome, "complete") == {FrameStatus.ANALYSED: 150}
    page = format_summary(summary)
    assert "sent 150   received 150   recorded 150   analysed 150   skipped 0" in page
    assert "nothing was lost" in page


def test_analysers_that_end_before_ingest_has_closed_its_file_are_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.supervisor.run_ingest", ingest_that_closes_slowly)
    outcome = supervise(plan_of(tmp_path / "run.nxs", frames(20)))
    summary = summarise("demo", outcome)
    assert summary["ok"], summary["problems"]
    assert [analyser["over"] for analyser in outcome.analysers] == ["end message"]


def test_recording_alone_needs_no_analyser(tmp_path: Path) -> None:
    out = tmp_path / "run.nxs"
    outcome = supervise(plan_of(out, frames(80), analysis=AnalysisConfig(enabled=False)))
    summary = summarise("record", outcome)
    assert summary["ok"]
    assert summary["recorded"] == 80
    assert "analysed" not in format_summary(summary)
    assert expect_closed(out, outcome, "complete") == {FrameStatus.RECORDED: 80}


def test_two_analysers_share_the_frames(tmp_path: Path) -> None:
    out = tmp_path / "run.nxs"
    outcome = supervise(plan_of(out, frames(150), analysis=AnalysisConfig(backend="null", analysers=2)))
    assert summarise("demo", outcome)["analysed"] == 150
    assert len(outcome.analysers) == 2


def test_ctrl_c_ends_the_run_with_a_closed_file(tmp_path: Path) -> None:
    out = tmp_path / "run.nxs"

    def interrupt() -> None:
        wait_until(lambda: recorded(out) > 10)
        os.kill(os.getpid(), signal.SIGINT)

    with meanwhile(interrupt):
        outcome = supervise(plan_of(out, frames(ENDLESS)))
    summary = summarise("demo", outcome)
    assert summary["ended_early"]
    assert summary["ok"], summary["problems"]
    assert summary["recorded"] > 10
    expect_closed(out, outcome, "stopped")


def test_a_killed_analyser_is_named_and_replaced(tmp_path: Path) -> None:
    out, said = tmp_path / "run.nxs", list[str]()

    def kill_the_analyser() -> None:
        wait_until(lambda: recorded(out) > 10)
        process("analyser-1").kill()

    with meanwhile(kill_the_analyser):
        outcome = supervise(plan_of(out, frames(600), say=said.append))
    summary = summarise("demo", outcome)
    assert summary["recorded"] == 600
    assert (summary["analysed"], summary["analysis_lost"]) == (600, 0), "another has taken what it had"
    assert not summary["ok"]
    assert summary["problems"][0].startswith("analyser-1: the process ended unexpectedly")
    assert "starting another analyser in its place" in said
    assert expect_closed(out, outcome, "complete")[FrameStatus.ANALYSED] == summary["analysed"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a process can answer")
def test_an_analyser_that_was_told_to_go_is_replaced_too(tmp_path: Path) -> None:
    out = tmp_path / "run.nxs"

    def terminate_the_analyser() -> None:
        wait_until(lambda: recorded(out) > 10)
        process("analyser-1").terminate()

    with meanwhile(terminate_the_analyser):
        outcome = supervise(plan_of(out, frames(600)))
    summary = summarise("demo", outcome)
    assert (summary["recorded"], summary["analysed"]) == (600, 600)
    assert summary["problems"][0].startswith("analyser-1: ended before the run did")


def test_the_recording_outlives_all_analysers(tmp_path: Path) -> None:
    out = tmp_path / "run.nxs"

    def kill_every_analyser() -> None:
        wait_until(lambda: recorded(out) > 10)
        process("analyser-1").kill()
        n_before = recorded(out)
        wait_until(lambda: recorded(out) > n_before + 100)  # so another one answers
        process("analyser-2").kill()

    with meanwhile(kill_every_analyser):
        outcome = supervise(plan_of(out, frames(600)))
    summary = summarise("demo", outcome)
    assert summary["recorded"] == 600
    assert summary["analysed"] + summary["analysis_lost"] == 600
    assert "no analyser is left: frames are recorded, but no longer analysed" in summary["problems"]
    with h5py.File(out, "r") as file:
        assert file["entry/ledger/reason"][599].decode() == "no analyser is left"
    expect_closed(out, outcome, "complete")


def test_a_killed_ingest_is_an_error_and_its_file_can_be_mended(tmp_path: Path) -> None:
    out = tmp_path / "run.nxs"

    def kill_ingest() -> None:
        wait_until(lambda: recorded(out) > 10)
        process("ingest").kill()

    with meanwhile(kill_ingest), pytest.raises(WorkerError, match="ingest: the process ended unexpectedly"):
        supervise(plan_of(out, frames(ENDLESS)))
    assert processes() == []
    assert not check_file(out).ok
    assert repair(out).recorded > 10


def test_a_sender_that_fails_leaves_a_closed_file(tmp_path: Path) -> None:
    out = tmp_path / "run.nxs"
    outcome = supervise(plan_of(out, Companion(send_and_fail, (40,))))
    summary = summarise("demo", outcome)
    assert "sender: the detector caught fire" in summary["problems"]
    assert summary["recorded"] == 40
    expect_closed(out, outcome, "stopped")


def test_what_a_sender_has_sent_before_it_failed_is_analysed_however_slowly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.supervisor.run_analyser", analyser_that_takes_its_time)
    monkeypatch.setattr("pipeline.supervisor._DRAIN_S", 1.0)
    analysis = AnalysisConfig(backend="null", queue_frames=1)  # the last frames wait to be taken in
    plan = plan_of(tmp_path / "run.nxs", Companion(send_and_fail, (7,)), analysis=analysis)
    limits = msgspec.structs.replace(plan.config.ingest, result_timeout_s=60.0)
    outcome = supervise(replace(plan, config=msgspec.structs.replace(plan.config, ingest=limits)))
    assert (outcome.ingest["recorded"], outcome.ingest["analysed"]) == (7, 7)


def test_a_source_that_fails_is_named_beside_what_was_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run.nxs"
    monkeypatch.setattr("pipeline.supervisor.run_ingest", ingest_whose_source_fails)
    outcome = supervise(plan_of(out, frames(40)))
    summary = summarise("record", outcome)
    assert summary["problems"] == ["ingest: the source hung up"]
    assert summary["recorded"] == 40
    expect_closed(out, outcome, "complete")


def test_networks_that_are_missing_are_one_clear_error(tmp_path: Path) -> None:
    out = tmp_path / "run.nxs"
    plan = plan_of(out, frames(10), analysis=AnalysisConfig(backend="null", models=str(tmp_path)))
    with pytest.raises(AtomstreamError, match=r"ceria"):
        supervise(plan)
    assert not out.exists()


def test_a_file_that_exists_is_one_clear_error(tmp_path: Path) -> None:
    out = tmp_path / "run.nxs"
    out.write_bytes(b"precious")
    with pytest.raises(UsageError, match=r"run.nxs exists"):
        supervise(plan_of(out, frames(10)))
    assert out.read_bytes() == b"precious"


def test_a_source_that_does_not_answer_starts_nothing(tmp_path: Path) -> None:
    config = RunConfig(source=SourceConfig(address="dectris2://127.0.0.1:1", connect_timeout_s=0.2))
    with pytest.raises(SourceUnreachableError):
        supervise(RunPlan(config=config, say=lambda text: None))
    assert processes() == []


def test_closing_the_window_ends_a_demonstration(tmp_path: Path) -> None:
    window = Companion(window_closed_after, (0.2,))
    plan = plan_of(tmp_path / "run.nxs", frames(ENDLESS), window=window, ends_with_window=True)
    assert supervise(plan).ended_early


def test_a_window_that_stays_is_waited_for_after_the_report(tmp_path: Path) -> None:
    said, sign = list[str](), tmp_path / "close it"

    def report(outcome: RunOutcome) -> None:
        said.append(f"reported, {len(processes())} process left")
        sign.touch()

    window = Companion(window_closed_on, (str(sign),))
    plan = plan_of(tmp_path / "run.nxs", frames(20), window=window, window_stays=True, say=said.append)
    outcome = supervise(plan, report)
    assert said[-2:] == [
        "reported, 1 process left",
        "the run is over: close the window, or press Ctrl-C, to leave",
    ]
    assert not outcome.ended_early


def test_a_window_that_crashes_ends_nothing(tmp_path: Path) -> None:
    said = list[str]()
    plan = plan_of(tmp_path / "run.nxs", frames(100), window=Companion(window_that_crashes), say=said.append)
    summary = summarise("live", supervise(plan))
    assert summary["ok"]
    assert summary["recorded"] == 100
    assert "window: no display; the run goes on" in said
