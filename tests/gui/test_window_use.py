"""The real window in use: clicks, regions, zoom, keys, exports, settings."""

import gc
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
from pyqtgraph.GraphicsScene.mouseEvents import MouseClickEvent
from PySide6.QtCore import QPoint, QPointF, QRect, Qt
from PySide6.QtGui import QColor, QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QFileDialog, QInputDialog, QMessageBox

from gui.dialogs import ask_for_note
from gui.geometry import inside
from gui.persist import load_settings, open_ini
from gui.roi_item import polygon_corners, rectangle_corners
from gui.settings import ContrastMode, Region, Settings, ThemeName
from streamer.stimuli import Sample
from tests.gui.conftest import OpenWindow, process_events, show_until
from tests.gui.publisher import Particle, Publisher, make_view
from tests.gui.seeing import PARTICLE, map_picture, newest_id, screen_place, send_frames


def test_clicking_a_column_shows_its_count_against_time(
    open_window: OpenWindow, publisher: Publisher
) -> None:
    window = open_window()
    send_frames(publisher, window, range(40))
    column = PARTICLE.columns(39)[12]
    place = screen_place(window, column["y"], column["x"])
    QTest.mouseClick(window.panels.map.canvas.viewport(), Qt.MouseButton.LeftButton, pos=place)
    show_until(window, lambda: window.state.value.chosen is not None)
    chosen = window.state.value.chosen
    assert chosen is not None
    assert (chosen.y, chosen.x) == (column["y"], column["x"])
    plots = window.panels.tabs.column.plots
    shown = [int(c) for c in plots[0].curves[0].y[::2]]
    truth = [_count_of(PARTICLE.columns(k), column["track_id"]) for k in range(40)]
    assert shown == truth
    ring = map_picture(window)
    radius = round(window.panels.map.marks.size_px / 2 + 4.5)
    assert QColor(ring.pixel(place + QPoint(radius, 0))).hue() == pytest.approx(
        QColor("#ffb000").hue(), abs=8
    )


def _count_of(columns: np.ndarray, track_id: int) -> int:
    found = columns["count"][columns["track_id"] == track_id]
    return int(found[0]) if len(found) else 0


def test_a_region_counts_the_atoms_inside(open_window: OpenWindow, publisher: Publisher) -> None:
    window = open_window()
    send_frames(publisher, window, range(5))
    window.panels.tabs.setCurrentIndex(1)
    QTest.mouseClick(window.panels.tabs.rectangle, Qt.MouseButton.LeftButton)
    show_until(window, lambda: window.state.value.roi is not None)
    roi = window.state.value.roi
    assert roi is not None
    (y0, x0), (y1, x1) = roi[0], roi[2]
    truth = PARTICLE.columns(4)
    within = (truth["y"] > y0) & (truth["y"] < y1) & (truth["x"] > x0) & (truth["x"] < x1)
    assert within.sum() > 3
    atoms, columns = window.panels.tabs.region.plots
    assert atoms.curves[0].y[-1] == truth["count"][within].sum()
    assert columns.curves[0].y[-1] == within.sum()


def test_a_polygon_follows_the_mouse_and_counts_what_it_holds(
    open_window: OpenWindow, publisher: Publisher
) -> None:
    window = open_window()
    send_frames(publisher, window, range(5))
    window.panels.tabs.setCurrentIndex(1)
    QTest.mouseClick(window.panels.tabs.polygon, Qt.MouseButton.LeftButton)
    show_until(window, lambda: window.state.value.roi is not None)
    before = window.state.value.roi
    assert before is not None
    assert len(before) == 6
    atoms_before = window.panels.tabs.region.plots[0].curves[0].y[-1]
    viewport = window.panels.map.canvas.viewport()
    start, end = screen_place(window, *before[0]), screen_place(window, before[0][0] - 60, before[0][1])
    QTest.mousePress(viewport, Qt.MouseButton.LeftButton, pos=start)
    for step in range(1, 6):
        QTest.qWait(30)  # pyqtgraph passes over moves that come within 10 ms of the last
        QTest.mouseMove(viewport, start + (end - start) * step / 5)
        process_events()
    QTest.mouseRelease(viewport, Qt.MouseButton.LeftButton, pos=end)
    process_events()
    window.draw_timeline()
    after = window.state.value.roi
    assert after is not None
    assert after[0][0] == pytest.approx(before[0][0] - 60, abs=3)
    np.testing.assert_allclose(after[1:], before[1:])
    truth = PARTICLE.columns(4)
    within = inside(after, truth["y"], truth["x"])
    atoms = window.panels.tabs.region.plots[0].curves[0].y[-1]
    assert atoms == truth["count"][within].sum()
    assert atoms > atoms_before
    QTest.mouseClick(window.panels.tabs.remove, Qt.MouseButton.LeftButton)
    assert window.state.value.roi is None


