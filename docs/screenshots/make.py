"""Make the screenshots of the documentation: the real window, fed over a real socket, drawn offscreen.

Run from the project's root: ``python docs/screenshots/make.py [OUTPUT_FOLDER]``.
"""

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from PySide6.QtCore import QCoreApplication, QEvent

from gui.app import application
from gui.feed import Feed
from gui.history import History
from gui.session import LiveSession
from gui.settings import Model, Region, Settings, ThemeName
from gui.window import AnalysisWindow
from tests.gui.publisher import Particle, Publisher, make_status, make_view


def shoot(
    name: str, out: Path, size: tuple[int, int], *, settings: Settings, prepare=None, status=None
) -> None:
    app = application()
    particle = Particle()
    with Publisher() as publisher:
        window = AnalysisWindow(LiveSession(Feed(publisher.address), History()), Model(settings))
        window.resize(*size)
        window.show()
        publisher.wait_subscriber()
        t0 = time.time() - 244
        for frame_id in range(240):
            publisher.send(make_view(particle, frame_id, t=t0 + frame_id))
            if frame_id % 8 == 0:
                app.processEvents()
                window.tick()
        window.tick()
        for frame_id in range(240, 266):
            publisher.send(make_view(particle, frame_id))
            settle(window, 0.04)
        publisher.send(status or make_status())
        settle(window)
        if prepare is not None:
            prepare(window)
        settle(window)
        window.grab().save(str(out / f"{name}.png"))
        window.close()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def closer_look(window: AnalysisWindow) -> None:
    window.commands.select(255.5, 255.5)
    window.commands.set_roi(((150.0, 130.0), (150.0, 230.0), (240.0, 230.0), (240.0, 130.0)))


def show_help(window: AnalysisWindow) -> None:
    window.toggle_help()


def zoomed_past(window: AnalysisWindow) -> None:
    closer_look(window)
    window.commands.show_region(Region(240.0, 250.0, 190.0))
    window.commands.go_to(window.session.history.t_first + 150)
    window.panels.tabs.setCurrentIndex(2)


def settle(window: AnalysisWindow, seconds: float = 0.6) -> None:
    app = application()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        app.processEvents()
        time.sleep(0.01)


def main() -> None:
    out = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent)
    dark, light = Settings(), Settings(theme=ThemeName.LIGHT)
    only = sys.argv[2] if len(sys.argv) > 2 else ""
    loss = make_status(missing=3, damaged=1, skipped=120, note="frame 1200 did not decompress")
    shots = [
        ("live-1280x800", (1280, 800), dict(settings=dark)),
        ("live-1920x1080", (1920, 1080), dict(settings=dark)),
        ("live-2560x1440", (2560, 1440), dict(settings=dark)),
        ("light-1920x1080", (1920, 1080), dict(settings=light, prepare=closer_look)),
        ("high-dpi-1280x800", (1280, 800), dict(settings=dark, prepare=closer_look)),
        ("help-1280x800", (1280, 800), dict(settings=dark, prepare=show_help)),
        ("past-1280x800", (1280, 800), dict(settings=dark, prepare=zoomed_past)),
        ("loss-1280x800", (1280, 800), dict(settings=dark, status=loss)),
    ]
    for name, size, options in shots:
        if only in name:
            shoot(name, out, size, **options)


if __name__ == "__main__":
    main()
