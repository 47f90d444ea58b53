"""One time series: a line of text with the value at the cursor, and the curve below it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QApplication, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from gui.band_item import BandItem
from gui.format import time_text
from gui.labels import plain_label, set_short_text, set_tip
from gui.series import Curve, Plot, named_readings
from gui.theme import Theme, number_font

__all__ = ["PlotRow"]

_AXIS_WIDTH_PX = 46
_AXIS_HEIGHT_PX = 18
_NUMBER_HEIGHT_PX = 13.0
_LARGEST = 1e30  # of a value that an axis is fitted to: an axis from −1e308 to 1e308 has no length
_TITLE_PX, _READINGS_PX = 150, 300  # at most: a stimulus' name and unit are as long as somebody has chosen


class PlotRow(QWidget):
    """Draws one `Plot`; its items are made once and then only given new data.

    Parameters
    ----------
    shape : tuple
        `Plot.shape` of every plot it will be handed.
    is_last : bool
        Whether it carries the time axis.
    scrubbed : callable
        Called with the time [s] at which the mouse was pressed or dragged.
    """

    def __init__(
        self,
        shape: tuple[str, tuple[bool, ...], int],
        theme: Theme,
        scrubbed: Callable[[float], None],
        *,
        is_last: bool,
    ) -> None:
        super().__init__()
        _, has_band, _ = shape
        self._scrubbed = scrubbed
        self.title = plain_label("", "muted")
        self.title.setFont(number_font(self.font(), 8.5))
        colours = (theme.accent, theme.second)
        self.readings = [
            _reading(self, colours[k] if len(has_band) > 1 else "") for k in range(len(has_band))
        ]
        self.box = pg.ViewBox(enableMenu=False, enableMouse=False, defaultPadding=0)
        self.canvas = _canvas(self.box, theme, is_last=is_last)
        self.box.mouseDragEvent = self._mouse
        self.box.mouseClickEvent = self._mouse
        self._bands = [BandItem(self.box, colours[k]) if has else None for k, has in enumerate(has_band)]
        width = 1.0 * self.devicePixelRatioF()  # in physical pixels; above one, lines take ten times as long
        self._curves = [_line(colours[k], width) for k in range(len(has_band))]
        self.line = pg.InfiniteLine(angle=90, pen=pg.mkPen(theme.mark, width=width))
        self._moments = pg.PlotCurveItem(pen=pg.mkPen(theme.muted, width=width, style=Qt.PenStyle.DashLine))
        for item in (self._moments, *self._curves, self.line):
            self.box.addItem(item, ignoreBounds=True)
        self._lay_out()

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.setContentsMargins(10, 0, 12, 0)
        row.setSpacing(12)
        row.addWidget(self.title)
        row.addStretch(1)
        for reading in self.readings:
            row.addWidget(reading)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(1)
        layout.addLayout(row)
        layout.addWidget(self.canvas, 1)

    def draw(self, plot: Plot, x_range: tuple[float, float], cursor_s: float | None) -> None:
        """Show `plot` over `x_range` [s]; the cursor line only where there is a `cursor_s`."""
        set_short_text(self.title, plot.title, _TITLE_PX)
        set_tip(self.title, plot.title)
        for label, text in zip(self.readings, named_readings(plot.curves), strict=True):
            set_short_text(label, text, _READINGS_PX // len(plot.curves), Qt.TextElideMode.ElideRight)
        for item, curve in zip(self._curves, plot.curves, strict=True):
            alone = "o" if len(curve.x) == 1 else None  # no line would be seen of it
            item.setData(curve.x, curve.y, connect="finite", symbol=alone)
        for band, curve in zip(self._bands, plot.curves, strict=True):
            if band is not None and curve.low is not None and curve.high is not None:
                band.draw(curve.x, curve.low, curve.high)
        low_y, high_y = plot.limits or _y_range(plot.curves, plot.least_span)
        margin = 0.08 * (high_y - low_y)
        self.box.setRange(xRange=x_range, yRange=(low_y - margin, high_y + margin), padding=0)
        self.line.setVisible(cursor_s is not None)
        if cursor_s is not None:
            self.line.setValue(cursor_s)

    def mark(self, x: NDArray[np.float64], text: str) -> None:
        """Draw a line from below to above at each of `x` [s]; `text` says what they are."""
        set_tip(self.canvas, text)
        low, high = self.box.viewRange()[1]
        self._moments.setData(np.repeat(x, 2), np.tile((low, high), len(x)), connect="pairs")

    def _mouse(self, event: Any, axis: int | None = None) -> None:
        if event.button() != Qt.MouseButton.LeftButton:
            event.ignore()
            return
        event.accept()
        self._scrubbed(float(self.box.mapSceneToView(event.scenePos()).x()))


class _ValueAxis(pg.AxisItem):  # type: ignore[misc]
    """Leaves every second number out where a plot is too low for all of them, but not all."""

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:
        """See pyqtgraph."""
        texts: list[str] = super().tickStrings(values, scale, spacing)
        low, high = self.range
        if spacing * self.height() >= _NUMBER_HEIGHT_PX * (high - low):
            return texts
        even = [round(value / spacing) % 2 == 0 for value in values]
        kept = even if any(even) else [True] * len(even)
        return [text if keep else "" for text, keep in zip(texts, kept, strict=True)]


def _canvas(box: Any, theme: Theme, *, is_last: bool) -> Any:
    """Put axes to `box`; pyqtgraph's own plot would bring seven menus nobody sees."""
    left, bottom = _ValueAxis("left"), pg.AxisItem("bottom")
    left.setWidth(_AXIS_WIDTH_PX)
    left.setGrid(26)
    bottom.setHeight(_AXIS_HEIGHT_PX if is_last else 3)
    bottom.tickStrings = lambda values, scale, spacing: [time_text(value) for value in values]
    for axis in (left, bottom):
        axis.linkToView(box)
        axis.setPen(pg.mkPen(theme.line))
        axis.setTextPen(pg.mkPen(theme.muted))
        axis.setTickFont(number_font(QApplication.font(), 7.5))
        axis.setStyle(tickLength=-4, tickTextOffset=4, maxTickLevel=0, hideOverlappingLabels=True)
        axis.enableAutoSIPrefix(False)
    bottom.setStyle(showValues=is_last)
    canvas = pg.GraphicsView(background=QColor(theme.panel))
    canvas.setMinimumHeight(24)
    plot = pg.GraphicsLayout()
    plot.layout.setContentsMargins(2, 0, 10, 0)
    plot.layout.setSpacing(0)
    plot.addItem(left, 0, 0)
    plot.addItem(box, 0, 1)
    plot.addItem(bottom, 1, 1)
    canvas.setCentralItem(plot)
    return canvas


def _line(colour: str, width: float) -> Any:
    pen = pg.mkPen(colour, width=width)
    return pg.PlotDataItem(pen=pen, symbol=None, symbolSize=5, symbolPen=None, symbolBrush=colour)


def _reading(row: QWidget, colour: str) -> QLabel:
    """Make the label of a value; where there are several curves, in its curve's colour."""
    label = plain_label()
    label.setFont(number_font(row.font(), 8.5, bold=True))
    if colour:
        label.setStyleSheet(f"color: {colour};")
    return label


def _y_range(curves: tuple[Curve, ...], least_span: float) -> tuple[float, float]:
    """Fit the values, and at least 1 % or `least_span`, so that noise alone does not fill the plot.

    Where both are 0 the values are, too.
    """
    arrays = [a for curve in curves for a in (curve.y, curve.low, curve.high) if a is not None]
    finite = [a[abs(a) < _LARGEST] for a in arrays]
    finite = [a for a in finite if a.size]
    if not finite:
        return 0.0, 1.0
    low, high = min(float(a.min()) for a in finite), max(float(a.max()) for a in finite)
    middle, span = (low + high) / 2, max(high - low, 0.01 * abs(high), least_span) or 1.0
    return middle - span / 2, middle + span / 2
