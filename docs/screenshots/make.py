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
from gui.settings import Model, Settings, ThemeName
from gui.window import AnalysisWindow
from tests.gui.publisher import Particle, Publisher, make_status, make_view


def shoot(name: str, out: Path, size: tuple[int, int], *, settings: Settings, prepare=None, status=None) -> None:
    app = application()
    particle = Particle()
    with Publisher() as publisher:
        window = AnalysisWindow(LiveSession(Feed(publisher.address), History()), Model(settings))
        window.resize(*size)
        window.show()
        publisher.wait_subscriber()
        t0 = time.time() - 240
        for frame_id in range(240):
            publisher.send(make_view(particle, frame_id, t=t0 + frame_id))
            app.processEvents()
            window.tick()
        publisher.send(status or make_status())
        settle(window)
        if prepare is not None:
            prepare(window)
        settle(window)
        window.grab().save(str(out / f"{name}.png"))
        window.close()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def settle(window: AnalysisWindow) -> None:
    app = application()
    deadline = time.monotonic() + 0.6
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
        ("light-1920x1080", (1920, 1080), dict(settings=light)),
        ("loss-1280x800", (1280, 800), dict(settings=dark, status=loss)),
    ]
    for name, size, options in shots:
        if only in name:
            shoot(name, out, size, **options)


if __name__ == "__main__":
    main()
