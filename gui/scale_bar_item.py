"""The scale bar: a white bar with its length, outlined so that it is legible on any picture."""

from typing import Any

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QFont, QPaintEngine, QPainter, QPainterPath, QPen, QPixmap
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
        self._pixmap = QPixmap()

    @property
    def text(self) -> str:
        """What is written beside the bar."""
        return self._bar.text

    def show_bar(self, bar: ScaleBar) -> None:
        """Show `bar`, at the box's present size."""
        rect = QRectF(0, self._box.height() - 46, min(self._box.width(), bar.length_screen_px + 80), 46)
        if bar == self._bar and rect == self._rect:
            return
        self.prepareGeometryChange()
        self._bar, self._rect, self._pixmap = bar, rect, QPixmap()
        self.update()

    def boundingRect(self) -> QRectF:
        """See Qt."""
        return self._rect

    def paint(
        self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None
    ) -> None:
        """See Qt."""
        if painter.paintEngine().type() == QPaintEngine.Type.SVG:
            self._paint_bar(painter)
            return
        ratio = painter.device().devicePixelRatioF()
        if self._pixmap.isNull() or self._pixmap.devicePixelRatio() != ratio:
            self._pixmap = self._painted(ratio)
        painter.drawPixmap(self._rect.topLeft(), self._pixmap)

    def _painted(self, ratio: float) -> QPixmap:
        """Paint once what changes only with the zoom: outlined text is slow."""
        size = (self._rect.size() * ratio).toSize()
        pixmap = QPixmap(size)
        pixmap.setDevicePixelRatio(ratio)
        pixmap.fill(Qt.GlobalColor.transparent)
        painter = QPainter(pixmap)
        painter.translate(-self._rect.topLeft())
        self._paint_bar(painter)
        painter.end()
        return pixmap

    def _paint_bar(self, painter: QPainter) -> None:
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
