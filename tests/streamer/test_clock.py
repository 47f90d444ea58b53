"""The run's clock."""

import time

import pytest

from streamer.clock import RunClock


def test_clock_agrees_with_the_wall_clock_and_ignores_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = RunClock.start()
    assert clock.now() == pytest.approx(time.time(), abs=0.5)
    before = clock.now()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert 0 <= clock.now() - before < 5.0
