"""Particles on a picture: outlines with their shape beside them; dashed, in another colour, where unsure."""

from typing import Any

import numpy as np
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QPainter, QPen, QPolygonF
from PySide6.QtWidgets import QGraphicsObject, QStyleOptionGraphicsItem, QWidget

from gui.particles import ParticleMark

__all__ = ["SURE", "UNSURE", "ParticleMarks"]

SURE = QColor("#5ab8ff")
UNSURE = QColor("#ffb74a")
"""Told apart by everyone, and from the grey of the picture; the dashes say it again."""

_SHADE = QColor(7, 9, 11, 190)  # beneath a text
_WIDTH_PX = 2.0
_DASHES = [4.0, 4.0]  # in widths: on, off
_TEXT_POINTS = 9.0
_GAP_PX = 4.0


class ParticleMarks(QGraphicsObject):
    """The outlines on one view box.

    Parameters
    ----------
    box : pyqtgraph.ViewBox
    """

    def __init__(self, box: Any) -> None:
        super().__init__()
        self._box = box
        self.marks: tuple[ParticleMark, ...] = ()
        self.setZValue(11)
        box.addItem(self, ignoreBounds=True)

    def draw(self, marks: tuple[ParticleMark, ...]) -> None:
        """Show `marks`."""
        if marks is self.marks:
            return
        self.prepareGeometryChange()
        self.marks = marks
        self.update()

    def boundingRect(self) -> QRectF:
        """See Qt; texts stick out, so the whole view belongs to it."""
        if not self.marks:
            return QRectF()
        places = np.array([mark.outline for mark in self.marks])  # (n, points, 2)
        (top, left), (bottom, right) = places.min((0, 1)).tolist(), places.max((0, 1)).tolist()
        return QRectF(left, top, right - left, bottom - top).united(self._box.viewRect())

    def paint(
        self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None
    ) -> None:
        """See Qt."""
        to_screen = painter.worldTransform()
        painter.resetTransform()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        font = QFont(painter.font())
        font.setPointSizeF(_TEXT_POINTS)
        painter.setFont(font)
        for mark in self.marks:
            outline = to_screen.map(QPolygonF([QPointF(x, y) for y, x in mark.outline]))
            painter.setPen(_pen(mark))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawPolygon(outline)
            _write(painter, mark, outline.boundingRect())


def _pen(mark: ParticleMark) -> QPen:
    pen = QPen(SURE if mark.sure else UNSURE, _WIDTH_PX)
    if not mark.sure:
        pen.setDashPattern(_DASHES)
    return pen


def _write(painter: QPainter, mark: ParticleMark, around: QRectF) -> None:
    """Write the text below the particle, or above it where there is no room, and inside the picture."""
    metrics = QFontMetricsF(painter.font())
    box = metrics.boundingRect(mark.text).adjusted(-_GAP_PX, -1, _GAP_PX, 1)
    box.moveCenter(around.center())
    box.moveTop(around.bottom() + _GAP_PX)
    width, height = painter.device().width(), painter.device().height()
    if box.bottom() > height:
        box.moveBottom(max(around.top() - _GAP_PX, box.height()))
    box.moveLeft(min(max(box.left(), 0.0), max(width - box.width(), 0.0)))
    painter.fillRect(box, _SHADE)
    painter.setPen(SURE if mark.sure else UNSURE)
    painter.drawText(box, Qt.AlignmentFlag.AlignCenter, mark.text)
