"""What tests of the real window share: frames that are sent to it, and where on the screen to look."""

import time

from PySide6.QtCore import QPoint, QPointF
from PySide6.QtGui import QColor, QImage

from gui.window import AnalysisWindow
from tests.gui.conftest import show_until
from tests.gui.publisher import Particle, Publisher, make_view

PARTICLE = Particle(size=256, n_largest=6)


def send_frames(publisher: Publisher, window: AnalysisWindow, ids: range, **options: object) -> None:
    start = time.time() - (1000 if options.get("series_id", 1) == 1 else 100)
    for k in ids:
        publisher.send(make_view(PARTICLE, k, size=256, t=start + k, **options))  # type: ignore[arg-type]
        if k % 10 == 9:
            show_until(window, lambda k=k: newest_id(window) == k)
    show_until(window, lambda: newest_id(window) == ids[-1])


def newest_id(window: AnalysisWindow) -> int:
    newest = window.session.history.newest
    return -1 if newest is None else newest.header.frame_id


def newest_series(window: AnalysisWindow) -> int:
    newest = window.session.history.newest
    return -1 if newest is None else newest.header.series_id


def screen_place(window: AnalysisWindow, y: float, x: float) -> QPoint:
    """Where recorded pixel (y, x) is in the map's viewport."""
    panel = window.panels.map
    scene = panel.box.mapViewToScene(QPointF(x, y))
    return panel.canvas.mapFromScene(scene)


def map_picture(window: AnalysisWindow) -> QImage:
    return window.panels.map.canvas.grab().toImage()


def colours_at(picture: QImage, place: QPoint, reach: int) -> set[str]:
    return {
        QColor(picture.pixel(place.x() + dx, place.y() + dy)).name()
        for dx in range(-reach, reach + 1)
        for dy in range(-reach, reach + 1)
    }