def test_a_note_that_is_too_long_is_given_back(
    open_window: OpenWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    window, asked = open_window(), list[tuple[str, str]]()
    typed = [("ä" * 128, True), ("  dose doubled ", True), ("x" * 300, False)]

    def answer(parent: object, title: str, question: str, text: str) -> tuple[str, bool]:
        asked.append((question, text))
        return typed.pop(0)

    monkeypatch.setattr(QInputDialog, "getText", answer)
    assert ask_for_note(window) == "dose doubled"
    assert asked[1] == ("A note has room for 255 bytes, and this has 256. Please shorten it:", "ä" * 128)
    assert ask_for_note(window) == "", "it was given up"


def test_a_polygon_with_a_corner_more_can_be_taken_off(open_window: OpenWindow, publisher: Publisher) -> None:
    """Its items were deleted twice once Python collected what is out of use, and the window crashed."""
    window = open_window()
    send_frames(publisher, window, range(1))
    for _ in range(6):
        window.commands.propose_roi(polygon_corners)
        process_events()
        polygon = window.panels.map.roi._item
        polygon.segmentClicked(polygon.segments[0], pos=QPointF(120.0, 100.0))
        assert len(window.state.value.roi or ()) == 7
        process_events()
        window.commands.set_roi(None)
        gc.collect()
        process_events()


def test_a_click_that_was_for_the_region_leaves_the_chosen_column(
    open_window: OpenWindow, publisher: Publisher
) -> None:
    window = open_window()
    send_frames(publisher, window, range(2))
    column = PARTICLE.columns(1)[5]
    window.commands.select(float(column["y"]), float(column["x"]))
    chosen = window.state.value.chosen
    assert chosen is not None
    panel = window.panels.map
    click = MagicMock(spec=MouseClickEvent)
    click.button.return_value, click.double.return_value = Qt.MouseButton.LeftButton, False
    click.scenePos.return_value = panel.box.mapViewToScene(QPointF(1.0, 1.0))
    click.isAccepted.return_value = True
    panel._report_click(click)
    assert window.state.value.chosen == chosen
    click.isAccepted.return_value = False
    panel._report_click(click)
    assert window.state.value.chosen is None


def test_a_picture_is_shrunk_to_the_screens_own_pixels(
    open_window: OpenWindow, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = open_window()
    publisher.send(make_view(Particle(size=1024), 0, size=1024))
    show_until(window, lambda: newest_id(window) == 0)
    window.commands.show_whole_frame()
    window.tick()
    panel = window.panels.raw
    coarse = panel.image.image.shape[0]
    assert coarse < 1024
    monkeypatch.setattr(panel, "devicePixelRatioF", lambda: 2.0)
    window.tick()
    assert panel.image.image.shape[0] > coarse


def test_contrast_and_averaging_change_the_pixels_on_screen(
    open_window: OpenWindow, publisher: Publisher
) -> None:
    window = open_window()
    send_frames(publisher, window, range(6))
    window.commands.show_region(Region(127.5, 127.5, 60.0))
    process_events()

    def grey() -> np.ndarray:
        window.tick()
        process_events()
        picture = window.panels.raw.canvas.grab().toImage().convertToFormat(QImage.Format.Format_Grayscale8)
        pixels = np.frombuffer(picture.constBits(), np.uint8).reshape(picture.height(), -1)
        return pixels[: picture.height() - 60, : picture.width()].astype(float)  # above the scale bar

    automatic = grey()
    window.settings.change(contrast=ContrastMode.MANUAL, manual_levels=(0.0, 0.3))
    bright = grey()
    assert bright.mean() > automatic.mean() + 20
    QTest.keyClick(window, Qt.Key.Key_X)
    assert window.settings.value.contrast is ContrastMode.AUTO
    np.testing.assert_array_equal(grey(), automatic)
    window.settings.change(average_frames=4)
    averaged = grey()
    assert averaged.std() < automatic.std() - 3
    assert window.panels.raw.detail.text() == "mean of 4"


def test_zoom_is_linked_and_the_scale_bar_follows(open_window: OpenWindow, publisher: Publisher) -> None:
    window = open_window()
    send_frames(publisher, window, range(1))
    before = window.panels.map.scale.text
    box = window.panels.raw.box
    box.scaleBy((0.25, 0.25), center=(100.0, 80.0))
    box.sigRangeChangedManually.emit([True, True])
    process_events()
    region = window.state.value.region
    assert region is not None
    for panel in window.panels.picture_panels:
        (x0, x1), (y0, y1) = panel.box.viewRange()
        assert ((x0 + x1) / 2, (y0 + y1) / 2) == pytest.approx((region.x, region.y), abs=0.6)
        assert min(x1 - x0, y1 - y0) == pytest.approx(region.extent_px, rel=0.02)
    assert before != window.panels.map.scale.text
    QTest.keyClick(window, Qt.Key.Key_F)
    assert window.state.value.region is None


def test_numbers_appear_on_zoom_in(open_window: OpenWindow, publisher: Publisher) -> None:
    window = open_window()
    window.resize(900, 500)
    send_frames(publisher, window, range(1))
    window.commands.show_region(Region(127.5, 127.5, 1200.0))
    window.tick()
    assert window.panels.map.marks.texts == []
    window.commands.show_region(Region(127.5, 127.5, 120.0))
    window.tick()
    assert window.panels.map.marks.texts == [str(c) for c in PARTICLE.columns(0)["count"]]


def test_every_action_works_with_and_without_data(open_window: OpenWindow, publisher: Publisher) -> None:
    from gui.actions import ACTIONS

    window = open_window()
    for _ in range(2):
        for spec in ACTIONS:
            if not spec.method.startswith(("export_", "open_", "connect_")):  # these ask the person
                window.action(spec.method)()
                process_events()
        send_frames(publisher, window, range(3))


def test_help_lists_every_action(open_window: OpenWindow) -> None:
    from PySide6.QtWidgets import QLabel

    from gui.actions import ACTIONS

    window = open_window()
    QTest.keyClick(window, Qt.Key.Key_F1)
    assert window.help.isVisible()
    texts = {label.text() for label in window.help.findChildren(QLabel)}
    assert {spec.text for spec in ACTIONS} <= texts
    for label in window.help.findChildren(QLabel):
        assert label.width() >= label.sizeHint().width(), f"{label.text()!r} is cut off"


def test_a_key_closes_the_help_and_does_nothing_else(open_window: OpenWindow, publisher: Publisher) -> None:
    window = open_window()
    send_frames(publisher, window, range(2))
    window.commands.propose_roi(rectangle_corners)
    QTest.keyClick(window, Qt.Key.Key_F1)
    window.resize(1300, 820)
    process_events()
    assert window.help.size() == window.size()
    QTest.keyClick(window.focusWidget(), Qt.Key.Key_Escape)
    assert not window.help.isVisible()
    assert window.state.value.roi is not None
    QTest.keyClick(window.focusWidget(), Qt.Key.Key_Escape)
    assert window.state.value.roi is None


def test_exports_are_complete(open_window: OpenWindow, publisher: Publisher, tmp_path: Path) -> None:
    from gui.export import save_png, save_svg, svg_of

    window = open_window()
    send_frames(publisher, window, range(6))
    column = PARTICLE.columns(5)[8]
    window.commands.select(float(column["y"]), float(column["x"]))
    t_third = float(window.session.history.rows["t"][2])
    window.session.channels.add([Sample("temperature", t_third, 873.0)], {"temperature": "K"})
    window.write_csv(tmp_path / "series.csv")
    lines = (tmp_path / "series.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 7
    assert lines[0].startswith("frame_id,t_received_unix_s,total_atoms")
    values = dict(zip(lines[0].split(","), lines[6].split(","), strict=True))
    assert values["frame_id"] == "5"
    heated = [line.split(",")[lines[0].split(",").index("temperature [K]")] for line in lines[1:]]
    assert heated == ["", "", "873.0", "873.0", "873.0", "873.0"]
    assert float(values["column_count"]) == column["count"]
    assert float(values["column_fused_count"]) == column["fused_count"]
    assert float(values["fused_atoms"]) == PARTICLE.columns(5)["fused_count"].sum()
    save_png(window.grab(), tmp_path / "window.png")
    assert QImage(str(tmp_path / "window.png")).width() == window.width()
    save_svg(svg_of(window.panels.map.canvas), tmp_path / "map.svg")
    text = (tmp_path / "map.svg").read_text(encoding="utf-8")
    assert text.count("<circle") + text.count("<ellipse") >= len(PARTICLE.columns(5))


def test_what_is_saved_is_what_was_there_when_the_key_was_pressed(
    open_window: OpenWindow, publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = open_window()
    send_frames(publisher, window, range(2))
    shown = window.grab().toImage()

    def choose(*_: object) -> tuple[str, str]:
        send_frames(publisher, window, range(2, 5))  # the stream goes on while the person types
        return str(tmp_path / "run 350.5 K"), ""

    monkeypatch.setattr(QFileDialog, "getSaveFileName", choose)
    QTest.keyClick(window, Qt.Key.Key_P, Qt.KeyboardModifier.ControlModifier)
    assert newest_id(window) == 4
    saved = QImage(str(tmp_path / "run 350.5 K.png")).convertToFormat(shown.format())
    map_only = QRect(window.panels.map.mapTo(window, QPoint()), window.panels.map.size())
    assert saved.copy(map_only) == shown.copy(map_only)
    assert saved.copy(map_only) != window.grab().toImage().copy(map_only)


def test_another_file_is_not_overwritten_unasked(
    open_window: OpenWindow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = open_window()
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "map"), ""))
    answers = iter([QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes])
    monkeypatch.setattr(QMessageBox, "question", lambda *_: next(answers))
    path = tmp_path / "map.svg"
    path.write_text("another")
    window.export_svg()
    assert path.read_text() == "another"
    window.export_svg()
    assert "<svg" in path.read_text(encoding="utf-8")


def test_settings_and_layout_persist(open_window: OpenWindow, tmp_path: Path) -> None:
    ini = open_ini(tmp_path / "window.ini")
    window = open_window(Settings(theme=ThemeName.LIGHT, average_frames=4), ini=ini)
    window.resize(1100, 777)
    process_events()
    window.close()
    again = open_ini(tmp_path / "window.ini")
    assert load_settings(again) == Settings(theme=ThemeName.LIGHT, average_frames=4)
    second = open_window(load_settings(again), ini=again)
    second.resize(1280, 800)
    text = (tmp_path / "window.ini").read_text()
    assert "average_frames=4" in text


def test_a_damaged_settings_file_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "window.ini"
    path.write_text(
        '[settings]\naverage_frames=three\ntheme="\\"light\\""\ntime_window_s=7\n'
        'plots="[[1]]"\nmanual_levels="[\\"a\\", 1]"\n'
    )
    assert load_settings(open_ini(path)) == Settings(theme=ThemeName.LIGHT)
