"""The strip of figures along the window's lower edge, and the alarm above the pictures."""

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QApplication,
    QFrame,
    QHBoxLayout,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from gui.format import breakable
from gui.labels import ShortLabel, plain_label, set_severity, set_text, set_tip
from gui.status_text import Alarm, Cell
from gui.theme import number_font

__all__ = ["AlarmBar", "StatusStrip"]


class _CellView(QWidget):
    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.caption = ShortLabel("caption")
        self.value = ShortLabel("value")
        self.detail = ShortLabel("muted")
        self.caption.setFont(number_font(self.font(), 7.5))
        self.value.setFont(number_font(self.font(), 11.5))
        self.detail.setFont(number_font(self.font(), 8.0))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        for label in (self.caption, self.value, self.detail):
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            layout.addWidget(label)

    def draw(self, cell: Cell) -> None:
        for label, text in (
            (self.caption, cell.caption),
            (self.value, cell.value),
            (self.detail, cell.detail),
        ):
            set_text(label, text)
        set_severity(self.value, cell.severity)
        set_tip(self, cell.tip)


class StatusStrip(QWidget):
    """One cell a figure; cells are made once and then only given new texts."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("role", "panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(12, 6, 12, 6)
        self._row.setSpacing(14)
        self.cells: dict[str, _CellView] = {}

    def draw(self, cells: tuple[Cell, ...]) -> None:
        """Show `cells`, in their order."""
        for cell in cells:
            if cell.name not in self.cells:
                self.cells[cell.name] = _CellView(cell)
                self._row.addWidget(self.cells[cell.name], 1)
            self.cells[cell.name].draw(cell)


class AlarmBar(QFrame):
    """A red bar, amber where nothing is lost, that stays until the person confirms it.

    Signals
    -------
    acknowledged(object)
        The `Alarm` that was confirmed.
    """

    acknowledged = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("role", "alarm")
        self.label = plain_label()
        self.label.setWordWrap(True)
        self.button = QPushButton("Acknowledge  (A)")
        self.button.setCursor(Qt.CursorShape.PointingHandCursor)
        self.button.clicked.connect(self.acknowledge)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(14, 7, 10, 7)
        layout.addWidget(self.label, 1)
        layout.addWidget(self.button)
        self.alarm: Alarm | None = None
        self.hide()

    def draw(self, alarm: Alarm | None) -> None:
        """Show the alarm, or nothing."""
        if alarm is not None:
            set_text(self.label, breakable(alarm.text))
            self._colour(alarm.severity)
            if self.alarm is None or _what(alarm) != _what(self.alarm):
                QApplication.alert(self.window())  # the task bar shows it when another window is in front
        self.alarm = alarm
        self.setVisible(alarm is not None)

    def _colour(self, severity: str) -> None:
        if self.property("severity") != severity:
            self.setProperty("severity", severity)
            for widget in (self, self.label, self.button):
                widget.style().unpolish(widget)
                widget.style().polish(widget)

    def acknowledge(self) -> None:
        """Confirm what is shown."""
        if self.alarm is not None:
            self.acknowledged.emit(self.alarm)


def _what(alarm: Alarm) -> tuple[object, ...]:
    """Return what makes an alarm another one; in its text, seconds go by."""
    return alarm.losses, alarm.refused, alarm.events, alarm.severity
