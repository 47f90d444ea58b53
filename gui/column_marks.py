"""Columns on a picture: discs in the colour of their count, open rings where the count is unsure, numbers.

One item paints them all, from one small pixmap a kind: with 800 columns this takes a sixth of what a scatter
plot of individually coloured spots takes, because nothing is made or looked up a spot.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QPaintEngine, QPainter, QPen, QPixmap, QTransform
from PySide6.QtWidgets import QGraphicsObject, QStyleOptionGraphicsItem, QWidget

from gui.colours import count_colours, text_on
from gui.markers import Markers

__all__ = ["ColumnMarks", "disc_size_px"]

_DISC_SHARE = 0.66  # of the distance between neighbours
_SMALLEST_PX, _LARGEST_PX = 5.0, 34.0
_NUMBERS_FROM_PX = 15.0  # disc size at which a number fits
_MOST_NUMBERS = 600
_NO_ATOMS = QColor(150, 150, 150)


@dataclass(frozen=True, slots=True)
class _Mark:
    """How one kind of column looks."""

    fill: QColor
    pen: QPen
    text: QColor

    def paint(self, painter: QPainter, centre: QPointF, size_px: float) -> None:
        radius = size_px / 2
        painter.setPen(self.pen)
        painter.setBrush(self.fill)
        painter.drawEllipse(centre, radius, radius)


class ColumnMarks(QGraphicsObject):
    """The marks on one view box.

    Parameters
    ----------
    box : pyqtgraph.ViewBox
    filled : bool
        Discs with numbers; otherwise only rings, so that the picture beneath stays visible.
    """

    def __init__(self, box: Any, *, filled: bool = True) -> None:
        super().__init__()
        self._box = box
        self._filled = filled
        self.markers: Markers | None = None
        self.size_px = 0.0
        self.texts: list[str] = []
        self._selected: tuple[float, float] | None = None
        self._colour = QColor()
        self._key: object = None
        self._marks: tuple[list[_Mark], list[_Mark]] = ([], [])
        self._pixmaps: dict[tuple[int, bool, float, float], QPixmap] = {}
        self.setZValue(10)
        box.addItem(self, ignoreBounds=True)

    def draw(
        self, markers: Markers | None, magnification: float, selected: tuple[float, float] | None, colour: str
    ) -> None:
        """Show `markers` at `magnification` [screen px per recorded px], and a ring around the chosen one."""
        key = (id(markers), tuple(map(tuple, self._box.viewRange())), magnification, selected, colour)
        if key == self._key:
            return
        self._key = key
        self.prepareGeometryChange()
        if markers is not None and (self.markers is None or self.markers.n_colours != markers.n_colours):
            self._marks = _marks(markers.n_colours, filled=self._filled)
            self._pixmaps.clear()
        self.markers, self._selected, self._colour = markers, selected, QColor(colour)
        self.size_px = 0.0 if markers is None else disc_size_px(markers.spacing_px, magnification)
        self.texts = [] if markers is None else self._numbers(markers)
        self.update()

    def _numbers(self, markers: Markers) -> list[str]:
        if self.size_px < _NUMBERS_FROM_PX or not self._filled:
            return []
        (x0, x1), (y0, y1) = self._box.viewRange()
        y, x = markers.columns["y"], markers.columns["x"]
        visible = ((x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)).sum()
        return markers.texts() if visible <= _MOST_NUMBERS else []

    def boundingRect(self) -> QRectF:
        """See Qt."""
        if self.markers is None or not len(self.markers.columns):
            return QRectF()
        y, x = self.markers.columns["y"], self.markers.columns["x"]
        margin = max(20.0, 2 * _LARGEST_PX * float(self._box.viewPixelSize()[0]))
        return QRectF(
            float(x.min()) - margin, float(y.min()) - margin,
            float(np.ptp(x)) + 2 * margin, float(np.ptp(y)) + 2 * margin,
        )  # fmt: skip

    def paint(
        self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None
    ) -> None:
        """See Qt."""
        if self.markers is None:
            return
        to_screen = painter.worldTransform()
        x, y = _mapped(self.markers.columns, to_screen)
        painter.resetTransform()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        near = self._visible(painter, x, y)
        if painter.paintEngine().type() == QPaintEngine.Type.SVG:
            self._paint_vectors(painter, x, y, near)
        else:
            self._paint_pixmaps(painter, x, y, near)
        if self.texts:
            self._paint_numbers(painter, x, y, near)
        if self._selected is not None:
            painter.setPen(QPen(self._colour, 2.5))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            centre = to_screen.map(QPointF(self._selected[1], self._selected[0]))
            painter.drawEllipse(centre, self.size_px / 2 + 4.5, self.size_px / 2 + 4.5)

    def _visible(self, painter: QPainter, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.intp]:
        width, height = painter.device().width(), painter.device().height()
        reach = self.size_px
        inside = (x > -reach) & (x < width + reach) & (y > -reach) & (y < height + reach)
        return np.flatnonzero(inside)

    def _kinds(self) -> list[tuple[int, bool]]:
        if self.markers is None:
            return []
        return list(zip(self.markers.colour.tolist(), self.markers.sure.tolist(), strict=True))

    def _paint_pixmaps(
        self, painter: QPainter, x: NDArray[np.float64], y: NDArray[np.float64], near: NDArray[np.intp]
    ) -> None:
        ratio = painter.device().devicePixelRatioF()
        half = self.size_px / 2 + 2
        kinds = self._kinds()
        left, top = (x - half).tolist(), (y - half).tolist()
        pixmaps = {kind: self._pixmap(kind, ratio) for kind in set(kinds)}
        draw = painter.drawPixmap
        for i in near.tolist():
            draw(QPointF(left[i], top[i]), pixmaps[kinds[i]])

    def _paint_vectors(
        self, painter: QPainter, x: NDArray[np.float64], y: NDArray[np.float64], near: NDArray[np.intp]
    ) -> None:
        kinds = self._kinds()
        for i in near.tolist():
            colour, sure = kinds[i]
            self._marks[sure][colour].paint(painter, QPointF(float(x[i]), float(y[i])), self.size_px)

    def _paint_numbers(
        self, painter: QPainter, x: NDArray[np.float64], y: NDArray[np.float64], near: NDArray[np.intp]
    ) -> None:
        font = QFont(painter.font())
        font.setPixelSize(max(8, round(self.size_px * 0.54)))
        font.setBold(True)
        painter.setFont(font)
        kinds, half = self._kinds(), self.size_px
        for i in near.tolist():
            colour, sure = kinds[i]
            painter.setPen(self._marks[sure][colour].text)
            box = QRectF(float(x[i]) - half, float(y[i]) - half, 2 * half, 2 * half)
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter, self.texts[i])

    def _pixmap(self, kind: tuple[int, bool], ratio: float) -> QPixmap:
        colour, sure = kind
        key = (colour, sure, self.size_px, ratio)
        if key not in self._pixmaps:
            if len(self._pixmaps) > 200:
                self._pixmaps.clear()
            self._pixmaps[key] = _pixmap(self._marks[sure][colour], self.size_px, ratio)
        return self._pixmaps[key]


def disc_size_px(spacing_px: float, magnification: float) -> float:
    """Choose the discs' diameter on screen [px] so that neighbours do not touch; whole numbers are cached."""
    wanted = _DISC_SHARE * spacing_px * magnification if math.isfinite(spacing_px) else 12.0
    return float(round(min(max(wanted, _SMALLEST_PX), _LARGEST_PX)))


