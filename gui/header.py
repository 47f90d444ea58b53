"""The window's upper edge: recording light, source and series, and the buttons used all day."""

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QToolButton, QWidget

from gui.labels import ShortLabel, plain_label, set_severity, set_short_text, set_text, set_tip
from gui.resolve import Drawing
from gui.status_text import Severity
from gui.theme import THEMES, Theme, number_font

__all__ = ["Header"]

_PAUSE = "Pause rec."
_FILE_PX, _SAID_PX = 200, 260  # at most; with these a header fits into 1280 px


class Header(QWidget):
    """Shows a drawing's light and title; the buttons are wired by the window."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("role", "header")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.lamp = _Lamp()
        self.light = plain_label("NO RUN")
        self.light.setFont(number_font(self.font(), 9.5, bold=True))
        self.file = plain_label("")
        self.file.setFont(number_font(self.font(), 9.5))
        self.title = ShortLabel("muted", Qt.TextElideMode.ElideMiddle)
        self.live = QPushButton("Live")
        self.live.setToolTip("Show the newest frame (L)")
        self.hold = QPushButton("Hold")
        self.hold.setToolTip("Hold this picture; the run goes on (Space)")
        self.said = plain_label("", "muted")
        self.note = QPushButton("Note")
        self.record = QPushButton(_PAUSE)
        self.next_file = QPushButton("Next file")
        self.open_menu = QToolButton()
        self.open_menu.setText("Open")
        self.open_menu.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.view_menu = QToolButton()
        self.view_menu.setText("View")
        self.view_menu.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.export_menu = QToolButton()
        self.export_menu.setText("Export")
        self.export_menu.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.help = QPushButton("?")
        self.help.setToolTip("Keyboard shortcuts (?)")
        self.help.setFixedWidth(30)
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 5, 8, 5)
        row.setSpacing(8)
        for widget in (self.lamp, self.light, self.file):
            row.addWidget(widget)
        row.addSpacing(10)
        row.addWidget(self.title, 1)
        row.addWidget(self.said)
        for button in (
            self.note,
            self.record,
            self.next_file,
            self.hold,
            self.live,
            self.open_menu,
            self.view_menu,
            self.export_menu,
            self.help,
        ):
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            row.addWidget(button)

    def apply_theme(self, theme: Theme) -> None:
        """Hand the lamp its colours."""
        self.lamp.apply_theme(theme)

    def draw(self, drawing: Drawing, *, live: bool) -> None:
        """Show the light, the title and whether the view is live."""
        light = drawing.light
        self.lamp.draw(light.severity, blinking=light.caption == "REC")
        set_text(self.light, light.caption)
        set_text(self.title, drawing.title)
        set_tip(self.title, drawing.title)
        set_short_text(self.file, light.value, _FILE_PX)
        set_severity(self.light, light.severity)
        set_tip(self.file, light.detail)
        set_short_text(self.said, drawing.said, _SAID_PX)
        set_tip(self.said, drawing.said)
        self._draw_remote(drawing)
        self._draw_live(live)
        self.live.setVisible(drawing.can_go_live)

    def show_file(self) -> None:
        """Leave out what a file does not have: a run to talk to."""
        for button in (self.note, self.record, self.next_file, self.hold):
            button.hide()

    def _draw_remote(self, drawing: Drawing) -> None:
        caption = _PAUSE if drawing.recording else "Record"
        if self.record.text() != caption:
            self.record.setText(caption)
        for button, tip in (
            (self.note, "Write a note into the file (N)"),
            (self.record, "Switch recording off or on; the analysis goes on (Ctrl+R)"),
            (self.next_file, "Close this file and go on in the next (Ctrl+N)"),
        ):
            button.setEnabled(not drawing.untold)
            button.setToolTip(f"Not possible: {drawing.untold}" if drawing.untold else tip)

    def _draw_live(self, live: bool) -> None:
        state = "true" if live else "false"
        if self.live.property("live") != state:
            self.hold.setEnabled(live)
            self.live.setProperty("live", state)
            self.live.setText("Live" if live else "Back to live")
            self.live.style().unpolish(self.live)
            self.live.style().polish(self.live)


class _Lamp(QWidget):
    """A round light; while frames are recorded it is red with a halo."""

    def __init__(self) -> None:
        super().__init__()
        self.setFixedSize(QSize(16, 16))
        self._theme = next(iter(THEMES.values()))
        self._severity = Severity.PLAIN
        self._on = False

    def apply_theme(self, theme: Theme) -> None:
        self._theme = theme
        self.update()

    def draw(self, severity: Severity, *, blinking: bool) -> None:
        if (severity, blinking) != (self._severity, self._on):
            self._severity, self._on = severity, blinking
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        colours = {
            Severity.PLAIN: self._theme.muted,
            Severity.GOOD: self._theme.good,
            Severity.WARN: self._theme.warn,
            Severity.BAD: self._theme.bad,
        }
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        colour = QColor(colours[self._severity])
        if self._on:
            halo = QColor(colour)
            halo.setAlpha(80)
            painter.setBrush(halo)
            painter.drawEllipse(0, 0, 16, 16)
        painter.setBrush(colour)
        painter.drawEllipse(3, 3, 10, 10)
        painter.end()
