"""How fast the window draws: pictures of 1024² and 2048² pixels, offscreen, over a real socket.

A publisher process sends views as fast as asked; the window runs its own timer. Reported are pictures drawn a
second, the time of one draw (p50, p99), and the share of a core that the window takes.
Run: ``python benchmarks/display.py``.
"""

import argparse
import json
import multiprocessing
import os
import platform
import sys
import time
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import psutil

SIZES = (512, 1024, 2048)
TICK_S = 0.033


def publish(pipe: object, size: int, fps: float, stop: object) -> None:
    """Publish a few prepared views again and again, each with a new frame id and time."""
    import msgspec

    from streamer.link import View, encode_view
    from tests.gui.publisher import Particle, Publisher, make_status, make_view

    particle = Particle(size=size)
    prepared = [make_view(particle, 11 * k, size=size) for k in range(8)]
    with Publisher() as publisher:
        pipe.send(publisher.address)
        publisher.wait_subscriber()
        start = time.perf_counter()
        frame_id = 0
        while not stop.is_set():
            view = prepared[frame_id % len(prepared)]
            header = msgspec.structs.replace(
                view.header, frame_id=frame_id, t_received=time.time(), t_published=time.time()
            )
            publisher.send_parts(encode_view(View(header, view.raw, view.denoised, view.columns)))
            if frame_id % 15 == 0:
                publisher.send(make_status(received=frame_id, recorded=frame_id, analysed=frame_id))
            frame_id += 1
            time.sleep(max(0.0, start + frame_id / fps - time.perf_counter()))


def measure(size: int, fps: float, seconds: float, window_px: tuple[int, int]) -> dict[str, object]:
    """Show a stream for `seconds` and report how the window kept up."""
    from gui.app import application
    from gui.feed import Feed
    from gui.history import History
    from gui.session import LiveSession
    from gui.settings import Model, Settings
    from gui.window import AnalysisWindow

    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    stop = context.Event()
    process = context.Process(target=publish, args=(theirs, size, fps, stop))
    process.start()
    application()
    window = AnalysisWindow(LiveSession(Feed(ours.recv()), History()), Model(Settings()))
    window.resize(*window_px)
    window.show()
    window.stop_timer()
    run_for(window, 2.0)
    cpu, begin = psutil.Process().cpu_times(), time.perf_counter()
    times, shown = run_for(window, seconds)
    elapsed = time.perf_counter() - begin
    used = psutil.Process().cpu_times()
    result = {
        "picture_px": size,
        "window_px": list(window_px),
        "sent_per_s": fps,
        "shown_per_s": round(len(set(shown)) / elapsed, 1),
        "draw_ms_p50": round(1000 * float(np.percentile(times, 50)), 1),
        "draw_ms_p99": round(1000 * float(np.percentile(times, 99)), 1),
        "cores_used": round((used.user + used.system - cpu.user - cpu.system) / elapsed, 2),
        "latency_ms": round(window.session.scene(window.state.value).screen_latency_ms, 1),
    }
    stop.set()
    window.close()
    process.join(10)
    return result


def run_for(window: object, seconds: float) -> tuple[list[float], list[int]]:
    """Draw and paint at the window's own pace; returns the time of each round [s] and the frame it showed."""
    from gui.app import application

    app = application()
    times, shown = [], []
    end = time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        window.tick()
        app.processEvents()
        times.append(time.perf_counter() - begin)
        newest = window.session.history.newest
        shown.append(-1 if newest is None else newest.header.frame_id)
        time.sleep(max(0.0, TICK_S - times[-1]))
    return times, shown


def main() -> None:
    """Measure all sizes, print and store the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "display.json")
    args = parser.parse_args()
    from gui.app import application

    application().setQuitOnLastWindowClosed(False)
    results = [measure(size, args.fps, args.seconds, (1920, 1080)) for size in SIZES]
    for result in results:
        print(result)
    machine = {"platform": platform.platform(), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
    args.out.write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
