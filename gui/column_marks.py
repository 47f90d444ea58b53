"""Columns on a picture: discs in the colour of their count, open rings where the count is unsure, numbers."""

import math
from typing import Any

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QPainter
from PySide6.QtWidgets import QGraphicsObject, QStyleOptionGraphicsItem, QWidget

from gui.colours import count_colours, text_on
from gui.resolve import Markers

__all__ = ["ColumnMarks"]

_DISC_SHARE = 0.62  # of the distance between neighbours
_SMALLEST_PX, _LARGEST_PX = 5.0, 34.0
_NUMBERS_FROM_PX = 15.0  # disc size at which a number fits
_MOST_NUMBERS = 600


class ColumnMarks:
    """The marks on one view box; `draw` replaces them all, creating no graphics items.

    Parameters
    ----------
    box : pyqtgraph.ViewBox
    filled : bool
        Discs; otherwise only rings, so that the picture beneath stays visible.
    """

    def __init__(self, box: Any, *, filled: bool = True) -> None:
        self._box = box
        self._filled = filled
        self.scatter = pg.ScatterPlotItem(pxMode=True, antialias=True, useCache=True)
        self.scatter.setZValue(10)
        self.ring = pg.ScatterPlotItem(pxMode=True, antialias=True)
        self.ring.setZValue(20)
        self.numbers = _Numbers()
        self.numbers.setZValue(15)
        for item in (self.scatter, self.ring, self.numbers):
            box.addItem(item, ignoreBounds=True)
        self._brushes: dict[int, NDArray[np.object_]] = {}
        self.markers: Markers | None = None
        self._drawn_key: object = None

    def draw(
        self, markers: Markers | None, magnification: float, selected: tuple[float, float] | None, colour: str
    ) -> None:
        """Show `markers` at `magnification` [screen px per recorded px], and a ring around the chosen one."""
        key = (id(markers), self._box.viewRange(), magnification, selected, colour)
        if key == self._drawn_key:
            return
        self._drawn_key = key
        self.markers = markers
        if markers is None:
            self.scatter.clear()
            self.numbers.show_numbers(None, 0.0)
            self.ring.clear()
            return
        size = disc_size_px(markers.spacing_px, magnification)
        brushes, pens = self._styles(markers)
        self.scatter.setData(
            x=markers.columns["x"], y=markers.columns["y"], size=size, brush=brushes, pen=pens, symbol="o"
        )
        self._draw_numbers(markers, size)
        self._draw_ring(selected, size, colour)

    def _styles(self, markers: Markers) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
        if markers.n_colours not in self._brushes:
            self._brushes = {markers.n_colours: _lookup(markers.n_colours)}
        table = self._brushes[markers.n_colours]
        kind = np.where(markers.sure & self._filled, 0, 2)
        return table[kind, markers.colour], table[kind + 1, markers.colour]

    def _draw_numbers(self, markers: Markers, size: float) -> None:
        if size < _NUMBERS_FROM_PX or not self._filled:
            self.numbers.show_numbers(None, size)
            return
        (x0, x1), (y0, y1) = self._box.viewRange()
        y, x = markers.columns["y"], markers.columns["x"]
        visible = (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
        few = visible if visible.sum() <= _MOST_NUMBERS else np.zeros(len(visible), bool)
        self.numbers.show_numbers((markers, few), size)

    def _draw_ring(self, selected: tuple[float, float] | None, size: float, colour: str) -> None:
        if selected is None:
            self.ring.clear()
            return
        y, x = selected
        self.ring.setData(x=[x], y=[y], size=size + 9, brush=None, pen=pg.mkPen(colour, width=2.5))


def disc_size_px(spacing_px: float, magnification: float) -> float:
    """Choose the discs' diameter on screen [px] so that neighbours do not touch; whole numbers are cached."""
    wanted = _DISC_SHARE * spacing_px * magnification if math.isfinite(spacing_px) else 12.0
    return float(round(min(max(wanted, _SMALLEST_PX), _LARGEST_PX)))


def _lookup(n: int) -> NDArray[np.object_]:
    """Brush and pen of sure columns, then of unsure ones, by colour; the last entry is no atoms."""
    table = np.empty((4, n + 1), object)
    for k, colour in enumerate([*count_colours(n), np.array([150, 150, 150])]):
        rgb = QColor(*(int(value) for value in colour))
        table[:, k] = (
            pg.mkBrush(rgb),
            pg.mkPen(QColor(8, 10, 12, 210), width=1),
            pg.mkBrush(0, 0, 0, 90),
            pg.mkPen(rgb, width=2.2),
        )
    return table


class _Numbers(QGraphicsObject):
    """Counts written into the discs, painted in one go."""

    def __init__(self) -> None:
        super().__init__()
        self._drawn: tuple[Markers, NDArray[np.bool_]] | None = None
        self._size_px = 0.0
        self.texts: list[str] = []

    def show_numbers(self, drawn: tuple[Markers, NDArray[np.bool_]] | None, size_px: float) -> None:
        self.prepareGeometryChange()
        self._drawn, self._size_px = drawn, size_px
        self.texts = [] if drawn is None else [str(c) for c in drawn[0].columns["count"][drawn[1]]]
        self.update()

    def boundingRect(self) -> QRectF:
        if self._drawn is None or not len(self._drawn[0].columns):
            return QRectF()
        y, x = self._drawn[0].columns["y"], self._drawn[0].columns["x"]
        return QRectF(float(x.min()) - 20, float(y.min()) - 20, float(np.ptp(x)) + 40, float(np.ptp(y)) + 40)

    def paint(
        self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None
    ) -> None:
        if self._drawn is None:
            return
        markers, visible = self._drawn
        to_screen = painter.worldTransform()
        painter.resetTransform()
        font = QFont(painter.font())
        font.setPixelSize(max(8, round(self._size_px * 0.56)))
        font.setBold(True)
        painter.setFont(font)
        colours = count_colours(markers.n_colours)
        half = self._size_px
        for column, colour, sure in zip(
            markers.columns[visible], markers.colour[visible], markers.sure[visible], strict=True
        ):
            place = to_screen.map(QPointF(float(column["x"]), float(column["y"])))
            painter.setPen(QColor(text_on(colours[colour]) if sure and colour >= 0 else "#ffffff"))
            box = QRectF(place.x() - half, place.y() - half, 2 * half, 2 * half)
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter, str(column["count"]))
