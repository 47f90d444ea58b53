"""The window: parts wired to the commands, a timer that draws the newest; `gui.resolve` decides."""

import math
import time
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QSettings, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QCloseEvent, QKeySequence, QResizeEvent, QShortcut
from PySide6.QtWidgets import QMainWindow, QMenu

from gui.actions import ACTIONS
from gui.channels import channel_plots
from gui.closer_plots import column_plots, region_plots
from gui.commands import Commands
from gui.dialogs import ask_for_address, ask_for_note, ask_for_result_file, save_as
from gui.export import save_png, save_series, save_svg, series_table, svg_of
from gui.file_session import FileSession
from gui.following import ColumnFollower, RegionFollower
from gui.help_overlay import HelpOverlay
from gui.menus import view_menu
from gui.moments import moments_within
from gui.panels import Panels
from gui.persist import load_bytes, save_bytes, save_settings
from gui.playback import Playback
from gui.pointer import pointer_texts
from gui.resolve import FrameDrawing, recording_range, resolve, resolve_frame, time_range
from gui.roi_item import polygon_corners, rectangle_corners
from gui.series import accumulated_dose, resolve_plots
from gui.session import LiveSession
from gui.settings import TIME_WINDOWS_S, Model, Settings, ViewState
from gui.theme import THEMES, style_sheet
from streamer.window_link import View

__all__ = ["AnalysisWindow"]

_TICK_MS = 33
_TIMELINE_EVERY = 6
_FOLLOW_S = 0.05  # for following a column, or a region, through what is remembered; then the next frame
_SIZE_PX = (1440, 900)


