"""The real window on a real socket: what a person would see, read from its pixels and texts."""

import time
from pathlib import Path
from unittest.mock import MagicMock

import msgspec
import numpy as np
import pytest
from pyqtgraph.GraphicsScene.mouseEvents import MouseClickEvent
from PySide6.QtCore import QPoint, QPointF, QRect, Qt
from PySide6.QtGui import QColor, QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QFileDialog, QMessageBox, QWidget

from gui.colours import count_colours
from gui.geometry import inside
from gui.history import Limits
from gui.persist import load_settings, open_ini
from gui.resolve import FrameDrawing
from gui.roi_item import rectangle_corners
from gui.settings import Backdrop, ContrastMode, CountsFrom, Region, Settings, ThemeName
from gui.theme import THEMES
from gui.window import AnalysisWindow
from streamer.stimuli import Sample
from streamer.triggers import EVENT_TOPIC, Event, encode_event
from streamer.window_link import View
from tests.gui.conftest import OpenWindow, process_events, show_until
from tests.gui.publisher import PIXEL_SIZE_A, Particle, Publisher, make_status, make_view

PARTICLE = Particle(size=256, n_largest=6)


def send_frames(publisher: Publisher, window: AnalysisWindow, ids: range, **options: object) -> None:
    start = time.time() - (1000 if options.get("series_id", 1) == 1 else 100)
    for k in ids:
        publisher.send(make_view(PARTICLE, k, size=256, t=start + k, **options))  # type: ignore[arg-type]
        if k % 10 == 9:
            show_until(window, lambda k=k: newest_id(window) == k)
    show_until(window, lambda: newest_id(window) == ids[-1])


def newest_id(window: AnalysisWindow) -> int:
    newest = window.session.history.newest
    return -1 if newest is None else newest.header.frame_id


def newest_series(window: AnalysisWindow) -> int:
    newest = window.session.history.newest
    return -1 if newest is None else newest.header.series_id


def screen_place(window: AnalysisWindow, y: float, x: float) -> QPoint:
    """Where recorded pixel (y, x) is in the map's viewport."""
    panel = window.panels.map
    scene = panel.box.mapViewToScene(QPointF(x, y))
    return panel.canvas.mapFromScene(scene)


def map_picture(window: AnalysisWindow) -> QImage:
    return window.panels.map.canvas.grab().toImage()


def colours_at(picture: QImage, place: QPoint, reach: int) -> set[str]:
    return {
        QColor(picture.pixel(place.x() + dx, place.y() + dy)).name()
        for dx in range(-reach, reach + 1)
        for dy in range(-reach, reach + 1)
    }


def test_map_shows_every_true_column_at_its_place_in_its_colour(
    open_window: OpenWindow, publisher: Publisher
) -> None:
    window = open_window(Settings(backdrop=Backdrop.NONE, sure_probability=0.0))
    send_frames(publisher, window, range(3))
    truth = PARTICLE.columns(2)
    picture = map_picture(window)
    palette = count_colours(12)
    assert len(truth) > 20
    for column in truth:
        expected = QColor(*palette[column["count"] - 1].tolist()).name()
        assert expected in colours_at(picture, screen_place(window, column["y"], column["x"]), 3)


def test_the_switch_shows_fused_counts_in_map_figures_and_band(
    open_window: OpenWindow, publisher: Publisher
) -> None:
    window = open_window(Settings(backdrop=Backdrop.NONE, sure_probability=0.0))
    send_frames(publisher, window, range(3))
    truth = PARTICLE.columns(2)
    assert (truth["fused_count"] != truth["count"]).any()
    assert {curve.low is None for curve in window.panels.timeline.plots[0].curves} == {True, False}
    switch = window.panels.map.counts
    QTest.mouseClick(switch.buttons[CountsFrom.FUSED], Qt.MouseButton.LeftButton)
    process_events()
    assert window.settings.value.counts is CountsFrom.FUSED
    picture, palette = map_picture(window), count_colours(12)
    for column in truth:
        expected = QColor(*palette[column["fused_count"] - 1].tolist()).name()
        assert expected in colours_at(picture, screen_place(window, column["y"], column["x"]), 3)
    headline = window.panels.headline
    assert headline.atoms.text() == str(truth["fused_count"].sum())
    assert headline.caption.text() == "TOTAL ATOMS, FUSED"
    QTest.keyClick(window, Qt.Key.Key_S)
    assert switch.buttons[CountsFrom.SINGLE].isChecked()


