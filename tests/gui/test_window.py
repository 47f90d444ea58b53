"""The real window on a real socket: what a person would see, read from its pixels and texts."""

import time

import msgspec
import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QColor
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget

from gui.colours import count_colours
from gui.history import Limits
from gui.resolve import FrameDrawing
from gui.settings import Backdrop, CountsFrom, Region, Settings, ThemeName
from gui.theme import THEMES
from streamer.triggers import EVENT_TOPIC, Event, encode_event
from streamer.window_link import View
from tests.gui.conftest import OpenWindow, process_events, show_until
from tests.gui.publisher import PIXEL_SIZE_A, Publisher, make_status, make_view
from tests.gui.seeing import (
    PARTICLE,
    colours_at,
    map_picture,
    newest_id,
    newest_series,
    screen_place,
    send_frames,
)


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
