"""The band between two curves, such as one standard deviation to either side of a value."""

from typing import Any

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QPainter, QPen
from PySide6.QtWidgets import QGraphicsPathItem, QStyleOptionGraphicsItem, QWidget

__all__ = ["BandItem"]

_ALPHA = 70


class BandItem(QGraphicsPathItem):
    """A filled area without an outline on a view box.

    pyqtgraph's own takes the outlines of two curves, and a curve that is not drawn has none.
    """

    def __init__(self, box: Any, colour_name: str) -> None:
        super().__init__()
        colour = QColor(colour_name)
        colour.setAlpha(_ALPHA)
        self.setBrush(colour)
        self.setPen(QPen(Qt.PenStyle.NoPen))
        self.setZValue(-1)
        box.addItem(self, ignoreBounds=True)

    def paint(
        self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None
    ) -> None:
        """See Qt; smooth edges of many corners would take longer than all curves together."""
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        super().paint(painter, option, widget)

    def draw(self, x: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
        """Fill the area between `low` and `high`; where one is unknown, the band goes straight on."""
        known = np.isfinite(low) & np.isfinite(high)
        x, low, high = x[known], low[known], high[known]
        self.setPath(pg.arrayToQPath(np.r_[x, x[::-1]], np.r_[low, high[::-1]], connect="all"))
