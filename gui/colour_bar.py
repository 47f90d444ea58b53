"""The discrete colour bar: one swatch a count, with the number of columns of that count beside it."""

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from gui.colours import count_colours, text_on
from gui.markers import Markers
from gui.theme import THEMES, Theme, number_font

__all__ = ["ColourBar"]

_WIDTH_PX = 84
_SWATCH_PX = 26
_TALLEST_PX = 40
_LEGEND_PX = 46


class ColourBar(QWidget):
    """From one atom (below) to the most (above); the bars beside the swatches are a histogram."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Expanding)
        self.setToolTip("Atoms in a column, and how many columns have that many")
        self._theme = next(iter(THEMES.values()))
        self._n = 8
        self._histogram: list[int] = [0] * 8
        self._unsure = 0

    def sizeHint(self) -> QSize:
        """See Qt."""
        return QSize(_WIDTH_PX, 300)

    def apply_theme(self, theme: Theme) -> None:
        """Take over the colours of text and lines."""
        self._theme = theme
        self.update()

    def draw(self, markers: Markers | None) -> None:
        """Show the scale and the histogram of `markers`; without any, the scale as it was."""
        n = self._n if markers is None else markers.n_colours
        histogram = [0] * n if markers is None else markers.histogram.tolist()
        unsure = 0 if markers is None else markers.n_unsure
        if (n, histogram, unsure) != (self._n, self._histogram, self._unsure):
            self._n, self._histogram, self._unsure = n, histogram, unsure
            self.update()

    def swatch_rect(self, count: int) -> QRectF:
        """Return where the swatch of `count` atoms is, in widget pixels."""
        available = self.height() - 30 - _LEGEND_PX
        step = min(_TALLEST_PX, available / self._n)
        top = 24 + (self._n - count) * step
        return QRectF(8, top, _SWATCH_PX, step - 2)

    def paintEvent(self, event: QPaintEvent) -> None:
        """See Qt."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setFont(number_font(self.font(), 8.0))
        painter.setPen(QColor(self._theme.muted))
        painter.drawText(QRectF(8, 2, _WIDTH_PX, 18), Qt.AlignmentFlag.AlignVCenter, "atoms")
        most = max(1, *self._histogram)
        for count, colour in enumerate(count_colours(self._n), start=1):
            self._paint_swatch(painter, count, QColor(*colour.tolist()), text_on(colour), most)
        self._paint_legend(painter)
        painter.end()

    def _paint_swatch(self, painter: QPainter, count: int, colour: QColor, on: str, most: int) -> None:
        rect = self.swatch_rect(count)
        n = self._histogram[count - 1]
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(colour)
        painter.drawRoundedRect(rect, 3, 3)
        if n:
            length = 3 + 13 * n / most
            painter.drawRect(QRectF(rect.right() + 2, rect.center().y() - 3, length, 6))
        painter.setFont(number_font(self.font(), 8.5, bold=True))
        painter.setPen(QColor(on))
        painter.drawText(rect, Qt.AlignmentFlag.AlignCenter, str(count))
        if n:
            painter.setFont(number_font(self.font(), 7.5))
            painter.setPen(QColor(self._theme.muted))
            place = QRectF(rect.right() + 20, rect.top(), _WIDTH_PX - rect.right() - 22, rect.height())
            painter.drawText(place, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, str(n))

    def _paint_legend(self, painter: QPainter) -> None:
        top = self.swatch_rect(1).bottom() + 12
        painter.setPen(QPen(QColor(self._theme.muted), 2.2))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawEllipse(QRectF(14, top, 13, 13))
        painter.setFont(number_font(self.font(), 7.5))
        painter.drawText(QRectF(34, top - 3, 50, 19), Qt.AlignmentFlag.AlignVCenter, "unsure")
        painter.drawText(QRectF(34, top + 11, 50, 19), Qt.AlignmentFlag.AlignVCenter, str(self._unsure))