def _marks(n: int, *, filled: bool) -> tuple[list[_Mark], list[_Mark]]:
    """Make the marks of unsure and of sure counts, by colour; the last, index -1, is a column of no atoms."""
    colours = [QColor(*(int(value) for value in colour)) for colour in count_colours(n)]
    texts = [QColor(text_on(colour)) for colour in count_colours(n)]
    unsure = [_ring(colour) for colour in [*colours, _NO_ATOMS]]
    if not filled:
        return unsure, unsure
    edge = QPen(QColor(8, 10, 12, 210), 1.0)
    sure = [_Mark(c, edge, t) for c, t in zip([*colours, _NO_ATOMS], [*texts, QColor("black")], strict=True)]
    return unsure, sure


def _ring(colour: QColor) -> _Mark:
    return _Mark(QColor(0, 0, 0, 90), QPen(colour, 2.2), QColor("white"))


def _pixmap(mark: _Mark, size_px: float, ratio: float) -> QPixmap:
    side = size_px + 4
    pixmap = QPixmap(round(side * ratio), round(side * ratio))
    pixmap.setDevicePixelRatio(ratio)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    mark.paint(painter, QPointF(side / 2, side / 2), size_px - mark.pen.widthF())
    painter.end()
    return pixmap


def _mapped(
    columns: NDArray[np.void], transform: QTransform
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Map all positions at once to painted pixels; returns x and y."""
    x, y = columns["x"].astype(np.float64), columns["y"].astype(np.float64)
    return (
        transform.m11() * x + transform.m21() * y + transform.dx(),
        transform.m12() * x + transform.m22() * y + transform.dy(),
    )
