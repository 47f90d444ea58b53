"""Make the screenshots of the documentation: the real window, drawn offscreen.

Live pictures come over a real socket from the tests' publisher; the recording is one that ``atomstream demo``
makes first, with the shipped networks. Run: ``python docs/screenshots/make.py [--only NAME] [--out FOLDER]``.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from PySide6.QtCore import QCoreApplication, QEvent

from gui.app import application
from gui.feed import Feed
from gui.file_session import FileSession
from gui.history import History
from gui.session import LiveSession
from gui.settings import Model, Region, Settings, ThemeName
from gui.window import AnalysisWindow
from tests.gui.publisher import Particle, Publisher, make_status, make_view

DARK, LIGHT = Settings(), Settings(theme=ThemeName.LIGHT)
LOSS = make_status(missing=3, damaged=1, skipped=120, note="frame 1200 did not decompress")
Prepare = Callable[[AnalysisWindow], None]


def as_it_is(window: AnalysisWindow) -> None:
    """Leave the window as it opens."""


def closer_look(window: AnalysisWindow) -> None:
    """Choose a column and a region."""
    window.commands.set_roi(((150.0, 130.0), (150.0, 230.0), (240.0, 230.0), (240.0, 130.0)))
    settle(window, 0.3)
    window.commands.select(255.5, 255.5)


def zoomed_past(window: AnalysisWindow) -> None:
    """Look back, zoomed in, with the power spectrum."""
    closer_look(window)
    settle(window, 0.3)
    window.commands.show_region(Region(240.0, 250.0, 190.0))
    window.commands.go_to(window.session.history.t_first + 150)
    window.panels.tabs.setCurrentIndex(2)


def show_help(window: AnalysisWindow) -> None:
    """Open the list of keys."""
    window.toggle_help()


SHOTS: dict[str, tuple[tuple[int, int], Settings, Prepare]] = {
    "live-1280x800": ((1280, 800), DARK, as_it_is),
    "live-1920x1080": ((1920, 1080), DARK, closer_look),
    "live-2560x1440": ((2560, 1440), DARK, closer_look),
    "light-1920x1080": ((1920, 1080), LIGHT, closer_look),
    "loss-1280x800": ((1280, 800), DARK, as_it_is),
    "past-1280x800": ((1280, 800), DARK, zoomed_past),
    "help-1280x800": ((1280, 800), DARK, show_help),
    "high-dpi-1280x800": ((1280, 800), DARK, closer_look),
}


def shoot_live(name: str, out: Path) -> None:
    """Show four minutes of a made-up run and save the window."""
    size, settings, prepare = SHOTS[name]
    particle = Particle()
    with Publisher() as publisher:
        window = AnalysisWindow(LiveSession(Feed(publisher.address), History()), Model(settings))
        window.resize(*size)
        window.show()
        publisher.wait_subscriber()
        start = time.time() - 244
        for frame_id in range(0, 240, 2):
            publisher.send(make_view(particle, frame_id, t=start + frame_id))
            if frame_id % 16 == 0:
                window.tick()
        prepare(window)
        for frame_id in range(240, 244):
            publisher.send(make_view(particle, frame_id))
            settle(window, 0.04)
        publisher.send(LOSS if name.startswith("loss") else make_status())
        save(window, out / f"{name}.png")


def shoot_recording(out: Path) -> None:
    """Record a short run of the whole program and show one of its frames."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ceria_0007.nxs"
        command = [
            sys.executable, "-m", "pipeline.cli", "demo", "--headless", "--frames", "90", "--maps", "every=1",
            "--out", str(path),
        ]  # fmt: skip
        subprocess.run(command, check=True)
        window = AnalysisWindow(FileSession(path), Model(DARK))
        window.resize(1440, 900)
        window.show()
        window.commands.go_to(float(window.session.history.rows["t"][60]))
        settle(window, 0.5)
        save(window, out / "recording-1440x900.png")


def save(window: AnalysisWindow, path: Path) -> None:
    """Let the window come to rest, save it and close it."""
    settle(window, 0.8)
    window.grab().save(str(path))
    window.close()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    print(path)


def settle(window: AnalysisWindow, seconds: float) -> None:
    """Let the window run."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        QCoreApplication.processEvents()
        time.sleep(0.01)


def main() -> None:
    """Make all pictures, or those asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of a picture's name")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    args = parser.parse_args()
    application()
    for name in SHOTS:
        if args.only not in name:
            continue
        if name.startswith("high-dpi") and "QT_SCALE_FACTOR" not in os.environ:
            command = [sys.executable, __file__, "--only", name, "--out", str(args.out)]
            subprocess.run(command, check=True, env=os.environ | {"QT_SCALE_FACTOR": "2"})
        else:
            shoot_live(name, args.out)
    if args.only in "recording-1440x900":
        shoot_recording(args.out)


if __name__ == "__main__":
    main()
