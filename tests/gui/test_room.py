"""Small windows, long names, much to be said: nothing is cut off unseen, and nothing outgrows the screen."""

import math
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF
from PySide6.QtGui import QColor
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel

from gui.app import open_window as open_in_app
from gui.format import breakable
from gui.settings import CountsFrom, Settings, ThemeName
from gui.theme import THEMES
from gui.window import AnalysisWindow
from streamer.stimuli import Sample
from streamer.triggers import EVENT_TOPIC, Event, encode_event
from streamer.window_link import View
from tests.gui.conftest import OpenWindow, delete_closed, process_events, show_until
from tests.gui.publisher import Publisher, make_status, make_view
from tests.gui.seeing import PARTICLE, newest_id, send_frames

LONG_PATH = "/data/" + "in_situ_reduction_of_ceria_at_800_C_" * 12 + ".nxs"
LONG_SOURCE = "dectris2://" + "a_detector_in_a_room_far_away." * 8 + ":31001"


def redraw(window: AnalysisWindow) -> None:
    """Draw, let the layout follow, and draw what has found room then."""
    for _ in range(3):
        window.tick()
        window.draw_timeline()
        process_events()


def test_sixteen_stimulus_channels_do_not_make_the_window_higher(
    open_window: OpenWindow, publisher: Publisher
) -> None:
    window = open_window()
    send_frames(publisher, window, range(5))
    t = window.session.history.t_first
    samples = [Sample(f"channel {k}", t + 1.0, float(k)) for k in range(16)]
    window.session.channels.add(samples, {})
    redraw(window)
    assert len(window.panels.timeline.rows) == 21
    assert window.minimumSizeHint().height() <= 600
    assert (window.width(), window.height()) == (1280, 800)
    assert min(row.canvas.height() for row in window.panels.timeline.rows) >= 20
    last = window.panels.timeline.rows[-1]
    assert last.visibleRegion().isEmpty()
    canvas = window.panels.timeline.rows[4].canvas
    place = QPointF(canvas.mapTo(window, canvas.rect().center()))
    for _ in range(20):
        QTest.wheelEvent(window.windowHandle(), place, QPoint(0, -120))
        process_events()
    assert not last.visibleRegion().isEmpty(), "the wheel reaches it"


def test_long_names_of_stimuli_do_not_make_the_window_wider(
    open_window: OpenWindow, publisher: Publisher
) -> None:
    window = open_window()
    send_frames(publisher, window, range(5))
    name, unit = "temperature of the second thermocouple " * 8, "degrees by the maker's calibration " * 8
    window.session.channels.add([Sample(name, window.session.history.t_first + 1.0, 600.0)], {name: unit})
    redraw(window)
    row = window.panels.timeline.rows[-1]
    assert window.minimumSizeHint().width() <= 1280
    assert row.readings[0].text().startswith("600.00 degrees")
    assert row.readings[0].text().endswith("…")
    assert row.title.toolTip() == name
    right = row.readings[0].mapTo(window, row.readings[0].rect().topRight())
    assert right.x() < window.width(), "the plots are cut at their right edge"


def test_an_alarm_leaves_room_for_the_pictures(open_window: OpenWindow, publisher: Publisher) -> None:
    window = open_window()
    error = f"cannot write {LONG_PATH}: No space left on device"
    publisher.send(make_status(recording_error=error, missing=3, note="the cable is loose, " * 150))
    event = Event("t" * 200, "total_atoms", 780.0, "total_atoms is 780, below 800 " * 120, 41, 1.0, 1.0)
    publisher.send_parts([EVENT_TOPIC, encode_event(event)])
    show_until(window, lambda: "frame 41" in window.panels.alarm.label.text())
    redraw(window)
    said = window.panels.alarm.label.text().replace(chr(0x200B), "")
    assert "No space left on device" in said
    assert "3 missing" in said
    assert window.minimumSizeHint().width() <= 1280
    assert window.panels.alarm.height() < 160


@pytest.mark.parametrize("width", [900, 1280])
def test_what_is_said_over_the_map_lies_within_it(
    open_window: OpenWindow, publisher: Publisher, width: int
) -> None:
    window = open_window(Settings(counts=CountsFrom.FUSED))
    window.resize(width, 700)
    publisher.send(make_status(state="waiting", source=LONG_SOURCE, path=""))
    show_until(window, lambda: window.session.status is not None)
    redraw(window)
    panel = window.panels.map
    assert LONG_SOURCE in panel.placeholder.text().replace(chr(0x200B), "")
    assert_within(panel.placeholder, panel.canvas.width())
    for k in range(3):
        view = make_view(PARTICLE, k, size=256)
        view.columns["fused_probability"] = np.nan
        publisher.send(view)
    show_until(window, lambda: newest_id(window) == 2)
    window.commands.pause()
    redraw(window)
    assert "PAST" in panel.badge.text()
    assert "No fused counts" in panel.badge.text()
    assert_within(panel.badge, panel.canvas.width())


