"""Whether a window that runs on grows: its memory, its widgets, its graphics items, its Python objects.

A real window is fed 25 pictures a second over a real socket while somebody keeps choosing columns and
regions, looking back, zooming and changing settings; it is counted after each round of that. What it
remembers is limited so that the limits are reached soon after the start; before, all is done eighty times
without a pause. Growth is the median of the last fifth of the run against that of the second. The test suite
holds a short version (`tests/gui/test_window.py`).

Run it: ``python -m benchmarks.window_leak --minutes 10``.
"""

import argparse
import gc
import itertools
import multiprocessing
import os
import statistics
import sys
from collections.abc import Callable, Iterator
from typing import Any

import psutil

from benchmarks.common import describe_machine, write_results
from benchmarks.draw_rate import Case, publish
from streamer.flag import SharedFlag

CASE = Case(512, 512)
SENT_PER_S = 25.0
ACT_S = 0.4
WARM_UP_ROUNDS = 80  # caches of fonts and of the allocator fill until something has been made a hundred times
MOST_GROWTH = 0.05
FIFTHS = 5


def main() -> int:
    """Run, report, store; the status is 1 if something grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    args = parser.parse_args()
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    machine = describe_machine()
    samples = watch(60 * args.minutes)
    growth = {name: _growth([sample[name] for sample in samples]) for name in samples[0]}
    results = {"machine": machine, "minutes": args.minutes, "pictures_px": CASE.picture_px, **growth}
    results["memory_MiB"] = [round(sample["memory"] / 2**20, 1) for sample in samples]
    for name, values in growth.items():
        print(f"{name:10s} {values['early']:>14,.0f} → {values['late']:>14,.0f}   {values['growth']:+.2%}")
    grown = [n for n, values in growth.items() if n != "shown" and values["growth"] > MOST_GROWTH]
    print("nothing grew" if not grown else f"grew by more than {MOST_GROWTH:.0%}: {', '.join(grown)}")
    print(write_results("window_leak", results | {"grew": grown}))
    return bool(grown)


def watch(seconds: float) -> list[dict[str, float]]:
    """Run a window for so long; returns what was counted after each round of acts."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    stop = SharedFlag()
    publisher = context.Process(target=publish, args=(theirs, CASE, stop, SENT_PER_S))
    publisher.start()
    try:
        return _run(ours.recv(), seconds)
    finally:
        stop.set()
        publisher.join(10)


def _run(address: str, seconds: float) -> list[dict[str, float]]:
    from PySide6.QtCore import QTimer

    from gui.app import application
    from gui.feed import Feed
    from gui.history import History, Limits
    from gui.session import LiveSession
    from gui.settings import Model, Settings
    from gui.window import AnalysisWindow

    app = application()
    limits = Limits(rows=1000, column_bytes=4 * 2**20, picture_bytes=32 * 2**20)
    window = AnalysisWindow(LiveSession(Feed(address), History(limits)), Model(Settings()))
    window.resize(1440, 900)
    window.show()
    samples: list[dict[str, float]] = []
    everything = list(_acts(window))
    rounds = itertools.count()
    while next(rounds) < WARM_UP_ROUNDS or len(window.session.history.rows) < limits.rows // 2:
        _go_through(everything, app)
    acts = itertools.cycle([*everything, lambda: samples.append(_sample(window))])
    timers = []
    for interval_s, what in ((ACT_S, lambda: next(acts)()), (seconds, window.close)):
        timers.append(timer := QTimer())
        timer.timeout.connect(what)
        timer.start(round(1000 * interval_s))
    app.exec()
    for timer in timers:
        timer.stop()
    return samples


def _go_through(acts: list[Callable[[], None]], app: Any) -> None:
    from PySide6.QtCore import QEvent

    for act in acts:
        act()
        app.processEvents()
        app.sendPostedEvents(None, QEvent.Type.DeferredDelete)  # outside exec() nobody else does


def _acts(window: Any) -> Iterator[Callable[[], None]]:
    """List what a person does, ending with nothing chosen, live."""
    from gui.roi_item import polygon_corners, rectangle_corners

    commands = window.commands

    def choose() -> None:
        view = window.session.history.newest
        if view is not None:
            commands.select(float(view.columns["y"][7]), float(view.columns["x"][7]))

    yield from (
        choose, lambda: commands.propose_roi(rectangle_corners), commands.leap_back, commands.step_back,
        commands.go_live, commands.zoom_in, commands.next_counts, commands.show_particle,
        lambda: commands.propose_roi(polygon_corners), commands.next_backdrop, commands.next_contrast,
        commands.next_average, commands.toggle_theme, commands.next_colour_map, window.toggle_help,
        window.toggle_help, commands.toggle_columns, commands.toggle_columns, commands.next_time_window,
        commands.clear_selection,
    )  # fmt: skip


def _sample(window: Any) -> dict[str, float]:
    from PySide6.QtWidgets import QWidget

    gc.collect()
    panels = window.panels
    scenes = [panel.canvas.scene() for panel in (*panels.picture_panels, *panels.timeline.rows)]
    return {
        "memory": psutil.Process().memory_info().rss,
        "widgets": len(window.findChildren(QWidget)),
        "items": sum(len(scene.items()) for scene in scenes),
        "objects": len(gc.get_objects()),
        "shown": window.session.scene(window.state.value).shown_per_s,
    }


def _growth(values: list[float]) -> dict[str, float]:
    fifth = max(1, len(values) // FIFTHS)
    early, late = statistics.median(values[fifth : 2 * fifth]), statistics.median(values[-fifth:])
    return {"early": early, "late": late, "growth": round((late - early) / early, 4)}


if __name__ == "__main__":
    sys.exit(main())
