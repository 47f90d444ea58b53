"""What windows cost a run: one `atomstream demo`, as fast as it goes, while windows come and go.

The simulator, the receiver and the analysis (policy wait) take all this machine has, and windows on top of it
are real processes that draw offscreen. How many frames are analysed a second with n windows is compared with
the turns without any before and after, so that what else the machine does hits both.
"""

import contextlib
import multiprocessing
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import zmq

from benchmarks.demonstration import demonstration
from streamer.flag import SharedFlag
from streamer.window_link import STATUS_TOPIC, RunStatus, decode_status

__all__ = ["window_cost"]

TURNS = (0, 1, 0, 4, 0, 1, 0, 4, 0)
STARTED_S = 120.0
WARM_UP_S = 5.0
SETTLE_S = 3.0


@dataclass(frozen=True, slots=True)
class Turn:
    """How fast frames were analysed with `windows` open, and what those did meanwhile."""

    windows: int
    analysed_per_s: float
    shown_per_s: tuple[float, ...] = ()
    cores: float = 0.0


def window_cost(seconds: float, turns: tuple[int, ...] = TURNS) -> dict[str, Any]:
    """Measure each of `turns`, so many windows at once, for `seconds` each."""
    with demonstration("--fps", "0") as address, _statuses(address) as next_status:
        while next_status().analysed < 1:
            pass
        _rate(next_status, WARM_UP_S)
        done = [_turn(address, next_status, n, seconds) for n in turns]
    return {"turns": [_described(turn) for turn in done]} | {
        f"{n}_windows": _compared(done, n) for n in sorted({*turns} - {0})
    }


def _described(turn: Turn) -> dict[str, Any]:
    return {
        "windows": turn.windows,
        "analysed_per_s": round(turn.analysed_per_s, 2),
        "shown_per_s": [round(rate, 1) for rate in turn.shown_per_s],
        "cores_of_windows": round(turn.cores, 2),
    }


def _compared(turns: list[Turn], n: int) -> dict[str, Any]:
    """Compare the turns with `n` windows with the mean of the two beside each."""
    ratios = [
        turn.analysed_per_s / statistics.mean((before.analysed_per_s, after.analysed_per_s))
        for before, turn, after in zip(turns, turns[1:], turns[2:], strict=False)
        if turn.windows == n
    ]
    shown = [rate for turn in turns if turn.windows == n for rate in turn.shown_per_s]
    return {
        "analysis_ratio": round(statistics.mean(ratios), 3),
        "analysis_ratios": [round(ratio, 3) for ratio in ratios],
        "shown_per_s": round(statistics.mean(shown), 1),
    }


def _turn(address: str, next_status: Callable[[], RunStatus], n: int, seconds: float) -> Turn:
    if not n:
        return Turn(0, _rate(next_status, seconds))
    with _windows(address, n) as (processes, finish):
        _rate(next_status, SETTLE_S)
        before = sum(_cpu_s(process.pid) for process in processes)
        rate = _rate(next_status, seconds)
        cores = (sum(_cpu_s(process.pid) for process in processes) - before) / seconds
        return Turn(n, rate, tuple(finish()), cores)


def _rate(next_status: Callable[[], RunStatus], seconds: float) -> float:
    """Return frames analysed a second, by the run's own count and clock."""
    first = last = next_status()
    while last.t - first.t < seconds:
        last = next_status()
    return (last.analysed - first.analysed) / (last.t - first.t)


def _cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


@contextlib.contextmanager
def _statuses(address: str) -> Iterator[Callable[[], RunStatus]]:
    """Subscribe to the run's statuses only; gives a function that waits for one published from now on."""
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.RCVTIMEO, round(1000 * STARTED_S))
        socket.subscribe(STATUS_TOPIC)
        socket.connect(address)

        def next_status() -> RunStatus:
            while socket.poll(0):
                socket.recv_multipart()  # of the past: nobody has asked for a while
            return decode_status([memoryview(part) for part in socket.recv_multipart()])

        yield next_status


@contextlib.contextmanager
def _windows(address: str, n: int) -> Iterator[tuple[list[Any], Any]]:
    """Open `n` windows in processes of their own; gives them, and a function that closes and asks them."""
    context = multiprocessing.get_context("spawn")
    stop = SharedFlag()
    pipes, processes = [], []
    for _ in range(n):
        ours, theirs = context.Pipe()
        process = context.Process(target=_show, args=(address, theirs, stop))
        process.start()
        pipes.append(ours)
        processes.append(process)
    for pipe in pipes:
        pipe.recv()  # it is open

    def finish() -> list[float]:
        stop.set()
        return [float(pipe.recv()) for pipe in pipes]

    try:
        yield processes, finish
    finally:
        stop.set()
        for process in processes:
            process.join(30)


def _show(address: str, pipe: Connection, stop: SharedFlag) -> None:
    """Show the run as `gui.app.run` does, and tell in the end how many pictures were drawn a second."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from PySide6.QtCore import QTimer

    from gui.app import application, give_way, open_window

    app = application()
    rates: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        window = open_window(address, Path(folder) / "window.ini")
        window.first_shown.connect(give_way)

        def look() -> None:
            rates.append(window.session.scene(window.state.value).shown_per_s)
            if len(rates) == 1:
                pipe.send("open")
            if stop.is_set():
                pipe.send(statistics.mean(rates[len(rates) // 3 :]))
                app.closeAllWindows()

        timer = QTimer()
        timer.timeout.connect(look)
        timer.start(500)
        app.exec()
        timer.stop()