def test_the_band_of_one_standard_deviation_is_painted(open_window: OpenWindow, publisher: Publisher) -> None:
    window = open_window(Settings(counts=CountsFrom.FUSED, plots=("atoms",)))
    send_frames(publisher, window, range(8))
    row, curve = window.panels.timeline.rows[0], window.panels.timeline.plots[0].curves[1]
    assert curve.high is not None
    picture = row.canvas.grab().toImage()
    inside = QPointF(float(curve.x[4]), float(0.5 * (curve.y[4] + curve.high[4])))
    place = row.canvas.mapFromScene(row.box.mapViewToScene(inside))
    tinted = [QColor(picture.pixel(place + QPoint(dx, 0))) for dx in range(-3, 4)]
    assert any(colour.blue() > colour.green() + 15 for colour in tinted)  # the panel itself is grey


def test_columns_are_ringed_on_the_denoised_picture_on_request(
    open_window: OpenWindow, publisher: Publisher
) -> None:
    window = open_window()
    send_frames(publisher, window, range(2))
    canvas = window.panels.denoised.canvas
    without = canvas.grab().toImage()
    window.settings.change(columns_on_denoised=True)
    process_events()
    assert canvas.grab().toImage() != without
    assert window.panels.rings.markers is window.panels.map.marks.markers
    window.settings.change(columns_on_denoised=False)
    process_events()
    assert canvas.grab().toImage() == without


def test_map_is_empty_between_columns(open_window: OpenWindow, publisher: Publisher) -> None:
    window = open_window(Settings(backdrop=Backdrop.NONE, sure_probability=0.0))
    send_frames(publisher, window, range(1))
    palette = {QColor(*colour.tolist()).name() for colour in count_colours(12)}
    assert not palette & colours_at(map_picture(window), screen_place(window, 6, 6), 5)


def test_an_uncertain_column_is_an_open_ring(open_window: OpenWindow, publisher: Publisher) -> None:
    window = open_window(Settings(backdrop=Backdrop.NONE, sure_probability=1.0))
    send_frames(publisher, window, range(1))
    column = PARTICLE.columns(0)[10]
    colour = QColor(*count_colours(12)[column["count"] - 1].tolist())
    marks = window.panels.map.marks
    marks.texts = []  # the number would cover the middle
    marks.update()
    picture = map_picture(window)
    centre = screen_place(window, column["y"], column["x"])
    assert QColor(picture.pixel(centre)).lightness() < 60
    radius = round(marks.size_px / 2 - 1)
    edge = QColor(picture.pixel(centre + QPoint(radius, 0)))
    assert abs(edge.hue() - colour.hue()) < 12
    assert edge.lightness() > 60


def test_pictures_show_the_pixels_that_were_sent(open_window: OpenWindow, publisher: Publisher) -> None:
    window = open_window()
    send_frames(publisher, window, range(1))
    panel = window.panels.denoised
    window.commands.show_region(Region(127.5, 127.5, 40.0))
    process_events()
    shown = panel.canvas.grab().toImage()
    sent = make_view(PARTICLE, 0, size=256).denoised
    for y, x in ((120, 121), (127, 127), (131, 140)):
        place = panel.canvas.mapFromScene(panel.box.mapViewToScene(QPointF(x, y)))
        assert QColor(shown.pixel(place)).red() == sent[y, x]


def test_headline_and_series_follow_the_newest_frame(open_window: OpenWindow, publisher: Publisher) -> None:
    window = open_window()
    send_frames(publisher, window, range(12))
    newest = window.session.history.newest
    assert newest is not None
    headline = window.panels.headline
    assert int(headline.atoms.text().replace("\u2009", "")) == round(newest.header.total_atoms)
    assert headline.columns.text() == str(len(newest.columns))
    plots = {plot.name: plot for plot in window.panels.timeline.plots}
    assert len(plots["atoms"].curves[0].x) == 12
    assert plots["atoms"].curves[0].y[-1] == pytest.approx(newest.header.total_atoms)
    assert "frame 11" in window.panels.map.detail.text()