def assert_within(label: QLabel, width: int) -> None:
    assert label.x() >= 0
    assert label.x() + label.width() <= width
    assert label.height() >= label.heightForWidth(label.width()), "lines are cut off"


def test_a_long_source_leaves_the_state_to_be_read(open_window: OpenWindow, publisher: Publisher) -> None:
    window = open_window()
    publisher.send(make_status(source=LONG_SOURCE))
    show_until(window, lambda: window.session.status is not None)
    redraw(window)
    title = window.panels.header.title
    assert title.shown().startswith("dectris2://")
    assert "…" in title.shown()
    assert title.shown().endswith("running")
    assert LONG_SOURCE in title.toolTip()


def test_a_figure_that_has_no_room_ends_in_an_ellipsis(open_window: OpenWindow, publisher: Publisher) -> None:
    """Cut in silence, 33760 ms would be read as 3376, and frame 10 009 as frame 9."""
    window = open_window()
    window.resize(window.minimumSizeHint())
    view = make_view(PARTICLE, 12_345_678, size=256)
    publisher.send(
        View(msgspec.structs.replace(view.header, bin_px=2), view.raw, view.denoised, view.columns)
    )
    publisher.send(make_status(latency_p99_ms=123_456_789.0, received=12_345_678_901))
    show_until(window, lambda: window.session.status is not None and newest_id(window) == 12_345_678)
    redraw(window)
    cells = window.panels.strip.cells
    labels = [cells["latency"].detail, cells["received"].value, window.panels.map.detail]
    for label in labels:
        assert label.shown().endswith("…")
        assert label.fontMetrics().horizontalAdvance(label.shown()) <= label.width()


def test_an_absurd_total_does_not_make_the_window_wider(
    open_window: OpenWindow, publisher: Publisher
) -> None:
    window = open_window()
    view = make_view(PARTICLE, 0, size=256)
    header = msgspec.structs.replace(view.header, total_atoms=1e300, drift_y_px=1e300)
    publisher.send(View(header, view.raw, view.denoised, view.columns))
    show_until(window, lambda: newest_id(window) == 0)
    redraw(window)
    assert window.minimumSizeHint().width() <= 1280


def test_the_only_frame_of_a_run_is_seen_in_the_plots(open_window: OpenWindow, publisher: Publisher) -> None:
    window = open_window()
    send_frames(publisher, window, range(1))
    redraw(window)
    picture = window.panels.timeline.rows[1].canvas.grab().toImage()
    accent = QColor(THEMES[ThemeName.DARK].accent).rgb()
    places = [(x, y) for x in range(picture.width()) for y in range(picture.height())]
    assert any(picture.pixel(*place) == accent for place in places)


def test_the_help_can_be_read_in_a_small_window(open_window: OpenWindow) -> None:
    window = open_window()
    window.resize(window.minimumSizeHint())
    process_events()
    window.toggle_help()
    process_events()
    for label in window.help.findChildren(QLabel):
        assert label.width() >= label.sizeHint().width(), label.text()


def test_the_window_opens_no_larger_than_the_screen(
    app: QApplication, no_widgets_left: None, publisher: Publisher, tmp_path: Path
) -> None:
    window = open_in_app(publisher.address, tmp_path / "w.ini")
    window.stop_timer()
    room, least, size = window.screen().availableSize(), window.minimumSizeHint(), window.size()
    window.close()
    delete_closed()
    assert size.width() <= max(room.width(), least.width())
    assert size.height() <= max(room.height(), least.height())


def test_no_ring_is_named_before_there_is_a_spectrum(open_window: OpenWindow) -> None:
    window = open_window()
    assert not window.panels.tabs.spectrum.ring_text.isVisible()


def test_what_was_set_in_a_run_that_died_does_not_hold_in_the_next(
    open_window: OpenWindow, publisher: Publisher
) -> None:
    window = open_window()
    begun = time.time() - 100.0
    publisher.send(make_status(t_started=begun))
    show_until(window, lambda: window.session.status is not None)
    samples = [Sample("temperature", begun + 1.0, 600.0), Sample("bias", begun + 1.0, 2.0)]
    window.session.channels.add([*samples, Sample("bias", begun + 60.0, 3.0)], {})
    publisher.send(make_status(t_started=begun + 50.0))
    show_until(window, lambda: math.isclose(window.session.history.run_started, begun + 50.0))
    channels = window.session.channels.channels
    assert list(channels) == ["bias"]
    assert channels["bias"].value[: channels["bias"].n].tolist() == [3.0]


def test_long_words_can_be_broken_and_short_ones_stay_as_they_are() -> None:
    assert breakable("cannot write the file: disk full") == "cannot write the file: disk full"
    assert max(map(len, breakable(LONG_PATH).split(chr(0x200B)))) == 24
    assert breakable(LONG_PATH).replace(chr(0x200B), "") == LONG_PATH
