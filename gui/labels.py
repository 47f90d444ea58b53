"""Labels: text as it is, set only when it changed, coloured by its meaning."""

from html import escape

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QLabel, QSizePolicy, QWidget

__all__ = [
    "ShortLabel",
    "fit_overlay",
    "plain_label",
    "set_severity",
    "set_short_text",
    "set_text",
    "set_tip",
]

_MARGIN_PX = 8  # between an overlay and the border of what it lies over


def plain_label(text: str = "", role: str = "") -> QLabel:
    """Make a label that shows text as it is: what comes over a socket is never read as markup."""
    label = QLabel(text)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setProperty("role", role)
    return label


class ShortLabel(QLabel):
    """Shows as much of its text as it has room for, and asks for none.

    Where it is not all, an ellipsis says so: digits that are merely cut off are read as another number.
    """

    def __init__(self, role: str = "", mode: Qt.TextElideMode = Qt.TextElideMode.ElideRight) -> None:
        super().__init__()
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setProperty("role", role)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._mode = mode

    def shown(self) -> str:
        """Return what can be read."""
        return self.fontMetrics().elidedText(self.text(), self._mode, self.contentsRect().width())

    def paintEvent(self, event: QPaintEvent) -> None:
        """See Qt."""
        painter = QPainter(self)
        place, how = self.contentsRect(), self.alignment().value
        role = self.foregroundRole()
        self.style().drawItemText(painter, place, how, self.palette(), self.isEnabled(), self.shown(), role)
        painter.end()


def set_text(label: QLabel, text: str) -> None:
    """Change a label's text; an unchanged one costs nothing."""
    if label.text() != text:
        label.setText(text)


def set_short_text(
    label: QLabel, text: str, width_px: int, mode: Qt.TextElideMode = Qt.TextElideMode.ElideMiddle
) -> None:
    """Show as much of a text as fits: a label that asks for more makes the window wider than the screen."""
    set_text(label, label.fontMetrics().elidedText(text, mode, width_px))


def fit_overlay(label: QLabel, text: str, area: QSize) -> None:
    """Show a text over `area`, on as many lines as its width asks for; an empty one hides the label."""
    set_text(label, text)
    label.setVisible(bool(text))
    if text:
        label.setWordWrap(False)
        width = min(label.sizeHint().width(), area.width() - 2 * _MARGIN_PX)
        label.setWordWrap(True)
        label.resize(width, label.heightForWidth(width))


def set_tip(widget: QWidget, text: str) -> None:
    """Change what is said where the mouse rests, as it is; an unchanged one costs nothing."""
    shown = text
    if "<" in text:  # Qt might take it for markup
        shown = f"<p>{escape(text)}</p>".replace("\n", "<br>")
    if widget.toolTip() != shown:
        widget.setToolTip(shown)


def set_severity(label: QLabel, severity: str) -> None:
    """Colour a label by what its value means; the style sheet knows the colours."""
    if label.property("severity") != severity:
        label.setProperty("severity", severity)
        label.style().unpolish(label)
        label.style().polish(label)
