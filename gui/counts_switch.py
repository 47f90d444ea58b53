"""Two buttons side by side: counts of the frame shown, or fused over all frames so far."""

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QButtonGroup, QHBoxLayout, QPushButton, QWidget

from gui.settings import CountsFrom

__all__ = ["CountsSwitch"]

_TEXTS = {
    CountsFrom.SINGLE: ("Single frame", "What the network says of this frame alone (S)"),
    CountsFrom.FUSED: ("Fused", "What all frames so far say together of each column that is followed (S)"),
}


class CountsSwitch(QWidget):
    """Shows which counts are drawn.

    Signals
    -------
    chosen(object)
        The person clicked: a `CountsFrom`.
    """

    chosen = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.buttons: dict[CountsFrom, QPushButton] = {}
        self._group = QButtonGroup(self)
        row = QHBoxLayout(self)
        row.setContentsMargins(6, 0, 6, 0)
        row.setSpacing(2)
        for source, (text, tip) in _TEXTS.items():
            self.buttons[source] = button = QPushButton(text)
            button.setCheckable(True)
            button.setToolTip(tip)
            button.setProperty("role", "small")
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            button.clicked.connect(lambda _=False, source=source: self.chosen.emit(source))
            self._group.addButton(button)
            row.addWidget(button)

    def draw(self, source: CountsFrom) -> None:
        """Press the button of `source`."""
        if not self.buttons[source].isChecked():
            self.buttons[source].setChecked(True)
