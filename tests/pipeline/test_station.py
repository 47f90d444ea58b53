"""The run's clock as an analyser on another machine knows it."""

import pytest

from pipeline.station import RemoteClock

AHEAD_S = 1000.0  # of the run's clock before this machine's counter


def offset_s(clock: RemoteClock, monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr("pipeline.station.time.perf_counter", lambda: 0.0)
    return clock.now()


def ask(clock: RemoteClock, at: float, there_s: float, back_s: float, drifted_s: float = 0.0) -> None:
    """Ask for the time at `at`; the question takes `there_s` to ingest, its answer `back_s` to be heard."""
    clock.take(at, at + there_s + AHEAD_S + drifted_s, at + there_s + back_s)


def test_the_clock_is_set_by_the_first_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = RemoteClock()
    ask(clock, 50.0, 1e-4, 1e-4)
    assert offset_s(clock, monkeypatch) == pytest.approx(AHEAD_S, abs=1e-9)


def test_an_answer_that_is_heard_late_does_not_spoil_it_after_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While a batch is computed nobody listens: half of that time would be the error."""
    clock = RemoteClock()
    ask(clock, 50.0, 1e-4, 1e-4)
    for at in range(55, 255, 5):
        ask(clock, at, 1e-4, 0.1)
    assert offset_s(clock, monkeypatch) == pytest.approx(AHEAD_S, abs=1e-4)


def test_clocks_that_move_apart_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = RemoteClock()
    for at in range(50, 1050, 5):
        back_s = 1e-4 if at % 50 == 0 else 0.1
        ask(clock, at, 1e-4, back_s, drifted_s=2e-5 * at)
    assert offset_s(clock, monkeypatch) == pytest.approx(AHEAD_S + 2e-5 * 1045, abs=1.2e-3)
