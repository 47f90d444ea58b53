"""Labels: text as it is, set only when it changed, coloured by its meaning."""

from html import escape

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QWidget

__all__ = ["plain_label", "set_severity", "set_short_text", "set_text", "set_tip"]


def plain_label(text: str = "", role: str = "") -> QLabel:
    """Make a label that shows text as it is: what comes over a socket is never read as markup."""
    label = QLabel(text)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setProperty("role", role)
    return label


def set_text(label: QLabel, text: str) -> None:
    """Change a label's text; an unchanged one costs nothing."""
    if label.text() != text:
        label.setText(text)


def set_short_text(label: QLabel, text: str, width_px: int) -> None:
    """Show as much of a text as fits: a label that asks for more makes the window wider than the screen."""
    set_text(label, label.fontMetrics().elidedText(text, Qt.TextElideMode.ElideMiddle, width_px))


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