def test_scrubbing_shows_the_past_frame_while_the_stream_goes_on(
    open_window: OpenWindow, publisher: Publisher
) -> None:
    window = open_window()
    send_frames(publisher, window, range(30))
    row = window.panels.timeline.rows[0]
    box = row.box
    place = row.canvas.mapFromScene(box.mapViewToScene(QPointF(7.0, box.viewRange()[1][0] + 1)))
    QTest.mouseClick(row.canvas.viewport(), Qt.MouseButton.LeftButton, pos=place)
    show_until(window, lambda: not window.state.value.live)
    shown = window.session.history.at(window.state.value.t)
    assert shown is not None
    assert shown.header.frame_id == 7
    send_frames(publisher, window, range(30, 40))
    assert "frame 7 " in window.panels.map.detail.text()
    assert window.panels.map.badge.isVisible()
    assert "PAST" in window.panels.map.badge.text()
    markers = window.panels.map.marks.markers
    assert markers is not None
    np.testing.assert_array_equal(markers.columns["count"], PARTICLE.columns(7)["count"])
    assert newest_id(window) == 39
    QTest.mouseClick(window.panels.header.live, Qt.MouseButton.LeftButton)
    window.tick()
    assert "frame 39 " in window.panels.map.detail.text()
    assert not window.panels.map.badge.isVisible()


