"""Time series below each other on one time axis, with a cursor that scrubs through the past."""

from dataclasses import dataclass
from typing import Any

import pyqtgraph as pg
from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QVBoxLayout, QWidget

from gui.series import PLOT_SPECS, Curve, Plot
from gui.theme import Theme

__all__ = ["Timeline"]

_AXIS_WIDTH_PX = 52
_ROW_SPACING_PX = 2


@dataclass(slots=True)
class _Row:
    """One plot's items; curves are made once and then only given new data."""

    item: Any
    cursor: Any
    curves: list[Any]
    band: tuple[Any, Any, Any] | None


class Timeline(QWidget):
    """Draws the plots it is handed.

    Signals
    -------
    scrubbed(float)
        Position on the time axis [s] that was clicked or dragged to.
    """

    scrubbed = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("role", "panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.canvas = pg.GraphicsLayoutWidget()
        self.canvas.setFrameShape(pg.GraphicsView.Shape.NoFrame)
        self.canvas.ci.layout.setSpacing(_ROW_SPACING_PX)
        self.canvas.ci.layout.setContentsMargins(4, 4, 10, 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(1, 1, 1, 1)
        layout.addWidget(self.canvas)
        self._rows: dict[str, _Row] = {}
        self._names: tuple[str, ...] = ()
        self._theme: Theme | None = None
        self.plots: tuple[Plot, ...] = ()

    def apply_theme(self, theme: Theme) -> None:
        """Take over the colours; the plots are made anew."""
        self._theme = theme
        self.canvas.setBackground(QColor(theme.panel))
        self._build(self._names)
        self.draw(self.plots, (0.0, 1.0), None)

    def draw(self, plots: tuple[Plot, ...], x_range: tuple[float, float], cursor_s: float | None) -> None:
        """Show `plots` over `x_range` [s], with the cursor at `cursor_s`; None: live, at the right edge."""
        self.plots = plots
        names = tuple(plot.name for plot in plots)
        if names != self._names:
            self._build(names)
        for plot in plots:
            self._draw_row(self._rows[plot.name], plot, x_range, cursor_s)

    def width_px(self) -> int:
        """Return how many points side by side can be told apart."""
        return max(50, self.width() - _AXIS_WIDTH_PX - 14)

    def _draw_row(self, row: _Row, plot: Plot, x_range: tuple[float, float], cursor_s: float | None) -> None:
        assert_theme = self._theme
        if assert_theme is None:
            return
        row.item.setTitle(_title_html(plot, assert_theme))
        for item, curve in zip(row.curves, plot.curves, strict=True):
            item.setData(curve.x, curve.y, connect="finite")
        if row.band is not None:
            low, high, _ = row.band
            low.setData(plot.curves[0].x, plot.curves[0].low)
            high.setData(plot.curves[0].x, plot.curves[0].high)
        row.item.setXRange(*x_range, padding=0)
        row.item.setYRange(*(plot.limits or _y_range(plot.curves)), padding=0.08)
        row.cursor.setVisible(cursor_s is not None)
        if cursor_s is not None:
            row.cursor.setValue(cursor_s)

    def _build(self, names: tuple[str, ...]) -> None:
        self.canvas.clear()
        self._rows = {}
        self._names = names
        if self._theme is None:
            return
        for index, name in enumerate(names):
            self._rows[name] = self._new_row(index, name, self._theme, is_last=index == len(names) - 1)

    def _new_row(self, index: int, name: str, theme: Theme, *, is_last: bool) -> _Row:
        spec = PLOT_SPECS[name]
        item = self.canvas.addPlot(row=index, col=0, enableMenu=False)
        self.canvas.ci.layout.setRowStretchFactor(index, spec.stretch)
        item.hideButtons()
        _style_axes(item, theme, is_last=is_last)
        box = item.getViewBox()
        box.setMouseEnabled(x=False, y=False)
        box.mouseDragEvent = lambda event, axis=None: self._drag(box, event)
        box.mouseClickEvent = lambda event: self._drag(box, event)
        band = _new_band(item, theme) if spec.spread else None
        colours = (theme.accent, theme.warn)
        curves = [item.plot(pen=pg.mkPen(colours[k], width=1.6)) for k in range(len(spec.names))]
        cursor = pg.InfiniteLine(angle=90, pen=pg.mkPen(theme.warn, width=1.5))
        item.addItem(cursor, ignoreBounds=True)
        cursor.hide()
        return _Row(item, cursor, curves, band)

    def _drag(self, box: Any, event: Any) -> None:
        if event.button() != Qt.MouseButton.LeftButton:
            event.ignore()
            return
        event.accept()
        self.scrubbed.emit(float(box.mapSceneToView(event.scenePos()).x()))


def _style_axes(item: Any, theme: Theme, *, is_last: bool) -> None:
    left, bottom = item.getAxis("left"), item.getAxis("bottom")
    left.setWidth(_AXIS_WIDTH_PX)
    for axis in (left, bottom):
        axis.setPen(pg.mkPen(theme.line))
        axis.setTextPen(pg.mkPen(theme.muted))
        axis.setStyle(tickLength=-4, tickTextOffset=4, maxTickLevel=0)
        axis.enableAutoSIPrefix(False)
    left.setStyle(hideOverlappingLabels=True)
    bottom.setStyle(showValues=is_last)
    bottom.setHeight(None if is_last else 4)
    item.showGrid(y=True, alpha=0.08)
    item.titleLabel.item.setDocument(item.titleLabel.item.document())
    item.titleLabel.opts["justify"] = "left"


def _new_band(item: Any, theme: Theme) -> tuple[Any, Any, Any]:
    low, high = item.plot(pen=None), item.plot(pen=None)
    colour = QColor(theme.accent)
    colour.setAlpha(60)
    band = pg.FillBetweenItem(low, high, brush=pg.mkBrush(colour))
    item.addItem(band)
    return low, high, band


def _title_html(plot: Plot, theme: Theme) -> str:
    return (
        f"<span style='color:{theme.muted}'>{plot.title}</span>"
        f"&nbsp;&nbsp;<span style='color:{theme.text}; font-weight:600'>{plot.reading}</span>"
    )


def _y_range(curves: tuple[Curve, ...]) -> tuple[float, float]:
    """Fit the values, and at least a span of 1 % or 1e-3, so that noise alone does not fill the plot."""
    arrays = [a for curve in curves for a in (curve.y, curve.low, curve.high) if a is not None]
    finite = [a[abs(a) < float("inf")] for a in arrays]
    finite = [a for a in finite if a.size]
    if not finite:
        return 0.0, 1.0
    low, high = min(float(a.min()) for a in finite), max(float(a.max()) for a in finite)
    middle, span = (low + high) / 2, max(high - low, 0.01 * abs(high), 1e-3)
    return middle - span / 2, middle + span / 2
