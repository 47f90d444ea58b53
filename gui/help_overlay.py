"""The keyboard shortcuts, over the whole window; any key or click closes it."""

from itertools import groupby

from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QKeyEvent, QMouseEvent
from PySide6.QtWidgets import QApplication, QGridLayout, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget
from shiboken6 import isValid

from gui.actions import ACTIONS
from gui.labels import plain_label
from gui.theme import Theme, number_font

__all__ = ["HelpOverlay"]

_MOUSE = (
    ("Wheel", "Zoom all pictures"),
    ("Drag", "Move all pictures"),
    ("Double click", "Whole frame"),
    ("Click a column", "Follow its count"),
    ("Click or drag a plot", "Look back in time"),
)


_BENEATH = ("Run",)  # groups that share a column with the one before


class HelpOverlay(QWidget):
    """Lists `gui.actions.ACTIONS`; lies over its parent."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setObjectName("help")
        self._card = QWidget()
        self._card.setObjectName("card")
        self._card.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        columns = QHBoxLayout()
        columns.setSpacing(44)
        groups = [(name, list(specs)) for name, specs in groupby(ACTIONS, lambda spec: spec.group)]
        made: list[QVBoxLayout] = []
        for name, specs in groups:
            lines = [("  ".join(_keys(keys) for keys in spec.keys), spec.text) for spec in specs]
            column = _group(name, lines)
            if name in _BENEATH:
                made[-1].addLayout(column)
            else:
                made.append(column)
        made[-1].addLayout(_group("Mouse", list(_MOUSE)))
        for column in made:
            column.addStretch(1)
            columns.addLayout(column)
        content = QVBoxLayout(self._card)
        content.setContentsMargins(36, 26, 36, 28)
        content.setSpacing(16)
        title = plain_label("Keyboard and mouse", "title")
        title.setFont(number_font(self.font(), 15, bold=True))
        content.addWidget(title)
        content.addLayout(columns)
        self._area = QScrollArea()  # a small window has no room for all of it
        self._area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._area.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._area.setWidget(self._card)
        layout = QVBoxLayout(self)
        layout.addWidget(self._area)
        self._before: QWidget | None = None  # where the keys went
        self.hide()

    def apply_theme(self, theme: Theme) -> None:
        """Take over the colours."""
        self.setStyleSheet(
            f"#help {{ background: rgba(0, 0, 0, 150); }}"
            f"#card {{ background: {theme.panel}; border: 1px solid {theme.line}; border-radius: 10px; }}"
            f'QLabel[role="key"] {{ background: {theme.raised}; border: 1px solid {theme.line};'
            f" border-radius: 4px; padding: 1px 7px; font-weight: 600; }}"
        )

    def toggle(self) -> None:
        """Show it over all of the parent, or hide it."""
        parent = self.parentWidget()
        if self.isVisible() or parent is None:
            self._close()
            return
        self.resize(parent.size())
        self.raise_()
        self.show()
        self._card.adjustSize()
        self._before = QApplication.focusWidget()
        self.setFocus()

    def event(self, event: QEvent) -> bool:
        """Take every key for itself: otherwise it would do, unseen, what it usually does."""
        if event.type() == QEvent.Type.ShortcutOverride:
            event.accept()
            return True
        return super().event(event)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Close."""
        self._close()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Close; a key that only modifies the next one does not."""
        if event.text() or not event.modifiers():
            self._close()

    def _close(self) -> None:
        self.hide()
        if self._before is not None and isValid(self._before):
            self._before.setFocus()


def _group(title: str, lines: list[tuple[str, str]]) -> QVBoxLayout:
    column = QVBoxLayout()
    column.setSpacing(10)
    caption = plain_label(title.upper(), "caption")
    caption.setFont(number_font(caption.font(), 8.0, bold=True))
    column.addWidget(caption)
    grid = QGridLayout()
    grid.setHorizontalSpacing(12)
    grid.setVerticalSpacing(7)
    for row, (keys, text) in enumerate(lines):
        grid.addWidget(plain_label(keys, "key"), row, 0, Qt.AlignmentFlag.AlignLeft)
        grid.addWidget(plain_label(text), row, 1)
    column.addLayout(grid)
    return column


def _keys(keys: str) -> str:
    arrows = {"Left": "←", "Right": "→", "Shift+Left": "⇧ ←", "Shift+Right": "⇧ →", "-": "−"}
    return arrows.get(keys, keys)
