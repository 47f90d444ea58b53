"""Dark and light: the few colours the window is made of, and its style sheet."""

from dataclasses import dataclass

from PySide6.QtGui import QFont

from gui.settings import ThemeName

__all__ = ["THEMES", "Theme", "number_font", "style_sheet"]


@dataclass(frozen=True, slots=True)
class Theme:
    """Named colours: `good`, `warn` and `bad` are states, `mark` is what the person has put there."""

    window: str
    panel: str
    raised: str
    line: str
    text: str
    muted: str
    accent: str
    good: str
    warn: str
    bad: str
    on_bad: str
    canvas: str
    mark: str
    second: str


THEMES = {
    ThemeName.DARK: Theme(
        window="#0d1014", panel="#14181e", raised="#1e242c", line="#2a323d", text="#dfe5ec", muted="#8c97a5",
        accent="#5ab8ff", good="#58d08b", warn="#ffb74a", bad="#ff5a5f", on_bad="#1a0405", canvas="#07090b",
        mark="#ffb000", second="#c08cff",
    ),
    ThemeName.LIGHT: Theme(
        window="#eef1f4", panel="#ffffff", raised="#e6ebf0", line="#d3dae2", text="#18202a", muted="#5b6775",
        accent="#0b69b7", good="#1b7f49", warn="#9a5b00", bad="#c4262e", on_bad="#ffffff", canvas="#12161b",
        mark="#e07b00", second="#8a3fd1",
    ),
}  # fmt: skip


def number_font(base: QFont, point_size: float, *, bold: bool = False) -> QFont:
    """Make a font whose digits all have one width, so that running numbers stand still."""
    font = QFont(base)
    font.setPointSizeF(point_size)
    font.setBold(bold)
    font.setFeature(QFont.Tag("tnum"), 1)
    return font


def style_sheet(theme: Theme) -> str:
    """Write the window's style sheet; widgets are addressed by their ``role`` property."""
    return f"""
* {{ color: {theme.text}; }}
QMainWindow, QDialog {{ background: {theme.window}; }}
QWidget[role="panel"], QWidget[role="header"] {{
    background: {theme.panel}; border: 1px solid {theme.line}; border-radius: 6px; }}
QLabel {{ background: transparent; border: none; }}
QLabel[role="title"] {{ font-weight: 600; }}
QLabel[role="muted"], QLabel[role="caption"] {{ color: {theme.muted}; }}
QLabel[role="pill"] {{ background: {theme.raised}; border-radius: 9px; padding: 2px 9px; }}
QLabel[severity="good"] {{ color: {theme.good}; }}
QLabel[severity="warn"] {{ color: {theme.warn}; }}
QLabel[severity="bad"] {{ color: {theme.bad}; font-weight: 600; }}
QFrame[role="alarm"] {{ background: {theme.bad}; border-radius: 6px; }}
QFrame[role="alarm"][severity="warn"] {{ background: {theme.warn}; }}
QFrame[role="alarm"] QLabel {{ color: {theme.on_bad}; font-weight: 600; }}
QFrame[role="alarm"] QPushButton {{
    color: {theme.on_bad}; background: transparent; border: 1px solid {theme.on_bad}; }}
QPushButton, QToolButton, QComboBox {{
    background: {theme.raised}; border: 1px solid {theme.line}; border-radius: 5px; padding: 3px 9px;
    min-height: 16px; }}
QPushButton[role="small"] {{ padding: 1px 8px; }}
QPushButton:hover, QToolButton:hover, QComboBox:hover {{ border-color: {theme.accent}; }}
QPushButton:focus, QToolButton:focus, QComboBox:focus {{ border-color: {theme.accent}; }}
QPushButton:checked, QToolButton:checked {{ background: {theme.accent}; color: {theme.panel}; }}
QPushButton:disabled, QToolButton:disabled {{ color: {theme.muted}; }}
QPushButton[live="true"] {{ color: {theme.good}; }}
QPushButton[live="false"] {{ background: {theme.warn}; color: {theme.panel}; border-color: {theme.warn}; }}
QToolButton::menu-indicator {{ image: none; }}
QComboBox::drop-down {{ border: none; width: 14px; }}
QComboBox QAbstractItemView, QMenu {{
    background: {theme.panel}; border: 1px solid {theme.line}; selection-background-color: {theme.accent};
    selection-color: {theme.panel}; }}
QMenu::item {{ padding: 4px 22px; }}
QMenu::item:selected {{ background: {theme.accent}; color: {theme.panel}; }}
QMenu::separator {{ height: 1px; background: {theme.line}; margin: 4px 8px; }}
QToolTip {{ background: {theme.raised}; color: {theme.text}; border: 1px solid {theme.line}; }}
QSlider::groove:horizontal {{ height: 4px; background: {theme.raised}; border-radius: 2px; }}
QSlider::sub-page:horizontal {{ background: {theme.accent}; border-radius: 2px; }}
QSlider::handle:horizontal {{
    width: 14px; height: 14px; margin: -5px 0; border-radius: 7px; background: {theme.text}; }}
QScrollArea, QScrollArea > QWidget {{ background: transparent; border: none; }}
QScrollBar {{ background: transparent; width: 9px; height: 9px; }}
QScrollBar::handle {{ background: {theme.line}; border-radius: 4px; min-height: 24px; min-width: 24px; }}
QScrollBar::add-line, QScrollBar::sub-line {{ width: 0; height: 0; }}
QScrollBar::add-page, QScrollBar::sub-page {{ background: none; }}
QSplitter {{ background: transparent; }}
QSplitter::handle {{ background: transparent; }}
QSplitter::handle:hover {{ background: {theme.accent}; }}
QTabWidget::pane {{ border: none; }}
QTabBar {{ background: transparent; }}
QTabWidget::tab-bar {{ left: 4px; }}
QTabBar::tab {{
    background: transparent; color: {theme.muted}; padding: 4px 10px; border: none;
    border-bottom: 2px solid transparent; }}
QTabBar::tab:selected {{ color: {theme.text}; border-bottom-color: {theme.accent}; }}
"""
