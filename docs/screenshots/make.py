"""Make the screenshots of the documentation: the real window, drawn offscreen, on a real `atomstream demo`.

The demonstration films, records and analyses a simulated particle with the shipped networks; several windows
look at it at once, one for each picture. A second one loses two frames. The picture of a recording shows the
file that the first has left. Takes three minutes.

Run: ``make screenshots``, or ``python docs/screenshots/make.py [--only NAME] [--out FOLDER]``.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from PySide6.QtCore import QCoreApplication, QEvent

from benchmarks.demonstration import demonstration
from gui.app import application
from gui.feed import Feed
from gui.file_session import FileSession
from gui.history import History
from gui.roi_item import rectangle_corners
from gui.session import LiveSession
from gui.settings import CountsFrom, Model, Region, Settings, ThemeName
from gui.window import AnalysisWindow

DARK, LIGHT = Settings(), Settings(theme=ThemeName.LIGHT)
FUSED = Settings(counts=CountsFrom.FUSED)
LIVE, LOSS = ("--fps", "12"), ("--fps", "12", "--fault", "drop@61,corrupt@110")
ENOUGH_FRAMES = {LIVE: 420, LOSS: 160}
PATIENCE_S = 150.0
KNOWN_AFTER_S = 10.0  # of a series; before, many fused counts are settling
SCALE = "QT_SCALE_FACTOR"
Prepare = Callable[[AnalysisWindow], None]


def as_it_is(window: AnalysisWindow) -> None:
    """Leave the window as it opens."""


def closer_look(window: AnalysisWindow) -> None:
    """Choose a region, and a column that has gained or lost atoms."""
    window.commands.propose_roi(rectangle_corners)
    settle([window], 0.4)
    view = window.session.history.newest
    if view is not None:
        changed = changed_tracks(window)
        column = next((c for c in view.columns if c["track_id"] in changed), view.columns[0])
        window.commands.select(float(column["y"]), float(column["x"]))


def changed_tracks(window: AnalysisWindow) -> set[int]:
    """Return the columns whose fused count has become another one, neither of them none."""
    counts: dict[int, set[int]] = defaultdict(set)
    history = window.session.history
    for _, columns in history.columns(history.t_first + KNOWN_AFTER_S):
        for track, count in zip(columns["track_id"].tolist(), columns["fused_count"].tolist(), strict=True):
            counts[track].add(count)
    return {track for track, seen in counts.items() if len(seen - {0}) > 1}


def zoomed_past(window: AnalysisWindow) -> None:
    """Look back, zoomed in, with the power spectrum."""
    closer_look(window)
    settle([window], 0.3)
    history = window.session.history
    window.commands.show_region(Region(290.0, 250.0, 150.0))
    window.commands.go_to(history.t_first + 0.6 * float(history.rows["t"][-1] - history.t_first))
    window.panels.tabs.setCurrentIndex(2)


def show_help(window: AnalysisWindow) -> None:
    """Open the list of keys."""
    window.toggle_help()


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture of a window on a demonstration with these options."""

    size: tuple[int, int]
    settings: Settings = DARK
    prepare: Prepare = as_it_is
    run: tuple[str, ...] = LIVE


SHOTS = {
    "live-1280x800": Shot((1280, 800)),
    "live-1920x1080": Shot((1920, 1080), prepare=closer_look),
    "live-2560x1440": Shot((2560, 1440), FUSED, closer_look),
    "light-1280x800": Shot((1280, 800), LIGHT, closer_look),
    "past-1280x800": Shot((1280, 800), DARK, zoomed_past),
    "help-1280x800": Shot((1280, 800), DARK, show_help),
    "loss-1280x800": Shot((1280, 800), run=LOSS),
    "high-dpi-1280x800": Shot((1280, 800), FUSED, closer_look),  # at twice the resolution
}
RECORDING = "recording-1440x900"


def shoot_live(names: list[str], run: tuple[str, ...], recording: Path, out: Path) -> None:
    """Watch one demonstration through a window for each picture, and save them."""
    with demonstration(*run, "--maps", "every=1", out=recording) as address:
        windows = {name: open_window(address, SHOTS[name]) for name in names}
        listen(list(windows.values()), ENOUGH_FRAMES[run])
        for name in names:
            settle(list(windows.values()), 0.5)
            SHOTS[name].prepare(windows[name])
            settle(list(windows.values()), 1.2)
            save(windows.pop(name), out / f"{name}.png")


def open_window(address: str, shot: Shot) -> AnalysisWindow:
    """Open a window that takes nothing in and draws nothing by itself."""
    window = AnalysisWindow(LiveSession(Feed(address), History()), Model(shot.settings))
    window.stop_timer()
    window.resize(*shot.size)
    window.show()
    return window


def listen(windows: list[AnalysisWindow], frames: int) -> None:
    """Let the windows take in, without drawing, until each has seen so many frames of the series."""
    deadline = time.monotonic() + PATIENCE_S
    while any(seen(window) < frames for window in windows):
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {frames} frames within {PATIENCE_S:g} s")
        for window in windows:
            window.session.take()
        time.sleep(0.1)


def seen(window: AnalysisWindow) -> int:
    """Return how far the series has come."""
    newest = window.session.history.newest
    return 0 if newest is None else newest.header.frame_id + 1


def shoot_recording(recording: Path, out: Path) -> None:
    """Show a frame of what the demonstration has recorded."""
    window = AnalysisWindow(FileSession(recording), Model(DARK))
    window.stop_timer()
    window.resize(1440, 900)
    window.show()
    rows = window.session.history.rows
    window.commands.go_to(float(rows["t"][len(rows) // 2]))
    closer_look(window)
    settle([window], 1.2)
    save(window, out / f"{RECORDING}.png")


def save(window: AnalysisWindow, path: Path) -> None:
    """Save the window and close it."""
    window.grab().save(str(path))
    window.close()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    print(path, flush=True)


def settle(windows: list[AnalysisWindow], seconds: float) -> None:
    """Let the first window run; the others only take in."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        windows[0].tick()
        for window in windows[1:]:
            window.session.take()
        QCoreApplication.processEvents()
        time.sleep(0.02)


def main() -> None:
    """Make all pictures, or those asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of a picture's name")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    args = parser.parse_args()
    wanted = [name for name in (*SHOTS, RECORDING) if args.only in name]
    fine = [name for name in wanted if name.startswith("high-dpi")]
    if SCALE not in os.environ:
        if fine:
            command = [sys.executable, __file__, "--only", "high-dpi", "--out", str(args.out)]
            subprocess.run(command, check=True, env=os.environ | {SCALE: "2"})
        wanted = [name for name in wanted if name not in fine]
    application()
    with tempfile.TemporaryDirectory() as folder:
        for run, file in ((LIVE, "ceria_0007.nxs"), (LOSS, "ceria_0008.nxs")):
            names = [name for name in wanted if name != RECORDING and SHOTS[name].run == run]
            recording = Path(folder) / file
            if names or (run == LIVE and RECORDING in wanted):
                shoot_live(names or ["live-1280x800"], run, recording, args.out)
            if run == LIVE and RECORDING in wanted:
                shoot_recording(recording, args.out)


if __name__ == "__main__":
    main()
