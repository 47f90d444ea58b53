"""The region of interest on the map: a rectangle or a polygon whose corners can be dragged."""

from collections.abc import Callable
from typing import Any

import pyqtgraph as pg

from gui.settings import Corners, Region

__all__ = ["RoiItem", "polygon_corners", "rectangle_corners"]

_HANDLE_PX = 8  # half of it; pyqtgraph's 5 is hard to hit


def rectangle_corners(region: Region) -> Corners:
    """Propose a rectangle in the middle of `region`, a third of its size."""
    half = region.extent_px / 6
    y0, y1, x0, x1 = region.y - half, region.y + half, region.x - half, region.x + half
    return (y0, x0), (y0, x1), (y1, x1), (y1, x0)


def polygon_corners(region: Region) -> Corners:
    """Propose a hexagon in the middle of `region`."""
    r = region.extent_px / 5
    unit = ((-1.0, 0.0), (-0.5, 0.87), (0.5, 0.87), (1.0, 0.0), (0.5, -0.87), (-0.5, -0.87))
    return tuple((region.y + r * y, region.x + r * x) for y, x in unit)


class RoiItem:
    """Puts at most one region on a view box and tells of its corners when they are dragged.

    A region of four corners that was made as a rectangle stays one; a polygon gets a new corner where one of
    its sides is clicked.

    Parameters
    ----------
    box : pyqtgraph.ViewBox
    moved : callable
        Called with the corners (y, x) [px] after each change by the person.
    """

    def __init__(self, box: Any, moved: Callable[[Corners], None]) -> None:
        self._box = box
        self._moved = moved
        self._item: Any = None
        self._corners: Corners | None = None

    def close(self) -> None:
        """Take the region off, for good."""
        self._remove()

    def draw(self, corners: Corners | None, colour: str) -> None:
        """Show the region; nothing happens if it is shown already."""
        if corners == self._corners:
            return
        self._remove()
        self._corners = corners
        if corners is None:
            return
        width = 2 * self._box.getViewWidget().devicePixelRatioF()
        pen, hover = pg.mkPen(colour, width=width), pg.mkPen("w", width=width)
        self._item = (
            _rectangle(corners, pen, hover) if _is_rectangle(corners) else _polygon(corners, pen, hover)
        )
        for handle in self._item.getHandles():
            _enlarge(handle)
        self._item.setZValue(30)
        self._box.addItem(self._item, ignoreBounds=True)
        self._item.sigRegionChanged.connect(self._report)

    def _report(self) -> None:
        points = [self._item.mapToParent(point) for point in _points(self._item)]
        self._corners = tuple((float(p.y()), float(p.x())) for p in points)
        self._moved(self._corners)

    def _remove(self) -> None:
        if self._item is not None:
            self._item.sigRegionChanged.disconnect(self._report)
            self._box.removeItem(self._item)
            for handle in self._item.getHandles():
                handle.menu.deleteLater()  # it has no parent that would delete it
            # Added corners belong to several items: Python's collector would delete some of them twice.
            self._item.deleteLater()
            self._item = None


def _is_rectangle(corners: Corners) -> bool:
    return len(corners) == 4 and corners[0][0] == corners[1][0] and corners[0][1] == corners[3][1]


def _rectangle(corners: Corners, pen: Any, hover: Any) -> Any:
    (y0, x0), (y1, x1) = corners[0], corners[2]
    item = pg.RectROI((x0, y0), (x1 - x0, y1 - y0), pen=pen, hoverPen=hover, handlePen=pen)
    item.addScaleHandle((0, 0), (1, 1))
    return item


def _polygon(corners: Corners, pen: Any, hover: Any) -> Any:
    return pg.PolyLineROI([(x, y) for y, x in corners], closed=True, pen=pen, hoverPen=hover, handlePen=pen)


def _enlarge(handle: Any) -> None:
    handle.radius = _HANDLE_PX
    handle.buildPath()


def _points(item: Any) -> list[Any]:
    if isinstance(item, pg.PolyLineROI):
        return [handle["item"].pos() for handle in item.handles]
    width, height = item.size()
    return [pg.Point(0, 0), pg.Point(width, 0), pg.Point(width, height), pg.Point(0, height)]