class AnalysisWindow(QMainWindow):
    """Shows one session.

    Parameters
    ----------
    session : LiveSession or FileSession
        Closed with the window.
    settings : Model of Settings
        Read when the window opens and followed from then on.
    ini : QSettings or None
        Where settings and layout are kept from one window to the next; None: nowhere.

    Signals
    -------
    open_wanted(str)
        An address or a file for a further window.
    first_shown()
        There is a picture for the first time.
    """

    open_wanted = Signal(str)
    first_shown = Signal()

    def __init__(
        self, session: LiveSession | FileSession, settings: Model[Settings], ini: QSettings | None = None
    ) -> None:
        super().__init__()
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.session = session
        self.settings = settings
        self.state: Model[ViewState] = Model(ViewState())
        self.commands = Commands(settings, self.state, session.history, session.remote)
        self.panels = Panels()
        self.setCentralWidget(self.panels)
        self.help = HelpOverlay(self)
        self._wire()
        self._frame = FrameDrawing()
        self._frame_of: tuple[View | None, Settings] | None = None
        self._column, self._region = ColumnFollower(), RegionFollower()
        self._pointer: tuple[float, float] | None = None
        self._ticks = 0
        self._unsubscribe = [settings.subscribe(self._settings_changed), self.state.subscribe(self._redraw)]
        self._apply_theme()
        self._ini = ini
        self._restore()
        self.panels.setFocus()  # rather than the first button
        self._playback = self._start_playing()
        self.commands.set_roi(session.saved_region)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.tick)
        self._timer.start(_TICK_MS)

    def _wire(self) -> None:
        parts, commands = self.panels, self.commands
        for panel in parts.picture_panels:
            panel.region_moved.connect(commands.show_region)
            panel.reset_wanted.connect(commands.show_whole_frame)
            panel.clicked.connect(commands.select)
            panel.hovered.connect(self._point)
        parts.map.roi_moved.connect(commands.set_roi)
        parts.map.counts.chosen.connect(commands.choose_counts)
        for timeline in (parts.timeline, parts.tabs.column, parts.tabs.region):
            timeline.scrubbed.connect(self._scrub)
        parts.tabs.rectangle.clicked.connect(lambda: commands.propose_roi(rectangle_corners))
        parts.tabs.polygon.clicked.connect(lambda: commands.propose_roi(polygon_corners))
        parts.tabs.save.clicked.connect(commands.save_roi)
        parts.tabs.remove.clicked.connect(lambda: commands.set_roi(None))
        parts.alarm.acknowledged.connect(commands.confirm)
        parts.header.live.clicked.connect(commands.go_live)
        parts.header.hold.clicked.connect(self.pause)
        parts.header.note.clicked.connect(self.write_note)
        parts.header.record.clicked.connect(self.toggle_recording)
        parts.header.next_file.clicked.connect(commands.next_file)
        parts.header.help.clicked.connect(self.toggle_help)
        parts.header.view_menu.setMenu(view_menu(self, self.settings))
        parts.header.export_menu.setMenu(self._menu("export_png", "export_svg", "export_csv"))
        parts.header.open_menu.setMenu(self._menu("open_file", "connect_to_run"))
        for spec in ACTIONS:
            for keys in spec.keys:
                QShortcut(QKeySequence(keys), self).activated.connect(self.action(spec.method))

    def action(self, name: str) -> Callable[[], None]:
        """Return what an `ActionSpec` calls: the window's own method, or the command of that name."""
        found: Callable[[], None] = getattr(self, name, None) or getattr(self.commands, name)
        return found

    def _start_playing(self) -> Playback | None:
        player, parts = self.session.player, self.panels
        if player is None:
            return None
        parts.header.show_file()
        return Playback(player, parts.play_bar, self.commands, self.state, self.session.history)

    def tick(self) -> None:
        """Take in what has arrived and draw the newest; called by the timer."""
        if self.session.take():
            self.commands.new_series()
        self._ticks += 1
        if self._playback is not None:
            self._playback.advance()
        self.commands.keep_particle_in_view()
        self.draw()
        if self._ticks % _TIMELINE_EVERY == 0:
            self.draw_timeline()

    def stop_timer(self) -> None:
        """Leave `tick` to the caller: benchmarks and pictures for the documentation."""
        self._timer.stop()

    def draw(self) -> None:
        """Draw what is known now, except the time series; pictures and columns only if they changed."""
        state, settings = self.state.value, self.settings.value
        scene = self.session.scene(state)
        self._resolve_frame(scene.view, settings)
        drawing = resolve(scene, self._frame, settings, state)
        pointer = pointer_texts(self._frame, settings, self._pointer, drawing.pixel_size_A)
        self.setWindowTitle(f"{self.session.name} – {drawing.light.caption}")
        self.panels.draw(drawing, pointer, live=state.live)
        self.session.drawn(scene.view)

    def _resolve_frame(self, view: View | None, settings: Settings) -> None:
        if self._frame_of is not None and self._frame_of[0] is view and self._frame_of[1] is settings:
            return
        if view is not None and (self._frame_of is None or self._frame_of[0] is None):
            self.first_shown.emit()
        self._frame_of = (view, settings)
        n = settings.average_frames
        recent = () if view is None or n == 1 else tuple(self.session.history.recent(view, n))
        self._frame = resolve_frame(view, recent, settings, self.session.history.largest_count)

    def draw_timeline(self) -> None:
        """Draw everything against time, and the power spectrum: less often than the pictures."""
        history, state, settings = self.session.history, self.state.value, self.settings.value
        if history.newest is None:
            return
        newest, zero = history.newest.header, history.t_first
        start, end = self._time_range(zero, newest.t_received)
        shown = history.between(start - 1.0, end + 1.0)
        n_points = self.panels.timeline.width_px()
        pixel_size_A, counts = newest.pixel_size_A, settings.counts
        dose = accumulated_dose(history.rows, state.t, pixel_size_A) if "dose" in settings.plots else math.nan
        plots = resolve_plots(
            shown, settings.plots, zero, state.t, pixel_size_A, n_points, counts,
            of_particles=bool(newest.shapes), dose=dose,
        )  # fmt: skip
        channels = self.session.channels.channels
        plots += channel_plots(channels, (start, end), zero, state.t, n_points)
        shown_as = (start, end), zero, state.t, n_points
        column = column_plots(self._column.follow(state.chosen, history, _FOLLOW_S), *shown_as)
        region = region_plots(self._region.follow(state.roi, history, _FOLLOW_S), *shown_as)
        axes = (start - zero, end - zero), None if state.t is None else state.t - zero
        self.panels.timeline.draw(plots, *axes)
        self.panels.timeline.mark(moments_within(self.session.moments, (start, end)), zero)
        self.panels.tabs.draw(column, region, *axes)
        self.panels.tabs.spectrum.draw(self._frame, pixel_size_A)

    def _time_range(self, t_first: float, t_newest: float) -> tuple[float, float]:
        settings, state = self.settings.value, self.state.value
        if self.session.player is not None:
            return recording_range(t_first, t_newest, settings.recording_window_s, state.t)
        return time_range(t_first, t_newest, settings.time_window_s, state.t_end, state.t)

    def _redraw(self, state: ViewState) -> None:
        self.draw()
        self.draw_timeline()

    def _settings_changed(self, settings: Settings) -> None:
        self._apply_theme()
        self.draw()
        self.draw_timeline()

    def _apply_theme(self) -> None:
        name = self.settings.value.theme
        if self.property("theme") == name.value:
            return
        self.setProperty("theme", name.value)
        self.setStyleSheet(style_sheet(THEMES[name]))
        self.panels.apply_theme(THEMES[name])
        self.help.apply_theme(THEMES[name])

    def pause(self) -> None:
        """Hold the live picture; or play and stop a file."""
        if self._playback is None:
            self.commands.pause()
        else:
            self._playback.toggle()

    def next_time_window(self) -> None:
        """Take the next length of the time axes: of a run, or of a recording."""
        field = "time_window_s" if self.session.player is None else "recording_window_s"
        following = TIME_WINDOWS_S.index(getattr(self.settings.value, field)) + 1
        self.settings.change(**{field: TIME_WINDOWS_S[following % len(TIME_WINDOWS_S)]})

    def _scrub(self, seconds: float) -> None:
        self.commands.go_to(self.session.history.t_first + seconds)

    def _point(self, y: float, x: float) -> None:
        self._pointer = (y, x) if y == y else None

    def write_note(self) -> None:
        """Ask for a note; it belongs to the moment of the question, not of its answer."""
        if not self.panels.header.note.isEnabled():
            return
        asked = time.monotonic()
        self.commands.note(ask_for_note(self), time.monotonic() - asked)

    def toggle_recording(self) -> None:
        """Switch recording off if it is on, else on."""
        status = self.session.status
        self.commands.record(status is not None and not status.recording)

    def acknowledge(self) -> None:
        """Confirm the alarm."""
        self.panels.alarm.acknowledge()

    def toggle_full_screen(self) -> None:
        """Fill the screen, or not."""
        self.setWindowState(self.windowState() ^ Qt.WindowState.WindowFullScreen)

    def toggle_help(self) -> None:
        """Show or hide the help."""
        self.help.toggle()

    def export_png(self) -> None:
        """Save the window as it is now, everything in it of one frame; then ask where to."""
        self.draw()
        self.draw_timeline()
        picture = self.grab()
        save_as(self, f"{self.session.name}.png", "PNG", lambda path: save_png(picture, path))

    def export_svg(self) -> None:
        """Save the map as it is now, as vectors; then ask where to."""
        svg = svg_of(self.panels.map.canvas)
        save_as(self, f"{self.session.name}.svg", "SVG", lambda path: save_svg(svg, path))

    def export_csv(self) -> None:
        """Ask where to, and save all series as a table."""
        save_as(self, f"{self.session.name}.csv", "CSV", self.write_csv)

    def write_csv(self, path: Path) -> None:
        """Write the history's numbers, the chosen column, the region and the stimuli, one row a frame."""
        history, state = self.session.history, self.state.value
        column = self._column.follow(state.chosen, history)
        region = self._region.follow(state.roi, history)
        save_series(path, *series_table(history.rows, column, region, self.session.channels.channels))

    def _menu(self, *methods: str) -> QMenu:
        menu = QMenu(self)
        for spec in ACTIONS:
            if spec.method in methods:
                entry = menu.addAction(f"{spec.text} …\t{spec.keys[0]}")
                entry.triggered.connect(self.action(spec.method))
        return menu

    def open_file(self) -> None:
        """Ask for a result file and show it in a window of its own."""
        if wanted := ask_for_result_file(self):
            self.open_wanted.emit(wanted)

    def connect_to_run(self) -> None:
        """Ask for a run's address and show it in a window of its own."""
        if wanted := ask_for_address(self):
            self.open_wanted.emit(wanted)

    def _restore(self) -> None:
        self.resize(QSize(*_SIZE_PX).boundedTo(self.screen().availableSize()))
        if self._ini is not None:
            self.restoreGeometry(load_bytes(self._ini, "geometry"))
            self.panels.restore(self._ini)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Let the help go on covering everything."""
        super().resizeEvent(event)
        self.help.resize(event.size())

    def closeEvent(self, event: QCloseEvent) -> None:
        """Stop drawing, remember the layout, end the subscription."""
        self._timer.stop()
        if self._unsubscribe:
            for unsubscribe in self._unsubscribe:
                unsubscribe()
            self._unsubscribe = []
            self._save()
            self.panels.map.roi.close()
            self.session.close()
        super().closeEvent(event)

    def _save(self) -> None:
        if self._ini is not None:
            save_settings(self._ini, self.settings.value)
            save_bytes(self._ini, "geometry", self.saveGeometry())
            self.panels.save(self._ini)
            self._ini.sync()
