"""Play, step and speed, shown for a file."""

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QPushButton, QSlider, QStyle, QWidget

from gui.format import duration_text
from gui.labels import plain_label, set_text
from gui.player import SPEEDS
from gui.theme import number_font

__all__ = ["PlayBar"]

_SLIDER_STEPS = 10_000


class PlayBar(QWidget):
    """Shows where in the series the picture is.

    Signals
    -------
    moved(float)
        The slider was dragged to this share of the series, 0 to 1.
    speed_chosen(float)
    """

    moved = Signal(float)
    speed_chosen = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("role", "panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.back, self.play, self.forward = QPushButton("‹"), QPushButton("Play"), QPushButton("›")
        self.play.setFixedWidth(64)
        self.back.setToolTip("One frame back (←)")
        self.play.setToolTip("Play or stop (Space)")
        self.forward.setToolTip("One frame forward (→)")
        self.slider = _SeriesSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, _SLIDER_STEPS)
        self.place = plain_label()
        self.place.setFont(number_font(self.font(), 9.0))
        self.speed = QComboBox()
        self.speed.addItems([f"{speed:g} ×" for speed in SPEEDS])
        self.speed.setCurrentIndex(SPEEDS.index(1.0))
        row = QHBoxLayout(self)
        row.setContentsMargins(10, 5, 10, 5)
        row.setSpacing(8)
        for widget in (self.back, self.play, self.forward):
            widget.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            row.addWidget(widget)
        row.addWidget(self.slider, 1)
        row.addWidget(self.place)
        row.addWidget(self.speed)
        self.slider.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.slider.sliderMoved.connect(lambda value: self.moved.emit(value / _SLIDER_STEPS))
        self.speed.activated.connect(lambda index: self.speed_chosen.emit(SPEEDS[index]))
        self.hide()

    def draw(self, t_s: float, length_s: float, *, playing: bool) -> None:
        """Show that `t_s` of `length_s` [s] have gone by."""
        self.play.setText("Stop" if playing else "Play")
        if not self.slider.isSliderDown():
            self.slider.setValue(round(_SLIDER_STEPS * t_s / length_s) if length_s > 0 else 0)
        set_text(self.place, f"{duration_text(t_s)} / {duration_text(length_s)}")


class _SeriesSlider(QSlider):
    """Goes where it is clicked, as a player's bar does, and can be dragged on from there."""

    def mousePressEvent(self, event: QMouseEvent) -> None:
        place = round(event.position().x())
        value = QStyle.sliderValueFromPosition(self.minimum(), self.maximum(), place, self.width())
        self.setValue(value)
        self.sliderMoved.emit(value)
        super().mousePressEvent(event)
