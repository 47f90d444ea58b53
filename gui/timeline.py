"""Time series below each other on one time axis, with a cursor that scrubs through the past."""

import numpy as np
from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from gui.moments import Moment, moments_text
from gui.plot_row import PlotRow
from gui.series import Plot
from gui.theme import Theme

__all__ = ["Timeline"]


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
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(1, 7, 1, 3)
        self._layout.setSpacing(5)
        self.rows: list[PlotRow] = []
        self._shapes: tuple[tuple[str, tuple[bool, ...], int], ...] = ()
        self._theme: Theme | None = None
        self.plots: tuple[Plot, ...] = ()
        self._x_range = (0.0, 1.0)
        self._cursor_s: float | None = None

    def apply_theme(self, theme: Theme) -> None:
        """Take over the colours; the plots are made anew."""
        self._theme = theme
        self._build()
        self.draw(self.plots, self._x_range, self._cursor_s)

    def draw(self, plots: tuple[Plot, ...], x_range: tuple[float, float], cursor_s: float | None) -> None:
        """Show `plots` over `x_range` [s], with the cursor at `cursor_s`; None: live."""
        self.plots, self._x_range, self._cursor_s = plots, x_range, cursor_s
        shapes = tuple(plot.shape for plot in plots)
        if shapes != self._shapes:
            self._shapes = shapes
            self._build()
        for row, plot in zip(self.rows, plots, strict=self._theme is not None):
            row.draw(plot, x_range, cursor_s)

    def mark(self, moments: tuple[Moment, ...], t_zero: float) -> None:
        """Put a line at each of `moments`; where the mouse rests on a plot, their texts appear."""
        x = np.array([moment.t - t_zero for moment in moments])
        text = moments_text(moments, t_zero)
        for row in self.rows:
            row.mark(x, text)

    def width_px(self) -> int:
        """Return how many points side by side can be told apart."""
        return max(50, self.width() - 60)

    def _build(self) -> None:
        for row in self.rows:
            self._layout.removeWidget(row)
            row.hide()
            row.deleteLater()
        self.rows = []
        if self._theme is None:
            return
        for index, shape in enumerate(self._shapes):
            is_last = index == len(self._shapes) - 1
            row = PlotRow(shape, self._theme, self.scrubbed.emit, is_last=is_last)
            self._layout.addWidget(row, shape[2])
            self.rows.append(row)
