"""Make the screenshots of the documentation: the real window, drawn offscreen, on a real `atomstream demo`.

The demonstration films, records and analyses a simulated particle with the shipped networks; several windows
look at it at once, one for each picture; a stimulus channel is fed meanwhile. A second one loses two frames.
The picture of a recording shows the file that the first has left. That of gold shows a recording of four
particles (`gold_movie.py`), for which ``atomstream[simulate]`` is needed. Takes five minutes; on a slow
machine a lower ``--fps`` and fewer ``--frames`` help.

Run: ``make screenshots``, or ``python docs/screenshots/make.py [--only NAME] [--out FOLDER]``.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import msgpack
import zmq
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
LIVE, LOSS = (), ("--fault", "drop@61,corrupt@110")
FEWEST_OF_LOSS = 130
PATIENCE_S = 300.0
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


def zoomed_fft(window: AnalysisWindow) -> None:
    """Choose the power spectrum."""
    window.panels.tabs.setCurrentIndex(2)


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
RECORDING, GOLD = "recording-1440x900", "gold-1440x900"
STIMULUS = "temperature=°C"


def shoot_live(names: list[str], run: tuple[str, ...], recording: Path, out: Path, frames: int) -> None:
    """Watch one demonstration through a window for each picture, and save them."""
    stimuli = f"tcp://127.0.0.1:{free_port()}"
    options = (*run, "--maps", "every=1", "--stimulus", STIMULUS, "--stimuli", stimuli)
    with demonstration(*options, out=recording) as address, furnace(stimuli):
        windows = {name: open_window(address, SHOTS[name]) for name in names}
        listen(list(windows.values()), frames)
        for name in names:
            settle(list(windows.values()), 0.5)
            SHOTS[name].prepare(windows[name])
            settle(list(windows.values()), 1.2)
            save(windows.pop(name), out / f"{name}.png")


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def furnace(address: str) -> Iterator[None]:
    """Tell the run at `address`, twice a second, of a specimen that is heated."""
    ended = threading.Event()
    thread = threading.Thread(target=_heat, args=(address, ended))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _heat(address: str, ended: threading.Event) -> None:
    with zmq.Context() as context, context.socket(zmq.PUSH) as run:
        run.set(zmq.LINGER, 0)
        run.connect(address)
        celsius = 400.0
        while not ended.wait(0.5):
            with suppress(zmq.Again):
                run.send(msgpack.packb({"name": "temperature", "value": celsius}), zmq.NOBLOCK)
            celsius = min(celsius + 4.0, 600.0)


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


def record_gold(folder: Path) -> Path:
    """Analyse a film of gold particles; returns the file."""
    from gold_movie import PIXEL_SIZE_A, gold_movie

    film, recording = folder / "gold.npy", folder / "gold_0003.nxs"
    gold_movie(film)
    command = [
        sys.executable, "-m", "pipeline.cli", "replay", str(film), "--pixel-size-A", str(PIXEL_SIZE_A),
        "--fps", "2", "--material", "gold", "--headless", "--policy", "wait", "--maps", "every=1", "--out",
        str(recording),
    ]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return recording


def shoot_recording(recording: Path, path: Path, prepare: Prepare) -> None:
    """Show a frame of what was recorded."""
    window = AnalysisWindow(FileSession(recording), Model(DARK))
    window.stop_timer()
    window.resize(1440, 900)
    window.show()
    rows = window.session.history.rows
    window.commands.go_to(float(rows["t"][len(rows) // 2]))
    prepare(window)
    settle([window], 4.0)  # the dose is read, a frame at a time
    save(window, path)


def save(window: AnalysisWindow, path: Path) -> None:
    """Save the window, everything in it of one frame, and close it."""
    window.tick()
    window.draw_timeline()
    QCoreApplication.processEvents()
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
    parser.add_argument("--fps", type=float, default=12.0, help="of the demonstration (default: 12)")
    parser.add_argument("--frames", type=int, default=420, help="before the first picture (default: 420)")
    args = parser.parse_args()
    wanted = [name for name in (*SHOTS, RECORDING, GOLD) if args.only in name]
    speed = ["--fps", str(args.fps), "--frames", str(args.frames)]
    fine = [name for name in wanted if name.startswith("high-dpi")]
    if SCALE not in os.environ:
        if fine:
            command = [sys.executable, __file__, "--only", "high-dpi", "--out", str(args.out), *speed]
            subprocess.run(command, check=True, env=os.environ | {SCALE: "2"})
        wanted = [name for name in wanted if name not in fine]
    application()
    with tempfile.TemporaryDirectory() as folder:
        for run, file in ((LIVE, "ceria_0007.nxs"), (LOSS, "ceria_0008.nxs")):
            names = [name for name in wanted if name in SHOTS and SHOTS[name].run == run]
            recording = Path(folder) / file
            if names or (run == LIVE and RECORDING in wanted):
                frames = args.frames if run == LIVE else FEWEST_OF_LOSS
                options = ("--fps", str(args.fps), *run)
                shoot_live(names or ["live-1280x800"], options, recording, args.out, frames)
            if run == LIVE and RECORDING in wanted:
                shoot_recording(recording, args.out / f"{RECORDING}.png", closer_look)
        if GOLD in wanted:
            shoot_recording(record_gold(Path(folder)), args.out / f"{GOLD}.png", zoomed_fft)


if __name__ == "__main__":
    main()
