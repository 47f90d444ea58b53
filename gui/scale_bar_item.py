"""The scale bar: a white bar with its length, outlined so that it is legible on any picture."""

from typing import Any

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QFont, QPainter, QPainterPath, QPen
from PySide6.QtWidgets import QGraphicsItem, QGraphicsObject, QStyleOptionGraphicsItem, QWidget

from gui.geometry import ScaleBar

__all__ = ["ScaleBarItem"]

_MARGIN_PX = 12.0
_THICKNESS_PX = 4.0


class ScaleBarItem(QGraphicsObject):
    """Sits in the lower left corner of a view box, in screen pixels."""

    def __init__(self, box: Any) -> None:
        super().__init__(parent=box)
        self.setZValue(100)
        self.setFlag(QGraphicsItem.GraphicsItemFlag.ItemIgnoresParentOpacity)
        self._box = box
        self._bar = ScaleBar(1.0, "")
        self._rect = QRectF()

    @property
    def text(self) -> str:
        """What is written beside the bar."""
        return self._bar.text

    def show_bar(self, bar: ScaleBar) -> None:
        """Show `bar`, at the box's present size."""
        self.prepareGeometryChange()
        self._bar = bar
        self._rect = QRectF(0, self._box.height() - 46, self._box.width(), 46)
        self.update()

    def boundingRect(self) -> QRectF:
        """See Qt."""
        return self._rect

    def paint(
        self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None
    ) -> None:
        """See Qt."""
        bottom = self._rect.bottom() - _MARGIN_PX
        path = QPainterPath()
        path.addRect(QRectF(_MARGIN_PX, bottom - _THICKNESS_PX, self._bar.length_screen_px, _THICKNESS_PX))
        font = QFont(painter.font())
        font.setPointSizeF(9.5)
        font.setBold(True)
        path.addText(_MARGIN_PX, bottom - _THICKNESS_PX - 5, font, self._bar.text)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        outline = QPen(QColor(0, 0, 0, 190), 3.0)
        outline.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
        painter.strokePath(path, outline)
        painter.fillPath(path, QColor(255, 255, 255))
