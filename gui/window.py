"""The window: widgets laid out, signals wired, a timer that draws the newest; `gui.resolve` decides."""

from collections.abc import Callable

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QCloseEvent, QKeySequence, QShortcut
from PySide6.QtWidgets import QMainWindow, QSplitter, QVBoxLayout, QWidget

from gui.actions import ACTIONS
from gui.commands import Commands
from gui.following import ColumnFollower, RegionFollower, column_plots, region_plots
from gui.geometry import whole_frame
from gui.header import Header
from gui.headline import HeadlinePanel
from gui.map_panel import MapPanel
from gui.picture_panel import PicturePanel
from gui.resolve import Drawing, FrameDrawing, resolve, resolve_frame, time_range
from gui.roi_item import Corners, polygon_corners, rectangle_corners
from gui.series import resolve_plots
from gui.session import LiveSession
from gui.settings import Model, Region, Settings, ViewState
from gui.side_tabs import SideTabs
from gui.status_strip import AlarmBar, StatusStrip
from gui.theme import THEMES, style_sheet
from gui.timeline import Timeline
from streamer.link import View

__all__ = ["AnalysisWindow"]

_TICK_MS = 33
_TIMELINE_EVERY = 4
_GAP_PX = 6


class AnalysisWindow(QMainWindow):
    """Shows one session.

    Parameters
    ----------
    session : LiveSession
        Closed with the window.
    settings : Model of Settings
        Read when the window opens and followed from then on.
    """

    def __init__(self, session: LiveSession, settings: Model[Settings]) -> None:
        super().__init__()
        self.setWindowTitle("Atomstream")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.session = session
        self.settings = settings
        self.state: Model[ViewState] = Model(ViewState())
        self.commands = Commands(settings, self.state, session.history)
        self.header, self.alarm, self.strip = Header(), AlarmBar(), StatusStrip()
        self.raw, self.denoised, self.map = PicturePanel("Raw"), PicturePanel("Denoised"), MapPanel()
        self.headline, self.timeline, self.tabs = HeadlinePanel(), Timeline(), SideTabs()
        self._lay_out()
        self._wire()
        self._frame = FrameDrawing()
        self._column, self._region = ColumnFollower(), RegionFollower()
        self._frame_key: tuple[View | None, Settings] | None = None
        self._ticks = 0
        self._unsubscribe = [settings.subscribe(self._settings_changed), self.state.subscribe(self._redraw)]
        self.apply_theme()
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.tick)
        self._timer.start(_TICK_MS)

    def _lay_out(self) -> None:
        self.pictures = _splitter(Qt.Orientation.Vertical, (self.raw, 1), (self.denoised, 1))
        self.plots = _splitter(Qt.Orientation.Vertical, (self.timeline, 3), (self.tabs, 2))
        side = QWidget()
        below = QVBoxLayout(side)
        below.setContentsMargins(0, 0, 0, 0)
        below.setSpacing(_GAP_PX)
        below.addWidget(self.headline)
        below.addWidget(self.plots, 1)
        self.middle = _splitter(Qt.Orientation.Horizontal, (self.pictures, 27), (self.map, 46), (side, 32))
        self.middle.setSizes([276, 604, 380])
        column = QVBoxLayout()
        column.setContentsMargins(_GAP_PX, _GAP_PX, _GAP_PX, _GAP_PX)
        column.setSpacing(_GAP_PX)
        column.addWidget(self.header)
        column.addWidget(self.alarm)
        column.addWidget(self.middle, 1)
        column.addWidget(self.strip)
        centre = QWidget()
        centre.setLayout(column)
        self.setCentralWidget(centre)

    def _wire(self) -> None:
        for panel in (self.raw, self.denoised, self.map):
            panel.region_moved.connect(self.commands.show_region)
            panel.reset_wanted.connect(self.commands.show_whole_frame)
            panel.clicked.connect(self.commands.select)
        self.alarm.acknowledged.connect(self.commands.confirm)
        self.map.roi_moved.connect(self.commands.set_roi)
        for timeline in (self.timeline, self.tabs.column, self.tabs.region):
            timeline.scrubbed.connect(self._scrub)
        self.tabs.rectangle.clicked.connect(lambda: self._propose_roi(rectangle_corners))
        self.tabs.polygon.clicked.connect(lambda: self._propose_roi(polygon_corners))
        self.tabs.remove.clicked.connect(lambda: self.commands.set_roi(None))
        self.header.live.clicked.connect(self.commands.go_live)
        for spec in ACTIONS:
            for keys in spec.keys:
                QShortcut(QKeySequence(keys), self).activated.connect(self.action(spec.method))

    def action(self, name: str) -> Callable[[], None]:
        """Return what an `ActionSpec` calls: the window's own method, or the command of that name."""
        found: Callable[[], None] = getattr(self, name, None) or getattr(self.commands, name)
        return found

    def tick(self) -> None:
        """Take in what has arrived and draw the newest; called by the timer."""
        if self.session.take():
            self.commands.new_series()
        self._ticks += 1
        self.draw()

    def draw(self) -> None:
        """Draw what is known now; pictures and columns only if they changed."""
        state, settings = self.state.value, self.settings.value
        scene = self.session.scene(state)
        key = (scene.view, settings)
        if self._frame_key is None or key[0] is not self._frame_key[0] or key[1] is not self._frame_key[1]:
            self._frame_key = key
            self._frame = resolve_frame(scene.view, self._recent(scene.view, settings), settings)
        self._apply(resolve(scene, self._frame, settings, state))
        if self._ticks % _TIMELINE_EVERY == 0:
            self._draw_timeline()
        self.session.drawn(scene.view)

    def _recent(self, view: View | None, settings: Settings) -> tuple[View, ...]:
        if view is None or settings.average_frames == 1:
            return ()
        return tuple(self.session.history.recent(view, settings.average_frames))

    def _apply(self, drawing: Drawing) -> None:
        self.header.draw(drawing, live=self.state.value.live)
        self.alarm.draw(drawing.alarm)
        self.raw.draw(drawing.frame.raw, drawing.region, drawing.pixel_size_A)
        self.denoised.draw(drawing.frame.denoised, drawing.region, drawing.pixel_size_A)
        self.map.draw_map(drawing)
        self.map.detail.setText(drawing.frame.text)
        self.headline.draw(drawing.frame.headline)
        self.strip.draw(drawing.cells)

    def _draw_timeline(self) -> None:
        history, state, settings = self.session.history, self.state.value, self.settings.value
        newest = history.newest
        if newest is None:
            return
        zero = history.t_first
        start, end = time_range(zero, newest.header.t_received, settings.time_window_s, state.t_end, state.t)
        times = history.rows["t"]
        first, last = times.searchsorted(start - 1.0), times.searchsorted(end + 1.0)
        plots = resolve_plots(
            history.rows[first:last], settings.plots, zero, state.t, newest.header.pixel_size_A,
            self.timeline.width_px(),
        )  # fmt: skip
        cursor = None if state.t is None else state.t - zero
        self.timeline.draw(plots, (start - zero, end - zero), cursor)
        column = column_plots(self._column.follow(state.chosen, history), zero, state.t)
        region = region_plots(self._region.follow(state.roi, history), zero, state.t)
        self.tabs.draw(column, region, (start - zero, end - zero), cursor)
        self.tabs.spectrum.draw(self._frame, newest.header.pixel_size_A)

    def _propose_roi(self, corners: Callable[[Region], Corners]) -> None:
        view = self.session.history.at(self.state.value.t)
        if view is not None:
            whole = whole_frame(view.header.height, view.header.width)
            self.commands.set_roi(corners(self.state.value.region or whole))

    def _scrub(self, seconds: float) -> None:
        self.commands.go_to(self.session.history.t_first + seconds)

    def _redraw(self, state: ViewState) -> None:
        self.draw()
        self._draw_timeline()

    def _settings_changed(self, settings: Settings) -> None:
        self.apply_theme()
        self.draw()
        self._draw_timeline()

    def apply_theme(self) -> None:
        """Take over the colours that the settings name."""
        theme = THEMES[self.settings.value.theme]
        if self.property("theme") == self.settings.value.theme.value:
            return
        self.setProperty("theme", self.settings.value.theme.value)
        self.setStyleSheet(style_sheet(theme))
        for part in (self.header, self.raw, self.denoised, self.map, self.headline, self.timeline, self.tabs):
            part.apply_theme(theme)

    def acknowledge(self) -> None:
        """Confirm the alarm."""
        self.alarm.acknowledge()

    def toggle_full_screen(self) -> None:
        """Fill the screen, or not."""
        self.setWindowState(self.windowState() ^ Qt.WindowState.WindowFullScreen)

    def toggle_help(self) -> None:
        """Show or hide the help."""

    def closeEvent(self, event: QCloseEvent) -> None:
        """Stop drawing, end the subscription."""
        self._timer.stop()
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []
        self.session.close()
        super().closeEvent(event)


def _splitter(orientation: Qt.Orientation, *parts: tuple[QWidget, int]) -> QSplitter:
    splitter = QSplitter(orientation)
    splitter.setHandleWidth(_GAP_PX)
    splitter.setChildrenCollapsible(False)
    for index, (widget, stretch) in enumerate(parts):
        splitter.addWidget(widget)
        splitter.setStretchFactor(index, stretch)
    return splitter
