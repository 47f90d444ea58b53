"""The View and Export menus: every setting with its choices, ticked as the settings stand."""

from collections.abc import Callable, Sequence
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QAction, QActionGroup
from PySide6.QtWidgets import QGridLayout, QMenu, QSlider, QWidget, QWidgetAction

from gui.format import duration_text
from gui.labels import plain_label
from gui.series import PLOT_SPECS
from gui.settings import (
    AVERAGES,
    COLOUR_MAPS,
    PLOTS,
    TIME_WINDOWS_S,
    Backdrop,
    ContrastMode,
    CountsFrom,
    Model,
    Settings,
    ThemeName,
)

__all__ = ["view_menu"]

_SLIDER_STEPS = 200
_SURE = (0.5, 0.6, 0.8, 0.9)


def view_menu(parent: QWidget, settings: Model[Settings]) -> QMenu:
    """Make the View menu; its ticks follow the settings each time it opens."""
    menu = QMenu(parent)
    updates: list[Callable[[], None]] = []
    updates.append(_contrast(menu, settings))
    for title, field, choices, texts in (
        ("Mean of raw frames", "average_frames", AVERAGES, ["none", *(f"{n} frames" for n in AVERAGES[1:])]),
        ("Colours of raw", "raw_colour_map", COLOUR_MAPS, COLOUR_MAPS),
        ("Colours of denoised", "denoised_colour_map", COLOUR_MAPS, COLOUR_MAPS),
        ("Counts", "counts", tuple(CountsFrom), [c.value for c in CountsFrom]),
        ("Beneath the columns", "backdrop", tuple(Backdrop), [b.value for b in Backdrop]),
        ("A count is sure from", "sure_probability", _SURE, [f"p ≥ {p}" for p in _SURE]),
        ("Time axes", "time_window_s", TIME_WINDOWS_S, [_span(s) for s in TIME_WINDOWS_S]),
        ("Time axes of recordings", "recording_window_s", TIME_WINDOWS_S, [_part(s) for s in TIME_WINDOWS_S]),
    ):
        updates.append(_choice(menu.addMenu(title), settings, field, choices, texts))
    updates.append(_plots(menu.addMenu("Plots"), settings))
    menu.addSeparator()
    updates.append(_switch(menu, settings, "Columns, or particles, on the map", "show_columns"))
    updates.append(_switch(menu, settings, "Columns on the denoised picture", "columns_on_denoised"))
    menu.addSeparator()
    names = [name.value for name in ThemeName]
    updates.append(_choice(menu.addMenu("Theme"), settings, "theme", tuple(ThemeName), names))
    menu.aboutToShow.connect(lambda: [update() for update in updates])
    return menu


def _choice(
    menu: QMenu, settings: Model[Settings], field: str, choices: Sequence[Any], texts: Sequence[str]
) -> Callable[[], None]:
    group = QActionGroup(menu)
    for value, text in zip(choices, texts, strict=True):
        action = menu.addAction(text)
        action.setCheckable(True)
        action.setData(value)
        action.triggered.connect(lambda _=False, value=value: settings.change(**{field: value}))
        group.addAction(action)

    def update() -> None:
        for action, value in zip(group.actions(), choices, strict=True):
            action.setChecked(value == getattr(settings.value, field))

    return update


def _switch(menu: QMenu, settings: Model[Settings], text: str, field: str) -> Callable[[], None]:
    action = menu.addAction(text)
    action.setCheckable(True)
    action.triggered.connect(lambda on: settings.change(**{field: on}))
    return lambda: action.setChecked(getattr(settings.value, field))


def _plots(menu: QMenu, settings: Model[Settings]) -> Callable[[], None]:
    actions: dict[str, QAction] = {}
    for name in PLOTS:
        actions[name] = menu.addAction(PLOT_SPECS[name].title)
        actions[name].setCheckable(True)
        actions[name].triggered.connect(
            lambda _=False: settings.change(plots=tuple(n for n in PLOTS if actions[n].isChecked()))
        )

    def update() -> None:
        for name, action in actions.items():
            action.setChecked(name in settings.value.plots)

    return update


def _contrast(menu: QMenu, settings: Model[Settings]) -> Callable[[], None]:
    contrast = menu.addMenu("Contrast")
    texts = [mode.value for mode in ContrastMode]
    update_choice = _choice(contrast, settings, "contrast", tuple(ContrastMode), texts)
    sliders = [_slider(), _slider()]
    panel = QWidget()
    grid = QGridLayout(panel)
    grid.setContentsMargins(24, 4, 12, 6)
    for row, (text, slider) in enumerate(zip(("Black", "White"), sliders, strict=True)):
        grid.addWidget(plain_label(text, "muted"), row, 0)
        grid.addWidget(slider, row, 1)

    def moved() -> None:
        low, high = (slider.value() / _SLIDER_STEPS for slider in sliders)
        if low < high:
            settings.change(contrast=ContrastMode.MANUAL, manual_levels=(low, high))

    for slider in sliders:
        slider.sliderMoved.connect(moved)
    action = QWidgetAction(contrast)
    action.setDefaultWidget(panel)
    contrast.addAction(action)

    def update() -> None:
        update_choice()
        for slider, level in zip(sliders, settings.value.manual_levels, strict=True):
            slider.setValue(round(level * _SLIDER_STEPS))

    return update


def _slider() -> QSlider:
    slider = QSlider(Qt.Orientation.Horizontal)
    slider.setRange(0, _SLIDER_STEPS)
    slider.setMinimumWidth(150)
    return slider


def _span(seconds: float) -> str:
    return f"last {duration_text(seconds)} min" if seconds else "everything kept"


def _part(seconds: float) -> str:
    return f"{duration_text(seconds)} min about the frame shown" if seconds else "everything"
