"""What is looked at more closely: the chosen column, a region of interest, the power spectrum."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QStackedLayout, QTabWidget, QVBoxLayout, QWidget

from gui.labels import plain_label
from gui.series import Plot
from gui.spectrum_panel import SpectrumPanel
from gui.theme import Theme
from gui.timeline import Timeline

__all__ = ["SideTabs"]


class SideTabs(QTabWidget):
    """Tabs Column, Region and FFT; `column` and `region` are timelines of their own."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("role", "panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setDocumentMode(True)
        self.tabBar().setDrawBase(False)
        self.column, self.region = Timeline(), Timeline()
        self.spectrum = SpectrumPanel()
        self.rectangle = QPushButton("Rectangle")
        self.polygon = QPushButton("Polygon")
        self.remove = QPushButton("Remove")
        self.save = QPushButton("Save")
        self._column_page = _Page(self.column, "Click a column in the map to follow its count")
        self._region_page = _Page(
            self.region,
            "Put a rectangle or a polygon on the map",
            self.rectangle,
            self.polygon,
            self.remove,
            self.save,
        )
        self.addTab(self._column_page, "Column")
        self.addTab(self._region_page, "Region")
        self.addTab(self.spectrum, "FFT")
        self.setCurrentWidget(self.spectrum)
        self._shown = (False, False)

    def apply_theme(self, theme: Theme) -> None:
        """Hand the plots and the picture their colours."""
        for part in (self.column, self.region, self.spectrum):
            part.apply_theme(theme)

    def draw_save(self, untold: str, *, there: bool) -> None:
        """Let a region that is `there` be saved, unless the run cannot be told: `untold` says why."""
        self.save.setEnabled(there and not untold)
        tip = "Write the region into the run's file, as a note" if there else "There is no region"
        self.save.setToolTip(f"Not possible: {untold}" if untold else tip)

    def draw(
        self,
        column: tuple[Plot, ...],
        region: tuple[Plot, ...],
        x_range: tuple[float, float],
        cursor_s: float | None,
    ) -> None:
        """Show both sets of plots; where there are none, the hint how to get some.

        The tab of a column or a region that has just been chosen comes to the front.
        """
        self._bring_forward((bool(column), bool(region)))
        for page, timeline, plots in (
            (self._column_page, self.column, column),
            (self._region_page, self.region, region),
        ):
            page.show_content(bool(plots))
            timeline.draw(plots, x_range, cursor_s)

    def _bring_forward(self, there: tuple[bool, bool]) -> None:
        for page, now, before in zip((self._column_page, self._region_page), there, self._shown, strict=True):
            if now and not before:
                self.setCurrentWidget(page)
        self._shown = there


class _Page(QWidget):
    """Buttons above, and either plots or a hint."""

    def __init__(self, timeline: Timeline, hint: str, *buttons: QPushButton) -> None:
        super().__init__()
        timeline.setProperty("role", "")
        label = plain_label(hint, "muted")
        label.setAlignment(Qt.AlignmentFlag.AlignCenter)
        label.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        row = QHBoxLayout()
        row.setContentsMargins(8, 6, 8, 0)
        for button in buttons:
            row.addWidget(button)
        row.addStretch(1)
        if buttons:
            layout.addLayout(row)
        self._stack = QStackedLayout()
        self._stack.addWidget(label)
        self._stack.addWidget(timeline)
        layout.addLayout(self._stack, 1)

    def show_content(self, there: bool) -> None:
        self._stack.setCurrentIndex(1 if there else 0)
