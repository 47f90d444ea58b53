"""The large figures: total atoms with its standard deviation, columns, and the gauge of unfamiliarity."""

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from gui.figures import Headline
from gui.labels import plain_label, set_severity, set_short_text
from gui.theme import THEMES, Theme, number_font

__all__ = ["HeadlinePanel"]

_WIDEST_PX = 240  # of a figure, whatever was received


class HeadlinePanel(QWidget):
    """Shows a `Headline`."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("role", "panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.atoms, self.atoms_std = plain_label("–"), plain_label("", "muted")
        self.columns, self.uncertain = plain_label("–"), plain_label("", "muted")
        self.foreign = plain_label("–")
        self.gauge = _Gauge()
        self.atoms.setFont(number_font(self.font(), 26, bold=True))
        self.atoms_std.setFont(number_font(self.font(), 12))
        for label in (self.columns, self.foreign):
            label.setFont(number_font(self.font(), 15, bold=True))
        for label in (self.uncertain,):
            label.setFont(number_font(self.font(), 8.5))
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        row = QHBoxLayout(self)
        row.setContentsMargins(14, 8, 14, 8)
        row.setSpacing(18)
        self.caption = _caption("TOTAL ATOMS")
        row.addLayout(_stack(self.caption, _beside(self.atoms, self.atoms_std)), 5)
        self.columns_caption = _caption("COLUMNS")
        row.addLayout(_stack(self.columns_caption, _above(self.columns, self.uncertain)), 3)
        row.addLayout(_stack(_caption("UNLIKE TRAINING"), _above(self.foreign, self.gauge)), 3)

    def apply_theme(self, theme: Theme) -> None:
        """Hand the gauge its colours."""
        self.gauge.apply_theme(theme)

    def draw(self, headline: Headline) -> None:
        """Show the figures."""
        for label, text in (
            (self.caption, headline.caption),
            (self.atoms, headline.atoms),
            (self.atoms_std, headline.atoms_std),
            (self.columns_caption, headline.columns_caption),
            (self.columns, headline.columns),
            (self.uncertain, headline.uncertain),
            (self.foreign, headline.unfamiliarity_text),
        ):
            set_short_text(label, text, _WIDEST_PX, Qt.TextElideMode.ElideRight)
        set_severity(self.foreign, headline.unfamiliarity_severity)
        self.gauge.draw(headline.unfamiliarity)


class _Gauge(QWidget):
    """A bar from familiar (empty) to foreign (full), with a mark where it becomes doubtful."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._theme = next(iter(THEMES.values()))
        self._value = float("nan")

    def sizeHint(self) -> QSize:
        return QSize(60, 8)

    def apply_theme(self, theme: Theme) -> None:
        self._theme = theme
        self.update()

    def draw(self, value: float) -> None:
        if value != self._value:
            self._value = value
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        whole = QRectF(0, 1, self.width(), 5)
        painter.setBrush(QColor(self._theme.raised))
        painter.drawRoundedRect(whole, 2.5, 2.5)
        if self._value == self._value:
            colour = self._theme.warn if self._value >= 0.5 else self._theme.good
            painter.setBrush(QColor(colour))
            share = min(max(self._value, 0.0), 1.0)
            painter.drawRoundedRect(QRectF(0, 1, max(5.0, whole.width() * share), 5), 2.5, 2.5)
        painter.setBrush(QColor(self._theme.muted))
        painter.drawRect(QRectF(self.width() / 2, 0, 1, 7))
        painter.end()


def _caption(text: str) -> QLabel:
    label = plain_label(text, "caption")
    label.setFont(number_font(label.font(), 7.5))
    return label


def _stack(caption: QLabel, content: QHBoxLayout | QVBoxLayout) -> QVBoxLayout:
    column = QVBoxLayout()
    column.setSpacing(0)
    column.addWidget(caption)
    column.addLayout(content)
    column.addStretch(1)
    return column


def _beside(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setSpacing(8)
    for widget in widgets:
        row.addWidget(widget, 0, Qt.AlignmentFlag.AlignBaseline)
    row.addStretch(1)
    return row


def _above(*widgets: QWidget) -> QVBoxLayout:
    column = QVBoxLayout()
    column.setSpacing(1)
    for widget in widgets:
        column.addWidget(widget)
    return column
