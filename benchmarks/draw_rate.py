"""How fast a window draws: a publisher in a process of its own, a real socket, the real window offscreen.

The pictures are what a run makes of a frame: binned to at most `view.size_px`, 8 bits. Beside the rate stand
the time of one round (take in, resolve, paint; p50, p99) and the share of a core.
"""

import multiprocessing
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import msgspec
import numpy as np
import psutil

from streamer.flag import SharedFlag

__all__ = ["Case", "draw_rate", "publish"]

WINDOW_PX = (1920, 1080)
SENT_PER_S = 30.0
TICK_S = 0.033
SETTLE_S = 2.0


@dataclass(frozen=True, slots=True)
class Case:
    """Frames of `frame_px`² and the pictures of `picture_px`² that windows get of them."""

    frame_px: int
    picture_px: int


def draw_rate(case: Case, seconds: float) -> dict[str, Any]:
    """Show a stream for `seconds` and report how the window kept up."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    stop = SharedFlag()
    publisher = context.Process(target=publish, args=(theirs, case, stop, SENT_PER_S))
    publisher.start()
    try:
        return _measure(ours.recv(), case, seconds)
    finally:
        stop.set()
        publisher.join(10)


def _measure(address: str, case: Case, seconds: float) -> dict[str, Any]:
    from gui.app import application
    from gui.feed import Feed
    from gui.history import History
    from gui.session import LiveSession
    from gui.settings import Model, Settings
    from gui.window import AnalysisWindow

    application().setQuitOnLastWindowClosed(False)
    window = AnalysisWindow(LiveSession(Feed(address), History()), Model(Settings()))
    window.resize(*WINDOW_PX)
    window.show()
    window.stop_timer()
    _run(window, SETTLE_S)
    cpu, begin = psutil.Process().cpu_times(), time.perf_counter()
    rounds_s, shown = _run(window, seconds)
    elapsed, used = time.perf_counter() - begin, psutil.Process().cpu_times()
    newest = window.session.history.newest
    result = {
        "frame_px": case.frame_px,
        "picture_px": case.picture_px,
        "columns": 0 if newest is None else len(newest.columns),
        "window_px": list(WINDOW_PX),
        "sent_per_s": SENT_PER_S,
        "shown_per_s": round(len(set(shown)) / elapsed, 1),
        "round_ms_p50": round(1000 * float(np.percentile(rounds_s, 50)), 1),
        "round_ms_p99": round(1000 * float(np.percentile(rounds_s, 99)), 1),
        "cores_used": round((used.user + used.system - cpu.user - cpu.system) / elapsed, 2),
        "behind_ms": round(window.session.scene(window.state.value).screen_ms[0], 1),
    }
    window.close()
    return result


def _run(window: Any, seconds: float) -> tuple[list[float], list[int]]:
    """Draw and paint at the window's own pace; returns the time of each round [s] and the frame it showed."""
    from gui.app import application

    app = application()
    rounds_s: list[float] = []
    shown: list[int] = []
    end = time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        window.tick()
        app.processEvents()
        rounds_s.append(time.perf_counter() - begin)
        newest = window.session.history.newest
        shown.append(-1 if newest is None else newest.header.frame_id)
        time.sleep(max(0.0, TICK_S - rounds_s[-1]))
    return rounds_s, shown


def publish(pipe: Connection, case: Case, stop: SharedFlag, rate_hz: float) -> None:
    """Publish a few prepared views again and again, each with a new frame id and time."""
    from streamer.window_link import View, encode_view
    from tests.gui.publisher import Particle, Publisher, make_status, make_view

    particle = Particle(size=case.frame_px)
    prepared = [make_view(particle, 11 * k, size=case.picture_px) for k in range(8)]
    with Publisher() as publisher:
        pipe.send(publisher.address)
        publisher.wait_subscriber(60.0)
        start, frame_id = time.perf_counter(), 0
        while not stop.is_set():
            view, now = prepared[frame_id % len(prepared)], time.time()
            header = msgspec.structs.replace(view.header, frame_id=frame_id, t_received=now, t_published=now)
            publisher.send_parts(encode_view(View(header, view.raw, view.denoised, view.columns)))
            if frame_id % 15 == 0:
                publisher.send(make_status(received=frame_id, recorded=frame_id, analysed=frame_id))
            frame_id += 1
            time.sleep(max(0.0, start + frame_id / rate_hz - time.perf_counter()))
