"""A result file in the window while a real run still writes it."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from benchmarks.demonstration import demonstration
from gui import file_session
from gui.feed import Feed
from gui.file_session import FileSession
from gui.history import History
from gui.region_note import region_note, region_of_note
from gui.session import LiveSession
from gui.settings import Model, Settings
from gui.window import AnalysisWindow
from streamer.errors import UsageError
from tests.gui.conftest import process_events


def session_when_there(path: Path, frames: int) -> FileSession:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            session = FileSession(path)
        except UsageError:
            time.sleep(0.2)
            continue
        if len(session.history.rows) >= frames:
            return session
        time.sleep(0.5)
    raise AssertionError("the run has recorded nothing")


def wait(window: AnalysisWindow, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        window.tick()
        process_events()
        time.sleep(0.02)


def newest_id(window: AnalysisWindow) -> int:
    return int(window.session.history.rows["frame_id"][-1])


def test_a_file_that_grows_is_followed_until_it_is_closed(
    app: QApplication, no_widgets_left: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_session, "_RELOAD_S", 0.3)
    path = tmp_path / "growing.nxs"
    with demonstration("--fps", "8", "--size", "256", out=path):
        window = AnalysisWindow(session_when_there(path, 4), Model(Settings()))
        window.stop_timer()
        window.show()
        window.tick()
        header = window.panels.header
        assert header.light.text() == "REC"
        assert "frame 0 " in window.panels.map.detail.text()
        assert header.live.isVisible()
        QTest.mouseClick(header.live, Qt.MouseButton.LeftButton)
        first = newest_id(window)
        wait(window, lambda: newest_id(window) >= first + 5)
        assert f"frame {newest_id(window):,}".replace(",", "\u2009") in window.panels.map.detail.text()
        QTest.keyClick(window, Qt.Key.Key_Left)
        held, _, _ = window.panels.map.detail.text().partition("  ·  ")  # its result may be still to come
        later = newest_id(window)
        wait(window, lambda: newest_id(window) > later)
        assert window.panels.map.detail.text().startswith(f"{held}  ·  ")
    wait(window, lambda: header.light.text() == "SAVED")
    assert not header.live.isVisible()
    assert not window.panels.alarm.isVisible()
    window.close()


def test_a_region_is_saved_with_the_run_and_there_again_when_its_file_is_opened(
    app: QApplication, no_widgets_left: None, tmp_path: Path
) -> None:
    path = tmp_path / "region.nxs"
    with demonstration("--fps", "8", "--size", "256", out=path) as address:
        live = AnalysisWindow(LiveSession(Feed(address), History()), Model(Settings()))
        live.stop_timer()
        live.show()
        tabs = live.panels.tabs
        wait(live, lambda: len(live.session.history.rows) > 3 and live.session.status is not None)
        assert not tabs.save.isEnabled()
        tabs.setCurrentIndex(1)
        QTest.mouseClick(tabs.polygon, Qt.MouseButton.LeftButton)
        wait(live, tabs.save.isEnabled)
        region = live.state.value.roi
        assert region is not None
        QTest.mouseClick(tabs.save, Qt.MouseButton.LeftButton)
        wait(live, lambda: live.panels.header.said.text().startswith("Noted"))
        live.close()
    file = AnalysisWindow(FileSession(path), Model(Settings()))
    file.stop_timer()
    assert file.state.value.roi is not None
    np.testing.assert_allclose(file.state.value.roi, region, atol=0.06)
    file.draw_timeline()
    assert len(file.panels.tabs.region.plots) == 2
    file.close()


@pytest.mark.parametrize(
    "text", ["", "CO on", "region [y,x px]", "region [y,x px] 1,2 3,4", "region [y,x px] a,b c,d e,f"]
)
def test_other_notes_are_no_regions(text: str) -> None:
    assert region_of_note(text) is None


def test_a_region_of_many_corners_is_rounded_and_of_too_many_is_not_noted() -> None:
    assert region_of_note(region_note(((0.04, 1.0), (-2.5, 3.0), (4.0, 5.0)))) == (
        (0.0, 1.0),
        (-2.5, 3.0),
        (4.0, 5.0),
    )
    many = tuple((1000.4 + k, 2000.4) for k in range(24))
    assert region_of_note(region_note(many)) == tuple((1000.0 + k, 2000.0) for k in range(24))
    assert region_note(many * 2) == ""
