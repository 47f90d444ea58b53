"""All parts of the window and how they share its area; the person may move the borders."""

from PySide6.QtCore import QEvent, QObject, QSettings, QSize, Qt
from PySide6.QtWidgets import QScrollArea, QSplitter, QVBoxLayout, QWidget

from gui.column_marks import ColumnMarks
from gui.header import Header
from gui.headline import HeadlinePanel
from gui.labels import set_text, set_tip
from gui.map_panel import MapPanel
from gui.persist import load_bytes, save_bytes
from gui.picture_panel import PicturePanel
from gui.play_bar import PlayBar
from gui.pointer import PointerTexts
from gui.resolve import Drawing
from gui.side_tabs import SideTabs
from gui.status_strip import AlarmBar, StatusStrip
from gui.theme import Theme
from gui.timeline import Timeline

__all__ = ["Panels"]

_GAP_PX = 6
_MIDDLE_SIZES = [276, 604, 380]
_PLOTS_SIZES = [560, 400]
_LEAST_PLOTS_PX = 180


class Panels(QWidget):
    """The window's central widget: pictures left, the map in the middle, figures and time series right."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.header, self.alarm, self.strip = Header(), AlarmBar(), StatusStrip()
        self.raw, self.denoised, self.map = PicturePanel("Raw"), PicturePanel("Denoised"), MapPanel()
        self.rings = ColumnMarks(self.denoised.box, filled=False)
        self.play_bar = PlayBar()
        self.headline, self.timeline, self.tabs = HeadlinePanel(), Timeline(), SideTabs()
        pictures = _splitter(Qt.Orientation.Vertical, (self.raw, 1), (self.denoised, 1))
        plots = _splitter(Qt.Orientation.Vertical, (_Scrolled(self.timeline), 3), (self.tabs, 2))
        plots.setSizes(_PLOTS_SIZES)
        side = QWidget()
        _column(side, self.headline, plots)
        middle = _splitter(Qt.Orientation.Horizontal, (pictures, 27), (self.map, 46), (side, 32))
        middle.setSizes(_MIDDLE_SIZES)
        _column(self, self.header, self.alarm, middle, self.play_bar, self.strip, margin_px=_GAP_PX)
        self._mark = ""
        self._splitters = {"pictures": pictures, "plots": plots, "middle": middle}

    @property
    def picture_panels(self) -> tuple[PicturePanel, ...]:
        """Those that zoom together."""
        return self.raw, self.denoised, self.map

    def apply_theme(self, theme: Theme) -> None:
        """Hand every part its colours."""
        self._mark = theme.mark
        for panel in self.picture_panels:
            panel.apply_theme(theme)
        for part in (self.header, self.headline, self.timeline, self.tabs):
            part.apply_theme(theme)

    def draw(self, drawing: Drawing, pointer: PointerTexts, *, live: bool) -> None:
        """Show everything but the time series."""
        self.header.draw(drawing, live=live)
        self.alarm.draw(drawing.alarm)
        self.raw.draw(drawing.frame.raw, drawing.region, drawing.pixel_size_A)
        self.denoised.draw(drawing.frame.denoised, drawing.region, drawing.pixel_size_A)
        self._draw_rings(drawing)
        self.map.draw_map(drawing)
        self.headline.draw(drawing.frame.headline)
        self.tabs.draw_save(drawing.untold, there=drawing.roi is not None)
        self.strip.draw(drawing.cells)
        for panel, text in zip(
            self.picture_panels, (pointer.raw, pointer.denoised, pointer.map), strict=True
        ):
            set_text(panel.detail, text)
            set_tip(panel.detail, text)

    def _draw_rings(self, drawing: Drawing) -> None:
        markers = drawing.frame.markers if drawing.markers_on_denoised else None
        selected = drawing.selected if drawing.markers_on_denoised else None
        self.rings.draw(markers, self.denoised.magnification(), selected, self._mark)

    def restore(self, ini: QSettings) -> None:
        """Put the borders where they were."""
        for name, splitter in self._splitters.items():
            splitter.restoreState(load_bytes(ini, name))

    def save(self, ini: QSettings) -> None:
        """Remember where the borders are."""
        for name, splitter in self._splitters.items():
            save_bytes(ini, name, splitter.saveState())


def _splitter(orientation: Qt.Orientation, *parts: tuple[QWidget, int]) -> QSplitter:
    splitter = QSplitter(orientation)
    splitter.setHandleWidth(_GAP_PX)
    splitter.setChildrenCollapsible(False)
    for index, (widget, stretch) in enumerate(parts):
        splitter.addWidget(widget)
        splitter.setStretchFactor(index, stretch)
    return splitter


class _Scrolled(QScrollArea):
    """Lets `content` be higher than the screen has room for, as many stimulus channels are."""

    def __init__(self, content: QWidget) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setWidget(content)
        self._content = content

    def minimumSizeHint(self) -> QSize:
        """Ask for the content's width and the bar's beside it; it scrolls in height only."""
        width = self._content.minimumSizeHint().width() + self.verticalScrollBar().sizeHint().width()
        return QSize(width, _LEAST_PLOTS_PX)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Tell whoever shares out the window's width that the content asks for another one."""
        if event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return super().eventFilter(watched, event)


def _column(parent: QWidget, *parts: QWidget, margin_px: int = 0) -> None:
    column = QVBoxLayout(parent)
    column.setContentsMargins(margin_px, margin_px, margin_px, margin_px)
    column.setSpacing(_GAP_PX)
    for part in parts:
        column.addWidget(part, 1 if isinstance(part, QSplitter) else 0)
