"""Child processes kept together, and the signals that end a run."""

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pipeline.crew import Crew
from pipeline.signals import StopSignals, children_without_interrupts
from streamer.errors import WorkerError
from streamer.worker import Control, Worker, WorkerState

READY_S = 30.0


def obedient(control: Control, reply: str) -> None:
    """Run until it is asked to stop."""
    control.ready()
    while not control.stopping():
        time.sleep(0.01)
    control.finished({"reply": reply})


def deaf(control: Control) -> None:
    """Never look whether it is asked to stop."""
    control.ready()
    while True:
        time.sleep(0.1)


def reports_its_signals(control: Control) -> None:
    """Say which signals are blocked, and which it ignores."""
    blocked = signal.pthread_sigmask(0, []) if hasattr(signal, "pthread_sigmask") else set()
    ignored = {number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN}
    control.ready(blocked=blocked, ignored=ignored, pid=os.getpid())
    while not control.stopping():
        time.sleep(0.01)
    control.finished({})


def test_all_are_stopped_joined_and_keep_their_summaries() -> None:
    with Crew() as crew:
        workers = [crew.start(f"worker {n}", obedient, f"reply {n}") for n in range(2)]
        for worker in workers:
            worker.wait_ready(READY_S)
    assert [worker.summary["reply"] for worker in workers] == ["reply 0", "reply 1"]
    assert all(worker.state is WorkerState.FINISHED for worker in workers)


def test_an_error_in_the_parent_leaves_no_child_behind() -> None:
    def body() -> None:
        with Crew() as crew:
            started.append(crew.start("worker", obedient, ""))
            started[0].wait_ready(READY_S)
            raise WorkerError("something else failed")

    started: list[Worker] = []
    with pytest.raises(WorkerError, match="something else"):
        body()
    assert started[0].state is WorkerState.FINISHED


def test_one_that_does_not_listen_is_killed_after_the_grace_period() -> None:
    with Crew(grace_s=0.3) as crew:
        worker = crew.start("deaf one", deaf)
        worker.wait_ready(READY_S)
    assert worker.state is WorkerState.FAILED
    assert "killed" in worker.error


def test_each_is_said_to_have_been_waited_for_as_long_as_all() -> None:
    with Crew(grace_s=1.0) as crew:
        workers = [crew.start(f"deaf one {n}", deaf) for n in range(2)]
        for worker in workers:
            worker.wait_ready(READY_S)
    for worker in workers:
        said = re.fullmatch(r"did not end within ([\d.]+) s and was killed", worker.error)
        assert said is not None
        assert float(said[1]) >= 1.0


def test_a_second_interrupt_kills_at_once() -> None:
    def body() -> None:
        with Crew(grace_s=READY_S) as crew:
            crew.start("deaf one", deaf).wait_ready(READY_S)
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        body()
    assert time.monotonic() - began < READY_S


def test_an_interrupt_while_all_are_stopped_leaves_no_child_behind() -> None:
    started: list[Worker] = []

    def interrupted(timeout_s: float) -> None:
        del started[1].join
        raise KeyboardInterrupt

    def body() -> None:
        with Crew(grace_s=READY_S) as crew:
            started.extend([crew.start("obedient one", obedient, ""), crew.start("deaf one", deaf)])
            for worker in started:
                worker.wait_ready(READY_S)
            started[1].join = interrupted  # type: ignore[method-assign]
            crew.stop(READY_S)

    with pytest.raises(KeyboardInterrupt):
        body()
    assert [worker.state for worker in started] == [WorkerState.FINISHED, WorkerState.FAILED]


def test_peak_memory_is_noted_by_name() -> None:
    with Crew() as crew:
        crew.start("worker", obedient, "").wait_ready(READY_S)
        crew.sample_memory()
    assert crew.peak_rss_bytes["worker"] > 2**20


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="signals cannot be blocked on this system")
def test_children_never_see_ctrl_c_and_the_parent_still_does() -> None:
    with Crew() as crew:
        child = crew.start("child", reports_its_signals)
        assert child.wait_ready(READY_S)["blocked"] >= {signal.SIGINT, signal.SIGHUP}
    assert not {signal.SIGINT, signal.SIGHUP} & signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_what_a_terminal_sends_to_all_is_left_to_the_parent() -> None:
    """Also on Windows, where Ctrl-Break would otherwise end a child in the midst of a file."""
    names = ("SIGINT", "SIGBREAK", "SIGHUP")
    with Crew() as crew:
        ignored = crew.start("child", reports_its_signals).wait_ready(READY_S)["ignored"]
    assert ignored >= {getattr(signal, name) for name in names if hasattr(signal, name)}


@contextmanager
def hang_up_handled(by: Any) -> Iterator[None]:
    """So that a terminal's end, which a test makes up, does not end the tests."""
    if not hasattr(signal, "SIGHUP"):
        pytest.skip("this system's terminals do not hang up")
    before = signal.signal(signal.SIGHUP, by)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_terminal_that_is_closed_asks_for_the_end_however_often_it_says_so() -> None:
    with hang_up_handled(lambda number, frame: None), StopSignals() as signals:
        for _ in range(2):
            signal.raise_signal(signal.SIGHUP)
        assert signals.requested


def test_a_closed_terminal_is_nothing_to_who_was_started_to_outlive_it() -> None:
    with hang_up_handled(signal.SIG_IGN), StopSignals() as signals:
        signal.raise_signal(signal.SIGHUP)
        assert not signals.requested


def test_the_first_signal_asks_and_the_second_interrupts() -> None:
    before = signal.getsignal(signal.SIGINT)
    with StopSignals() as signals:
        assert not signals.requested
        signal.raise_signal(signal.SIGINT)
        assert signals.requested
        assert signals.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_while_a_child_starts_is_not_lost() -> None:
    with StopSignals() as signals:
        with children_without_interrupts():
            signal.raise_signal(signal.SIGINT)
        assert signals.requested