def test_a_lost_frame_lights_the_alarm_until_it_is_acknowledged(
    open_window: OpenWindow, publisher: Publisher
) -> None:
    window = open_window()
    publisher.send(make_status(missing=0))
    show_until(window, lambda: window.session.status is not None)
    alarm = window.panels.alarm
    assert not alarm.isVisible()
    publisher.send(make_status(missing=1))
    show_until(window, alarm.isVisible)
    assert "1 missing" in alarm.label.text()
    assert QColor(alarm.grab().toImage().pixel(4, alarm.height() // 2)).name() == "#ff5a5f"
    assert window.panels.strip.cells["missing"].value.property("severity") == "bad"
    QTest.keyClick(window, Qt.Key.Key_A)
    show_until(window, lambda: not alarm.isVisible())
    publisher.send(make_status(missing=1))
    window.tick()
    assert not alarm.isVisible()
    publisher.send(make_status(missing=2))
    show_until(window, alarm.isVisible)


def test_a_run_that_is_started_again_has_its_own_losses_and_pictures(
    open_window: OpenWindow, publisher: Publisher
) -> None:
    window = open_window()
    send_frames(publisher, window, range(30))
    publisher.send(make_status(missing=5))
    show_until(window, window.panels.alarm.isVisible)
    QTest.keyClick(window, Qt.Key.Key_A)
    show_until(window, lambda: not window.panels.alarm.isVisible())
    publisher.send(make_status(missing=1, t_started=time.time() - 1))
    show_until(window, window.panels.alarm.isVisible)
    publisher.send(make_view(PARTICLE, 0, size=256))
    show_until(window, lambda: newest_id(window) == 0)
    assert len(window.session.history.rows) == 1


def test_a_fired_trigger_stays_until_it_is_acknowledged(
    open_window: OpenWindow, publisher: Publisher
) -> None:
    window = open_window()
    bar = window.panels.alarm
    event = Event("etching", "total_atoms", 780.0, "total_atoms is 780, below 800", 41, 1.0, 1.0)
    publisher.send_parts([EVENT_TOPIC, encode_event(event)])
    show_until(window, bar.isVisible)
    assert bar.label.text() == "Trigger etching: total_atoms is 780, below 800, frame 41"
    send_frames(publisher, window, range(1))
    fired = msgspec.structs.replace(event, t_frame=window.session.history.t_first, trigger="again")
    publisher.send_parts([EVENT_TOPIC, encode_event(fired)])
    send_frames(publisher, window, range(1, 3))
    assert window.panels.timeline.rows[0].canvas.toolTip().endswith("again: total_atoms is 780, below 800")
    amber = QColor(THEMES[ThemeName.DARK].warn).name()
    assert QColor(bar.grab().toImage().pixel(4, bar.height() // 2)).name() == amber
    QTest.mouseClick(bar.button, Qt.MouseButton.LeftButton)
    show_until(window, lambda: not bar.isVisible())
    publisher.send(make_status(missing=1))
    show_until(window, bar.isVisible)
    assert QColor(bar.grab().toImage().pixel(4, bar.height() // 2)).name() == "#ff5a5f"
    assert "etching" not in bar.label.text()


def test_the_task_bar_is_told_of_each_new_alarm(
    open_window: OpenWindow, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    window = open_window()
    bar = window.panels.alarm
    monkeypatch.setattr(QApplication, "alert", lambda _: told.append(bar.label.text()))
    event = Event("etching", "total_atoms", 780.0, "total_atoms is 780, below 800", 41, 1.0, 1.0)
    publisher.send_parts([EVENT_TOPIC, encode_event(event)])
    show_until(window, bar.isVisible)
    publisher.send(make_status(missing=1))
    show_until(window, lambda: "missing" in bar.label.text())
    assert len(told) == 2
    assert "1 missing" in told[1]


def test_the_display_is_held_and_let_go_by_buttons_while_the_run_goes_on(
    open_window: OpenWindow, publisher: Publisher
) -> None:
    window = open_window()
    send_frames(publisher, window, range(3))
    header = window.panels.header
    assert header.hold.isEnabled()
    QTest.mouseClick(header.hold, Qt.MouseButton.LeftButton)
    send_frames(publisher, window, range(3, 6))
    assert "frame 2 " in window.panels.map.detail.text()
    assert not header.hold.isEnabled()
    assert header.live.text() == "Back to live"
    QTest.mouseClick(header.live, Qt.MouseButton.LeftButton)
    process_events()
    assert "frame 5 " in window.panels.map.detail.text()


def test_status_is_readable_at_a_glance(open_window: OpenWindow, publisher: Publisher) -> None:
    window = open_window()
    publisher.send(make_status(received=12_345, skipped=7, path="C:\\data\\run_0007.nxs"))
    show_until(window, lambda: window.session.status is not None)
    cells = window.panels.strip.cells
    assert cells["received"].value.text() == "12\u2009345"
    assert cells["received"].detail.text() == "25.0/s"
    assert cells["skipped"].value.property("severity") == "warn"
    header = window.panels.header
    assert cells["backend"].value.text() == "openvino"
    assert header.light.text() == "REC"
    assert header.file.text().endswith("run_0007.nxs")
    assert "dectris2://127.0.0.1:31001" in header.title.text()
    assert window.windowTitle() == "run_0007 – REC"


def test_long_names_and_answers_do_not_make_the_window_wider(
    open_window: OpenWindow, publisher: Publisher
) -> None:
    window = open_window()
    name = "in_situ_reduction_of_ceria_at_800_C_in_hydrogen_" * 4
    publisher.send(make_status(path=f"/data/{name}.nxs", recording_error="no drive"))
    show_until(window, lambda: window.session.status is not None)
    window.session.remote.said = "Not done: " + "the disk is full, and " * 20
    window.session._said_at = time.time()
    window.tick()
    process_events()
    header = window.panels.header
    assert "…" in header.file.text()
    assert "…" in header.said.text()
    assert (header.file.toolTip(), header.said.toolTip()) == ("no drive", window.session.remote.said)
    assert window.minimumSizeHint().width() <= 1280


def test_hostile_messages_are_ignored_with_a_note(open_window: OpenWindow, publisher: Publisher) -> None:
    window = open_window()
    for parts in (
        [b"view"],
        [b"view", b"\xff" * 40, b"", b"", b""],
        [b"nonsense"],
        [b"status", b"\x81\xa1"],
        [b""],
    ):
        publisher.send_parts(parts)
    send_frames(publisher, window, range(2))
    assert window.panels.alarm.isVisible()
    assert "5 messages" in window.panels.alarm.label.text()
    assert newest_id(window) == 1


@pytest.mark.parametrize(
    "name", ["pixel_size_A", "drift_y_px", "total_atoms", "ood_score", "t_published", "raw_low"]
)
@pytest.mark.parametrize("value", [1e300, -1e300, float("inf"), float("nan"), 0.0])
def test_absurd_values_do_not_keep_the_next_frame_from_being_shown(
    open_window: OpenWindow, publisher: Publisher, name: str, value: float
) -> None:
    window = open_window()
    send_frames(publisher, window, range(2))
    sound = make_view(PARTICLE, 2, size=256)
    header = msgspec.structs.replace(sound.header, **{name: value})
    publisher.send(View(header, sound.raw, sound.denoised, sound.columns))
    publisher.send(make_view(PARTICLE, 3, size=256))
    show_until(window, lambda: newest_id(window) == 3)
    column = sound.columns[4]
    window.commands.select(float(column["y"]), float(column["x"]))
    window.commands.step_back()
    window.draw_timeline()
    process_events()
    window.commands.go_live()
    window.tick()
    assert "frame 3 " in window.panels.map.detail.text()


def test_markup_in_a_status_is_shown_as_text(open_window: OpenWindow, publisher: Publisher) -> None:
    window = open_window()
    status = make_status(source="<h1>big</h1>", missing=1, note="<b>x</b>", backend="<b>bold</b>")
    publisher.send(status)
    show_until(window, window.panels.alarm.isVisible)
    assert "<h1>big</h1>" in window.panels.header.title.text()
    assert window.panels.header.title.textFormat() is Qt.TextFormat.PlainText
    assert window.panels.alarm.label.textFormat() is Qt.TextFormat.PlainText
    assert window.panels.strip.cells["backend"].toolTip() == "<p>&lt;b&gt;bold&lt;/b&gt;</p>"


def test_the_window_reconnects_to_a_run_that_comes_back(
    app: QApplication, no_widgets_left: None, open_window: OpenWindow, publisher: Publisher
) -> None:
    window = open_window()
    send_frames(publisher, window, range(3))
    publisher.send(make_status())
    show_until(window, lambda: window.session.status is not None)
    address = publisher.address
    publisher.close()
    show_until(window, lambda: not window.session.connected)
    now = time.time()
    window.session._clock = lambda: now + 10.0
    window.tick()
    assert "lost" in window.panels.alarm.label.text()
    window.session._clock = time.time
    with Publisher(address) as again:
        again.wait_subscriber()
        again.send(make_status(state="running"))
        send_frames(again, window, range(3), series_id=2)
        show_until(window, lambda: newest_series(window) == 2 and newest_id(window) == 2)
        assert window.session.connected
        assert not window.panels.alarm.isVisible()
        assert len(window.session.history.rows) == 3


def test_a_new_series_starts_a_new_history(open_window: OpenWindow, publisher: Publisher) -> None:
    window = open_window()
    send_frames(publisher, window, range(5))
    window.commands.go_to(window.session.history.t_first)
    publisher.send(make_view(PARTICLE, 0, size=256, series_id=2))
    show_until(window, lambda: window.state.value.live)
    assert len(window.session.history.rows) == 1


def test_the_ring_on_the_power_spectrum_keeps_to_the_magnification(
    open_window: OpenWindow, publisher: Publisher
) -> None:
    window = open_window()
    panel = window.panels.tabs.spectrum
    send_frames(publisher, window, range(1))
    radius = panel.ring.rect().width() / 2
    assert radius == pytest.approx(5 / (10 / (256 * PIXEL_SIZE_A)))
    view = make_view(PARTICLE, 0, size=256, series_id=2)
    header = msgspec.structs.replace(view.header, pixel_size_A=2 * PIXEL_SIZE_A)
    publisher.send(View(header, view.raw, view.denoised, view.columns))
    show_until(window, lambda: newest_series(window) == 2)
    assert panel.ring.rect().width() / 2 == pytest.approx(2 * radius)
    panel.draw(FrameDrawing(), PIXEL_SIZE_A)
    assert panel.spectrum is None
    assert not panel.image.isVisible()


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


def test_running_on_leaks_neither_widgets_nor_memory(open_window: OpenWindow, publisher: Publisher) -> None:
    import gc

    import psutil

    limits = Limits(rows=400, column_bytes=2**20, picture_bytes=8 * 2**20)
    window = open_window(limits=limits)

    def run(first: int, last: int) -> tuple[int, int, int]:
        send_frames(publisher, window, range(first, last))
        gc.collect()
        items = sum(len(p.canvas.scene().items()) for p in window.panels.picture_panels)
        return len(window.findChildren(QWidget)), items, psutil.Process().memory_info().rss

    column = PARTICLE.columns(0)[5]
    run(0, 150)
    window.commands.select(float(column["y"]), float(column["x"]))
    widgets, items, memory = run(150, 300)
    widgets_after, items_after, memory_after = run(300, 700)
    assert (widgets_after, items_after) == (widgets, items)
    assert memory_after - memory < 12 * 2**20
    assert len(window.session.history.rows) <= 400
    assert window.session.history.picture_bytes <= limits.picture_bytes
